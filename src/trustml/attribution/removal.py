"""Faithfulness by taking features away, or putting them back, in the order of their attribution.

A *feature* is one value of the input, or a group of values that `features` numbers alike; it is ranked by its signed
attribution (:func:`trustml.attribution.sharing.feature_values`), and comes or goes as a whole.
Equal attributions keep the order of their numbers
(for images: row by row from the top left), so that the order never depends on the sorting.

Curves and probabilities are recorded as they are; :func:`area`, :func:`comprehensiveness` and
:func:`sufficiency` make numbers of them later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trustml.attribution.asking import Bools, Doubles, Predict, Scores, score_variants
from trustml.attribution.sharing import Combine, feature_values
from trustml.data.dataset import Floats, Ints
from trustml.models.tasks import DEFAULT_TASK, Task

FRACTIONS = tuple(step / 20 for step in range(21))
"""Of the features, for curves."""

ERASER_BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Of the features, for comprehensiveness and sufficiency (DeYoung et al., section 4.2)."""


@dataclass(frozen=True, kw_only=True)
class Removed:
    """The same example with more and more features taken away, or put back.

    Attributes
    ----------
    fractions : float64 array of shape (p,)
        Features that were moved, as a share of all; rising, without repetition.
    logits, probabilities : float64 array of shape (n, p)
        Of the target.
    """

    fractions: Doubles
    logits: Doubles
    probabilities: Doubles


@dataclass(frozen=True, kw_only=True)
class Erased:
    """Target probabilities for ERASER's two measures.

    Attributes
    ----------
    whole : float64 array of shape (n,)
        Of the whole input.
    without : float64 array of shape (n, bins)
        After the highest-ranked share of features is replaced by the baseline.
    only : float64 array of shape (n, bins)
        When that share alone is kept and all else replaced.
    """

    whole: Doubles
    without: Doubles
    only: Doubles


def feature_ranks(attributions: Floats, *, features: Ints, combine: Combine = "sum") -> Ints:
    """Place of every value's feature in the order of falling signed attribution, 0 for the highest; (n, *x)."""
    values = feature_values(attributions, features=features, combine=combine)
    order = np.argsort(-values, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[1])[None, :], axis=1)
    return ranks[:, features]


def counts_of(fractions: Sequence[float], *, features: int) -> Ints:
    """Whole numbers of features for shares of them, rounded up, so that a share above 0 moves at least one."""
    shares = np.asarray(fractions, np.float64)
    if shares.size == 0 or shares.min() < 0 or shares.max() > 1:
        raise ValueError(f"fractions {tuple(fractions)} are not all between 0 and 1")
    # 0.07 * 100 comes out as 7.000000000000001, which is 7 and not 8.
    return np.ceil(shares * features - 1e-9).astype(np.int64)


def deletion(
    predict: Predict,
    *,
    inputs: Floats,
    targets: Ints,
    attributions: Floats,
    baseline: Floats,
    features: Ints,
    combine: Combine = "sum",
    fractions: Sequence[float] = FRACTIONS,
    task: Task = DEFAULT_TASK,
) -> Removed:
    """Replace features by the baseline, the highest attribution first (Petsiuk et al., RISE, arXiv 1806.07421).

    Parameters
    ----------
    predict : callable
    inputs, attributions, baseline : float32 arrays of shape (n, *x)
    targets : int64 array of shape (n,)
    features : int64 array of shape (*x)
        Feature that each value belongs to, numbered from 0 without gaps.
    combine : {"sum", "mean"}
        What a feature of several values is worth; see :func:`trustml.attribution.sharing.feature_values`.
    fractions : sequence of float
        Shares of the features, rounded up to whole features.
    task : Task
        Says what the probability of a target is.

    Returns
    -------
    Removed
        A faithful explanation lets the curve fall early: the lower its area, the better.
    """
    ranks = feature_ranks(attributions, features=features, combine=combine)
    return _curve(predict, targets, ranks, (inputs, baseline), fractions, task)


