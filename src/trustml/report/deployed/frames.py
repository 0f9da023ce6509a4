"""Exported models beside the models that were audited, a line each, as text."""

from __future__ import annotations

import math

import pandas as pd

from trustml.measures.entry import Measure
from trustml.measures.measure import of_family, shown_in


def deployed_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Give a line for every exported file: model, file, and a column a measure; empty where nothing was exported."""
    rows = table[table.measure.isin([*of_family("deployed"), *of_family("deployed attacks")]) & (table.job != "")]
    measures = {name: one for name, one in shown_in("deployed").items() if name in set(rows.measure)}
    lines = []
    for (model, file), cell in rows.groupby(["model", "subject"], sort=False):
        values = {one.head: _text(cell[cell.measure == name], one) for name, one in measures.items()}
        (how,) = set(cell[cell.measure == "deployed_attribution_agreement"].method)
        lines.append({"model": model, "file": file, **values, "attributions by": how or "-"})
    return pd.DataFrame(lines)


def _text(found: pd.DataFrame, measure: Measure) -> str:
    found = found[found.value.notna()]
    if found.empty:
        return "-"
    value, low, high = (float(found[name].iloc[0]) for name in ("value", "low", "high"))
    if measure.spread != "interval" or not math.isfinite(high):
        return measure.text(value)
    return f"{measure.text(value)} [{measure.text(low)}, {measure.text(high)}]"
