"""``docs/performance.md``, made from a result of ``trustml bench``."""

from __future__ import annotations

from collections.abc import Sequence

from trustml_bench.judge import Judged, judge_all
from trustml_bench.parts import Profile, profile_section
from trustml_bench.results import Result, Timing, commit_text
from trustml_bench.selection import DEFAULT, FULL, LARGE
from trustml_bench.tables import (
    bound_text,
    by_workload,
    machine_text,
    milliseconds,
    number,
    ratio_text,
    summary,
)
from trustml_bench.turns import TURN_SECONDS
from trustml_bench.workloads import (
    CLIPPING_NORM,
    IG_STEPS,
    LEARNING_RATE,
    NOISE_MULTIPLIER,
    OCCLUSION_PATCH,
    SMOOTH_GRAD_SAMPLES,
    Workload,
)

_HEAD = """# What trustml costs beside other libraries

This page is made by `trustml bench --from RESULT --write-docs docs/performance.md`; nothing in it is written by hand.
The result holds every figure behind it, with the median of every turn. Measure your own machine with `trustml bench`.
"""

_HOW = f"""## How it was measured

- Every engine runs in a process of its own. All engines of one workload live at the same time and take turns in
  alternating order, each turn as many calls as fill {TURN_SECONDS} s, at least one. What disturbs the machine
  disturbs all, so **read ratios; times are of this machine on that day**.
- Times are medians of calls after warm-up, with quartiles of calls. The first call, with tracing and compiling, is
  apart; peers start two at a time, so theirs is longer than alone. Floors, ours, and peers that try several ways to
  keep the fastest start alone.
- A ratio is the median of the ratios of paired turns; its 90 % interval is by interpolated order statistics of these
  (Hettmansperger and Sheather, 1986). A bar whose median lies on the wrong side but inside the interval reads *met
  within noise*. Where noise is left out of both, it is the ratio of the medians of what is left in each turn, and its
  interval is made of theirs.
- *Floor* is the least that the work costs: the plain step for a private step, as many forward and backward passes for
  integrated gradients, as many forward passes for occlusion, one centralised epoch for a round. `/ floor` is against
  the fastest of the same framework, `/ any` against the fastest of all. Integrated gradients may be below it: layers
  that are affine keep the path straight, and those in front of the first other layer are walked at its two ends alone.
- *tuned* is the allocator as workers of trustml run (`MALLOC_ARENA_MAX`, `MALLOC_MMAP_THRESHOLD_`,
  `MALLOC_TRIM_THRESHOLD_`), for every engine; *default* is glibc's own.
- Memory is the most that was resident at once, interpreter, framework and children included; *work* is that less what
  was resident just before the first call, so compiling is in it.
- What a private step in JAX is made of, and so what keeps it above a plain one, is in
  `benchmarks/results/private_step_parts.md`: a normal number for every weight costs the same whatever the batch. The
  page of networks of real size takes apart what its bars that are not met are about.
- An engine that no bar needs, and that is slow, takes fewer turns; its note says how many.
- Private steps clip to {CLIPPING_NORM:g} with noise multiplier {NOISE_MULTIPLIER:g}; SGD at {LEARNING_RATE:g};
  {IG_STEPS} steps of integrated gradients; {SMOOTH_GRAD_SAMPLES} samples of SmoothGrad; occlusion by patches of
  {OCCLUSION_PATCH} x {OCCLUSION_PATCH}. float32, CPU.
"""


_FILE = """## The file

JSON. `format` is its version; `hardware`, `versions` (by environment), `revision` and `ceilings` (operations and bytes
a second) say what it was measured on. `measured` has an entry for each engine, workload and allocator: `status` (`ok`,
`impossible`, `failed`, `missing`) with its `reason`, seconds of set-up and of the first call, the median of every turn
in `turns` (`null` where a slow engine sat out), quartiles of all calls, bytes. `rows` is the same as a tidy table with
the columns of `measures.parquet`: `job` is the workload, `backend` the environment, `subject` the engine, `method` the
allocator. `trustml bench --against FILE` compares ratios with those of a file, never times.
"""


def performance_page(result: Result, profile: Profile | None = None) -> str:
    """The page as Markdown, with the profile of what its bars are about, if there is one."""
    judged = judge_all(result)
    parts = [
        _HEAD,
        _about(result),
        _HOW,
        _bars(judged),
        _unmet(judged),
        profile_section(profile, judged) if profile else "",
        _rates(result),
        _times(result),
        _missing(result),
        _FILE,
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts if part)


def _about(result: Result) -> str:
    versions = "; ".join(
        f"{environment}: " + ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))
        for environment, packages in sorted(result.versions.items())
    )
    state = "" if result.complete else " **It is not complete: it was interrupted.**"
    return (
        f"Measured {result.created} in {result.seconds / 60:.0f} minutes by `{result.command}`, at commit "
        f"{commit_text(result.revision)}.{state}\n\nOn: {machine_text(result)}.\n\nVersions: {versions}.\n"
    )


