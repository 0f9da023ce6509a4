"""Exported models as a table for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from trustml.measures.measure import MEASURES, of_family, shown_in
from trustml.report.documents import titled_table

if TYPE_CHECKING:
    from rich.console import Console

    from trustml.record.exports import ExportRecord

MOST_APART = 1e-4
"""Relative difference of logits that float32 sums in another order may make in a network of hundreds of layers."""


def print_deployed(out: Console, table: pd.DataFrame) -> None:
    """Print how far every exported file agrees with its model, and what it costs; nothing where there is none."""
    rows = table[table.measure.isin(list(of_family("deployed"))) & (table.job != "")]
    if rows.empty:
        return
    measures = {name: one for name, one in shown_in("deployed").items() if name in set(rows.measure)}
    heads = [f">{one.head}" for one in measures.values()]
    shown = titled_table("exported models beside the models that were audited", "model", "file", *heads)
    for (model, target), cell in rows.groupby(["model", "subject"], sort=False):
        shown.add_row(str(model).removeprefix("train."), str(target), *(_cell(cell, name) for name in measures))
    out.print(shown)


def failure_of(exported: ExportRecord, rows: pd.DataFrame) -> str:
    """Say why an exported file must not be deployed as the model that was audited; empty where it may.

    A rounded file may differ: by how much is for whoever deploys it to judge.
    """
    if not exported.statement_kept:
        return f"{exported.name}: the privacy statement in it is not the one that was put in"
    if exported.quantised:
        return ""
    value = rows.set_index("measure").value
    if (gap := float(value["deployed_logit_difference"])) > MOST_APART:
        return (
            f"{exported.name}: logits differ by {gap:.1e} of the largest, more than {MOST_APART:g}: it is another model"
        )
    return ""


def _cell(cell: pd.DataFrame, measure: str) -> str:
    found = cell[(cell.measure == measure) & cell.value.notna()]
    if found.empty:
        return "-"
    value, low, high = (float(found[name].iloc[0]) for name in ("value", "low", "high"))
    one = MEASURES[measure]
    if one.spread != "interval" or not math.isfinite(high):
        return one.text(value)
    return f"{one.text(value)} [{one.text(low)}, {one.text(high)}]"
