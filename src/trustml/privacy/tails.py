"""Where drawn noise ends, and what that costs.

No generator draws every real number: what it draws ends somewhere, and an output beyond tells for certain which of two
neighbouring data sets it was not made of. Let one number that is drawn be within total variation t of a true normal
number rounded in the same way; then everything that n of them were used for is within T = n * t of what the accountant
speaks of, and where that is (epsilon, delta), this is (epsilon, delta + (1 + e**epsilon) * T).

What t holds for each generator of ours:

- ``jax``, ``tff``: the probability p of a number farther out has 62 bits, and the outermost of those parts is cut
  once more into 2**32. Numbers end where p is 2**-95. The cut is one for a whole draw, so two numbers of fewer than
  2**32 in the outermost part depend on one another: 2**-124 a pair, less than 2**-93 a number.
- ``torch``, ``torch.sfc64``: Box and Muller's radius has 63 bits and 63 more: it ends where the probability of a larger
  one is 2**-127. Two radii of fewer than 2**31 in the outermost part depend on one another: 2**-126 a pair, less than
  2**-96 a number.
- ``numpy``: beyond 3.654 the ziggurat takes ``3.654 + x``, ``x = -log(1 - u) / 3.654``, if
  ``-2 log(1 - v) > x**2``, with u and v of 53 bits. So x is at most 8.57, and where it passes 8.03 its share is
  coarse by more than a hundredth. All of that counts as missing: a true normal is beyond 11.68 with probability
  1.6e-31.

Words of a pseudo-random generator are taken as independent and uniform. Rounding to float32 is no part of this: see
"Floating point" in ``docs/privacy_noise.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from trustml.errors import UsageError
from trustml.frameworks.shipped import SHIPPED
from trustml.frameworks.table import entry_of

NoiseSource: TypeAlias = Literal["", "jax", "torch", "torch.sfc64", "numpy", "tff", "torch.normal", "tf.random.normal"]
"""What drew the noise, by the rule and, where a rule takes the words of several, their generator; empty in ledgers that
do not tell."""


@dataclass(frozen=True, kw_only=True)
class Tail:
    """How far out a generator's numbers go.

    Attributes
    ----------
    largest : float
        Standard deviations, the nearer side.
    mass : float
        Total variation to a true normal number, for each number drawn.
    charged : bool
        Whether it is counted in delta. That of a library's own training loop is not: it would leave no finite epsilon,
        so that its statement says instead that the noise is bounded.
    """

    largest: float
    mass: float
    charged: bool = True


TAILS: dict[NoiseSource, Tail] = {
    "jax": Tail(largest=11.2, mass=2.0**-92),
    "tff": Tail(largest=11.2, mass=2.0**-92),
    "torch": Tail(largest=13.2, mass=2.0**-95),
    "torch.sfc64": Tail(largest=13.2, mass=2.0**-95),
    "numpy": Tail(largest=11.6, mass=2.0**-100),
    "torch.normal": Tail(largest=5.76, mass=2.0**-24, charged=False),
    "tf.random.normal": Tail(largest=5.67, mass=1.4e-8, charged=False),
}
FORMER: dict[str, float] = {entry.name: entry.noise.former for entry in SHIPPED if entry.noise}
"""Where noise ended, at the worst, in the days of ledgers that do not tell, by backend."""
SHARE = 2.0**-20
"""Of delta, what is kept for the tails wherever they take no more."""


def noise_source(backend: str, *, federated: bool, stock: bool) -> NoiseSource:
    """Name what draws the noise of a backend.

    Raises
    ------
    UsageError
        If its entry names nothing whose tails are known.
    """
    noise = entry_of(backend).noise
    name = ""
    if noise is not None:
        name = (noise.engine or noise.examples) if stock else noise.users if federated else noise.examples
    found = next((source for source in TAILS if source == name), None)
    if found is None:
        raise UsageError(f"backend {backend!r} names {name!r} for its noise; name one of {', '.join(TAILS)}")
    return found


def total_variation(drawn: Iterable[tuple[NoiseSource, int]]) -> float:
    """Bound what all numbers drawn are away from true normal ones; sources that are not charged add nothing.

    Parameters
    ----------
    drawn : iterable of (source, int)
        How many numbers each source drew.
    """
    return math.fsum(TAILS[source].mass * count for source, count in drawn if source and TAILS[source].charged)


def epsilon_with_tails(epsilon: Callable[[float], float], *, variation: float, delta: float) -> float:
    """Epsilon of a mechanism whose noise is within `variation` of the one that is accounted for.

    Any e with ``epsilon(delta - (1 + e**e) * variation) <= e`` is a bound. A share of delta is set aside and epsilon is
    taken of the rest, once; it holds if the share pays for it.

    Parameters
    ----------
    epsilon : callable
        Gives an upper bound for each delta, falling as delta grows.
    variation : float
        Total variation.
    delta : float

    Returns
    -------
    float
        Infinite where a quarter of delta does not pay for the tails.
    """
    if not variation:
        return epsilon(delta)
    share = SHARE
    while share <= 0.25:
        found = epsilon(delta * (1 - share))
        if math.isinf(found):
            return found
        if math.log1p(math.exp(-found)) + found + math.log(variation) <= math.log(delta * share):
            return found
        share *= 8
    return math.inf


def spared(delta: float) -> float:
    """What is left of a target's delta for the accountant, where noise is calibrated."""
    return delta * (1 - SHARE)
