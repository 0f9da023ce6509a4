"""How far two models' scores are from each other: in one pair, or over the seeds of two regimes or two frameworks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from trustml.measures.between_models import SEEDS_FOR_A_CLAIM

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05
"""Of all tests of one question together."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A score less another, in one backend: over held-out examples, or over seeds."""

    value: float
    low: float
    high: float
    seeds: int

    def is_told(self, *, pairs: int = 1) -> bool:
        """Whether it is not 0 when so many are looked at: by its interval, made wider by Bonferroni's rule."""
        if not math.isfinite(self.low) or not math.isfinite(self.high) or 1 < self.seeds < SEEDS_FOR_A_CLAIM:
            return False
        wider = _quantile(self.seeds, pairs) / _quantile(self.seeds, 1)
        low, high = (self.value + (end - self.value) * wider for end in (self.low, self.high))
        return (low > 0 or high < 0) and high > low


def _quantile(seeds: int, pairs: int) -> float:
    level = 1 - LEVEL / (2 * pairs)
    if seeds == 1:
        return NormalDist().inv_cdf(level)
    from scipy import stats

    return float(stats.t.ppf(level, seeds - 1))


def turned(row: Any, *, same: bool) -> Change:
    """Give the change of a row of the table, the other way round where its sides are exchanged."""
    if same:
        return Change(value=row.value, low=row.low, high=row.high, seeds=1)
    return Change(value=-row.value, low=-row.high, high=-row.low, seeds=1)


def change_of(each: Sequence[Change]) -> Change:
    """One seed with its interval; the mean of several, with Student's interval where there are enough."""
    if len(each) == 1:
        return each[0]
    import numpy as np

    values, seeds = np.array([one.value for one in each]), len(each)
    if seeds < SEEDS_FOR_A_CLAIM:
        return Change(value=float(values.mean()), low=float(values.min()), high=float(values.max()), seeds=seeds)
    from trustml.compare.contrast import jackknife  # scipy takes a second, and one seed needs none

    found = jackknife(lambda seeds_left: float(values[seeds_left].mean()), seeds)
    return Change(value=found.value, low=found.low, high=found.high, seeds=seeds)


@dataclass(frozen=True, kw_only=True)
class FrameworkPair:
    """The score of a regime in one framework beside another: the second's less the first's.

    Attributes
    ----------
    regime, first, second : str
    change : Change
    p_value : float
        The least of the tests of its rows; NaN where none was made.
    """

    regime: str
    first: str
    second: str
    change: Change
    p_value: float

    def is_apart(self, *, pairs: int) -> bool:
        """Whether a pair differs when so many are looked at: by its test where there is one, else by its interval."""
        if self.change.seeds == 1 and math.isfinite(self.p_value):
            return self.p_value * pairs < LEVEL
        return self.change.is_told(pairs=pairs)


def framework_pairs(table: pd.DataFrame) -> list[FrameworkPair]:
    """Give every pair of frameworks in every regime, its seeds taken together."""
    rows = table[(table.measure == "score_difference") & (table.pair == "trained apart") & table.value.notna()]
    found: dict[tuple[str, str, str], list[Any]] = {}
    for row in rows.itertuples():
        first, second = sorted((str(row.first), str(row.second)))
        found.setdefault((str(row.regime), first, second), []).append(row)
    return [
        FrameworkPair(
            regime=regime,
            first=first,
            second=second,
            change=change_of([turned(row, same=str(row.second) == second) for row in group]),
            p_value=_least_p(group),
        )
        for (regime, first, second), group in found.items()
    ]


def _least_p(rows: Sequence[Any]) -> float:
    known = [float(row.p_value) for row in rows if row.p_value is not None and math.isfinite(row.p_value)]
    return min(known, default=math.nan)
