"""pfl's postprocessors: what happens to a client's update on its way to the sum, and to the sum.

pfl calls them in their order for every client and in the reverse order for the sum.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from pfl.aggregate.weighting import WeightByDatapoints, WeightByUser
from pfl.context import CentralContext, UserContext
from pfl.hyperparam import get_param_value
from pfl.internal.platform.generic_platform import GenericPlatform
from pfl.internal.platform.selector import get_platform, set_platform
from pfl.metrics import Metrics
from pfl.postprocessor.base import Postprocessor
from pfl.privacy.adaptive_clipping import AdaptiveClippingGaussianMechanism, MutableClippingBound
from pfl.privacy.ftrl_mechanism import BandedMatrixFactorizationMechanism, ForwardSubstitution
from pfl.privacy.gaussian_mechanism import GaussianMechanism
from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism
from pfl.stats import MappedVectorStatistics
from torch import Tensor

from trustml.backends.settings import FederatedSettings, RoundOutcome, UserPrivacy
from trustml.backends.torch.device import current_device
from trustml.backends.torch.noise import CorrelatedNoise, add_noise, standard_normal
from trustml.scenario.federated import BandedMatrix, DPFedAvg, FedSGD, IndependentNoise

NOBODY = "nobody"
"""User id of the stand-in for a round without clients: pfl draws no noise where there is no user at all."""


class Gate(Postprocessor):
    """Measures every update, and makes those zero that are not finite. The first in the list."""

    def __init__(self) -> None:
        self._norms: list[float] = []
        self._left_out = 0
        self.broken = False

    def postprocess_one_user(
        self, *, stats: MappedVectorStatistics, user_context: UserContext
    ) -> tuple[MappedVectorStatistics, Metrics]:
        """Look at one update."""
        if user_context.user_id == NOBODY:
            return stats, Metrics()
        tensors = list(stats.values())
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors))))
        self.broken = not math.isfinite(norm)
        if self.broken:
            torch._foreach_zero_(tensors)
            self._left_out += 1
        else:
            self._norms.append(norm)
        return stats, Metrics()

    def take_outcome(self) -> RoundOutcome:
        """Tell what was seen since the last call."""
        outcome = RoundOutcome(
            update_norm=math.fsum(self._norms) / len(self._norms) if self._norms else None, left_out=self._left_out
        )
        self._norms, self._left_out = [], 0
        return outcome


class DeclaredWeight(Postprocessor):
    """Makes pfl divide by the declared number of clients, where it would take the secret actual one. The last.

    It is also where the stand-in's contribution goes, its mark as unclipped included: an empty round must
    differ from a round with one client by that client alone.
    """

    def __init__(self, clients: int) -> None:
        self._clients = clients

    def postprocess_one_user(
        self, *, stats: MappedVectorStatistics, user_context: UserContext
    ) -> tuple[MappedVectorStatistics, Metrics]:
        """Take the stand-in out of the sum."""
        if user_context.user_id == NOBODY:
            torch._foreach_zero_(list(stats.values()))
        return stats, Metrics()

    def postprocess_server(
        self, *, stats: MappedVectorStatistics, central_context: CentralContext, aggregate_metrics: Metrics
    ) -> tuple[MappedVectorStatistics, Metrics]:
        """Set the divisor of the sum."""
        stats.weight = float(self._clients)
        return stats, Metrics()


class SoundWeight(Postprocessor):
    """Takes the weight from an update that was not finite, and lets no sum be divided by zero.

    Parameters
    ----------
    gate : Gate
        Has seen the update before.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def postprocess_one_user(
        self, *, stats: MappedVectorStatistics, user_context: UserContext
    ) -> tuple[MappedVectorStatistics, Metrics]:
        """Set the weight of one update."""
        if self._gate.broken:
            stats.weight = 0.0
        return stats, Metrics()

    def postprocess_server(
        self, *, stats: MappedVectorStatistics, central_context: CentralContext, aggregate_metrics: Metrics
    ) -> tuple[MappedVectorStatistics, Metrics]:
        """Check the divisor of the sum."""
        stats.weight = stats.weight or 1.0
        return stats, Metrics()


class NoiselessAdaptiveClipping(AdaptiveClippingGaussianMechanism):
    """Adaptive clipping without any noise, for tests; pfl's own divides by the noise."""

    def _get_overall_clipping_bound(self) -> float:
        return self.mutable_clipping_bound.value()

    def _get_clipping_indicator_scale(self) -> float:
        return self.mutable_clipping_bound.value()


class TailedGaussian(GaussianMechanism):
    """pfl's Gaussian mechanism with noise that has both tails, from PyTorch's global generator; pfl's ends at 5.77."""

    def add_noise(
        self,
        statistics: MappedVectorStatistics,
        cohort_size: int,
        name_formatting_fn: Callable[[str], object] | None = None,
        seed: int | None = None,
    ) -> tuple[MappedVectorStatistics, Metrics]:
        """Add noise to every value."""
        deviation = float(self.relative_noise_stddev * get_param_value(self._clipping_bound))
        return statistics.apply(partial(add_noise, deviation=deviation, generator=None)), Metrics()


