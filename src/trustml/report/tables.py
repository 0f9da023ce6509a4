"""Comparisons as tables for the terminal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from trustml.record.schema import Manifest

if TYPE_CHECKING:
    import pandas as pd


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the tidy table as plain data; what is absent or not finite is None."""
    import math

    return [
        {
            str(key): (None if isinstance(value, float) and not math.isfinite(value) else value)
            for key, value in row.items()
        }
        for row in table.to_dict("records")
    ]


def overview_frame(manifest: Manifest, table: pd.DataFrame) -> pd.DataFrame:
    """What each regime costs in each framework, as text cells ready to be shown."""
    import pandas as pd

    return pd.DataFrame(_overview_rows(manifest, table), columns=[name.removeprefix(">") for name in _OVERVIEW])


def print_comparison(out: Console, runs: Sequence[tuple[Manifest, pd.DataFrame]]) -> None:
    """Print accuracy, privacy, speed and explanations of one run, or of several side by side."""
    several = len(runs) > 1
    kept = [name not in _WIDE_ONLY or out.width >= _WIDE for name in _OVERVIEW]
    overview = _table("by regime and framework", *(["run"] if several else []), *itertools.compress(_OVERVIEW, kept))
    for manifest, table in runs:
        for row in _overview_rows(manifest, table):
            overview.add_row(*([manifest.run] if several else []), *itertools.compress(row, kept))
    out.print(overview)
    for manifest, table in runs:
        if several:
            out.print(f"\n[bold]{manifest.run}")
        absent = table[(table.measure == "accuracy") & table.value.isna()]
        for cell in absent.drop_duplicates(["regime", "backend"]).itertuples():
            reason = str(cell.note).removeprefix("absent: ")
            out.print(f"not run: {cell.regime} in {cell.backend}: {reason}", soft_wrap=True, markup=False)
        out.print()
        _print_privacy(out, table)
        _print_libraries(out, table)
        _print_completeness(out, table)
        _print_models(out, table)
        for warning in manifest.warnings:
            out.print(f"warning: {warning}", soft_wrap=True)


def print_jobs(out: Console, manifest: Manifest) -> None:
    """Print how every job ended."""
    out.print(f"{manifest.run}: {manifest.status}; created {manifest.created}, ended {manifest.ended or '-'}")
    data = manifest.data
    out.print(
        f"data: {data.train_examples} training and {data.test_examples} held-out examples of shape "
        f"{data.input_shape}, {len(data.class_names)} classes, sha256 {data.fingerprint[:16]}"
    )
    table = _table("jobs", "job", "status", ">seconds", ">peak MiB", "library", "reason")
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
        _median(cell, "epsilon", "{:.2f}") or "none",
        _median(cell, "step_time_median", "{:.2f}", scale=1e3),
        f"{steps.low.median() * 1e3:.2f}-{steps.high.median() * 1e3:.2f}" if len(steps) else "",
        _median(cell, "step_time_first", "{:.2f}"),
        _median(cell, "examples_per_second", "{:,.0f}"),
        _median(cell, "peak_memory", "{:.0f}", scale=2**-20),
    ]


def _median(cell: pd.DataFrame, measure: str, form: str, *, scale: float = 1.0) -> str:
    values = cell[cell.measure == measure].value.dropna()
    return form.format(values.median() * scale) if len(values) else ""


def _print_privacy(out: Console, table: pd.DataFrame) -> None:
    every = table[table.measure == "epsilon"].dropna(subset="value")
    for note in dict.fromkeys(every.note):
        out.print(f"epsilon: {note}", soft_wrap=True, markup=False)
    for row in table[table.measure == "epsilon_all_releases"].itertuples():
        out.print(f"epsilon of all releases together: {row.value:.2f}; {row.note}", soft_wrap=True, markup=False)
    if len(every):
        out.print("epsilon 'none': trained without privacy, so no finite epsilon holds")


def _print_libraries(out: Console, table: pd.DataFrame) -> None:
    """Same weights, other library: the first model that every library explained."""
    pairs = table[table.note.str.startswith("same weights") & (table.measure != "logit_relative_difference")]
    if pairs.empty:
        return
    job = pairs.job.iloc[0]
    found = _table(
        f"explanations of the same weights ({job})",
        "pair",
        ">rank agreement",
        ">top-10 % overlap",
        ">largest difference",
    )
    crossed = pairs.subject.str.count("common") == 1
    own = pairs.subject.isin(
        ("captum ~ common (torch)", "trustml-jax ~ common (jax)", "tf-explain ~ common (tensorflow)")
    )
    chosen = pairs[(pairs.job == job) & (~crossed | own)]  # the rest is in the table of measures
    for subject in dict.fromkeys(chosen.subject):
        found.add_row(subject, *(_value(chosen, subject, measure) for measure in _AGREEMENT))
    out.print(found)
    logits = table[(table.measure == "logit_relative_difference") & (table.job == job)]
    for row in logits.itertuples():
        out.print(f"logits of the same weights, {row.subject}: {row.value:.1e} relative difference")
    for note in dict.fromkeys(chosen[chosen.subject.str.contains("tf-explain")].note):
        text = note.removeprefix("same weights; ").removesuffix("; bootstrap 95 % over examples")
        out.print(f"note: {text}", soft_wrap=True, markup=False) if "bootstrap" in note else None


_AGREEMENT = ("attribution_agreement_spearman", "attribution_topk_overlap", "attribution_max_abs_difference")


def _value(table: pd.DataFrame, subject: str, measure: str) -> str:
    rows = table[(table.subject == subject) & (table.measure == measure)]
    if rows.empty or rows.value.isna().all():
        return "-"
    row = rows.iloc[0]
    text = f"{row.value:.1e}" if measure.endswith("difference") else f"{row.value:.3f}"
    return text if row.isna()["low"] else f"{text} [{row.low:.3f}, {row.high:.3f}]"


def _print_completeness(out: Console, table: pd.DataFrame) -> None:
    rows = table[table.measure == "attribution_completeness_error"].dropna(subset="value")
    if rows.empty:
        return
    found = _table("completeness error (0 is exact)", "explanation", ">median of models", ">smallest", ">largest")
    for subject, group in rows.groupby("subject", sort=False):
        values = group.value
        found.add_row(str(subject), *(f"{v:.2e}" for v in (values.median(), values.min(), values.max())))
    out.print(found)


def _print_models(out: Console, table: pd.DataFrame) -> None:
    """Other regime, other framework, other seed."""
    rows = table[
        (table.measure == "attribution_agreement_spearman")
        & table.subject.str.endswith(")")
        & table.note.str.contains("two regimes|trained apart|noise floor")
    ].dropna(subset="value")
    if rows.empty:
        return
    found = _table("explanations of different models", "pair", ">rank agreement", ">models", "what it shows")
    rows = rows.assign(
        pair=rows.subject.str.replace(r"seed \d+ ~ seed \d+", "two seeds", regex=True),
        regimes=rows.regime.where(~rows.subject.str.contains(" ~ .*\\(captum|\\(trustml|\\(tf-explain"), ""),
    )
    for (pair, regime), group in rows.groupby(["pair", "regimes"], sort=False):
        label = f"{pair} {regime}".strip()
        note = group.note.iloc[0].removesuffix("; bootstrap 95 % over examples")
        found.add_row(label, f"{group.value.mean():.3f}", str(len(group)), note)
    out.print(found)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return table
