"""What federated training came to, as a table for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console

from trustml.record.schema import Manifest
from trustml.report.documents import titled_table

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = {
    ">clients, mean": ("client_accuracy_mean", "{:.3f}"),
    ">10th percentile": ("client_accuracy_tenth", "{:.3f}"),
    ">worst": ("client_accuracy_worst", "{:.3f}"),
    ">rounds to target": ("rounds_to_target", "{:.0f}"),
    ">drift": ("client_update_norm", "{:.3g}"),
    ">MB up": ("bytes_up", "{:.2f}"),
    ">round/central": ("round_ratio", "{:.1f}"),
}


def print_federated(out: Console, manifest: Manifest, table: pd.DataFrame) -> None:
    """Print accuracy by client, rounds, drift, bytes and cost of every federated model; nothing where there is none."""
    regimes = [partition.regime for partition in manifest.partitions]
    if not regimes:
        return
    shown = titled_table("federated training, by client and by round", "regime", "framework", *_COLUMNS)
    for regime in dict.fromkeys(regimes):
        for backend in manifest.scenario["backends"]:
            cell = table[(table.regime == regime) & (table.backend == backend)]
            if (cell.measure == "client_accuracy_mean").any():
                shown.add_row(regime, backend, *(_cell(cell, *column) for column in _COLUMNS.values()))
    out.print(shown)
    for partition in manifest.partitions:
        left_out = f", {partition.left_out} examples left out" if partition.left_out else ""
        text = f"{partition.regime}, seed {partition.seed}: {partition.clients} clients{left_out}"
        out.print(f"{text}; partition sha256 {partition.fingerprint[:16]}", soft_wrap=True, markup=False)


def _cell(cell: pd.DataFrame, measure: str, form: str) -> str:
    values = cell[cell.measure == measure].value.dropna()
    if values.empty:
        return "never" if measure == "rounds_to_target" else "-"
    value = float(values.median()) / (1e6 if measure == "bytes_up" else 1.0)
    return form.format(value) if math.isfinite(value) else "-"
