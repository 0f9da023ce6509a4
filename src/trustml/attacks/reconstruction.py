"""Whether rows can be made again from gradients, or from a model: how near what was made is, and to whose rows.

A row counts as found where what was made is nearer to it than to every other of a fixed number of rows. Where nothing
is told of the row, that is one chance in so many, whatever else is told: the others have its label, and were never
trained on. Reconstruction robustness (Balle et al., S&P 2022) bounds the same number for a private mechanism.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.attacks.estimates import AttackEstimate, check_confidence, share_of
from trustml.errors import DataError
from trustml.models.layers import INPUT, Architecture, Dense, Flatten
from trustml.models.weights import Weights

Doubles: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
FEWEST_UPDATES = 10
FEWEST_OF_A_CLASS = 5


def first_dense(architecture: Architecture) -> str:
    """Name of the Dense layer with a bias that takes the inputs as they are, or flat; empty where there is none."""
    flat = {INPUT} | {
        node.name for node in architecture.nodes if isinstance(node.layer, Flatten) and node.inputs == (INPUT,)
    }
    for node in architecture.nodes:
        if isinstance(node.layer, Dense) and node.layer.bias and set(node.inputs) <= flat:
            return node.name
    return ""


def dense_inputs(gradients: Weights, *, name: str) -> Doubles:
    """What a Dense layer was given, a row for each unit: the slope by its kernel over the slope by its bias.

    Of a batch of one that is the row itself, exactly, for every unit that the loss depends on; of a larger batch it is
    a mixture of rows, and a row itself where a unit answered that row alone (Phong et al. 2018; Geiping et al. 2020,
    proposition 3.1).

    Returns
    -------
    float64 array of shape (m, d)
        m is 0 where no unit was used. One row of NaN of gradients that are not finite.
    """
    kernel, bias = (gradients[f"{name}.{part}"].astype(np.float64) for part in ("kernel", "bias"))
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        return np.full((1, len(kernel)), np.nan)
    used = np.abs(bias) > 1e-6 * np.abs(bias).max(initial=0.0)
    found: Doubles = (kernel[:, used] / bias[used]).T
    return found[np.isfinite(found).all(axis=1)]


def nearness(made: npt.NDArray[Any], rows: npt.NDArray[Any], *, centre: npt.NDArray[Any]) -> tuple[Doubles, Doubles]:
    """How near what was made comes to each row, by the best of it.

    Parameters
    ----------
    made : array of shape (m, d)
        Everything that an attack made; nothing is near to nothing.
    rows : array of shape (n, d)
    centre : array of shape (d,)
        What rows have in common: likeness is of what they have beyond it.

    Returns
    -------
    correlation, error : float64 arrays of shape (n,)
        Cosine to the centre, at most 1; mean squared difference.
    """
    if not len(made):
        return np.zeros(len(rows)), np.full(len(rows), np.inf)
    made, rows = made.astype(np.float64), rows.astype(np.float64)
    correlation = _unit(rows - centre) @ _unit(made - centre).T
    squares = (rows**2).sum(axis=1)[:, None] + (made**2).sum(axis=1) - 2 * rows @ made.T
    return correlation.max(axis=1), np.maximum(squares, 0.0).min(axis=1) / rows.shape[1]


def _unit(rows: Doubles) -> Doubles:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


@dataclass(frozen=True, kw_only=True)
class Found:
    """How many rows were found by what was made of their updates.

    Attributes
    ----------
    own, control : AttackEstimate
        Share of rows that are nearest to what was made; share of rows that nobody trained on and that are looked for
        in the same way.
    chance : float
        The share without any update.
    p_value : float
        That as many are found by chance (:func:`chance_of_found`).
    law : {"binomial", "beta-binomial"}
        Of what is found by chance.
    """

    own: AttackEstimate
    control: AttackEstimate
    chance: float
    p_value: float
    law: Literal["binomial", "beta-binomial"]


def rows_found(nearest: Doubles, *, sets: Ints | None = None, confidence: float = 0.95) -> Found:
    """Count the rows that were found; a row that is as near as another is not.

    Parameters
    ----------
    nearest : float64 array of shape (k, n)
        Of each update with the row that is looked for, a row that stands in for it, and n - 2 others: larger where
        what was made is nearer.
    sets : int64 array of shape (k,), optional
        Which set of rows an update was held against: equal numbers where it is the same one. All differ if left out.
    confidence : float
        Of the intervals, two-sided.

    Raises
    ------
    DataError
        For fewer than 10 updates, or where one of them, or what was made of it, is not finite.
    """
    check_confidence(confidence)
    updates, rows = nearest.shape
    if updates < FEWEST_UPDATES:
        raise DataError(f"gradient inversion: {updates} updates were attacked, and {FEWEST_UPDATES} are needed")
    if broken := int((~np.isfinite(nearest)).any(axis=1).sum()):
        raise DataError(f"gradient inversion: {broken} of {updates} updates, or what was made of them, are not finite")
    sets = np.arange(updates) if sets is None else sets
    if len(sets) != updates:
        raise DataError(f"gradient inversion: {updates} updates were attacked, and others are told of {len(sets)}")
    best, chance = nearest[:, 2:].max(axis=1), 1.0 / (rows - 1)
    counts = [int((nearest[:, column] > best).sum()) for column in (0, 1)]
    own, control = (share_of(count, updates, confidence=confidence, what="updates") for count in counts)
    return Found(
        own=own,
        control=control,
        chance=chance,
        p_value=chance_of_found(counts[0], sets, among=rows - 1),
        law="binomial" if len(np.unique(sets)) == updates else "beta-binomial",
    )


def chance_of_found(count: int, sets: Ints, *, among: int) -> float:
    """Bound how likely so many rows, or more, are found where updates tell nothing of them.

    A row is nearest as often as its rivals leave room: a share that is Beta(1, among - 1). Updates with rivals of their
    own are independent coins. Those that share rivals are not, and worst where what is made of them is all the same: a
    beta-binomial count. Every other one is below it in convex order, as independent coins are below those of their mean
    chance (Hoeffding 1956) and a mean of shares is below one of them; that order bounds the tail.

    Parameters
    ----------
    count : int
    sets : int64 array of shape (k,)
        See :func:`rows_found`.
    among : int
        Rows that each is told from, itself counted.
    """
    from scipy.stats import betabinom, binom

    sizes = np.unique(sets, return_counts=True)[1]
    if sizes.max() == 1:
        return float(binom.sf(count - 1, len(sizes), 1 / among))
    if not count:
        return 1.0
    law: Doubles = np.ones(1)
    for size in sizes:
        law = np.convolve(law, betabinom.pmf(np.arange(size + 1), size, 1, among - 1))
    as_many = np.cumsum(law[::-1])[::-1]
    excess = np.cumsum(as_many[:0:-1])[::-1]  # over 0, 1, ..., k - 1, in the mean
    return float(min(1.0, (excess[:count] / np.arange(count, 0, -1)).min()))


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How like a row what was made of its update is.

    Attributes
    ----------
    correlation, control : float
        Mean correlation with the row, and with a row that nobody trained on.
    decibels, low, high : float
        Mean over updates of the peak signal-to-noise ratio; t-interval over updates.
    nearest_other : float
        The same with the nearest of the other rows: what whoever has them gets without the update.
    """

    correlation: float
    control: float
    decibels: float
    low: float
    high: float
    nearest_other: float


