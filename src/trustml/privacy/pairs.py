"""The two worlds of one step, told apart by one example: their privacy loss, and how likely each loss is.

One step of the Gaussian mechanism on a Poisson batch lets an observer see one number: normal with standard deviation
`noise` around 0, or around 1 where the example is in the batch, which it is with probability `rate`. Both worlds are
mixtures of normal distributions, and the loss grows with the number, so an interval of losses is one of numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Way: TypeAlias = Literal["remove", "add", "replace"]

ROUNDING = float(np.finfo(np.float64).eps) / 2
SMALLEST = 1e-290
"""Masses below it are not trusted: doubles lose their digits there."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two distributions of what one step shows.

    Attributes
    ----------
    noise, rate : float
    way : {"remove", "add", "replace"}
        How the worlds differ. "remove": the first has the example, the second has not; "add" is the reverse, with
        the number's sign turned, so that losses still grow with it; "replace": +1 in the first, -1 in the second.
    """

    noise: float
    rate: float
    way: Way

    @property
    def first(self) -> tuple[tuple[float, float], ...]:
        """(weight, mean) of each normal distribution in the first world."""
        return ((1.0, 0.0),) if self.way == "add" else self._mixture(1.0)

    @property
    def second(self) -> tuple[tuple[float, float], ...]:
        """The same of the second world."""
        return ((1.0, 0.0),) if self.way == "remove" else self._mixture(-1.0)

    def loss(self, x: Floats) -> Floats:
        """Privacy loss at each number: the logarithm of the first density over the second."""
        if self.way == "remove":
            return self._removed(x)
        return -self._removed(-x) if self.way == "add" else self._removed(x) - self._removed(-x)

    def place(self, loss: Floats) -> Floats:
        """Number at which the loss is this; infinite beyond the reach of the loss."""
        if self.way == "remove":
            return self._place_removed(loss)
        if self.way == "add":
            return -self._place_removed(-loss)
        half = np.abs(loss) / 2
        if self.rate == 1:
            return self.noise**2 * loss / 2
        odds = math.log1p(-self.rate) - math.log(self.rate) + 0.5 / self.noise**2
        with np.errstate(divide="ignore"):
            sinh = odds + half + np.log(-np.expm1(-2 * half)) - math.log(2)
        asinh = np.logaddexp(0.5 * np.logaddexp(0, 2 * sinh), sinh)
        return self.noise**2 * np.sign(loss) * (half + np.where(np.isneginf(sinh), 0.0, asinh))

    def log_density(self, x: Floats) -> Floats:
        """Logarithm of the first density."""
        terms = [math.log(weight) - 0.5 * ((x - mean) / self.noise) ** 2 for weight, mean in self.first if weight > 0]
        scale = math.log(self.noise * math.sqrt(2 * math.pi))
        return np.logaddexp.reduce(np.stack(terms), axis=0) - scale

    def reach(self, tail: float) -> tuple[float, float]:
        """Numbers outside of which the first world puts at most `tail`."""
        from scipy.special import ndtri

        wide = -self.noise * float(ndtri(tail / 2))
        means = [mean for weight, mean in self.first if weight > 0]
        return min(means) - wide, max(means) + wide

    def _mixture(self, mean: float) -> tuple[tuple[float, float], ...]:
        return ((1 - self.rate, 0.0), (self.rate, mean))

    def _removed(self, x: Floats) -> Floats:
        plain = (2 * x - 1) / (2 * self.noise**2)
        if self.rate == 1:
            return plain
        # log(1 - rate + rate * exp(plain)), in the form that keeps its digits where plain is small, or large
        small = np.log1p(self.rate * np.expm1(np.minimum(plain, 1.0)))
        others = (1 - self.rate) / self.rate * np.exp(-np.maximum(plain, 1.0))
        return np.where(plain < 1, small, plain + math.log(self.rate) + np.log1p(others))

    def _place_removed(self, loss: Floats) -> Floats:
        if self.rate == 1:
            return self.noise**2 * loss + 0.5
        with np.errstate(divide="ignore", invalid="ignore"):
            small = np.log1p(np.maximum(np.expm1(np.minimum(loss, 1.0)) / self.rate, -1.0))
            large = np.maximum(loss, 1.0)
            large = large - math.log(self.rate) + np.log1p(-(1 - self.rate) * np.exp(-large))
            return self.noise**2 * np.where(loss < 1, small, large) + 0.5


@dataclass(frozen=True, kw_only=True)
class Masses:
    """How likely intervals of numbers are in a world.

    Attributes
    ----------
    values : array
    error : float
        Largest relative error of a value that is not below `SMALLEST`.
    """

    values: Floats
    error: float


def masses(mixture: tuple[tuple[float, float], ...], edges: Floats, *, noise: float) -> Masses:
    """Probability between neighbouring edges (at least 3), with a bound on its rounding."""
    from scipy.special import ndtr

    total, error = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for weight, mean in mixture:
        if not weight:
            continue
        at = (edges - mean) / noise
        below, above = ndtr(at), ndtr(-at)
        upper = at[:-1] > 0  # there the small tail is the one above: no digits are lost
        total += weight * np.where(upper, above[:-1] - above[1:], np.diff(below))
        # ndtr is exact to some roundings, more in the tails, where its exponent is rounded (tests/privacy)
        known = np.where(np.isfinite(at), np.minimum(at, 40.0) ** 2, 0.0)
        slip = ROUNDING * (8 + 2 * np.minimum(known, 1600.0))
        error += weight * np.where(
            upper, (slip * above)[:-1] + (slip * above)[1:], (slip * below)[:-1] + (slip * below)[1:]
        )
    trusted = total > SMALLEST
    relative = error[trusted] / total[trusted]
    return Masses(values=np.maximum(total, 0.0), error=float(relative.max(initial=0.0)) + 4 * ROUNDING)
