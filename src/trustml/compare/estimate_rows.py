"""An estimate over seeds as rows of the tidy table: the value with its interval, and the p-value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

from trustml.compare.contrast import Estimate
from trustml.measures.measure import MEASURES
from trustml.measures.notes import described
from trustml.measures.row import About, Facts, Row


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What an estimate is about.

    Attributes
    ----------
    run, backend, regime, method : str
    first, second : str
        The two regimes that are compared.
    """

    run: str
    backend: str
    regime: str
    method: str
    first: str
    second: str


def estimate_rows(cell: Cell, measure: str, estimate: Estimate, *, facts: Facts | None = None) -> list[Row]:
    """One row for the value and, where a test belongs to it, one for the p-value."""
    tested = not math.isnan(estimate.p_value)
    sides = About(pair="two regimes over seeds", first=cell.first, second=cell.second)
    told: Facts = {**(facts or {}), "seeds": estimate.seeds}
    least = 2.0**-estimate.seeds if estimate.least_p is None else estimate.least_p
    if tested and least > 0.01:
        told["least_p"] = least
    about = msgspec.structs.replace(
        sides,
        p_value=estimate.p_value if tested else None,
        confidence=0.95,
        interval="jackknife over seeds",
        facts=told,
    )
    rows = [_row(cell, measure, estimate.value, (estimate.low, estimate.high), estimate.seeds, about)]
    if tested:
        told = {"test": "permutation within seeds"}
        if estimate.swaps:
            told["monte_carlo_error"] = estimate.p_error
        about = msgspec.structs.replace(sides, facts=told)
        rows.append(_row(cell, f"{measure}_p", estimate.p_value, None, estimate.seeds, about))
    return rows


def _row(cell: Cell, measure: str, value: float, interval: tuple[float, float] | None, seeds: int, about: About) -> Row:
    low, high = interval if interval is not None else (None, None)
    row = Row(
        run=cell.run,
        job="",
        backend=cell.backend,
        regime=cell.regime,
        seed=-1,
        subject=f"{cell.first} ~ {cell.second}",
        method=cell.method,
        measure=measure,
        value=value,
        low=low,
        high=high,
        unit=MEASURES[measure].unit,
        n=seeds,
    )
    return described(row, about)
