"""Whether a column of a training row can be guessed from a model and the rest of the row.

Fredrikson et al., USENIX Security 2014, and Yeom et al., CSF 2018 (arXiv 1709.01604, section 4): of the values that a
column can have, the likeliest given the model's answer for the row's label. Whatever a model has learnt of the world
helps to guess of anybody; held-out rows, and imputation by others' rows alone, show how much of it that is
(Jayaraman and Evans, CCS 2022, arXiv 2209.01292).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.attacks.estimates import AttackEstimate, check_confidence, share_of
from trustml.data.copies import digests
from trustml.data.dataset import Examples
from trustml.errors import DataError

Ints: TypeAlias = npt.NDArray[np.int64]
Doubles: TypeAlias = npt.NDArray[np.float64]
Floats: TypeAlias = npt.NDArray[np.float32]
FEWEST = 30
MOST_VALUES = 32
_ENOUGH_TO_BOOST = 200


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column whose value is guessed.

    Attributes
    ----------
    places : int64 array of shape (p,)
        Columns of the inputs that hold it: one for a number, one for each category else.
    candidates : float32 array of shape (k, p)
        Values it can have; of intervals the median of known rows inside.
    edges : float64 array of shape (k - 1,)
        Between the intervals of a number; empty for values that are taken as they are.
    """

    places: Ints
    candidates: Floats
    edges: Doubles

    def true(self, inputs: Floats) -> Ints:
        """Number of the value that each row has, (n,); -1 where it is none of them."""
        own = inputs[:, self.places]
        if len(self.edges):
            return np.searchsorted(self.edges, own[:, 0].astype(np.float64), side="left").astype(np.int64)
        same = (own[:, None, :] == self.candidates[None]).all(axis=2)
        return np.where(same.any(axis=1), same.argmax(axis=1), -1).astype(np.int64)

    def with_value(self, inputs: Floats, number: int) -> Floats:
        """Rows as they would be with one of the values."""
        changed = inputs.copy()
        changed[:, self.places] = self.candidates[number]
        return changed


def column_of(places: Ints, rows: Floats, *, values: int, name: str) -> Column:
    """Give the values of a column, as rows have them that are not attacked.

    Parameters
    ----------
    places : int64 array of shape (p,)
    rows : float32 array of shape (m, d)
        That are not attacked.
    values : int
        Intervals of a column of numbers that has more than 32 values.
    name : str
        In errors.

    Raises
    ------
    DataError
        If there is one value alone, or there are too many.
    """
    own = rows[:, places]
    distinct = np.unique(own, axis=0)
    if len(distinct) < 2:
        raise DataError(f"attacks.attributes.columns: {name} has one value in all {len(rows)} rows; name another")
    if len(distinct) <= MOST_VALUES:
        return Column(places=places, candidates=distinct, edges=np.zeros(0))
    if len(places) > 1:
        raise DataError(
            f"attacks.attributes.columns: {name} has {len(distinct)} values, and at most {MOST_VALUES} are guessed; "
            "name another"
        )
    numbers = own[:, 0].astype(np.float64)
    edges = np.unique(np.quantile(numbers, np.arange(1, values) / values))
    filled = np.unique(np.searchsorted(edges, numbers, side="left"))
    edges = edges[filled[:-1]]  # between intervals that have rows
    inside = np.searchsorted(edges, numbers, side="left")
    medians = [np.median(numbers[inside == number]) for number in range(len(edges) + 1)]
    return Column(places=places, candidates=np.array(medians, np.float32)[:, None], edges=edges)


def distinct_rows(train: Examples, held_out: Examples) -> tuple[Ints, Ints]:
    """Places of the rows of both sets that are questions of their own: copies count once, those of both not at all."""
    found = []
    for rows in (train, held_out):
        both = np.concatenate([rows.inputs.reshape(len(rows), -1), rows.labels.reshape(len(rows), -1)], axis=1)
        names, first = np.unique(digests(both.astype(np.float64)), return_index=True)
        found.append((names, first.astype(np.int64)))
    (own, first), (others, rest) = found
    return np.sort(first[~np.isin(own, others)]), np.sort(rest[~np.isin(others, own)])


def guesses(fits: npt.NDArray[Any], prior: Doubles) -> Ints:
    """Guess the likeliest value of each row.

    Parameters
    ----------
    fits : array of shape (n, k)
        Log-likelihood of the row's label under each value.
    prior : float64 array of shape (k,)
        How common each value is.

    Returns
    -------
    int64 array of shape (n,)
    """
    return np.asarray((fits + np.log(prior)).argmax(axis=1), np.int64)


