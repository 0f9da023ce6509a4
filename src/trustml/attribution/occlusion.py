"""Explanations by forward passes alone, over groups of features: occlusion, and KernelSHAP (Lundberg and Lee 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb

import numpy as np
import numpy.typing as npt

from trustml.attribution.asking import Doubles
from trustml.data.dataset import Floats, Ints

PATCHES = 7
"""Of an image, along each side."""
MOST_GROUPS = 64
SAMPLES = 4
"""Coalitions of KernelSHAP for each group, where nobody says how many."""
NOISE = 1e-6
"""Of a score, or of an example's largest value: below it float32 answers differ by rounding."""
_MOST_CHANNELS = 4

Score = Callable[[Floats], Doubles]
"""Changed examples, (k, n, *x), to the output of each that is explained, (k, n): many changes in one call."""


def feature_groups(shape: Sequence[int], *, channels_first: bool = False) -> Ints:
    """Number the group of every feature, shape (*x).

    Patches of an image, 7 along each side, over all channels; other features one by one, in at most 64 groups of
    neighbours.
    """
    if len(shape) == 3:
        height, width = shape[1:] if channels_first else shape[:2]
        rows, columns = (np.arange(side) * min(PATCHES, side) // side for side in (height, width))
        grid = rows[:, None] * (int(columns.max()) + 1) + columns
        return np.broadcast_to(grid[None] if channels_first else grid[:, :, None], tuple(shape))
    count = int(np.prod(shape))
    return (np.arange(count) * min(MOST_GROUPS, count) // count).reshape(tuple(shape))


def are_channels_first(shape: Sequence[int]) -> bool:
    """Whether an array of one example looks like an image whose channels come first."""
    return len(shape) == 3 and shape[0] <= _MOST_CHANNELS < shape[2]


def occluded(inputs: Floats, baseline: Floats, groups: Ints, score: Score) -> Doubles:
    """How far the score falls where one group of features is that of the baseline, (n, groups).

    Zeiler and Fergus (ECCV 2014).

    Parameters
    ----------
    inputs, baseline : float32 arrays of shape (n, *x)
    groups : int64 array of shape (*x)
    score : callable
    """
    changed = [np.where(groups == one, baseline, inputs) for one in range(int(groups.max()) + 1)]
    scores = score(np.stack([inputs, *changed]))
    return (scores[:1] - scores[1:]).T


def kernel_shap(
    inputs: Floats, baseline: Floats, groups: Ints, score: Score, *, samples: int, generator: np.random.Generator
) -> Doubles:
    """Shapley values of groups of features by weighted least squares (Lundberg and Lee, NeurIPS 2017), (n, groups).

    They add up to the score less that of the baseline exactly. Where all coalitions are at most `samples` they are
    taken each with its weight, and the values are Shapley's own; else coalitions are drawn by those weights, each with
    its complement (Covert and Lee, AISTATS 2021), the same for all examples.

    Parameters
    ----------
    inputs, baseline : float32 arrays of shape (n, *x)
    groups : int64 array of shape (*x)
    score : callable
    samples : int
        Forward passes of an example, about.
    generator : numpy.random.Generator
    """
    count = int(groups.max()) + 1
    empty, whole = score(np.stack([baseline, inputs]))
    total = whole - empty
    if count == 1:
        return total[:, None]
    present, weights = _coalitions(count, samples, generator)
    worth = score(np.stack([np.where(one[groups], inputs, baseline) for one in present])) - empty
    design = present.astype(np.float64)
    root = np.sqrt(weights)[:, None]
    # The last value is what the others leave of the total, so that they add up.
    free = root * (design[:, :-1] - design[:, -1:])
    wanted = root * (worth - design[:, -1:] * total)
    found = np.linalg.lstsq(free, wanted, rcond=None)[0]
    return np.concatenate([found, total[None] - found.sum(axis=0, keepdims=True)]).T


def without_noise(found: Doubles) -> Doubles:
    """Set to 0 what is rounding beside the largest of an example: ranks of it mean nothing. What is no number stays."""
    return np.where(np.abs(found) <= NOISE * np.abs(found).max(axis=1, keepdims=True), 0.0, found)


def _coalitions(count: int, samples: int, generator: np.random.Generator) -> tuple[npt.NDArray[np.bool_], Doubles]:
    """Coalitions that are neither empty nor whole, (m, count), and their weights."""
    if count < 60 and 2**count - 2 <= samples:
        numbers = np.arange(1, 2**count - 1)
        every = (numbers[:, None] >> np.arange(count)) & 1 == 1
        sizes = every.sum(axis=1)
        return every, np.array([(count - 1) / (comb(count, size) * size * (count - size)) for size in sizes])
    sizes = np.arange(1, count)
    shares = 1 / (sizes * (count - sizes))
    drawn = generator.choice(sizes, size=max(count, samples // 2), p=shares / shares.sum())
    present = generator.random((len(drawn), count)).argsort(axis=1) < drawn[:, None]
    return np.concatenate([present, ~present]), np.ones(2 * len(drawn))
