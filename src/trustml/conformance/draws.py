"""Noise of many calls of one step, kept as sums: what it takes to judge it, whatever the number of coordinates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trustml.conformance.batches import Batch, Kind
from trustml.conformance.noise_statistics import Ratio, numbers_needed, ratio_of
from trustml.conformance.subject import Step, Subject, Vector, norm_of
from trustml.data.dataset import Ints

Matrix = npt.NDArray[np.float64]
Tell = Callable[[int, int], None]
"""Is told how many calls are done, of how many."""

LAGS = 4
"""Calls back to which noise is compared, and batches back of which nothing may be left."""
SKETCH = 16
"""Coordinates of each call by which one that comes again is known."""
_CHUNK = 2**18
_EXTEND, _MOST = 3, 4.0
_TELL_EVERY = 1.0


@dataclass
class Seen:
    """What was seen over all calls, coordinate by coordinate and call by call.

    Attributes
    ----------
    calls : int
    squares, sums : float64 arrays of shape (coordinates,)
        Over calls, of noise over its stated deviation.
    fourth : float
        Sum of fourth powers.
    neighbours : float
        Sum of products of coordinates that stand beside each other.
    lengths : list of float
        Squared length of each call's noise; infinite where a number is not finite.
    along : list of float
        Noise of each call along the sum that it hides; NaN where that is zero.
    sketches : list of arrays
    kinds, batches : list of int
        Of each call.
    products, squared_products : float64 arrays of shape (LAGS,)
        Sums of the products of noise with that of earlier calls, and of their squares.
    left, weights : float64 arrays of shape (LAGS + 1,)
        Sums of the products of noise with the sums of the batch and of earlier ones, and of their squares.
    """

    squares: Vector
    sums: Vector
    calls: int = 0
    fourth: float = 0.0
    neighbours: float = 0.0
    lengths: list[float] = field(default_factory=list)
    along: list[float] = field(default_factory=list)
    sketches: list[Vector] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    products: Vector = field(default_factory=lambda: np.zeros(LAGS))
    squared_products: Vector = field(default_factory=lambda: np.zeros(LAGS))
    pairs: Ints = field(default_factory=lambda: np.zeros(LAGS, np.int64))
    left: Vector = field(default_factory=lambda: np.zeros(LAGS + 1))
    weights: Vector = field(default_factory=lambda: np.zeros(LAGS + 1))

    @property
    def coordinates(self) -> int:
        """How many numbers a gradient has."""
        return len(self.squares)

    def of_kind(self, kind: int) -> Vector:
        """Squared lengths of the noise on one kind of batch."""
        return np.array(self.lengths)[np.array(self.kinds, np.int64) == kind]

    def spread(self, lengths: Vector) -> float:
        """Relative variance of the squared length of a call's noise: 2 / coordinates, or more where they hang together.

        Three estimates, the largest of which is taken: that of independent coordinates, that of these lengths, and
        twice the mean square of the cosine between calls, which tells it from a few.
        """
        estimates = [2 / self.coordinates]
        mean = float(lengths.mean()) if len(lengths) else 0.0
        if len(lengths) >= 32 and 0 < mean < math.inf:
            estimates.append(float(lengths.var(ddof=1)) / mean**2)
        overall = float(self.squares.sum()) / max(self.calls, 1)
        if self.pairs.sum() and overall > 0:
            estimates.append(2 * float(self.squared_products.sum()) / int(self.pairs.sum()) / overall**2)
        return max(estimates)

    def ratio(self, kind: int) -> Ratio:
        """Ratio of the noise on one kind of batch to what is declared."""
        lengths = self.of_kind(kind)
        if not len(lengths):
            return ratio_of(1.0, 0.0)
        return ratio_of(float(lengths.mean()) / self.coordinates, 2 * len(lengths) / self.spread(lengths))


class Watch:
    """Calls one noisy step again and again on batches of all kinds, in a mixed order, until enough is known.

    Parameters
    ----------
    subject : Subject
    kinds : list of Kind
    seconds : float
        When to stop, whatever is known by then.
    tell : callable
    """

    def __init__(self, subject: Subject, kinds: list[Kind], *, seconds: float, tell: Tell) -> None:
        self._subject, self._kinds, self._tell = subject, kinds, tell
        self._end, self._told = time.monotonic() + seconds, 0.0
        self._step, self._stated = subject.noisy_step(0), subject.stated
        self._order = np.random.default_rng(0)
        self._turns = [0] * len(kinds)
        self._quiet: dict[tuple[int, int], Vector] = {}
        self._noise: list[Vector] = []
        self._hidden: list[Vector] = []
        self.seen: Seen | None = None
        self.out_of_time = False
        self.seconds = seconds

    def run(self) -> Seen:
        """Take the calls."""
        calls = [kind.least for kind in self._kinds]
        seen = self._take(calls)  # tells how many coordinates there are
        for _ in range(_EXTEND):
            more = [self._missing(number) for number in range(len(self._kinds))]
            if self.out_of_time or not any(more):
                break
            self._take(more)
        return seen

    def _missing(self, number: int) -> int:
        """Calls on a kind of batch that are still to be made; a few times what independent coordinates need at most."""
        assert self.seen is not None
        kind, lengths = self._kinds[number], self.seen.of_kind(number)
        needed = math.ceil(1.02 * numbers_needed(kind.precision) * self.seen.spread(lengths) / 2)
        most = math.ceil(_MOST * numbers_needed(kind.precision) / self.seen.coordinates) + _EXTEND * kind.least
        return max(0, min(needed, most) - len(lengths))

    def _take(self, calls: list[int]) -> Seen:
        order = self._order.permutation(np.repeat(np.arange(len(calls)), calls))
        before = self.seen.calls if self.seen else 0
        for done, kind in enumerate(order):
            now = time.monotonic()
            if now > self._end:
                self.out_of_time = True
                break
            if now > self._told + _TELL_EVERY or done == len(order) - 1:
                self._tell(before + done + 1, before + len(order))
                self._told = now
            self._call(int(kind))
        self._absorb()
        if self.seen is None:
            raise TimeoutError(f"no call within the time limit of {self.seconds:g} s")
        return self.seen

    def _call(self, kind: int) -> None:
        batches = self._kinds[kind].batches
        turn = self._turns[kind] % len(batches)
        self._turns[kind] += 1
        hidden = self._hidden_sum(kind, turn, batches[turn])
        self._noise.append(self._subject.gradient(self._step, batches[turn]) / self._stated - hidden)
        self._hidden.append(hidden)
        if self.seen is None:
            self.seen = Seen(squares=np.zeros(len(hidden)), sums=np.zeros(len(hidden)))
        self.seen.kinds.append(kind)
        self.seen.batches.append(sum(len(other.batches) for other in self._kinds[:kind]) + turn)
        if len(hidden) * (len(self._noise) + 1) > _CHUNK + LAGS * len(hidden):
            self._absorb()

    def _hidden_sum(self, kind: int, turn: int, batch: Batch) -> Vector:
        """Un-noised gradient over the stated deviation of the noise, computed once for each batch."""
        if (kind, turn) not in self._quiet:
            found = self._subject.quiet_gradient(batch) / self._stated
            self._quiet[kind, turn] = np.where(np.isfinite(found), found, 0.0)  # another check is about that
        return self._quiet[kind, turn]

    def _absorb(self) -> None:
        """Add what was collected to the sums, all but the last calls, to which later ones are compared."""
        seen = self.seen
        if seen is None:
            return
        old = len(self._noise) - (len(seen.kinds) - seen.calls)
        raw, hidden = np.array(self._noise), np.array(self._hidden)
        finite = np.asarray(np.isfinite(raw).all(axis=1))
        noise = np.where(finite[:, None], raw, 0.0)
        new, sums = noise[old:], hidden[old:]
        squared = new**2
        seen.calls += len(new)
        seen.squares += squared.sum(axis=0)
        seen.sums += new.sum(axis=0)
        seen.fourth += float((squared**2).sum())
        seen.neighbours += float((new[:, 1:] * new[:, :-1]).sum())
        seen.lengths += np.where(finite[old:], squared.sum(axis=1), math.inf).tolist()
        norms = np.linalg.norm(sums, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            seen.along += ((new * sums).sum(axis=1) / norms).tolist()
        shown = np.linspace(0, noise.shape[1] - 1, min(SKETCH, noise.shape[1])).astype(np.int64)
        seen.sketches += list(new[:, shown])
        for lag in range(LAGS + 1):
            start = max(old, lag)
            earlier = slice(start - lag, len(noise) - lag)
            seen.left[lag] += float((noise[start:] * hidden[earlier]).sum())
            seen.weights[lag] += float((hidden[earlier] ** 2).sum())
            if lag:
                products = (noise[start:] * noise[earlier]).sum(axis=1)
                seen.products[lag - 1] += float(products.sum())
                seen.squared_products[lag - 1] += float((products**2).sum())
                seen.pairs[lag - 1] += len(products)
        self._noise, self._hidden = self._noise[-LAGS:], self._hidden[-LAGS:]


def successive(subject: Subject, step: Step, batch: Batch, *, calls: int) -> Matrix:
    """Noise of successive calls on the same batch, over its stated deviation."""
    hidden = subject.quiet_gradient(batch)
    return np.array([(subject.gradient(step, batch) - hidden) / subject.stated for _ in range(calls)])


def calls_for(subject: Subject, numbers: int) -> int:
    """Calls that give so many numbers."""
    return max(2, -(-numbers // subject.coordinates))


def cosine_errors(one: Matrix, two: Matrix) -> float:
    """Standard errors by which two arrays of noise are correlated."""
    length = norm_of(one.ravel()) * norm_of(two.ravel())
    return abs(float((one * two).sum())) / length * math.sqrt(one.size) if length else math.inf
