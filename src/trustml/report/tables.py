"""Comparisons as tables for the terminal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console

from trustml.compare.table import fact_of
from trustml.privacy.statement import at_most
from trustml.record.schema import TYPED_ROWS, Manifest, failed_methods
from trustml.report.attack_tables import print_attacks
from trustml.report.explanation_tables import print_explanations, titled_table
from trustml.report.federated_tables import print_federated

if TYPE_CHECKING:
    import pandas as pd
NOT_TYPED = (
    "this run was recorded before its table had columns for units of privacy, verdicts and pairs; they are empty here: "
    "delete measures.parquet and resume the run to have them"
)
_UNITS = {"example": "", "user": " (user)", "": " (unit not recorded)"}


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the tidy table as plain data; what is absent or not finite is None, and facts are by name."""
    import math

    def plain(name: str, value: Any) -> Any:
        if name == "facts" and isinstance(value, str):
            return msgspec.json.decode(value)
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return [{str(name): plain(str(name), value) for name, value in row.items()} for row in table.to_dict("records")]


def overview_frame(manifest: Manifest, table: pd.DataFrame) -> pd.DataFrame:
    """What each regime costs in each framework, as text cells ready to be shown."""
    import pandas as pd

    return pd.DataFrame(_overview_rows(manifest, table), columns=[name.removeprefix(">") for name in _OVERVIEW])


def print_comparison(out: Console, runs: Sequence[tuple[Manifest, pd.DataFrame]]) -> None:
    """Print accuracy, privacy, speed and explanations of one run, or of several side by side."""
    several = len(runs) > 1
    kept = [name not in _WIDE_ONLY or out.width >= _WIDE for name in _OVERVIEW]
    overview = titled_table(
        "by regime and framework", *(["run"] if several else []), *itertools.compress(_OVERVIEW, kept)
    )
    for manifest, table in runs:
        for row in _overview_rows(manifest, table):
            overview.add_row(*([manifest.run] if several else []), *itertools.compress(row, kept))
    out.print(overview)
    for manifest, table in runs:
        if several:
            out.print(f"\n[bold]{manifest.run}")
        for skip in manifest.skips:
            if skip.method:
                out.print(f"left out: {skip.method} in {skip.backend}: {skip.reason}", soft_wrap=True, markup=False)
        if manifest.format < TYPED_ROWS:
            out.print(NOT_TYPED, soft_wrap=True, markup=False)
        absent = table[(table.measure == "accuracy") & table.value.isna()]
        absent = absent.assign(reason=fact_of(absent, "reason", default="the reason is in the table's note"))
        for cell in absent.drop_duplicates(["regime", "backend"]).itertuples():
            out.print(f"not run: {cell.regime} in {cell.backend}: {cell.reason}", soft_wrap=True, markup=False)
        out.print()
        _print_privacy(out, table)
        print_federated(out, manifest, table)
        print_attacks(out, table)
        print_explanations(out, manifest, table)
        for warning in manifest.warnings:
            out.print(f"warning: {warning}", soft_wrap=True)
        for note in manifest.data.notes:
            out.print(f"data: {note}", soft_wrap=True, markup=False)


def print_jobs(out: Console, manifest: Manifest) -> None:
    """Print how every job ended."""
    out.print(f"{manifest.run}: {manifest.status}; created {manifest.created}, ended {manifest.ended or '-'}")
    data = manifest.data
    out.print(
        f"data: {data.train_examples} training and {data.test_examples} held-out examples of shape "
        f"{data.input_shape}, {len(data.class_names)} classes, sha256 {data.fingerprint[:16]}"
    )
    table = titled_table("jobs", "job", "status", ">seconds", ">peak MiB", "library", "reason")
    for record in manifest.jobs:
        library = record.result.library if record.result else ""
        if record.result and record.result.engine:
            library += f", {record.result.engine.name}"
        memory = f"{record.peak_memory / 2**20:.0f}" if record.peak_memory else "-"
        table.add_row(record.id, record.status, f"{record.seconds:.1f}", memory, library, record.reason)
    out.print(table)