def likeness(correlation: Doubles, error: Doubles, *, span: float, confidence: float = 0.95) -> Likeness:
    """Compare what was made with the row, with the one that stands in for it, and with the others.

    Parameters
    ----------
    correlation, error : float64 arrays of shape (k, n)
        Of each update, in the order of :func:`rows_found` (:func:`nearness`).
    span : float
        Between the least and the largest value of an input.
    confidence : float
        Of the interval, two-sided.
    """
    from scipy.stats import t as student

    ratios = decibels(error, span=span)
    own, updates = ratios[:, 0], len(ratios)
    half = float(student.ppf((1 + check_confidence(confidence)) / 2, updates - 1) * own.std(ddof=1) / updates**0.5)
    return Likeness(
        correlation=float(correlation[:, 0].mean()),
        control=float(correlation[:, 1].mean()),
        decibels=float(own.mean()),
        low=float(own.mean()) - half,
        high=float(own.mean()) + half,
        nearest_other=float(ratios[:, 2:].max(axis=1).mean()),
    )


def decibels(error: Doubles, *, span: float) -> Doubles:
    """Peak signal-to-noise ratio of mean squared errors; at most 100 dB, and at least -100 where nothing was made."""
    found: Doubles = 10 * np.log10(np.clip(span**2 / np.maximum(error, 1e-300), 1e-10, 1e10))
    return found


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """How near the typical inputs of classes are to rows.

    Attributes
    ----------
    members, others : float
        Mean correlation of training and of held-out rows with what was made of their class.
    low, high : float
        Of `members`, t-interval over rows.
    n, controls : int
        Training and held-out rows.
    p_value : float
        That training rows are no nearer (Welch, one-sided, differences within classes).
    of_others : float
        Mean correlation of held-out rows with what was made of another class.
    ceiling : float
        Mean correlation of held-out rows with the mean of the training rows of their class.
    """

    members: float
    others: float
    low: float
    high: float
    n: int
    controls: int
    p_value: float
    of_others: float
    ceiling: float


