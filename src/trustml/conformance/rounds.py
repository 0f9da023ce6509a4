"""A federated training under test, and how the suite looks at it: as sums of clipped updates, and as noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.conformance.subject import Vector, flat, norm_of
from trustml.data.dataset import Floats, Ints, LabelArray
from trustml.privacy.ledger import NoiseKind

Client: TypeAlias = Sequence[tuple[Floats, LabelArray]]
"""The batches of one client in one round; none is a client without examples."""
Matrix: TypeAlias = npt.NDArray[np.float64]

OUTLIERS = (30.0, 1e3)
"""Times which an outlier's inputs are scaled."""
BEYOND_NORM = 1e20
"""Times by which inputs are scaled so that updates are finite in float32 and their squares are not."""
LARGE = 20
"""Times which a large client has its examples."""
SAME = 1e-2
"""Relative difference below which two sums are the same, where that tells two mistakes apart."""
TIME_LIMIT = 600.0
"""Seconds after which no further training with noise is begun."""
ALMOST_FIXED = 1e-7
"""Learning rate of a clipping norm that adapts and yet stays where it is while sums are compared."""


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """What a federated training under test is to be made with.

    Attributes
    ----------
    noise : {"independent", "tree aggregation", "banded matrix factorisation", "buffered linear Toeplitz"}
        How the noise of the rounds hangs together.
    clipping_norm : float
        Of the first round. An ordinary client's update should be about as long.
    noise_multiplier : float
        Standard deviation of the noise on the sum of clipped updates, over the clipping norm; 0 for none.
    expected_clients : int
        What the noisy sum is divided by, however many clients come.
    quantile, clip_learning_rate, count_noise : float
        With adaptive clipping: after a round the norm is multiplied by
        ``exp(-clip_learning_rate * (share - quantile))``, where ``share`` is ``1/2 + count / expected_clients`` and
        ``count`` the number of clients, +1/2 for each unclipped and -1/2 for each clipped one, with noise of
        standard deviation ``count_noise``. A learning rate of 0 means fixed clipping.
    separation : int
        Rounds from one visit of a client to its next, at the least.
    rounds : int
        How many rounds the training is made for.
    seed : int
        Another seed must give other noise. The starting weights must not depend on it.
    """

    noise: NoiseKind = "independent"
    clipping_norm: float = 0.3
    noise_multiplier: float = 0.0
    expected_clients: int = 8
    quantile: float = 0.5
    clip_learning_rate: float = 0.0
    count_noise: float = 0.0
    separation: int = 1
    rounds: int = 32
    seed: int = 0

    @property
    def adaptive(self) -> bool:
        """Whether the clipping norm adapts."""
        return self.clip_learning_rate > 0


class FederatedTraining(Protocol):
    """A federated training under test: clients weigh alike, the server takes plain gradient steps."""

    def round(self, clients: Sequence[Client], /) -> object:
        """Train the clients from the global weights; clip, sum, add noise, divide, step."""
        ...

    def weights(self) -> Mapping[str, npt.NDArray[np.floating]]:
        """Present global weights."""
        ...

    def clipping_norm(self) -> float:
        """Clipping norm of the next round."""
        ...


class FederatedFactory(Protocol):
    """Makes a federated training; always with the same weights."""

    def __call__(self, settings: RoundSettings, /) -> FederatedTraining:
        """Make a training with these settings."""
        ...


@dataclass(frozen=True, kw_only=True)
class NoisyRounds:
    """What noise was seen in successive rounds of one training.

    Attributes
    ----------
    noise : float64 array of shape (rounds, runs * weights)
        Over its stated standard deviation, which follows the clipping norm of the round.
    norms : float64 array of shape (runs, rounds + 1)
        Clipping norm before each round, and after the last.
    clients : int64 array of shape (rounds,)
    weights : int
        Of the model.
    averages : bool
        Whether the noisy sum is divided by the clients that came.
    """

    noise: Matrix
    norms: Matrix
    clients: Ints
    weights: int
    averages: bool = False

    @property
    def runs(self) -> int:
        """How many trainings stand beside one another."""
        return self.noise.shape[1] // self.weights


