"""Federated mechanisms around the numpy oracle, right and in many ways wrong."""

from __future__ import annotations

import math

import numpy as np

from trustml.backends.contract import Model
from trustml.backends.numpy.federated import NumpyFederation, norm_of
from trustml.backends.settings import FederatedSettings, UserPrivacy
from trustml.conformance.correlated_noise import tree_covariance
from trustml.conformance.rounds import RoundSettings
from trustml.privacy.noise_strategy import noise_matrix, noise_strategy
from trustml.scenario.federated import BufferedToeplitz, IndependentNoise
from trustml.worker.federated_conformance import SERVER_RATE, factory, softmax_regression, two_layers


def make_factory(kind: type[NumpyFederation], *, deep: bool = True):
    """Give what the suite asks for, with weights that move (deep) or as good as stay at zero."""
    if deep:
        return factory(kind, two_layers(), server_learning_rate=1.0)
    return factory(kind, softmax_regression(), server_learning_rate=SERVER_RATE)


class PerClientNoise(NumpyFederation):
    def private_mean(self, updates, privacy):
        mean = super().private_mean(updates, privacy)
        for _ in updates[1:]:
            noise = self.noise(privacy.noise_multiplier * self._clip)
            mean = {name: part + noise[name] / privacy.expected_clients for name, part in mean.items()}
        return mean


class WeightedBySize(NumpyFederation):
    def round(self, clients):
        self._sizes = iter([sum(len(labels) for _, labels in client) / 10 for client in clients])
        return super().round(clients)

    def clipped(self, update):
        size = next(self._sizes)
        return {name: size * part for name, part in super().clipped(update).items()}


class OutliersUnclipped(NumpyFederation):
    def clipped(self, update):
        return update if norm_of(update) > 30 * self._clip else super().clipped(update)


class DividedByCohort(NumpyFederation):
    def private_mean(self, updates, privacy):
        mean = super().private_mean(updates, privacy)
        return {name: part * privacy.expected_clients / max(1, len(updates)) for name, part in mean.items()}


class NoiseDividedTwice(NumpyFederation):
    def noise(self, deviation):
        return super().noise(deviation / self.privacy.expected_clients)


class SilentWhenEmpty(NumpyFederation):
    def private_mean(self, updates, privacy):
        return super().private_mean(updates, privacy) if updates else self.zeros()


class NoiseReused(NumpyFederation):
    def noise(self, deviation):
        self.generator = np.random.default_rng(self._seed)
        return super().noise(deviation)

    def __init__(self, model: Model, settings: FederatedSettings) -> None:
        super().__init__(model, settings)
        self._seed = settings.noise_seed


class NoiseReplayedLater(NoiseReused):
    """Begins its noise anew after four rounds."""

    _drawn = 0

    def noise(self, deviation):
        self._drawn += 1
        if self._drawn % 4 == 1:
            self.generator = np.random.default_rng(self._seed)
        return NumpyFederation.noise(self, deviation)


class SeedlessNoise(NumpyFederation):
    def __init__(self, model: Model, settings: FederatedSettings) -> None:
        super().__init__(model, settings)
        self.generator = np.random.default_rng(5)


class UniformNoise(NumpyFederation):
    def noise(self, deviation):
        side = math.sqrt(3) * deviation
        return {name: self.generator.uniform(-side, side, part.shape) for name, part in self.zeros().items()}


class OneNoiseForAllTensorRows(NumpyFederation):
    def noise(self, deviation):
        return {
            name: np.broadcast_to(deviation * self.generator.normal(size=(*part.shape[:-1], 1)), part.shape)
            for name, part in self.zeros().items()
        }


class MeanClipped(NumpyFederation):
    def private_mean(self, updates, privacy):
        mean = self.zeros()
        for update in updates:
            mean = {name: part + update[name] / len(updates) for name, part in mean.items()}
        noise = self.noise(privacy.noise_multiplier * self._clip / privacy.expected_clients)
        return {name: part + noise[name] for name, part in self.clipped(mean).items()}


