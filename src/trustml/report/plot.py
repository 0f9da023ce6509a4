"""Scores with their intervals as a plot of characters, for terminals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trustml.measures.measure import MEASURES, leading
from trustml.privacy.statement import at_most
from trustml.record.schema import Manifest
from trustml.report.documents import titled_table

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

_FINE, _PLAIN = ("├", "─", "┤", "●"), ("|", "-", "|", "o")
_LEAST, _MOST = 20, 72
_BETWEEN = 3  # characters that a column takes beside its text


def print_plot(out: Console, manifest: Manifest, table: pd.DataFrame) -> None:
    """Plot the score of every model with its interval, on one scale.

    Parameters
    ----------
    out : Console
    manifest : Manifest
    table : DataFrame
        The tidy table.
    """
    score = leading(set(table.measure))
    rows = table[(table.measure == score) & table.value.notna()]
    if rows.empty:
        out.print(f"no model of {manifest.run} has a score yet")
        return
    known = table[(table.measure == "epsilon") & table.value.notna()]
    keys = zip(known.regime, known.backend, known.seed, strict=True)
    epsilons = dict(zip(keys, (at_most(float(value), 2) for value in known.value), strict=True))
    several = rows.seed.nunique() > 1
    title = MEASURES[score].title
    columns = {
        "regime": map(str, rows.regime),
        "framework": map(str, rows.backend),
        **({">seed": map(str, rows.seed)} if several else {}),
        ">epsilon": ["none", *epsilons.values()],
        f">{title}": ["0.000"],
    }
    taken = sum(max(len(head.lstrip(">")), *map(len, cells)) + _BETWEEN for head, cells in columns.items())
    width = max(_LEAST, min(_MOST, out.width - taken - _BETWEEN))
    ends = [float(value) for name in ("low", "value", "high") for value in rows[name].dropna()]
    low, high = min(ends), max(ends)
    marks = _FINE if out.encoding.startswith("utf") else _PLAIN
    scale = f"{low:<{width // 2}.3f}{high:>{width - width // 2}.3f}"
    plot = titled_table(f"{title} on held-out examples, with its interval", *columns, scale)
    facts = (rows.regime, rows.backend, rows.seed, rows.low, rows.value, rows.high)
    for regime, backend, seed, start, value, end in zip(*facts, strict=True):
        epsilon = epsilons.get((regime, backend, seed), "none")
        line = _line(start, value, end, low=low, high=high, width=width, marks=marks)
        plot.add_row(regime, backend, *([str(seed)] if several else []), epsilon, f"{value:.3f}", line)
    out.print(plot)


def _line(
    start: float, value: float, end: float, *, low: float, high: float, width: int, marks: tuple[str, str, str, str]
) -> str:
    def column(at: float) -> int:
        return round((at - low) / (high - low) * (width - 1)) if high > low else width // 2

    first, dash, last, point = marks
    cells = [" "] * width
    if math.isfinite(start) and math.isfinite(end):
        begin, stop = column(start), column(end)
        cells[begin : stop + 1] = [dash] * (stop + 1 - begin)
        cells[begin], cells[stop] = first, last
    cells[column(value)] = point
    return "".join(cells).rstrip()
