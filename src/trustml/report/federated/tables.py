"""What federated training came to, as a table for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console

from trustml.measures.measure import MEASURES, of_family, shown_in
from trustml.record.schema import Manifest
from trustml.report.documents import titled_table

if TYPE_CHECKING:
    import pandas as pd


def print_federated(out: Console, manifest: Manifest, table: pd.DataFrame) -> None:
    """Print accuracy by client, rounds, drift, bytes and cost of every federated model; nothing where there is none."""
    regimes = [partition.regime for partition in manifest.partitions]
    if not regimes:
        return
    from trustml.report.federated.frames import applicable

    measures = applicable(shown_in("federated"), table)
    heads = [f">{one.head}" for one in measures.values()]
    shown = titled_table("federated training, by client and by round", "regime", "framework", *heads)
    for regime in dict.fromkeys(regimes):
        for backend in manifest.scenario["backends"]:
            cell = table[(table.regime == regime) & (table.backend == backend)]
            if cell.measure.isin(list(of_family("federated"))).any():
                shown.add_row(regime, backend, *(_cell(cell, name) for name in measures))
    out.print(shown)
    for partition in manifest.partitions:
        left_out = f", {partition.left_out} examples left out" if partition.left_out else ""
        text = f"{partition.regime}, seed {partition.seed}: {partition.clients} clients{left_out}"
        out.print(f"{text}; partition sha256 {partition.fingerprint[:16]}", soft_wrap=True, markup=False)


def _cell(cell: pd.DataFrame, measure: str) -> str:
    values = cell[cell.measure == measure].value.dropna()
    if values.empty:
        return "never" if MEASURES[measure].unit == "rounds" else "-"
    value = float(values.median())
    return MEASURES[measure].text(value) if math.isfinite(value) else "-"