class EachTensorClipped(NumpyFederation):
    def clipped(self, update):
        return {name: super(EachTensorClipped, self).clipped({name: part})[name] for name, part in update.items()}


class NanPoisons(NumpyFederation):
    def usable(self, norm):
        return True


class RoundLost(NanPoisons):
    """One update whose norm is not finite, and the sum of all others is not added."""

    def private_mean(self, updates, privacy):
        return super().private_mean(updates if all(np.isfinite(norm_of(one)) for one in updates) else [], privacy)


class SlightlyMore(NumpyFederation):
    def clipped(self, update):
        self._clip *= 1.01
        found = super().clipped(update)
        self._clip /= 1.01
        return found


class QuietCount(NumpyFederation):
    def adapt(self, unclipped, clients, privacy):
        super().adapt(unclipped, clients, _without_count_noise(privacy))


class CountOverCohort(NumpyFederation):
    def adapt(self, unclipped, clients, privacy):
        count = unclipped - clients / 2 + privacy.count_noise * self.generator.normal()
        share = 0.5 + count / max(1, clients)
        self._clip *= math.exp(-privacy.clip_learning_rate * (share - privacy.quantile))


class NoiseOfPreviousNorm(NumpyFederation):
    _previous = 0.0

    def noise(self, deviation):
        before, self._previous = self._previous or self._clip, self._clip
        return super().noise(deviation * before / self._clip)


class NoiseOfFirstNorm(NumpyFederation):
    def noise(self, deviation):
        return super().noise(deviation * self.privacy.clipping_norm / self._clip)


def _without_count_noise(privacy: UserPrivacy) -> UserPrivacy:
    changed = {name: getattr(privacy, name) for name in privacy.__dataclass_fields__}
    return UserPrivacy(**{**changed, "count_noise": 0.0})


FIXED, ADAPTIVE = RoundSettings(), RoundSettings(clip_learning_rate=0.2, count_noise=2.0)
BROKEN = {
    "noise for each client": (PerClientNoise, FIXED, "noise does not grow with the clients"),
    "clients weigh by their size": (WeightedBySize, FIXED, "a client with many examples moves the sum"),
    "outliers pass unclipped": (OutliersUnclipped, FIXED, "an outlier moves the sum"),
    "division by the actual cohort": (DividedByCohort, FIXED, "the divisor is the declared number"),
    "noise divided twice": (NoiseDividedTwice, FIXED, "noise has its stated size"),
    "no noise in an empty round": (SilentWhenEmpty, FIXED, "a round without clients has noise"),
    "noise reused in every round": (NoiseReused, FIXED, "noise is new in every round"),
    "noise begins anew later": (NoiseReplayedLater, FIXED, "noise is new in every round"),
    "noise does not depend on the seed": (SeedlessNoise, FIXED, "noise is new in every run"),
    "noise is uniform": (UniformNoise, FIXED, "noise is Gaussian"),
    "noise shared along rows": (OneNoiseForAllTensorRows, FIXED, "noise is independent between coordinates"),
    "the mean is clipped": (MeanClipped, FIXED, "a round is the sum of its clients"),
    "each tensor clipped to the whole norm": (EachTensorClipped, FIXED, "an outlier moves the sum"),
    "NaN poisons the sum": (NanPoisons, FIXED, "a client with NaN moves the sum"),
    "a round is lost": (RoundLost, FIXED, "a client with NaN moves the sum"),
    "clipped to 1 % more": (SlightlyMore, FIXED, "an outlier moves the sum"),
    "count without noise": (QuietCount, ADAPTIVE, "adaptive clipping pays for its quantile"),
    "count divided by the cohort": (CountOverCohort, ADAPTIVE, "the clipping norm moves by the share"),
    "noise of the previous norm": (NoiseOfPreviousNorm, ADAPTIVE, "noise has its stated size, at the norm"),
    "noise of the first norm": (NoiseOfFirstNorm, ADAPTIVE, "noise has its stated size, at the norm"),
    "adaptive, noise for each client": (PerClientNoise, ADAPTIVE, "noise does not grow with the clients"),
    "adaptive, no noise in an empty round": (SilentWhenEmpty, ADAPTIVE, "a round without clients has noise"),
}


