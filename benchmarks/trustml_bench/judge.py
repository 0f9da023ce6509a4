"""A ratio of two engines, its interval, and what that says of a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import comb
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from trustml_bench.bars import BARS, Bar, Side
from trustml_bench.places import Allocator
from trustml_bench.results import Result, Timing
from trustml_bench.workloads import LARGE, trained_numbers

LEVEL = 0.90
FEWEST_TURNS = 7

Verdict: TypeAlias = Literal["met", "met within noise", "not met", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio with its interval; `turns` pairs are behind it, and 0 where there is no interval."""

    value: float
    low: float
    high: float
    turns: int


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A bar and what was measured of it.

    Attributes
    ----------
    bar : Bar
    verdict : str
    reason : str
        Why it was not measured, or what a reader should know.
    ratio : Ratio or None
    above, below : str
        Engines that were the fastest of each side.
    other : Ratio or None
        The same ratio under the other setting of the allocator, if that was run.
    """

    bar: Bar
    verdict: Verdict
    reason: str = ""
    ratio: Ratio | None = None
    above: str = ""
    below: str = ""
    other: Ratio | None = None


def judge_all(result: Result, bars: Sequence[Bar] = BARS) -> list[Judged]:
    """Judge every bar, in its order: those about networks of real size, or small ones, where only such were run."""
    sizes = {one.workload.network in LARGE for one in result.measured} or {True, False}
    return [judge(bar, result) for bar in bars if bar.large in sizes]


def judge(bar: Bar, result: Result) -> Judged:
    """Judge one bar under its own setting of the allocator, and look at the other."""
    other: Allocator = "default" if bar.allocator == "tuned" else "tuned"
    found = _judge(bar, result)
    return replace(found, other=_judge(msgspec.structs.replace(bar, allocator=other), result).ratio)


def verdict_of(ratio: Ratio, bar: Bar) -> Verdict:
    """*met within noise* is a median on the wrong side of a bound that the interval holds."""
    over = bar.at_most is not None
    if ratio.value <= bar.bound if over else ratio.value >= bar.bound:
        return "met"
    return "met within noise" if ratio.low <= bar.bound <= ratio.high else "not met"


def paired_ratio(above: Sequence[float | None], below: Sequence[float | None]) -> Ratio | None:
    """Median of the ratios of turns that both engines took, with its interval; None without such a turn.

    Pairs, because two engines' times in one turn are seconds apart, and what slows the machine slows both.
    """
    pairs = [(a, b) for a, b in zip(above, below, strict=False) if a is not None and b]
    if not pairs:
        return None
    logarithms = np.log([a for a, _ in pairs]) - np.log([b for _, b in pairs])
    low, high = median_interval(logarithms)
    middle, low, high = np.exp([np.median(logarithms), low, high]).tolist()
    return Ratio(value=middle, low=low, high=high, turns=len(pairs))


def median_interval(values: npt.ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a median by order statistics, interpolated between the two nearest levels.

    Without interpolation the interval from the k-th smallest to the k-th largest of n values holds the median with
    probability 1 - 2 P(Binomial(n, 1/2) < k), whatever the law of the values; for n = 7 that is 98.4 % or 87.5 %. The
    interpolation (Hettmansperger and Sheather, Statistics & Probability Letters 4, 1986) comes close to `level` for all
    but strange laws. Where n is too small for the level (4 and fewer at 90 %), the interval is the range.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    count = len(ordered)
    # levels[k - 1] belongs to the interval from the k-th smallest to the k-th largest
    below = np.cumsum([comb(count, k) for k in range(count // 2 + 1)]) / 2.0**count
    levels = 1 - 2 * below[: max(1, count // 2)]
    if levels[0] <= level:
        return float(ordered[0]), float(ordered[-1])
    for rank, (wide, narrow) in enumerate(pairwise([*levels, 0.0]), start=1):
        if narrow <= level:
            share = (wide - level) / (wide - narrow)
            weight = (count - rank) * share / (rank + (count - 2 * rank) * share)
            inner = min(rank, count - 1)
            low = (1 - weight) * ordered[rank - 1] + weight * ordered[inner]
            high = (1 - weight) * ordered[count - rank] + weight * ordered[count - 1 - inner]
            return float(low), float(high)
    raise AssertionError("the last level is 0")


def fastest(side: Side, result: Result, allocator: Allocator) -> Timing | str:
    """The engine of a side with the shortest median turn, or why there is none."""
    found = [result.of(side.workload, name, allocator) for name in side.engines]
    there = [one for one in found if one is not None]
    ready = [one for one in there if one.status == "ok"]
    if ready:
        return min(ready, key=typical)
    if not any(one.workload == side.workload and one.allocator == allocator for one in result.measured):
        return f"{side.workload.name} was not run ({allocator} allocator)"
    if not there:
        return f"{' / '.join(side.engines)} was not run on {side.workload.name} ({allocator} allocator)"
    return "; ".join(dict.fromkeys(f"{one.engine}: {one.status}: {one.reason}" for one in there))


def typical(one: Timing) -> float:
    """Median of the turns' medians, in seconds."""
    return float(np.median([seconds for seconds in one.turns if seconds is not None]))