def _bars(judged: Sequence[Judged]) -> str:
    lines = [
        "## Bars",
        "",
        f"{summary(judged).capitalize()}. *Other* is the same ratio under the other setting of the allocator.",
        "",
        "| what | workload | allocator | bar | ratio (90 % interval) | other | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in judged:
        bold = "**" if one.verdict == "not met" else ""
        lines.append(
            f"| {one.bar.what} | {one.bar.above.workload.name} | {one.bar.allocator} | {bound_text(one)} | "
            f"{ratio_text(one.ratio)} | {number(one.other.value) if one.other else '-'} | {bold}{one.verdict}{bold} |"
        )
    return "\n".join(lines) + "\n"


def _unmet(judged: Sequence[Judged]) -> str:
    """What stands behind bars that are not met, and those that were not measured by their reasons."""
    lines, missing = [], dict[str, list[str]]()
    for one in judged:
        name = f"{one.bar.what}, {one.bar.above.workload.name}"
        if one.verdict == "not measured":
            missing.setdefault(one.reason, []).append(name)
        elif one.verdict != "met" or one.reason:
            more = f"; {one.reason}" if one.reason else ""
            lines.append(f"- {name}, {one.bar.allocator}: {one.verdict}, {one.above} / {one.below}{more}.")
    lines += [f"- Not measured, {reason}: {'; '.join(names)}." for reason, names in missing.items()]
    return "## Behind the verdicts\n\n" + "\n".join(lines) + "\n" if lines else ""


def _rates(result: Result) -> str:
    """How far plain steps are from the machine."""
    if result.ceilings is None:
        return ""
    found = {(row.job, row.subject, row.method, row.measure): row.value for row in result.rows}
    lines = [
        "## How far a plain step is from the machine",
        "",
        "Arithmetic counted as three forward passes, against a float32 matrix product by numpy on all cores.",
        "",
        "| workload | engine | allocator | GFLOP/s | share of the machine |",
        "|---|---|---|---|---|",
    ]
    for (job, subject, method, measure), value in found.items():
        share = found.get((job, subject, method, "bench_rate_fraction"))
        if measure == "bench_rate" and value is not None and share is not None:
            lines.append(f"| {job} | {subject} | {method} | {value:.1f} | {share:.0%} |")
    return "\n".join(lines) + "\n" if len(lines) > 6 else ""


def _times(result: Result) -> str:
    floors = {(row.job, row.subject, row.method, row.measure): row.value for row in result.rows}
    lines = ["## All times", ""]
    for (workload, allocator), those in by_workload(result).items():
        lines += [
            f"### {workload}, {allocator} allocator",
            "",
            "| engine | ms | quartiles | calls | first call, s | peak MiB | work MiB | / floor | / any | note |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *(_time_line(one, floors) for one in those if one.status == "ok"),
            "",
        ]
    return "\n".join(lines)


def _time_line(one: Timing, found: dict[tuple[str, str, str, str], float | None]) -> str:
    key = (one.workload.name, one.engine, one.allocator)
    ratios = [found.get((*key, measure)) for measure in ("bench_ratio", "bench_ratio_any")]
    floors = [number(ratio) if ratio is not None else "" for ratio in ratios]
    work = (one.memory_peak or 0) - (one.memory_before or 0)
    name = f"**{one.engine}**" if one.role == "ours" else f"{one.engine} (floor)" if one.role == "floor" else one.engine
    cells = [
        name,
        milliseconds(one.median),
        f"{milliseconds(one.low)}-{milliseconds(one.high)}",
        str(one.calls),
        f"{one.first:.2f}" if one.first is not None else "",
        f"{one.memory_peak / 2**20:.0f}" if one.memory_peak else "",
        f"{work / 2**20:.0f}" if one.memory_peak and one.memory_before else "",
        *floors,
        "; ".join(part for part in (one.note, one.reason) if part),
    ]
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _missing(result: Result) -> str:
    """Engines without figures, and workloads that were not asked for."""
    reasons: dict[str, list[str]] = {}
    for one in result.measured:
        if one.status != "ok":
            reasons.setdefault(f"{one.engine}: {one.status}: {one.reason}", []).append(
                f"{one.workload.name} ({one.allocator})"
            )
    lines = [f"- {reason} [{', '.join(places)}]" for reason, places in reasons.items()]
    done = {one.workload for one in result.measured}
    lines += [
        f"- {workload.name} was not run{_only_in(workload)}"
        for group in FULL
        for workload in group
        if workload not in done
    ]
    return "## What was not measured\n\n" + "\n".join(lines) + "\n" if lines else ""


def _only_in(workload: Workload) -> str:
    if any(workload in group for group in DEFAULT):
        return ""
    option = "--large" if any(workload in group for group in LARGE) else "--full"
    return f": only in `trustml bench {option}`"
