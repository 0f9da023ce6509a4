"""Classifiers that never see the audited model: what tells two sets of examples apart without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trustml.attacks.estimates import AttackEstimate, over_splits
from trustml.attacks.roc import Roc, auc_estimate, roc_of_scores
from trustml.auditing.examples import Given
from trustml.auditing.models import Array
from trustml.data.copies import MOST_FEATURES, Ints, one_of_each
from trustml.errors import DataError

SPLITS = 5
"""Halvings of the examples; odd, so that the middle one decides."""
_MOST_ROWS, _TREES = 1000, 12


def blind_auc(
    train: Array, holdout: Array, copies: tuple[Ints, Ints] | None = None, *, confidence: float, seed: int
) -> AttackEstimate:
    """AUC of a classifier that sees inputs alone, each end of its interval one-sided.

    It learns from one half of the examples and is judged on the other, for each of :data:`SPLITS` random halvings: of
    one, chance decides whether sets that differ a little are found to. Ends are medians over the halvings, which a mean
    or cross-validation would make too narrow: their parts hang together. Attacks on sets that differ by themselves
    measure that difference (Das, Zhang and Tramer, arXiv 2406.16201).

    Parameters
    ----------
    train, holdout : arrays of shape (n, *x)
    copies : pair of int arrays of shape (n,), optional
        The same number for copies of one example, which are in one half together. Where one set alone has them, trees
        know that set by them, so they are taught on one of each too.
    confidence : float
        Of each end.
    seed : int

    Raises
    ------
    DataError
        If there are fewer than 20 examples on either side.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    generator = np.random.default_rng(seed)
    rocs = []
    for split in range(SPLITS):
        chosen = _rows((len(train), len(holdout)), copies, generator)
        features, members, learned = _halves((train, holdout), chosen)
        features = features[:, generator.permutation(features.shape[1])[:MOST_FEATURES]]
        trees = ExtraTreesClassifier(n_estimators=_TREES, min_samples_leaf=3, random_state=seed + split, n_jobs=1)
        trees.fit(features[learned], members[learned])
        scores = trees.predict_proba(features[~learned])[:, 1]
        rocs.append(roc_of_scores(scores, members[~learned]))
    return _over_splits(rocs, confidence=2 * confidence - 1)


def blind_label_auc(
    train: Given,
    holdout: Given,
    copies: tuple[Ints, Ints] | None = None,
    *,
    confidence: float,
    seed: int,
    targets: bool = False,
) -> AttackEstimate:
    """AUC of the probability that trees give to labels that they were not taught.

    Each half of both sets is judged by trees of the other half, for each of :data:`SPLITS` random halvings, and an
    example has the mean of its probabilities. None of that looks at which set an example is of, so where both sets are
    of one source the scores are exchangeable, all of them together: then the AUC is one half, and its interval is that
    of any scores. Labels of the hold-out that are permuted, or made in another way, are less probable.

    Parameters
    ----------
    train, holdout : Given
    copies : pair of int arrays of shape (n,), optional
        As for :func:`blind_auc`.
    confidence : float
        Of the two-sided interval.
    seed : int
    targets : bool
        Whether labels are numbers of a regression: then it is of the nearness of what trees foretell.

    Raises
    ------
    DataError
        If there are fewer than 20 examples on either side, or labels of one class alone.
    """
    generator = np.random.default_rng(seed)
    go_well = _nearness if targets else _probability
    chosen = _rows((len(train), len(holdout)), copies, generator)
    every, members, _ = _halves((train.inputs, holdout.inputs), chosen)
    labels = np.concatenate([one.labels[rows] for one, rows in zip((train, holdout), chosen, strict=True)])
    scores, areas = np.zeros((SPLITS, len(members))), np.zeros(SPLITS)
    for split in range(SPLITS):
        features = every[:, generator.permutation(every.shape[1])[:MOST_FEATURES]]
        learned = generator.permutation(len(members)) % 2 == 0
        for half in (learned, ~learned):
            scores[split, ~half] = go_well(features, labels, half, seed=seed + split)
        areas[split] = auc_estimate(roc_of_scores(scores[split], members), confidence=confidence).value or 0.5
    found = auc_estimate(roc_of_scores(scores.mean(axis=0), members), confidence=confidence)
    error = float(areas.std(ddof=1) / SPLITS**0.5)
    return replace(found, note=f"{found.note}; scores are means over {SPLITS} halvings", splits=SPLITS, error=error)


def _over_splits(rocs: list[Roc], *, confidence: float) -> AttackEstimate:
    """Area over several halvings, of whose intervals each takes half of the error that the result may have."""
    areas = [auc_estimate(one, confidence=(1 + confidence) / 2) for one in rocs]
    # ends are there: no half has fewer than two examples of a set
    values, lows, highs = (np.array([getattr(one, end) for one in areas]) for end in ("value", "low", "high"))
    return over_splits(
        values,
        lows,
        highs,
        confidence=confidence,
        n=areas[0].n,
        interval=areas[0].interval,
        note=f"{areas[0].note}; mean over {len(rocs)} halvings, medians of their ends",
    )


def _probability(features: Array, labels: Array, learned: npt.NDArray[np.bool_], *, seed: int) -> Array:
    """Probability of the labels of the examples that were not learned from."""
    from sklearn.ensemble import ExtraTreesClassifier

    classes, places = np.unique(labels, return_inverse=True)
    if len(np.unique(places[learned])) < 2:
        raise DataError("labels of one class alone")
    trees = ExtraTreesClassifier(n_estimators=_TREES, min_samples_leaf=3, random_state=seed, n_jobs=1)
    trees.fit(features[learned], places[learned])
    given = np.zeros((int((~learned).sum()), len(classes)))
    given[:, trees.classes_] = trees.predict_proba(features[~learned])
    found: Array = given[np.arange(len(given)), places[~learned]]
    return found


def _nearness(features: Array, labels: Array, learned: npt.NDArray[np.bool_], *, seed: int) -> Array:
    """How far the targets of the examples that were not learned from are from what trees foretell, negative."""
    from sklearn.ensemble import ExtraTreesRegressor

    numbers = labels.astype(np.float64)
    trees = ExtraTreesRegressor(n_estimators=_TREES, min_samples_leaf=3, random_state=seed, n_jobs=1)
    trees.fit(features[learned], numbers[learned])
    found: Array = -np.abs(trees.predict(features[~learned]) - numbers[~learned])
    return found


def _halves(
    sets: tuple[Array, Array], chosen: list[npt.NDArray[np.int64]]
) -> tuple[Array, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Features, which are of the first set, and which are learned from: every other one, as their order is random."""
    if min(map(len, chosen)) < 20:
        raise DataError("fewer than 20 examples on one side")
    parts = [values[rows].reshape(len(rows), -1) for values, rows in zip(sets, chosen, strict=True)]
    members = np.repeat([True, False], [len(part) for part in parts])
    learned = np.concatenate([np.arange(len(part)) % 2 == 0 for part in parts])
    return np.concatenate(parts).astype(np.float32), members, learned


def _rows(
    counts: tuple[int, int], copies: tuple[Ints, Ints] | None, generator: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Draw the examples of each set that are looked at; of copies, one."""
    found = []
    for number, count in enumerate(counts):
        rows = generator.permutation(count)
        if copies is not None:
            rows = rows[one_of_each(copies[number])[rows]]
        found.append(rows[:_MOST_ROWS])
    return found
