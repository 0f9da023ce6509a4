"""How much better differential privacy lets anybody guess what is known but for one thing: reconstruction robustness.

Balle, Cherubin and Hayes, S&P 2022 (arXiv 2201.04845), and Hayes, Mahloujifar and Balle, NeurIPS 2023 (arXiv
2302.07225): whoever knows all else and would be right with probability kappa without the model is right with at most
the largest power that a test of size kappa has between a training with that example and one without. (epsilon, delta)
bounds that power from two sides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

DELTAS = (*(step / 10 for step in range(9, 0, -1)), *(10.0 ** (-1 - step / 3) for step in range(1, 19)))
"""From 0.9 to 1e-7: where epsilon is asked for, so that the bound is near the trade-off function's own."""


def most_guessed(*, epsilon: float, delta: float, chance: float) -> float:
    """Upper bound on how often a guess about one example is right with the model.

    Parameters
    ----------
    epsilon, delta : float
        Of the release that is looked at.
    chance : float
        How often the best guess without it is right.

    Returns
    -------
    float
        In [chance, 1].

    Examples
    --------
    >>> round(most_guessed(epsilon=1.0, delta=1e-5, chance=0.1), 3)
    0.272
    >>> most_guessed(epsilon=0.0, delta=0.0, chance=0.1)
    0.1
    """
    if math.isinf(epsilon):
        return 1.0
    up = math.exp(epsilon) * chance + delta if epsilon < 700 else math.inf
    down = 1.0 - math.exp(-epsilon) * (1.0 - chance - delta)
    return max(chance, min(1.0, up, down))


def most_guessed_of(epsilon: Callable[[float], float], *, chance: float) -> float:
    """Least of the bounds of all pairs of epsilon and delta that hold for a release.

    Over every delta that is its trade-off function, turned over; over :data:`DELTAS`, and between the best of them and
    its neighbours, it is that within a few hundredths of itself, and from above.

    Parameters
    ----------
    epsilon : callable
        Upper bound on the epsilon of the release, for each delta.
    chance : float
        See :func:`most_guessed`.
    """

    def at(delta: float) -> float:
        return most_guessed(epsilon=epsilon(delta), delta=delta, chance=chance)

    found = [at(delta) for delta in DELTAS]
    best = found.index(min(found))
    beside = DELTAS[max(0, best - 1) : best + 2]
    return min(*found, *(at(math.sqrt(one * other)) for one, other in itertools.pairwise(beside)))


def most_guessed_of_gaussian(*, noise_multiplier: float, chance: float) -> float:
    """How often the best guess is right of what one Gaussian mechanism shows, exactly (Hayes et al. 2023).

    Parameters
    ----------
    noise_multiplier : float
        Standard deviation over the most that the example moves what is shown; of one that is in the batch for sure.
    chance : float
        See :func:`most_guessed`.

    Examples
    --------
    >>> round(most_guessed_of_gaussian(noise_multiplier=1.0, chance=0.1), 3)
    0.389
    """
    from scipy.special import ndtr, ndtri

    return float(ndtr(ndtri(chance) + 1.0 / noise_multiplier))