def insertion(
    predict: Predict,
    *,
    inputs: Floats,
    targets: Ints,
    attributions: Floats,
    baseline: Floats,
    features: Ints,
    combine: Combine = "sum",
    fractions: Sequence[float] = FRACTIONS,
    task: Task = DEFAULT_TASK,
) -> Removed:
    """Put features into the baseline, the highest attribution first (Petsiuk et al., RISE, arXiv 1806.07421).

    Parameters as in :func:`deletion`. A faithful explanation lets the curve rise early: the higher its area,
    the better.
    """
    ranks = feature_ranks(attributions, features=features, combine=combine)
    return _curve(predict, targets, ranks, (baseline, inputs), fractions, task)


def area(fractions: Doubles, values: Doubles) -> Doubles:
    """Area under curves (n, p) by the trapezoid rule, shape (n,), in the unit of the values.

    The abscissa is the share of features that really moved, from 0 to 1, so areas of inputs of different sizes
    can be compared.
    """
    # numpy names its own rule trapz before 2.0 and trapezoid since.
    return ((values[:, 1:] + values[:, :-1]) / 2) @ np.diff(fractions)


def erase(
    predict: Predict,
    *,
    inputs: Floats,
    targets: Ints,
    attributions: Floats,
    baseline: Floats,
    features: Ints,
    combine: Combine = "sum",
    bins: Sequence[float] = ERASER_BINS,
    task: Task = DEFAULT_TASK,
) -> Erased:
    """Target probability without, and with nothing but, the highest-ranked features (ERASER, arXiv 1911.03429).

    Parameters as in :func:`deletion`; `bins` are shares of the features, rounded up.

    Returns
    -------
    Erased
    """
    ranks = feature_ranks(attributions, features=features, combine=combine)
    counts = counts_of(bins, features=int(features.max()) + 1)
    without = _scores(predict, targets, ranks, (inputs, baseline), np.append(0, counts), task).probabilities
    only = _scores(predict, targets, ranks, (baseline, inputs), counts, task).probabilities
    return Erased(whole=without[:, 0], without=without[:, 1:], only=only)


def comprehensiveness(erased: Erased) -> Doubles:
    """Fall of the probability without the highest-ranked features, mean over the bins (AOPC).

    Shape (n,), between -1 and 1; the higher, the better. As the benchmark's own code does, the mean runs over the
    bins alone: the paper's formula also counts an empty bin, whose difference is 0.
    """
    return (erased.whole[:, None] - erased.without).mean(axis=1)


def sufficiency(erased: Erased) -> Doubles:
    """Fall of the probability when the highest-ranked features stand alone, mean over the bins (AOPC).

    Shape (n,), between -1 and 1; the lower, the better.
    """
    return (erased.whole[:, None] - erased.only).mean(axis=1)


def _curve(
    predict: Predict,
    targets: Ints,
    ranks: Ints,
    ends: tuple[Floats, Floats],
    fractions: Sequence[float],
    task: Task,
) -> Removed:
    features = int(ranks[0].max()) + 1
    # Few features and many fractions give the same count again and again.
    counts = np.unique(counts_of(fractions, features=features))
    scores = _scores(predict, targets, ranks, ends, counts, task)
    return Removed(fractions=counts / features, logits=scores.logits, probabilities=scores.probabilities)


def _scores(
    predict: Predict, targets: Ints, ranks: Ints, ends: tuple[Floats, Floats], counts: Ints, task: Task
) -> Scores:
    """Scores of the first end of the way with `counts` features taken from the second."""
    before, after = ends
    limits = counts.reshape(1, -1, *(1 for _ in before.shape[1:]))

    def make(rows: slice) -> Floats:
        moved: Bools = ranks[rows, None] < limits
        return np.where(moved, after[rows, None], before[rows, None])

    return score_variants(predict, targets=targets, variants=len(counts), make=make, task=task)
