"""An estimate over seeds as rows of the tidy table: the value with its interval, and the p-value."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trustml.compare.contrast import Estimate
from trustml.measures.measure import MEASURES, Row


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What an estimate is about.

    Attributes
    ----------
    run, backend, regime, subject, method : str
    """

    run: str
    backend: str
    regime: str
    subject: str
    method: str


def estimate_rows(cell: Cell, measure: str, estimate: Estimate, *, note: str = "") -> list[Row]:
    """One row for the value and, where a test belongs to it, one for the p-value."""
    tested = not math.isnan(estimate.p_value)
    about = "; ".join(part for part in (_p_text(estimate) if tested else "", note, "jackknife 95 % over seeds") if part)
    rows = [_row(cell, measure, estimate.value, (estimate.low, estimate.high), estimate.seeds, about)]
    if tested:
        rows.append(_row(cell, f"{measure}_p", estimate.p_value, None, estimate.seeds, "permutation within seeds"))
    return rows


def _p_text(estimate: Estimate) -> str:
    least = 2.0**-estimate.seeds
    few = f"; {estimate.seeds} seeds allow none below {least:.3g}" if least > 0.01 else ""
    return f"permutation p = {estimate.p_value:.3g}{few}"


def _row(cell: Cell, measure: str, value: float, interval: tuple[float, float] | None, seeds: int, note: str) -> Row:
    low, high = interval if interval is not None else (None, None)
    return Row(
        run=cell.run,
        job="",
        backend=cell.backend,
        regime=cell.regime,
        seed=-1,
        subject=cell.subject,
        method=cell.method,
        measure=measure,
        value=value,
        low=low,
        high=high,
        unit=MEASURES[measure].unit,
        n=seeds,
        note=note,
    )
