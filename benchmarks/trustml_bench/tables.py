"""A benchmark as tables: for the terminal, and as frames for pages and charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from trustml.report.documents import titled_table
from trustml_bench.gate import Compared
from trustml_bench.judge import Judged, Ratio, judge_all
from trustml_bench.places import NoPlace, find_place
from trustml_bench.results import Result, Timing
from trustml_bench.selection import Group

if TYPE_CHECKING:
    import pandas as pd

_NOTE = 90


def bench_frame(result: Result) -> pd.DataFrame:
    """The tidy table of a benchmark."""
    import pandas as pd

    columns = list(msgspec.structs.asdict(result.rows[0])) if result.rows else ["job", "measure", "value"]
    return pd.DataFrame([msgspec.structs.asdict(row) for row in result.rows], columns=columns)


def bars_frame(judged: Sequence[Judged]) -> pd.DataFrame:
    """Every bar that was measured, as numbers; and the verdict of all."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "what": one.bar.what,
                "workload": one.bar.above.workload.name,
                "allocator": one.bar.allocator,
                "ratio": one.ratio.value if one.ratio else None,
                "low": one.ratio.low if one.ratio else None,
                "high": one.ratio.high if one.ratio else None,
                "bar": bound_text(one),
                "bound": one.bar.bound,
                "stretch": one.bar.stretch,
                "verdict": one.verdict,
                "turns": one.ratio.turns if one.ratio else 0,
                "other allocator": one.other.value if one.other else None,
                "engines": f"{one.above} / {one.below}" if one.ratio else "",
                "reason": one.reason,
            }
            for one in judged
        ]
    )


def by_workload(result: Result) -> dict[tuple[str, str], list[Timing]]:
    """What was measured by workload and allocator, fastest first, what has no figures last."""
    found: dict[tuple[str, str], list[Timing]] = {}
    for one in result.measured:
        found.setdefault((one.workload.name, one.allocator), []).append(one)
    return {key: sorted(those, key=lambda one: one.median or float("inf")) for key, those in found.items()}


def milliseconds(seconds: float | None) -> str:
    """Three significant figures and more."""
    if seconds is None:
        return ""
    value = seconds * 1e3
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio_text(ratio: Ratio | None) -> str:
    """Value and interval."""
    if ratio is None:
        return "-"
    if not ratio.turns:
        return f"{number(ratio.value)}"
    return f"{number(ratio.value)} ({number(ratio.low)}-{number(ratio.high)})"


def number(value: float) -> str:
    """A ratio with two digits behind the point, fewer where it is large."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def bound_text(one: Judged) -> str:
    """The bound with its direction, and what is hoped for."""
    sign = "<=" if one.bar.at_most is not None else ">="
    hoped = f" (stretch {one.bar.stretch:g})" if one.bar.stretch is not None else ""
    return f"{sign} {one.bar.bound:g}{hoped}"


def summary(judged: Sequence[Judged]) -> str:
    """How many bars have which verdict."""
    counts = {name: sum(one.verdict == name for one in judged) for name in ("met", "met within noise", "not met")}
    missing = sum(one.verdict == "not measured" for one in judged)
    return ", ".join(f"{count} {name}" for name, count in counts.items()) + f", {missing} not measured"


def machine_text(result: Result) -> str:
    """The machine and its ceilings in one line."""
    about = result.hardware
    text = f"{about.get('processor')}, {about.get('cores')} cores, {about.get('memory_gib')} GiB, {about.get('system')}"
    most = result.ceilings
    if most is None:
        return f"{text}; its ceilings were not measured"
    return (
        f"{text}; float32 matrix product {most.flops_one_core / 1e9:.0f} GFLOP/s on one core and "
        f"{most.flops_all_cores / 1e9:.0f} on all, memory {most.bytes_one_core / 1e9:.0f} and "
        f"{most.bytes_all_cores / 1e9:.0f} GB/s"
    )


def print_result(out: Console, result: Result) -> None:
    """Print every workload's times, and the bars."""
    rows = {(row.job, row.subject, row.method, row.measure): row.value for row in result.rows}
    for (workload, allocator), those in by_workload(result).items():
        table = titled_table(
            f"{workload}, {allocator} allocator",
            *("engine", ">ms", ">quartiles", ">first s", ">peak MiB", ">/ floor", ">/ any floor", "note"),
        )
        for one in those:
            key = (workload, one.engine, allocator)
            floors = [rows.get((*key, measure)) for measure in ("bench_ratio", "bench_ratio_any")]
            note = one.note or one.reason if one.status == "ok" else f"{one.status}: {one.reason}"
            table.add_row(
                one.engine,
                milliseconds(one.median),
                f"{milliseconds(one.low)}-{milliseconds(one.high)}" if one.median else "",
                f"{one.first:.2f}" if one.first is not None else "",
                f"{one.memory_peak / 2**20:.0f}" if one.memory_peak else "",
                *(number(value) if value is not None else "" for value in floors),
                note if len(note) <= _NOTE else f"{note[:_NOTE]}...",
            )
        out.print(table)
        out.print()
    judged = judge_all(result)
    table = titled_table("bars", "what", "workload", "allocator", "bar", ">ratio (90 % interval)", ">other", "verdict")
    for judgement in judged:
        if judgement.ratio is not None:
            table.add_row(
                judgement.bar.what,
                judgement.bar.above.workload.name,
                judgement.bar.allocator,
                bound_text(judgement),
                ratio_text(judgement.ratio),
                number(judgement.other.value) if judgement.other else "",
                judgement.verdict,
            )
    out.print(table)
    out.print(f"bars: {summary(judged)}", soft_wrap=True)
    out.print(f"machine: {machine_text(result)}", soft_wrap=True, markup=False)
    if not result.complete:
        out.print("not complete: it was interrupted, or is still running", soft_wrap=True)


def print_compared(
    out: Console, compared: Sequence[Compared], *, before: Result, now: Result, allowance: float
) -> None:
    """Print what the gate found: each ratio that is worse, broken or not there, and how many there were."""
    then, today = (result.hardware.get("processor") for result in (before, now))
    if then != today:
        out.print(f"warning: measured on another machine then: {then}", soft_wrap=True, markup=False)
    table = titled_table(
        f"ratios against {before.created}, allowance {allowance:.0%}", "change", "ratio", ">then", ">now", "reason"
    )
    for one in sorted(compared, key=lambda one: ("worse", "broken", "not run", "better", "within").index(one.change)):
        if one.change != "within":
            table.add_row(one.change, one.name, ratio_text(one.before), ratio_text(one.now), one.reason)
    if table.row_count:
        out.print(table)
    counts = ", ".join(
        f"{sum(one.change == change for one in compared)} {change}"
        for change in ("worse", "broken", "not run", "better", "within")
    )
    out.print(f"gate: {counts}", soft_wrap=True)


def print_groups(out: Console, groups: Sequence[Group]) -> None:
    """Print what would be run."""
    table = titled_table("what would be run", "workload", "allocator", "engine", "role", "environment", "here")
    for group in groups:
        for seat in group.seats:
            place = find_place(seat.engine.environment, group.allocator)
            table.add_row(
                seat.workload.name,
                group.allocator,
                seat.engine.name,
                seat.engine.role,
                seat.engine.environment,
                f"no: {place.reason}" if isinstance(place, NoPlace) else "yes",
            )
    out.print(table)
    seats = sum(len(group.seats) for group in groups)
    out.print(f"{len(groups)} groups, {seats} rows; one or two minutes a group", soft_wrap=True)
