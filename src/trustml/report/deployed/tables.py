"""Exported models as a table for the terminal, and why one of them must not be deployed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from trustml.report.deployed.frames import deployed_frames
from trustml.report.documents import titled_table

if TYPE_CHECKING:
    from rich.console import Console

    from trustml.record.exports import ExportRecord


def print_deployed(out: Console, runs: Sequence[tuple[str, pd.DataFrame]]) -> None:
    """Print how far every exported file agrees with its model, and what it costs; nothing where there is none.

    Parameters
    ----------
    out : Console
    runs : sequence of (str, DataFrame)
        Name and tidy table of each run; where they are several, their files of one model and target are side by side.
    """
    frame = deployed_frames(runs)
    if frame.empty:
        return
    frame = frame.drop(columns=["attributions by", *(["run"] if len(runs) == 1 else [])])
    heads = [name if name in ("run", "model", "file") else f">{name}" for name in frame]
    shown = titled_table("exported models beside the models that were audited", *heads)
    for line in frame.itertuples(index=False):
        shown.add_row(*map(str, line))
    out.print(shown)


def failure_of(exported: ExportRecord, rows: pd.DataFrame) -> str:
    """Say why an exported file must not be deployed as the model that was audited; empty where it may.

    A rounded file may differ: by how much is for whoever deploys it to judge.
    """
    from trustml.measures.deployed import MOST_APART

    if not exported.statement_kept:
        return f"{exported.name}: the privacy statement in it is not the one that was put in"
    gap = float(rows.set_index("measure").value["deployed_logit_difference"])
    if not math.isfinite(gap):
        return f"{exported.name}: answers with what is no number"
    if not exported.quantised and gap > MOST_APART:
        return f"{exported.name}: logits differ by {gap:.1e} of the largest, more than {MOST_APART:g}: another model"
    return ""
