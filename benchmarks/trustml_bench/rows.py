"""The tidy table of a benchmark."""

from __future__ import annotations

import msgspec

from trustml.measures.row import Row
from trustml_bench.arithmetic import step_operations
from trustml_bench.judge import Ratio, paired_ratio, typical
from trustml_bench.results import BENCH_MEASURES, Result, Timing
from trustml_bench.workloads import Workload

_FRAMEWORK = {"fedjax": "jax", "flower": "torch"}


def with_rows(result: Result) -> Result:
    """The same result with its table made anew."""
    rows: list[Row] = []
    for one in result.measured:
        rows += _rows(one, result)
    return msgspec.structs.replace(result, rows=tuple(rows))


def framework_of(environment: str) -> str:
    """Framework that an environment's engines compute with."""
    return _FRAMEWORK.get(environment, environment)


def floor_ratio(one: Timing, result: Result, *, any_framework: bool) -> tuple[Ratio, Timing] | None:
    """Time over that of the fastest floor of its framework, or of any; None where there is no floor."""
    if one.status != "ok" or one.role == "floor":
        return None
    floors = [
        other
        for other in result.measured
        if other.role == "floor"
        and other.status == "ok"
        and other.allocator == one.allocator
        and other.begun == one.begun
        and other.workload == floor_workload(one.workload)
        and (any_framework or framework_of(other.environment) == framework_of(one.environment))
    ]
    if not floors:
        return None
    floor = min(floors, key=typical)
    ratio = paired_ratio(one.turns, floor.turns)
    return None if ratio is None else (ratio, floor)


def floor_workload(workload: Workload) -> Workload:
    """Workload of the floor: a private step's is the plain step, all others have theirs beside them."""
    steps = ("private_step", "noisy_step")
    return msgspec.structs.replace(workload, kind="plain_step") if workload.kind in steps else workload


def _rows(one: Timing, result: Result) -> list[Row]:
    if one.status != "ok" or one.median is None:
        return [_row(one, result, "bench_time", None, note=f"absent: {one.status}: {one.reason}")]
    note = "; ".join(part for part in (one.note, one.reason) if part)
    spread = f"quartiles of {one.calls} calls in {len(one.turns)} turns"
    spread += f"; {note}" if note else ""
    found = [
        _row(
            one,
            result,
            "bench_time",
            one.median,
            one.low,
            one.high,
            n=one.calls,
            note=spread,
        ),
        _row(one, result, "bench_first", one.first, note="two engines start at the same time"),
    ]
    if one.memory_peak is not None:
        found.append(_row(one, result, "bench_peak_memory", float(one.memory_peak)))
    if one.memory_peak is not None and one.memory_before is not None:
        found.append(_row(one, result, "bench_work_memory", float(one.memory_peak - one.memory_before)))
    for measure, any_framework in (("bench_ratio", False), ("bench_ratio_any", True)):
        against = floor_ratio(one, result, any_framework=any_framework)
        if against is not None:
            ratio, floor = against
            note = f"against {floor.engine}; 90 % interval of {ratio.turns} paired turns"
            found.append(_row(one, result, measure, ratio.value, ratio.low, ratio.high, n=ratio.turns, note=note))
    operations = step_operations(one.workload) if one.workload.kind == "plain_step" else None
    if operations is not None:
        rate = operations / one.median / 1e9
        found.append(_row(one, result, "bench_rate", rate, note="three forward passes' arithmetic"))
        if result.ceilings is not None:
            share = rate * 1e9 / result.ceilings.flops_all_cores
            found.append(_row(one, result, "bench_rate_fraction", share, note="of a float32 matrix product, all cores"))
    return found


def _row(
    one: Timing,
    result: Result,
    measure: str,
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    *,
    n: int = 1,
    note: str = "",
) -> Row:
    return Row(
        run=result.created,
        job=one.workload.name,
        backend=one.environment,
        regime="-",
        seed=-1,
        subject=one.engine,
        method=one.allocator,
        measure=measure,
        value=value,
        low=low,
        high=high,
        unit=BENCH_MEASURES[measure].unit,
        n=n if value is not None else 0,
        note=note,
    )
