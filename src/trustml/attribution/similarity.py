"""How alike two attributions of the same example are: one number an example, in numpy alone.

Every function takes two float arrays of shape (n, *x) and gives a float64 array of shape (n,), NaN where it is not
defined (an attribution that is constant ranks nothing). Values of one feature are joined first
(:func:`trustml.attribution.sharing.feature_values`).
The agreements at k are those of Krishna et al. (arXiv 2202.01602): A and B are the k features
largest in magnitude, k a share of all features and at least 1. Features that tie for the last places share them
evenly, and zeros are never among them: agreement is the cosine between the two sets of shares, which is the share of
common features where nothing ties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Ints

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]

TOP_SHARE = 0.1
SSIM_WINDOW = 7


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """One way to compare two attributions.

    Attributes
    ----------
    function : callable
    low, high : float
        Range; `high` is full agreement.
    images_only : bool
    """

    function: Callable[[Floats, Floats], Doubles]
    low: float
    high: float = 1.0
    images_only: bool = False


def spearman(first: Floats, second: Floats) -> Doubles:
    """Rank correlation of signed attributions, ties at their mean rank."""
    return np.asarray((rank_directions(first) * rank_directions(second)).sum(axis=1), np.float64)


def rank_directions(attributions: Floats) -> Doubles:
    """Centred ranks of length one, (n, features): the product of two is their rank correlation.

    NaN for a constant attribution.
    """
    ranks = _mean_ranks(_flat(attributions))
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, norms, out=np.full_like(centred, np.nan), where=norms > 0)


def top_directions(attributions: Floats, *, share: float = TOP_SHARE) -> Doubles:
    """Weights of the top k features and 0 for others, of length one, (n, features): the product is feature agreement.

    NaN for an attribution that ranks nothing.
    """
    weights = _top_weights(attributions, share)
    norms = np.linalg.norm(weights, axis=1, keepdims=True)
    return np.divide(weights, norms, out=np.full_like(weights, np.nan), where=norms > 0)


def spearman_of_magnitudes(first: Floats, second: Floats) -> Doubles:
    """Rank correlation of magnitudes."""
    return spearman(np.abs(first), np.abs(second))


def kendall(first: Floats, second: Floats) -> Doubles:
    """Kendall's tau-b of signed attributions."""
    values = []
    for one, other in zip(_flat(first), _flat(second), strict=True):
        pairs = _pairs(one, other)
        scale = 0.0 if pairs is None else np.sqrt(pairs.all - pairs.tied_one) * np.sqrt(pairs.all - pairs.tied_other)
        values.append((pairs.concordant - pairs.discordant) / scale if pairs is not None and scale else np.nan)
    return np.array(values, np.float64)


def pairwise_rank_agreement(first: Floats, second: Floats) -> Doubles:
    """Share of feature pairs that both put in the same order by magnitude; two ties are the same order."""
    values = []
    for one, other in zip(np.abs(_flat(first)), np.abs(_flat(second)), strict=True):
        pairs = _pairs(one, other)
        ranked = pairs is not None and max(pairs.tied_one, pairs.tied_other) < pairs.all
        values.append((pairs.concordant + pairs.tied_both) / pairs.all if pairs is not None and ranked else np.nan)
    return np.array(values, np.float64)


def feature_agreement(first: Floats, second: Floats, *, share: float = TOP_SHARE) -> Doubles:
    """Share of the top features that both have."""
    return _agreement(first, second, share)


def rank_agreement(first: Floats, second: Floats, *, share: float = TOP_SHARE) -> Doubles:
    """Share of the top places that hold the same feature; features that tie have their mean place."""
    return _agreement(first, second, share, _same_place(first, second))


def sign_agreement(first: Floats, second: Floats, *, share: float = TOP_SHARE) -> Doubles:
    """Share of the top features that both have, with the same sign."""
    return _agreement(first, second, share, _same_sign(first, second))


def signed_rank_agreement(first: Floats, second: Floats, *, share: float = TOP_SHARE) -> Doubles:
    """Share of the top places that hold the same feature with the same sign."""
    return _agreement(first, second, share, _same_place(first, second) & _same_sign(first, second))


def cosine(first: Floats, second: Floats) -> Doubles:
    """Cosine of the angle between two attributions."""
    one, other = _flat(first), _flat(second)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.divide((one * other).sum(axis=1), norms, out=np.full(len(norms), np.nan), where=norms > 0)


def ssim(first: Floats, second: Floats) -> Doubles:
    """Structural similarity of two maps (Wang et al., IEEE TIP 2004), channels summed.

    Uniform windows of 7x7 pixels (or of the whole map, if it is smaller and then odd), sample variances,
    K1 = 0.01 and K2 = 0.03 as in scikit-image. Each map is first divided by its largest magnitude, because methods
    differ in unit; the dynamic range is then 2.
    """
    one, other = (_map(array) for array in (first, second))
    window = min(SSIM_WINDOW, *(side - (side + 1) % 2 for side in one.shape[1:]))
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    count = window * window
    mean_one, mean_other = _window_means(one, window), _window_means(other, window)
    sample = count / (count - 1) if count > 1 else 1.0
    variance_one = sample * (_window_means(one * one, window) - mean_one**2)
    variance_other = sample * (_window_means(other * other, window) - mean_other**2)
    covariance = sample * (_window_means(one * other, window) - mean_one * mean_other)
    above = (2 * mean_one * mean_other + c1) * (2 * covariance + c2)
    below = (mean_one**2 + mean_other**2 + c1) * (variance_one + variance_other + c2)
    return np.asarray((above / below).mean(axis=(1, 2)), np.float64)


