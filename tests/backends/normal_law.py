"""Whether numbers are standard normal ones, far out too: numpy and scipy alone, so that every environment can ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Numbers = npt.NDArray[np.float32]
CHANCE = 1e-6
"""Of failing by bad luck, for each figure."""
BORDERS = (1.0, 2.0, 3.0, 4.0, 5.0, 5.5)


def check_draws(draw: Callable[[], Numbers], *, draws: int) -> None:
    """Check counts beyond borders on both sides, moments, the law, and that draws and neighbours are independent."""
    above, below = np.zeros(len(BORDERS), np.int64), np.zeros(len(BORDERS), np.int64)
    powers, total = np.zeros(4), 0
    pieces: list[Numbers] = []
    for numbers in (draw() for _ in range(draws)):
        total += len(numbers)
        above += [int((numbers > border).sum()) for border in BORDERS]
        below += [int((numbers < -border).sum()) for border in BORDERS]
        wide = numbers.astype(np.float64)
        powers += [(wide**power).sum() for power in (1, 2, 3, 4)]
        pieces.append(numbers[:20_000])
    for border, *counts in zip(BORDERS, above, below, strict=True):
        for count in counts:
            assert stats.binomtest(int(count), total, special.ndtr(-border)).pvalue > CHANCE, (border, counts, total)
    deviations = np.sqrt(np.array([1, 2, 15, 96]) / total)  # of the first four powers
    far = stats.norm.isf(CHANCE / 2)
    assert (np.abs(powers / total - [0, 1, 0, 3]) < far * deviations).all(), powers / total
    assert stats.kstest(np.concatenate(pieces), "norm").pvalue > CHANCE
    for first, second in _pairs(pieces):
        for left, right in ((first, second), (first**2, second**2)):
            assert abs(np.corrcoef(left, right)[0, 1]) < far / np.sqrt(len(left))


def check_tail(transform: Callable[[npt.NDArray[np.uint64]], npt.NDArray[np.float64]], *, bits: int) -> None:
    """Check the law far out: numbers whose tail probability is cut down to that of `bits` leading zeros.

    Parameters
    ----------
    transform : callable
        From words of 64 bits, whose leading bits are a tail probability, to the size of a number or of a pair's radius,
        given as the negative logarithm of that probability.
    bits : int
    """
    words = np.random.default_rng(bits).integers(2 ** (64 - bits), size=200_000, dtype=np.uint64)
    found = transform(words) - bits * np.log(2)
    assert stats.kstest(found, "expon").pvalue > CHANCE


def _pairs(pieces: list[Numbers]) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Neighbours, the two halves of a draw, and one draw with the next."""
    for piece in pieces[:3]:
        wide = piece.astype(np.float64)
        half = len(wide) // 2
        yield wide[:-1], wide[1:]
        yield wide[:half], wide[half : 2 * half]
    yield pieces[0].astype(np.float64), pieces[-1].astype(np.float64)
