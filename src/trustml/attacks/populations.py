"""Whether models tell how common something was among their training rows: property inference.

Ateniese et al. 2015 (arXiv 1306.4447); Ganju et al., CCS 2018. No row is at stake, but what a whole data set is like;
differential privacy of rows does not promise to hide that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.attacks.estimates import AttackEstimate, check_confidence, share_of
from trustml.errors import DataError

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
FEWEST_MODELS = 20


def draw_populations(
    has: Bools,
    *,
    models: int,
    shares: tuple[float, float],
    rows: int,
    probes: int,
    generator: np.random.Generator,
) -> dict[str, npt.NDArray[Any]]:
    """Draw the rows of models, by turns of the one share and of the other.

    Parameters
    ----------
    has : bool array of shape (n,)
        Which rows have the property.
    models : int
    shares : (float, float)
    rows : int
        Of each model, at the most: as many as there are enough of either kind for.
    probes : int
        Rows that are in no model, as common as they come.
    generator : Generator

    Returns
    -------
    dict
        ``members`` bool (models, n), ``more`` bool (models,), ``probes`` int64 (probes,).

    Raises
    ------
    DataError
        If there are not two rows of either kind for every model.
    """
    order = generator.permutation(len(has))
    asked, left = np.sort(order[:probes]), order[probes:]
    kinds = [left[has[left]], left[~has[left]]]
    most = [len(kinds[0]) / max(max(shares), 1e-9), len(kinds[1]) / max(1 - min(shares), 1e-9)]
    size = int(min(rows, *most))
    counts = [round(share * size) for share in shares]
    if size < 4 or counts[0] == counts[1]:
        raise DataError(
            f"{int(has.sum())} of {len(has)} rows have the property, which leaves models of {size} rows; ask for "
            "shares that are further apart, fewer probes, or another property"
        )
    members, more = np.zeros((models, len(has)), bool), np.arange(models) % 2 == 1
    for row, second in zip(members, more, strict=True):
        count = counts[int(second)]
        for kind, number in zip(kinds, (count, size - count), strict=True):
            row[generator.permutation(kind)[:number]] = True
    return {"members": members, "more": more, "probes": asked.astype(np.int64)}


@dataclass(frozen=True, kw_only=True)
class Told:
    """How often the share is told.

    Attributes
    ----------
    right : AttackEstimate
        Share of the models that were not learnt from.
    control : float
        The same, mean over trainings of the classifier on models whose shares were exchanged at random.
    p_value : float
        That answers and shares have nothing to do with one another (Fisher, exact, one-sided).
    learnt : int
        Models that the classifier was taught by.
    """

    right: AttackEstimate
    control: float
    p_value: float
    learnt: int


def told(answers: npt.NDArray[Any], more: Bools, *, confidence: float = 0.95, controls: int = 10) -> Told:
    """Teach a classifier by the first half of the models, and ask it of the second.

    Parameters
    ----------
    answers : array of shape (m, ...)
        Of each model to the same rows.
    more : bool array of shape (m,)
        Which share it was trained with, by turns.
    confidence : float
        Of the interval, two-sided.
    controls : int
        Times that shares are exchanged.

    Raises
    ------
    DataError
        For fewer than 20 models, or answers that are not finite.
    """
    from scipy.stats import fisher_exact

    check_confidence(confidence)
    if len(more) < FEWEST_MODELS:
        raise DataError(f"property inference: {len(more)} models were trained, and {FEWEST_MODELS} are needed")
    values = answers.reshape(len(answers), -1).astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError("property inference: answers are not finite")
    half = len(more) // 2
    guess = _learn_and_ask(values, more[:half], half)
    true = more[half:]
    table = [
        [int((guess & true).sum()), int((guess & ~true).sum())],
        [int((~guess & true).sum()), int((~guess & ~true).sum())],
    ]
    generator = np.random.default_rng(0)
    exchanged = [
        float((_learn_and_ask(values, generator.permutation(more[:half]), half) == true).mean())
        for _ in range(controls)
    ]
    return Told(
        right=share_of(int((guess == true).sum()), len(true), confidence=confidence, what="models"),
        control=float(np.mean(exchanged)),
        p_value=float(fisher_exact(table, alternative="greater").pvalue),
        learnt=half,
    )


def _learn_and_ask(values: npt.NDArray[np.float64], more: Bools, half: int) -> Bools:
    """Ridge regression on standardised answers, in its dual form: there are more answers than models."""
    centre, spread = values[:half].mean(axis=0), values[:half].std(axis=0)
    scaled = (values - centre) / np.where(spread > 0, spread, 1.0) / max(1, values.shape[1]) ** 0.5
    products = scaled @ scaled[:half].T
    wanted = np.where(more, 1.0, -1.0)
    weights = np.linalg.solve(products[:half] + 0.1 * np.eye(half), wanted - wanted.mean())
    return np.asarray(products[half:] @ weights + wanted.mean() > 0)