class CorrelatedGaussian(GaussianMechanism):
    """pfl's Gaussian mechanism with the noise of a strategy, where pfl has no mechanism of that kind."""

    def __init__(self, privacy: UserPrivacy, rounds: int) -> None:
        super().__init__(privacy.clipping_norm, privacy.drawn_noise_multiplier)
        self._strategy = privacy.strategy(rounds=rounds)
        self._noise: CorrelatedNoise | None = None

    def add_noise(
        self,
        statistics: MappedVectorStatistics,
        cohort_size: int,
        name_formatting_fn: Callable[[str], object] | None = None,
        seed: int | None = None,
    ) -> tuple[MappedVectorStatistics, Metrics]:
        """Add the noise of the next round to every value."""
        deviation = float(self.relative_noise_stddev * get_param_value(self._clipping_bound))
        return statistics.apply(partial(self._add, deviation=deviation)), Metrics()

    def _add(self, sums: list[Tensor], *, deviation: float) -> list[Tensor]:
        if self._noise is None:
            size = sum(total.numel() for total in sums)
            self._noise = CorrelatedNoise(self._strategy, size=size, generator=None, device=sums[0].device)
        return self._noise.add(sums, deviation=deviation)


class BandedMechanism(BandedMatrixFactorizationMechanism):
    """pfl's banded matrix, fixed.

    pfl 0.6.0 looks for ``C`` with ``C.T @ C = X``, where the unit diagonal of ``X`` bounds the norms of C's columns
    and with them what one visit of a client can change. But it takes the Cholesky factor, whose *rows* have norm 1:
    columns come out up to 1.4 times too long in 20 rounds and 3 times in 100, and the noise is too small by that.
    The lower factor of the right product is the Cholesky factor of ``X`` turned by 180 degrees.

    (pfl also keeps ``X`` zero from ``separation - 1`` rounds on, where ``separation`` would do. That is safe.)
    """

    def __init__(self, privacy: UserPrivacy, rounds: int) -> None:
        super().__init__(
            privacy.clipping_norm, rounds, privacy.separation, lambda _: _KnownNoise(privacy.drawn_noise_multiplier)
        )
        factor = np.asarray(self.query_matrix, np.float64)
        gram = factor @ factor.T
        self._C = np.linalg.cholesky(gram[::-1, ::-1])[::-1, ::-1].T.copy()
        self._C_inv_noise = ForwardSubstitution(self._C, privacy.separation - 1)

    @staticmethod
    def _generate_flattened_noise(dimension: int, stddev: float, seed: int | None) -> Tensor:
        return standard_normal(dimension, generator=None, device=current_device()).mul_(stddev)


@dataclass(frozen=True)
class _KnownNoise:
    """The accountant that pfl's constructor asks for. Accounting is done in the core."""

    cohort_noise_parameter: float


def weighting(settings: FederatedSettings, gate: Gate) -> list[Postprocessor]:
    """What an update weighs in a plain average."""
    regime = settings.regime
    by_examples = isinstance(regime, FedSGD) or (not isinstance(regime, DPFedAvg) and regime.weighting == "examples")
    return [WeightByDatapoints() if by_examples else WeightByUser(), SoundWeight(gate)]


def mechanism(privacy: UserPrivacy, rounds: int) -> CentrallyAppliedPrivacyMechanism:
    """Make pfl's mechanism for the sum of clipped updates; in it our noise, where pfl has none of that kind.

    Parameters
    ----------
    privacy : UserPrivacy
    rounds : int
        How often it will be used.

    Raises
    ------
    NotImplementedError
        If the clipping norm is to move under correlated noise, or pfl cannot make the matrix.
    """
    adaptive = privacy.clip_learning_rate > 0
    if not isinstance(privacy.mechanism, IndependentNoise):
        if adaptive:
            raise NotImplementedError("pfl has adaptive clipping for independent noise only")
        pfl_has_it = privacy.mechanism == BandedMatrix()
        return CentrallyAppliedPrivacyMechanism(
            _banded(privacy, rounds) if pfl_has_it else CorrelatedGaussian(privacy, rounds)
        )
    if adaptive:
        return _adaptive(privacy)
    return CentrallyAppliedPrivacyMechanism(TailedGaussian(privacy.clipping_norm, privacy.drawn_noise_multiplier))


def _adaptive(privacy: UserPrivacy) -> AdaptiveClippingGaussianMechanism:
    value_noise, mark_noise = privacy.drawn_noise_multiplier, 2 * privacy.count_noise  # pfl marks clients by +1 and -1
    if (value_noise > 0) != (mark_noise > 0):
        raise NotImplementedError(
            "pfl's adaptive clipping takes noise on both the updates and the number of unclipped clients, or on neither"
        )
    # pfl adds one noise to updates and mark together, and scales the mark so that each gets its share of it.
    total = 1 / math.hypot(1 / value_noise, 1 / mark_noise) if value_noise else 0.0

    def underlying(bound: MutableClippingBound) -> GaussianMechanism:
        return TailedGaussian(bound, total)

    kind = AdaptiveClippingGaussianMechanism if value_noise else NoiselessAdaptiveClipping
    return kind(underlying, privacy.clipping_norm, mark_noise, privacy.quantile, privacy.clip_learning_rate)


def _banded(privacy: UserPrivacy, rounds: int) -> BandedMechanism:
    if privacy.separation < 2:
        raise NotImplementedError(
            "pfl's banded matrix needs at least 2 rounds from one visit of a client to its next; use independent noise"
        )
    outside = get_platform()
    with tempfile.TemporaryDirectory() as folder:
        set_platform(_FolderPlatform(folder))  # pfl would write its matrix into the working directory
        try:
            return BandedMechanism(privacy, rounds)
        finally:
            set_platform(outside)


class _FolderPlatform(GenericPlatform):
    """pfl's platform, with its files in a folder of our choice."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder

    def create_checkpoint_directories(self, subdir_names: list[str]) -> list[str]:
        return self.create_checkpoint_directories_in(self._folder, subdir_names)
