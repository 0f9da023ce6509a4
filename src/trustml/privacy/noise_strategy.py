"""Noise as a combination of normal vectors that are drawn once and reused over steps, as plain tables.

All steps of one training together release ``C @ G + sigma * Z``: row t of G is the clipped sum of step t, Z is white,
and C is lower triangular, so that step t adds ``sigma * (inverse(C) @ Z)[t]`` to its sum and waits for no later one.
It is one Gaussian mechanism, also where examples' gradients depend on what was released before (Denisov et al.,
NeurIPS 2022, arXiv 2202.08312). Its sensitivity is the largest ``norm(C @ u)`` over what one example can add to G, with
rows u of norm 1 in the steps that the example takes part in and 0 elsewhere.

Examples take part in turn: every `separation` steps, in the same order again and again; under a band perhaps only in
some of those, by chance. The squared sensitivity of a strategy is then `participation` clipping norms at the most, and
is charged as a whole before its first step. Banded and buffered Toeplitz factors are scaled so that this is the number
of steps that one example takes part in: their noise multiplier is that of independent noise at the same epsilon.

Whoever adds the noise keeps `kept` vectors, zero at first, and draws one for each step. The table of the step tells how
its noise, and what is kept, are made of them. Nothing of this is stored: a training that goes on after an interruption
begins another mechanism, which is composed with the first.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import PrivacyError
from trustml.scenario.federated import (
    BandedMatrix,
    BufferedToeplitz,
    IndependentNoise,
    NoiseMechanism,
    TreeAggregation,
)

Doubles: TypeAlias = npt.NDArray[np.float64]
MOST_BANDS = 16
"""Bands that are taken where none are asked for: a private step reads so many vectors as large as the model."""
_ROUNDING = 1e-5
"""By how much C is scaled down, relative, so that tables rounded to float32 do not pass what is charged."""
_STEPS_LOOKED_AT = 125
"""For each band: for so many steps at the most its coefficients are made."""
_LEAST, _BEYOND = 0.0, -0.5
"""Where the quadrature of a BLT begins, and ends beyond the logarithm of the steps. Error hardly depends on either."""


@dataclass(frozen=True, kw_only=True)
class StepTable:
    """How the noise of one step is made.

    Attributes
    ----------
    weights : float64 array of shape (1 + len(slots), 1 + kept)
        Over the fresh vector and those that are kept. The first row gives the noise, the others what is kept from now
        on in the places `slots`; all are taken of what was there before the step.
    slots : tuple of int
    """

    weights: Doubles
    slots: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class IndependentVectors:
    """A fresh vector for every step; C is the identity."""

    steps: int
    separation: int
    kept: int = 0

    @property
    def participation(self) -> int:
        """Steps that one example takes part in."""
        return -(-self.steps // self.separation)

    def table(self, step: int) -> StepTable:
        """Give the fresh vector."""
        _check(step, self.steps)
        return StepTable(weights=np.ones((1, 1)), slots=())


@dataclass(frozen=True, kw_only=True)
class TreeNodes:
    """A fresh vector for every node of a binary tree on which some running sum rests (Kairouz et al., ICML 2021).

    Row t of C sums the leaves below the highest node that ends at step t. The noise of a step is what that of the
    running sum grows by: the new node's, less that of those it covers.
    """

    steps: int
    separation: int

    @property
    def kept(self) -> int:
        """One node a level."""
        return self.steps.bit_length()

    @property
    def participation(self) -> int:
        """Squared sensitivity; the charge of a tree counts nodes, not steps."""
        return tree_squared_sensitivity(rounds=self.steps, separation=self.separation, every_node=False)

    def table(self, step: int) -> StepTable:
        """Draw the node that ends here, and take back those it covers."""
        _check(step, self.steps)
        level = _level(step)
        weights = np.zeros((2, 1 + self.kept))
        weights[:, 0] = 1.0
        # the running sum before this one rests on a node of each lower level, and the new one covers them all
        weights[0, 1 : 1 + level] = -1.0
        return StepTable(weights=weights, slots=(level,))


@dataclass(frozen=True, kw_only=True)
class BandedToeplitz:
    """The band whose running sums err least, with columns of norm 1.

    Coefficients are :func:`banded_coefficients`, columns are scaled as in McKenna, 2024, arXiv 2405.15913. With no more
    bands than `separation`, columns that one example meets share no row, so they are orthogonal, and the squared
    sensitivity is their number, exactly, for any order of taking part with at least so many steps between.
    """

    steps: int
    separation: int
    bands: int

    def __post_init__(self) -> None:
        """Refuse bands for which nothing is proved here."""
        if not 1 <= self.bands <= self.separation:
            raise PrivacyError(f"bands: {self.bands} is not from 1 to the separation, {self.separation}; use fewer")

    @property
    def kept(self) -> int:
        """The latest steps' vectors."""
        return self.bands - 1

    @property
    def participation(self) -> int:
        """Steps that one example takes part in."""
        return -(-self.steps // self.separation)

    def table(self, step: int) -> StepTable:
        """Solve ``C @ x = z`` for the next x, with the scale of its column on top."""
        _check(step, self.steps)
        coefficients = banded_coefficients(self.bands, self.steps)
        latest = (step - np.arange(1, self.bands)) % self.kept if self.kept else np.zeros(0, np.int64)
        row = np.zeros(1 + self.kept)
        row[0], row[1 + latest] = 1.0, -coefficients[1:]
        # the last columns are cut off by the last step: the norm is of what is left of them
        scale = float(np.linalg.norm(coefficients[: self.steps - step])) * (1 + _ROUNDING)
        weights = np.stack([scale * row, row]) if self.kept else scale * row[None]
        return StepTable(weights=weights, slots=(step % self.kept,) if self.kept else ())


@dataclass(frozen=True, kw_only=True)
class BufferedLinearToeplitz:
    """Coefficients ``1, sum(w), sum(w * d), sum(w * d**2), ...``: a few buffers that decay (BLT).

    Dvijotham et al., FOCS 2024, arXiv 2404.16706; McMahan, Xu and Zhang, 2024, arXiv 2408.08868. Weights and decays are
    a quadrature of the square root of the prefix sum, whose coefficients are moments of ``(x * (1 - x))**-0.5 / pi``.
    They are positive and fall, so that an example does most if it begins with the first step (Kalinin and Lampert,
    2024, theorem 2); C is scaled by that.
    """

    steps: int
    separation: int
    buffers: int

    @property
    def kept(self) -> int:
        """The buffers."""
        return self.buffers

    @property
    def participation(self) -> int:
        """Steps that one example takes part in."""
        return -(-self.steps // self.separation)

    def table(self, step: int) -> StepTable:
        """Solve ``C @ x = z`` for the next x, and let the buffers decay."""
        _check(step, self.steps)
        decays, weights = toeplitz_buffers(self.buffers, self.steps)
        row = np.concatenate([[1.0], -weights])
        kept = np.tile(row, (self.buffers, 1))
        kept[:, 1:] += np.diag(decays)
        return StepTable(weights=np.concatenate([row[None] / _blt_scale(self), kept]), slots=tuple(range(self.buffers)))


NoiseStrategy: TypeAlias = IndependentVectors | TreeNodes | BandedToeplitz | BufferedLinearToeplitz


class NoiseStream:
    """Noise of one step after another, in numpy: what a backend adds, over the standard deviation.

    Parameters
    ----------
    strategy : NoiseStrategy
    size : int
        Numbers of a vector.
    dtype : dtype
        Of what is kept and given.
    """

    def __init__(self, strategy: NoiseStrategy, size: int, *, dtype: npt.DTypeLike = np.float32) -> None:
        self._strategy, self._step = strategy, 0
        self._kept = np.zeros((strategy.kept, size), dtype)

    def take(self, fresh: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Make the noise of the next step, shape (size,), of a vector that nothing else was or will be made of."""
        table = self._strategy.table(self._step)
        self._step += 1
        if not self._kept.shape[0]:
            scale = float(table.weights[0, 0])
            return fresh if scale == 1.0 else (fresh * scale).astype(self._kept.dtype)
        weights = table.weights.astype(self._kept.dtype)
        made = weights[:, 1:] @ self._kept + weights[:, :1] * fresh
        self._kept[list(table.slots)] = made[1:]
        return np.asarray(made[0])


def noise_strategy(mechanism: NoiseMechanism, *, steps: int, separation: int) -> NoiseStrategy:
    """Give the strategy of a mechanism.

    Parameters
    ----------
    mechanism : NoiseMechanism
    steps : int
        Steps, or rounds, of the whole training; there is no noise for more.
    separation : int
        Steps from one in which an example, or a client, takes part to its next.
    """
    match mechanism:
        case IndependentNoise():
            return IndependentVectors(steps=steps, separation=separation)
        case TreeAggregation():
            return TreeNodes(steps=steps, separation=separation)
        case BandedMatrix(bands=bands):
            most = min(separation, MOST_BANDS if bands is None else bands, max(1, steps))
            return BandedToeplitz(steps=steps, separation=separation, bands=most)
        case BufferedToeplitz(buffers=buffers):
            return BufferedLinearToeplitz(steps=steps, separation=separation, buffers=buffers)


def noise_matrix(strategy: NoiseStrategy) -> Doubles:
    """Give ``inverse(C)``, shape (steps, steps), row by row as the tables make it."""
    stream = NoiseStream(strategy, strategy.steps, dtype=np.float64)
    return np.stack([stream.take(row) for row in np.eye(strategy.steps)])


def square_root_coefficients(count: int) -> Doubles:
    """First Toeplitz coefficients of the square root of the prefix sum, ``binom(2k, k) / 4**k``."""
    places = np.arange(1, count)
    return np.cumprod(np.concatenate([[1.0], (2 * places - 1) / (2 * places)]))


@functools.lru_cache(maxsize=64)
def banded_coefficients(bands: int, steps: int) -> Doubles:
    """First Toeplitz coefficients, ``1, ...``, for which running sums over so many steps err least at one sensitivity.

    The mean squared error of the sums of ``inverse(C) @ Z``, times the squared norm of a column, is made least from the
    square root of the prefix sum on (McKenna, 2024, arXiv 2405.15913, section 4), over coefficients that fall: inverses
    of those stay bounded. What is best for many times the band is hardly better for more steps. Whatever is found,
    columns are scaled to what is charged.
    """
    from scipy.optimize import minimize

    if bands == 1:
        return np.ones(1)

    def log_error(falls: Doubles) -> tuple[float, Doubles]:
        coefficients = np.exp(-np.cumsum(falls))
        value, slopes = _log_error(np.concatenate([[1.0], coefficients]), min(steps, _STEPS_LOOKED_AT * bands))
        return value, -np.cumsum((slopes[1:] * coefficients)[::-1])[::-1]

    start = -np.diff(np.log(square_root_coefficients(bands)))
    found = minimize(log_error, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start))
    return np.concatenate([[1.0], np.exp(-np.cumsum(found.x))])


def banded_error(bands: int, steps: int) -> float:
    """Root mean square error of running sums over so many steps, in units of the noise of one step of its own."""
    return math.exp(_log_error(banded_coefficients(bands, steps), steps)[0] / 2)


def _log_error(coefficients: Doubles, steps: int) -> tuple[float, Doubles]:
    """Logarithm of the mean squared error of running sums times the squared norm of a column, and its gradient."""
    from scipy.signal import lfilter

    steps = max(steps, len(coefficients))
    later = np.arange(steps, 0, -1) / steps
    sums = lfilter([1.0], np.convolve(coefficients, [1.0, -1.0]), np.eye(1, steps)[0])
    moved = lfilter([1.0], coefficients, sums)  # by how much sums fall with a coefficient, so many places later
    norm, error = float(coefficients @ coefficients), float(later @ sums**2)
    slopes = [float((later * sums)[place:] @ moved[: steps - place]) for place in range(len(coefficients))]
    return math.log(norm * error), 2 * (coefficients / norm - np.array(slopes) / error)


@functools.lru_cache(maxsize=16)
def toeplitz_buffers(buffers: int, steps: int) -> tuple[Doubles, Doubles]:
    """Decays and weights of a BLT for so many steps: the trapezoid rule over ``log(x / (1 - x))``."""
    largest = math.log(max(4.0, steps)) + _BEYOND
    places = np.linspace(_LEAST, largest, buffers) if buffers > 1 else np.array([(largest + _LEAST) / 2])
    width = (largest - _LEAST) / max(1, buffers - 1)
    decays = 1 / (1 + np.exp(-places))
    weights = width / math.pi * decays**1.5 * (1 - decays) ** 0.5
    # their sum is the second coefficient: at most the first, so that coefficients fall
    return decays, weights * min(1.0, 1 / float(weights.sum()))


@functools.lru_cache(maxsize=16)
def _blt_scale(strategy: BufferedLinearToeplitz) -> float:
    """Factor on C with which its squared sensitivity is `participation`."""
    decays, weights = toeplitz_buffers(strategy.buffers, strategy.steps)
    coefficients = np.ones(strategy.steps)
    present = weights.copy()
    for place in range(1, strategy.steps):
        coefficients[place] = present.sum()
        present *= decays
    # what an example adds that begins with the first step and comes back in turn
    column = np.zeros(strategy.steps)
    for first in range(0, strategy.steps, strategy.separation):
        column[first:] += coefficients[: strategy.steps - first]
    return math.sqrt(strategy.participation / float(column @ column)) * (1 - _ROUNDING)


def _level(step: int) -> int:
    """Height of the highest node of the tree that ends at a step, counted from 0."""
    # the lowest bit that is set
    return ((step + 1) & -(step + 1)).bit_length() - 1


def _check(step: int, steps: int) -> None:
    if not 0 <= step < steps:
        raise PrivacyError(f"step {step} is not among the {steps} that are charged for; begin another mechanism")


def tree_squared_sensitivity(*, rounds: int, separation: int, every_node: bool = True) -> int:
    """Squared L2 norm of what one client adds to all nodes of the tree, in units of the clipping norm.

    Leaf ``t`` of the tree is the sum of round ``t``; a node is the sum of the leaves below it, and noise is drawn
    for every node that is complete within `rounds`. A client that comes every `separation` rounds adds to node
    sums as often as it has leaves below them, so its squared norm is the sum of those counts squared, at its
    worst over the round of its first visit. All else that DP-FTRL releases follows from the noisy nodes
    (Kairouz et al., ICML 2021, arXiv 2103.00039).

    Parameters
    ----------
    rounds : int
    separation : int
        Rounds from one visit of a client to its next, exactly.
    every_node : bool
        Whether noisy sums of all nodes are released, or only of those on which a running sum rests, every other one of
        a level: the rest are covered by a higher node as soon as they are complete.

    Returns
    -------
    int
    """
    worst = 0
    for first in range(min(separation, rounds)):
        total, level = 0, 0
        while 1 << level <= rounds:
            nodes = Counter(visit >> level for visit in range(first, rounds, separation))
            total += sum(
                count**2
                for node, count in nodes.items()
                if (node + 1) << level <= rounds and (every_node or node % 2 == 0)
            )
            level += 1
        worst = max(worst, total)
    return worst