SIMILARITIES: dict[str, Similarity] = {
    "spearman": Similarity(function=spearman, low=-1),
    "kendall": Similarity(function=kendall, low=-1),
    "pairwise_rank": Similarity(function=pairwise_rank_agreement, low=0),
    "feature": Similarity(function=feature_agreement, low=0),
    "rank": Similarity(function=rank_agreement, low=0),
    "sign": Similarity(function=sign_agreement, low=0),
    "signed_rank": Similarity(function=signed_rank_agreement, low=0),
    "cosine": Similarity(function=cosine, low=-1),
    "ssim": Similarity(function=ssim, low=-1, images_only=True),
}


def _flat(array: Floats) -> Doubles:
    return array.reshape(len(array), -1).astype(np.float64)


def _mean_ranks(values: Doubles) -> Doubles:
    """Rank of each value in its row, from 0, ties at their mean."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    places = np.broadcast_to(np.arange(values.shape[1], dtype=np.float64), values.shape)
    begins = np.concatenate([np.ones((len(values), 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    run = np.cumsum(begins, axis=1) - 1 + (np.arange(len(values)) * values.shape[1])[:, None]
    sums = np.bincount(run.ravel(), places.ravel(), minlength=values.size)
    sizes = np.bincount(run.ravel(), minlength=values.size)
    means = (sums / np.maximum(sizes, 1))[run]
    ranks = np.empty_like(values)
    np.put_along_axis(ranks, order, means, axis=1)
    return ranks


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Pairs of features: in the same order, in opposite orders, tied by one, by the other, by both."""

    concordant: int
    discordant: int
    tied_one: int
    tied_other: int
    tied_both: int
    all: int


def _pairs(one: Doubles, other: Doubles) -> _Pairs | None:
    """Count pairs in O(d log^2 d) time and O(d) memory (Knight, JASA 1966); None where a value is not finite."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return None
    first, second = (np.unique(values, return_inverse=True)[1].astype(np.int64) for values in (one, other))
    joint = first * len(first) + second
    tied_one, tied_other, tied_both = (_tied(ranks) for ranks in (first, second, joint))
    # Sorted by one and, where that ties, by the other: what still stands in the wrong order is discordant.
    discordant = _inversions(second[np.argsort(joint)])
    every = len(first) * (len(first) - 1) // 2
    return _Pairs(
        concordant=every - tied_one - tied_other + tied_both - discordant,
        discordant=discordant,
        tied_one=tied_one,
        tied_other=tied_other,
        tied_both=tied_both,
        all=every,
    )


def _tied(ranks: Ints) -> int:
    counts = np.unique(ranks, return_counts=True)[1].astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def _inversions(ranks: Ints) -> int:
    """Pairs whose earlier rank is the larger one: told apart by their highest unequal bit, one bit after another."""
    found = 0
    for bit in range(int(ranks.max(initial=0)).bit_length()):
        ordered = ranks[np.argsort(ranks >> (bit + 1), kind="stable")]
        group, ones = ordered >> (bit + 1), (ordered >> bit) & 1
        before = np.cumsum(ones) - ones
        begins = np.searchsorted(group, group)
        found += int(((before - before[begins]) * (1 - ones)).sum())
    return found


def _agreement(first: Floats, second: Floats, share: float, counted: npt.NDArray[np.bool_] | None = None) -> Doubles:
    products = top_directions(first, share=share) * top_directions(second, share=share)
    return np.asarray((products if counted is None else np.where(counted, products, 0.0 * products)).sum(axis=1))


def _top_weights(attributions: Floats, share: float) -> Doubles:
    """1 for each of the k largest magnitudes; features that tie for the last places share them evenly.

    What is zero is no top feature, however few others there are, and equal magnitudes everywhere rank nothing.
    """
    values = np.abs(_flat(attributions))
    count = max(1, round(share * values.shape[1]))
    least = np.partition(values, -count, axis=1)[:, -count][:, None]
    above, tied = values > least, values == least
    places = count - above.sum(axis=1, keepdims=True)
    weights = np.where(tied, places / np.maximum(1, tied.sum(axis=1, keepdims=True)), above.astype(np.float64))
    ranks_nothing = ~(values.min(axis=1, keepdims=True) < values.max(axis=1, keepdims=True))
    return np.where((values == 0) | ranks_nothing, 0.0, weights)


def _same_place(first: Floats, second: Floats) -> npt.NDArray[np.bool_]:
    one, other = (_mean_ranks(np.abs(_flat(array))) for array in (first, second))
    return one == other


def _same_sign(first: Floats, second: Floats) -> npt.NDArray[np.bool_]:
    return np.sign(_flat(first)) == np.sign(_flat(second))


def _map(array: Floats) -> Doubles:
    values = (array.sum(axis=3) if array.ndim == 4 else array).astype(np.float64)
    if values.ndim != 3:
        raise ValueError(f"SSIM is for images, not for shape {array.shape[1:]}")
    largest = np.abs(values).max(axis=(1, 2), keepdims=True)
    return np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)


def _window_means(values: Doubles, window: int) -> Doubles:
    windows = np.lib.stride_tricks.sliding_window_view(values, (window, window), axis=(1, 2))
    return np.asarray(windows.mean(axis=(3, 4)), np.float64)