def correlated(mixing):
    """Make a mechanism whose noise in round t is row t of ``mixing(rounds)`` times white noise."""

    class Correlated(NumpyFederation):
        def __init__(self, model: Model, settings: FederatedSettings) -> None:
            independent = {name: getattr(settings.privacy, name) for name in settings.privacy.__dataclass_fields__}
            privacy = UserPrivacy(**{**independent, "mechanism": IndependentNoise()})
            super().__init__(
                model,
                FederatedSettings(
                    regime=settings.regime, privacy=privacy, noise_seed=settings.noise_seed, batch_size=4
                ),
            )
            self._mixing, self._white = mixing(settings.regime.rounds), []

        def noise(self, deviation):
            self._white += [NumpyFederation.noise(self, 1.0) for _ in range(self._mixing.shape[1] - len(self._white))]
            row, self._round = self._mixing[self._round], self._round + 1
            return {
                name: deviation * np.tensordot(row, [noise[name] for noise in self._white], axes=1)
                for name in self.zeros()
            }

        _round = 0

    return Correlated


def of_running_sums(covariance):
    """Mixing of rounds whose running sums have this covariance."""
    return np.diff(np.linalg.cholesky(covariance), axis=0, prepend=0)


def plain_tree(count):
    return of_running_sums(tree_covariance(count, efficient=False))


def efficient_tree(count):
    return of_running_sums(tree_covariance(count, efficient=True))


def tree_without_third_level(count):
    mixing = plain_tree(count)
    mixing[3] = -mixing[:3].sum(axis=0)  # after four rounds the running sum has no noise at all
    return mixing


def tree_of_one_node(count):
    """All nodes carry the same noise: running sums are as variable as they ought to be, or more."""
    sizes = [math.sqrt(bin(number).count("1")) for number in range(1, count + 1)]
    return np.diff(np.outer(sizes, [1.0]), axis=0, prepend=0)


def band(width):
    """Toeplitz factor of the square root of the prefix sum, cut to a band."""

    def factor(count):
        coefficients = np.cumprod([1.0, *[(2 * k - 1) / (2 * k) for k in range(1, width)]])
        return sum(c * np.eye(count, k=-k) for k, c in enumerate(coefficients))

    return factor


def banded(width, *, rows=False):
    def mixing(count):
        factor = band(width)(count)
        return np.linalg.inv(factor / np.linalg.norm(factor, axis=1 if rows else 0, keepdims=True))

    return mixing


def unscaled_band(count):
    return np.linalg.inv(band(4)(count))


def independent(count):
    return np.eye(count)


TREE = RoundSettings(noise="tree aggregation", separation=4)
BANDED = RoundSettings(noise="banded matrix factorisation", separation=4)
BUFFERED = RoundSettings(noise="buffered linear Toeplitz", separation=4)


def buffered(count):
    return noise_matrix(noise_strategy(BufferedToeplitz(), steps=count, separation=4))


def buffered_for_one_visit(count):
    """As if nobody came twice."""
    return noise_matrix(noise_strategy(BufferedToeplitz(), steps=count, separation=count))


