"""Exported models beside the models that were audited, a line each, as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from trustml.compare.table import fact_of
from trustml.measures.entry import Measure
from trustml.measures.measure import of_family, shown_in

_OF_MODEL = ("model_auc", "model_at_least")
"""Facts that give what the model itself has, by the same attack."""

SAME, COST, MEMBERS = "Does it say the same?", "What does it cost?", "Does it tell more of who was in the data?"


def deployed_parts() -> dict[str, list[Measure]]:
    """Give the measures of exported files by what is asked, where a table of all is wider than a page."""
    parts: dict[str, list[Measure]] = {SAME: [], COST: [], MEMBERS: []}
    for one in shown_in("deployed").values():
        question = SAME if one.unit == "1" else COST
        parts[MEMBERS if one.family == "deployed attacks" else question].append(one)
    return parts


def deployed_frames(runs: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """Give a line for every exported file of several runs, those of one model and target below each other."""
    frames = [deployed_frame(table).assign(run=name) for name, table in runs]
    frames = [frame for frame in frames if not frame.empty]
    if not frames:
        return pd.DataFrame()
    lines = pd.concat(frames, ignore_index=True).fillna("-").sort_values(["model", "file"], kind="stable")
    lines.insert(0, "run", lines.pop("run"))
    return lines.reset_index(drop=True)


def deployed_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Give a line for every exported file: model, file, and a column a measure; empty where nothing was exported."""
    rows = table[table.measure.isin([*of_family("deployed"), *of_family("deployed attacks")]) & (table.job != "")]
    measures = {name: one for name, one in shown_in("deployed").items() if name in set(rows.measure)}
    lines = []
    for (model, file), cell in rows.groupby(["model", "subject"], sort=False):
        values = {one.head: _texts(cell[cell.measure == name], one) for name, one in measures.items()}
        how = ", ".join(filter(None, cell[cell.measure == "deployed_attribution_agreement"].method))
        lines.append({"model": model, "file": file, **values, "attributions by": how or "-"})
    return pd.DataFrame(lines)


def _texts(found: pd.DataFrame, measure: Measure) -> str:
    """Write what was found, by each method where there are several."""
    rows = [found.iloc[[place]] for place in range(len(found))]
    return ", ".join(_text(row, measure) for row in rows) or "-"


def _text(found: pd.DataFrame, measure: Measure) -> str:
    if found.value.isna().all():
        return "-"
    value, low, high = (float(found[name].iloc[0]) for name in ("value", "low", "high"))
    text = measure.text(value)
    if measure.spread == "interval" and math.isfinite(high):
        text += f" [{measure.text(low)}, {measure.text(high)}]"
    of_model = [float(fact_of(found, fact, default=math.nan).iloc[0]) for fact in _OF_MODEL]
    return ", model ".join([text, *(measure.text(own) for own in of_model if math.isfinite(own))])