@dataclass(frozen=True, kw_only=True)
class Guessed:
    """What was guessed of one column.

    Attributes
    ----------
    members, others : AttackEstimate
        Share of training and of held-out rows whose value was guessed.
    p_value : float
        That as many of the training rows are as of the others (Fisher, exact, one-sided).
    imputed : AttackEstimate
        Share of the same training rows that is guessed without the model, by what other rows have in common.
    commonest : float
        Share of them that has the value which is commonest among them: what the best constant gets.
    values : int
    """

    members: AttackEstimate
    others: AttackEstimate
    p_value: float
    imputed: AttackEstimate
    commonest: float
    values: int


def guessed(
    members: tuple[npt.NDArray[Any], Ints],
    others: tuple[npt.NDArray[Any], Ints],
    *,
    known: Ints,
    imputed: Ints,
    confidence: float = 0.95,
) -> Guessed:
    """Compare what is guessed of training rows with what is of held-out ones.

    Parameters
    ----------
    members, others : tuple of arrays
        Log-likelihoods (n, k), and the number of each row's own value, (n,), in 0..k-1.
    known : int64 array
        Values of rows that are on neither side, which say how common each is: had the held-out ones said it, what is
        guessed of them would hang on themselves, and the test would be none.
    imputed : int64 array
        Guess of each training row without the model.
    confidence : float
        Of the intervals, two-sided (Clopper-Pearson).

    Raises
    ------
    DataError
        For fewer than 30 rows on either side, or likelihoods that are no numbers: an attack that was not tried finds
        nothing.
    """
    from scipy.stats import fisher_exact

    check_confidence(confidence)
    if min(len(members[1]), len(others[1])) < FEWEST:
        raise DataError(
            f"attribute inference: {len(members[1])} training and {len(others[1])} held-out rows are distinct and have "
            f"a known value, and {FEWEST} of each are needed"
        )
    if any(np.isnan(fits).any() for fits, _ in (members, others)):
        raise DataError("attribute inference: what the model answers is not finite")
    kinds = members[0].shape[1]
    prior = (np.bincount(known, minlength=kinds) + 1.0) / (len(known) + kinds)
    counts = [(int((guesses(fits, prior) == true).sum()), len(true)) for fits, true in (members, others)]
    what = "rows, for intervals of numbers as they were cut"
    shares = [share_of(found, count, confidence=confidence, what=what) for found, count in counts]
    test = fisher_exact([[found, count - found] for found, count in counts], alternative="greater")
    return Guessed(
        members=shares[0],
        others=shares[1],
        p_value=float(test.pvalue),
        imputed=share_of(int((imputed == members[1]).sum()), len(members[1]), confidence=confidence, what="rows"),
        commonest=float(np.bincount(members[1]).max() / len(members[1])),
        values=kinds,
    )


def imputer(known: Floats, values: Ints) -> Callable[[Floats], Ints]:
    """Learn to guess a column without the model: by trees, from how it follows from all else in other rows.

    Of boosted trees, one tree and a constant, what guesses those rows themselves best, a third of them left out while
    it learns from the others.

    Parameters
    ----------
    known : float32 array of shape (m, d)
        Rows without the column, with their labels.
    values : int64 array of shape (m,)

    Returns
    -------
    callable
        From such rows (n, d) to guesses, int64 of shape (n,).
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.tree import DecisionTreeClassifier

    if len(np.unique(values)) < 2:
        alone = values[0] if len(values) else 0
        return lambda asked: np.full(len(asked), alone, np.int64)
    leaf = int(np.clip(len(values) // 20, 1, 20))  # the library's own 20 would never split a few rows
    tried: list[Any] = [DummyClassifier(), DecisionTreeClassifier(min_samples_leaf=leaf, random_state=0)]
    if len(values) >= _ENOUGH_TO_BOOST:
        boosted = {"max_iter": 40, "min_samples_leaf": leaf, "random_state": 0, "early_stopping": False}
        tried.append(HistGradientBoostingClassifier(**boosted))
    part = np.arange(len(values)) % 3
    right = [0] * len(tried)
    for out in range(3):
        learnt, asked = part != out, part == out
        for place, one in enumerate(tried if len(np.unique(values[learnt])) > 1 else tried[:1]):
            right[place] += int((one.fit(known[learnt], values[learnt]).predict(known[asked]) == values[asked]).sum())
    best = tried[int(np.argmax(right))].fit(known, values)

    def guess(asked: Floats) -> Ints:
        found: Ints = best.predict(asked)
        return found

    return guess