def print_problems(out: Console, manifest: Manifest) -> None:
    """Print which jobs did not end well, and why; the same reason once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for record in manifest.jobs:
        if record.status not in ("ok", "pending", "running", "blocked"):
            reasons.setdefault((record.status, record.reason), []).append(record.id)
    for (status, reason), jobs in reasons.items():
        more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        out.print(f"{status}: {jobs[0]}{more}: {reason}", soft_wrap=True, markup=False)
    for record in manifest.jobs:
        for method in failed_methods(record):
            out.print(f"failed: {method.method} in {record.id}: {method.reason}", soft_wrap=True, markup=False)
    blocked = [record.id for record in manifest.jobs if record.status == "blocked"]
    if blocked:
        out.print(f"blocked: {len(blocked)} jobs that need one of these", soft_wrap=True)


_OVERVIEW = (
    "regime",
    "framework",
    ">accuracy",
    "interval",
    ">epsilon",
    ">step ms",
    "quartiles",
    ">first s",
    ">examples/s",
    ">peak MiB",
)
_WIDE_ONLY = ("quartiles", ">first s", ">examples/s")  # left out on narrow terminals; in the table of measures
_WIDE = 110


def _overview_rows(manifest: Manifest, table: pd.DataFrame) -> list[list[str]]:
    rows = []
    regimes = list(dict.fromkeys(table[table.measure == "accuracy"].regime))
    order = [regime.get("name") or regime["kind"] for regime in manifest.scenario["training"]]
    for regime in sorted(regimes, key=order.index):
        for backend in manifest.scenario["backends"]:
            cell = table[(table.regime == regime) & (table.backend == backend)]
            if not cell.empty:
                rows.append([regime, backend, *_overview_cells(cell)])
    return rows


def _overview_cells(cell: pd.DataFrame) -> list[str]:
    accuracy = cell[cell.measure == "accuracy"]
    if accuracy.value.isna().all():
        return ["not run", *[""] * 7]
    seeds = accuracy.dropna(subset="value")
    if len(seeds) == 1:
        interval = f"{seeds.low.iloc[0]:.3f}-{seeds.high.iloc[0]:.3f}"
    else:
        interval = f"{seeds.value.min():.3f}-{seeds.value.max():.3f} ({len(seeds)} seeds)"
    steps = cell[cell.measure == "step_time_median"]
    return [
        f"{seeds.value.mean():.3f}",
        interval,
        _epsilon(cell),
        _median(cell, "step_time_median", "{:.2f}", scale=1e3),
        f"{steps.low.median() * 1e3:.2f}-{steps.high.median() * 1e3:.2f}" if len(steps) else "",
        _median(cell, "step_time_first", "{:.2f}"),
        _median(cell, "examples_per_second", "{:,.0f}"),
        _median(cell, "peak_memory", "{:.0f}", scale=2**-20),
    ]


def _median(cell: pd.DataFrame, measure: str, form: str, *, scale: float = 1.0) -> str:
    values = cell[cell.measure == measure].value.dropna()
    return form.format(values.median() * scale) if len(values) else ""


def _epsilon(cell: pd.DataFrame) -> str:
    """Epsilon of one model; a guarantee for users says so, as it is no other number of the same kind."""
    rows = cell[(cell.measure == "epsilon") & cell.value.notna()]
    if rows.empty:
        return "none"
    return f"{at_most(rows.value.median(), 2)}{_UNITS[rows.privacy_unit.iloc[0]]}"


def _print_privacy(out: Console, table: pd.DataFrame) -> None:
    every = table[table.measure == "epsilon"].dropna(subset="value")
    for note in dict.fromkeys(every.note):
        out.print(f"epsilon: {note}", soft_wrap=True, markup=False)
    for row in table[table.measure == "epsilon_all_releases"].to_dict("records"):
        text = f"epsilon of all releases together: {at_most(row['value'], 2)}; {row['note']}"
        out.print(text, soft_wrap=True, markup=False)
    if len(every):
        out.print("epsilon 'none': trained without privacy, so no finite epsilon holds")
        if (every.privacy_unit == "user").any():
            out.print(
                "epsilon '(user)': holds for all examples of a client together; never to be ranked with the others"
            )