def _judge(bar: Bar, result: Result) -> Judged:
    if bar.quantity == "passes":
        return Judged(
            bar=bar, verdict="not measured", reason="a count of passes, not a time: see the tests of the rules"
        )
    above, below = (fastest(side, result, bar.allocator) for side in (bar.above, bar.below))
    if isinstance(above, str) or isinstance(below, str):
        reason = "; ".join(dict.fromkeys(part for part in (above, below) if isinstance(part, str)))
        return Judged(bar=bar, verdict="not measured", reason=reason)
    notes = _failures(bar, result)
    if bar.quantity == "memory":
        if not above.memory_peak or not below.memory_peak:
            return Judged(bar=bar, verdict="not measured", reason="this system does not tell peak memory")
        ratio = _exact(above.memory_peak / below.memory_peak)
        extra = [(one.memory_peak or 0) - (one.memory_before or 0) for one in (above, below)]
        notes.append(f"whole processes; the work alone: {extra[0] / 2**20:.0f} and {extra[1] / 2**20:.0f} MiB")
    elif bar.quantity in ("work_mebibytes", "memory_beyond_weights"):
        worked = _work_memory(above), _work_memory(below)
        if not all(worked):
            return Judged(bar=bar, verdict="not measured", reason="this system does not tell peak memory")
        if bar.quantity == "work_mebibytes":
            ratio = _exact(worked[0] / 2**20)
        else:
            rest = [
                work - 2 * 4 * trained_numbers(one.workload) for work, one in zip(worked, (above, below), strict=True)
            ]
            notes.append(f"{rest[0] / 2**20:.0f} and {rest[1] / 2**20:.0f} MiB")
            ratio = _exact(max(rest[0], 0) / max(rest[1], 1))
    else:
        turns = [_turns(side, one, result) for side, one in ((bar.above, above), (bar.below, below))]
        found = paired_ratio(*turns)
        if found is None:
            return Judged(bar=bar, verdict="not measured", reason="the two engines took no turn together")
        ratio = found
        if ratio.turns < FEWEST_TURNS:
            notes.append(f"{ratio.turns} turns only")
    return Judged(
        bar=bar,
        verdict=verdict_of(ratio, bar),
        reason="; ".join(notes),
        ratio=ratio,
        above=above.engine,
        below=below.engine,
    )


def _exact(value: float) -> Ratio:
    return Ratio(value=value, low=value, high=value, turns=0)


def _work_memory(one: Timing) -> int:
    """Bytes that the work held at most, above what was resident before; 0 where the system does not tell."""
    return one.memory_peak - one.memory_before if one.memory_peak and one.memory_before else 0


def _turns(side: Side, one: Timing, result: Result) -> list[float | None]:
    """Seconds of every turn, without those of what the side leaves out."""
    if side.without is None:
        return list(one.turns)
    other = result.of(*side.without, one.allocator)
    off = other.turns if other is not None and other.status == "ok" else ()
    return [a - b if a is not None and b is not None and a > b else None for a, b in zip(one.turns, off, strict=False)]


def _failures(bar: Bar, result: Result) -> list[str]:
    """Engines of the bar that might have been the fastest of their side, had they not failed."""
    found = [result.of(workload, name, bar.allocator) for workload, name in sorted(bar.engines, key=str)]
    return [f"without {one.engine}, which failed" for one in found if one is not None and one.status == "failed"]