class FederatedSubject:
    """A factory of federated trainings with data, seen as sums of clipped updates.

    Parameters
    ----------
    make : callable
        From :class:`RoundSettings` to a training.
    clients : sequence of clients
        At least 8, of different updates.
    settings : RoundSettings
    server_learning_rate : float
        Of the server's step.
    same_start : bool
        Whether each round of a training counts as one from its first weights, so that a single training will do:
        right where these are zero (softmax regression) and the server's learning rate is 1e-9 or so. Else each
        sum is that of the first round of a new training.
    idle : client
        One that adds nothing to speak of, whatever the weights: without examples, where the training takes such.
    time_limit : float
        Seconds from now after which no further training with noise is begun.
    tell : callable
        Is told how many trainings of a check with noise are begun, and of how many.
    """

    def __init__(
        self,
        make: FederatedFactory,
        clients: Sequence[Client],
        settings: RoundSettings,
        *,
        server_learning_rate: float = 1.0,
        same_start: bool = False,
        idle: Client = (),
        time_limit: float = TIME_LIMIT,
        tell: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.time_limit, self.deadline, self.tell = time_limit, time.monotonic() + time_limit, tell
        self._make, self.clients = make, list(clients)
        self._rate, self._same_start, self._idle = server_learning_rate, same_start, idle
        rate = ALMOST_FIXED if settings.adaptive else 0.0
        self.settings = replace(settings, noise_multiplier=0.0, count_noise=0.0, clip_learning_rate=rate)
        self.noisy = replace(settings, noise_multiplier=settings.noise_multiplier or 1.0)
        self._quiet: FederatedTraining | None = None
        self._taken = 0
        self._averages: bool | None = None

    def total(self, clients: Sequence[Client]) -> Vector:
        """Un-noised sum of the clipped updates of some clients, from the first weights."""
        return self.move(self._without_noise(1), clients, self.settings)

    def after(self, clients: Sequence[Client]) -> list[Vector]:
        """Un-noised sums of two rounds without clients, after one with some."""
        training = self._without_noise(3)
        self.move(training, clients, self.settings)
        return [self.move(training, [], self.settings) for _ in range(2)]

    def _without_noise(self, rounds: int) -> FederatedTraining:
        """A training that has so many of its rounds left; a new one, unless every round is as the first."""
        if self._quiet is None or not self._same_start or self._taken + rounds > self.settings.rounds:
            self._quiet, self._taken = self._make(self.settings), 0
        self._taken += rounds
        return self._quiet

    def start(self, settings: RoundSettings) -> FederatedTraining:
        """Make a training."""
        return self._make(settings)

    def move(self, training: FederatedTraining, clients: Sequence[Client], settings: RoundSettings) -> Vector:
        """Take one round and give the sum behind the change of the weights."""
        before = flat(training.weights())
        training.round(clients)
        return (flat(training.weights()) - before) * (settings.expected_clients / self._rate)

    def watch(
        self, settings: RoundSettings, cohorts: Sequence[int], *, first: Sequence[Client] = (), runs: int = 1
    ) -> NoisyRounds:
        """Take rounds with noise: perhaps one with real clients, then such of idle clients.

        Those add nothing, whatever the weights have come to. Several runs, each with the next
        seed, stand beside one another as if they were one training of more weights; all but the first end with
        :attr:`deadline`.
        """
        rounds = [list(first)] if first else []
        rounds += [[self._idle] * count for count in cohorts]
        quiet = self.total(first) if first else None
        sizes = np.array([len(clients) for clients in rounds], np.int64)
        rows: list[Matrix] = []
        norms: list[list[float]] = []
        for run in range(runs):
            if run and time.monotonic() > self.deadline:
                break
            self.tell(run + 1, runs)
            noise, moved = self._one_run(replace(settings, seed=settings.seed + run), rounds, quiet)
            rows.append(noise)
            norms.append(moved)
        return NoisyRounds(
            noise=np.concatenate(rows, axis=1),
            norms=np.array(norms),
            clients=sizes,
            weights=rows[0].shape[1],
            averages=self.averages(),
        )

    def averages(self) -> bool:
        """Whether the sum is divided by the clients that came: two alike then move the weights as one does."""
        if self._averages is None:
            one, two = (self.total([self.clients[7]] * count) for count in (1, 2))
            self._averages = norm_of(two - one) < SAME * norm_of(one)
        return self._averages

    def weighs_by_examples(self) -> bool:
        """Whether, where :meth:`averages`, a client with many examples counts for more than another."""
        small, large = self.clients[6], list(self.clients[7]) * LARGE
        alike = (self.total([small]) + self.total([large])) / 2
        return norm_of(self.total([small, large]) - alike) > SAME * norm_of(alike)

    def size(self) -> int:
        """Count the weights."""
        return len(flat(self._make(self.settings).weights()))

    def _one_run(
        self, settings: RoundSettings, rounds: list[list[Client]], quiet: Vector | None
    ) -> tuple[Matrix, list[float]]:
        training = self._make(settings)
        rows: list[Vector] = []
        norms = [training.clipping_norm()]
        for clients in rounds:
            moved = self.move(training, clients, settings)
            if quiet is not None and not rows:
                moved = moved - quiet
            rows.append(moved / (settings.noise_multiplier * norms[-1]))
            norms.append(training.clipping_norm())
        return np.array(rows), norms


def scaled(client: Client, factor: float, *, wrong: bool = False, classes: int = 0) -> Client:
    """Give a client whose inputs are so many times as large, perhaps with other labels."""
    return [
        (inputs * np.float32(factor), (labels + 1) % max(1, classes) if wrong else labels) for inputs, labels in client
    ]


def spoiled(client: Client, value: float) -> Client:
    """Give a client one of whose inputs is `value` in every batch."""
    batches = []
    for inputs, labels in client:
        changed = inputs.copy()
        changed[0] = np.float32(value)
        batches.append((changed, labels))
    return batches


def classes_of(clients: Sequence[Client]) -> int:
    """Count the classes."""
    return 1 + max((int(labels.max()) for client in clients for _, labels in client), default=0)