RIGHT_CORRELATED = {
    "plain tree": (plain_tree, TREE),
    "efficient tree": (efficient_tree, TREE),
    "banded matrix": (banded(4), BANDED),
    "narrower band": (banded(3), BANDED),
    "buffered Toeplitz": (buffered, BUFFERED),
}
BROKEN_CORRELATED = {
    "independent noise for a tree": (independent, TREE, "running sums are no noisier"),
    "a node of the tree left out": (tree_without_third_level, TREE, "running sums are as noisy"),
    "one noise for all nodes": (tree_of_one_node, TREE, "noise has its stated size, at the norm"),
    "tree of half the noise": (lambda count: 0.9 * plain_tree(count), TREE, "running sums are as noisy"),
    "columns not scaled": (unscaled_band, BANDED, "columns of the matrix are no longer than 1"),
    "rows scaled instead of columns": (banded(4, rows=True), BANDED, "columns of the matrix are no longer"),
    "band wider than the absence": (banded(6), BANDED, "rounds that one client can meet are orthogonal"),
    "independent noise for a band": (independent, BANDED, "later noise takes back some of the earlier"),
    "tree noise charged as banded": (efficient_tree, BANDED, "all rounds of a client tell no more"),
}


def shrunk(factor, base=NumpyFederation):
    """Make a mechanism with so much of its noise."""

    class Shrunk(base):
        def noise(self, deviation):
            return super().noise(factor * deviation)

    return Shrunk


class QuieterForOutliers(NumpyFederation):
    """Halves its noise in rounds with a client whose inputs are large."""

    def round(self, clients):
        sizes = [float(np.nanmax(np.abs(inputs))) for client in clients for inputs, _ in client]
        self._large = max(sizes, default=0.0) > 1.0
        return super().round(clients)

    def noise(self, deviation):
        return super().noise(deviation / 2 if self._large else deviation)


class QuietLater(NumpyFederation):
    """Has no noise from the 51st round on."""

    _rounds = 0

    def noise(self, deviation):
        self._rounds += 1
        return super().noise(deviation if self._rounds <= 50 else 0.0)


class BiasWithoutNoise(NumpyFederation):
    def noise(self, deviation):
        found = super().noise(deviation)
        return {name: 0 * part if name.endswith("bias") else part for name, part in found.items()}


class Remembers(NumpyFederation):
    """Adds a hundredth of the sum of the round before."""

    def private_mean(self, updates, privacy):
        mean = super().private_mean(updates, privacy)
        before = getattr(self, "_before", self.zeros())
        self._before = mean
        return {name: part + 0.01 * before[name] for name, part in mean.items()}


class QuieterCount(NumpyFederation):
    def adapt(self, unclipped, clients, privacy):
        changed = {name: getattr(privacy, name) for name in privacy.__dataclass_fields__}
        super().adapt(unclipped, clients, UserPrivacy(**{**changed, "count_noise": 0.75 * privacy.count_noise}))


BROKEN |= {
    "halved for outliers": (QuieterForOutliers, FIXED, "noise does not depend on outliers"),
    "silent after 50 rounds": (QuietLater, FIXED, "no round has another noise"),
    "bias without noise": (BiasWithoutNoise, FIXED, "every weight has its noise"),
    "a part of the round before": (Remembers, FIXED, "nothing of earlier rounds is left"),
    "0.97 of the noise": (shrunk(0.97), FIXED, "noise has its stated size, at the norm of its round"),
    "0.75 of the noise on the count": (QuieterCount, ADAPTIVE, "adaptive clipping pays for its quantile"),
}
BROKEN_CORRELATED |= {
    "0.97 of a tree": (lambda count: 0.97 * efficient_tree(count), TREE, "noise has its stated size, at the norm"),
    "0.97 of buffers": (
        lambda count: 0.97 * buffered(count),
        BUFFERED,
        "noise has its stated size, whatever the round",
    ),
    "buffers for one visit": (buffered_for_one_visit, BUFFERED, "all rounds of a client tell no more"),
    "1.1 of buffers": (lambda count: 1.1 * buffered(count), BUFFERED, "noise is no larger than its charge needs"),
    "independent noise for buffers": (independent, BUFFERED, "later noise takes back some of the earlier"),
    "0.97 of a band": (lambda count: 0.97 * banded(4)(count), BANDED, "noise has its stated size, whatever the round"),
}