def inverted(arrays: dict[str, npt.NDArray[Any]], *, confidence: float = 0.95) -> Inverted:
    """Compare training rows with held-out ones, class by class.

    Parameters
    ----------
    arrays : dict
        ``train_likeness`` and ``test_likeness`` (n,), with ``train_classes`` and ``test_classes`` (n,), and of the
        held-out rows ``test_other`` and ``test_ceiling`` (n,).
    confidence : float
        Of the interval, two-sided.

    Raises
    ------
    DataError
        Where no class has five rows on both sides, or a likeness is not finite.
    """
    from scipy.stats import norm

    check_confidence(confidence)
    likenesses = [arrays[name] for name in ("train_likeness", "test_likeness", "test_other", "test_ceiling")]
    if not all(np.isfinite(one).all() for one in likenesses):
        raise DataError("model inversion: rows, or what was made of their class, are not finite")
    own, rest = arrays["train_likeness"].astype(np.float64), arrays["test_likeness"].astype(np.float64)
    difference = variance = weight = 0.0
    for one in np.unique(arrays["train_classes"]):
        sides = own[arrays["train_classes"] == one], rest[arrays["test_classes"] == one]
        if min(map(len, sides)) < FEWEST_OF_A_CLASS:
            continue
        rows = float(min(map(len, sides)))
        difference += rows * float(sides[0].mean() - sides[1].mean())
        variance += rows**2 * sum(float(side.var(ddof=1)) / len(side) for side in sides)
        weight += rows
    if not weight:
        raise DataError(f"model inversion: no class has {FEWEST_OF_A_CLASS} training and held-out rows")
    score = difference / max(variance**0.5, 1e-12)
    half = float(norm.ppf((1 + confidence) / 2)) * float(own.std(ddof=1)) / len(own) ** 0.5
    return Inverted(
        members=float(own.mean()),
        others=float(rest.mean()),
        low=float(own.mean()) - half,
        high=float(own.mean()) + half,
        n=len(own),
        controls=len(rest),
        p_value=float(norm.sf(score)),
        of_others=float(arrays["test_other"].mean()),
        ceiling=float(arrays["test_ceiling"].mean()),
    )
