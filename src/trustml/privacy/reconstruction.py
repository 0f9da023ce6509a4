"""How much better differential privacy lets anybody guess what is known but for one thing: reconstruction robustness.

Balle, Cherubin and Hayes, S&P 2022 (arXiv 2201.04845), and Hayes, Mahloujifar and Balle, NeurIPS 2023 (arXiv
2302.07225): whoever knows all else and would be right with probability kappa without the model is right with at most
the largest power that a test of size kappa has between a training with that example and one without. (epsilon, delta)
bounds that power from two sides.
"""

from __future__ import annotations

import math


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
