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


def difference_ratio(sides: Sequence[tuple[Sequence[float | None], Sequence[float | None]]]) -> Ratio | str:
    """Ratio of the medians of two differences, each of two engines' turns, with its interval; or why there is none.

    All turns that all engines took are in it: without those whose difference is negative, noise alone would make a
    difference of nothing positive. The interval is made of both medians' 95 % intervals, one or the other of which is
    wrong in 10 % of all cases at most.
    """
    columns = [column for side in sides for column in side]
    taken = np.array([row for row in zip(*columns, strict=False) if None not in row], np.float64).reshape(-1, 4)
    if not len(taken):
        return "the engines took no turn together"
    left = taken[:, ::2] - taken[:, 1::2]
    above, below = np.median(left, axis=0).tolist()
    (least, most), (lowest, highest) = (median_interval(one, (1 + LEVEL) / 2) for one in left.T)
    if above <= 0 or lowest <= 0:
        return f"what is left cannot be told from nothing: {1e3 * above:.3g} and {1e3 * below:.3g} ms"
    return Ratio(value=above / below, low=max(least, 0.0) / highest, high=most / lowest, turns=len(taken))


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
    if bar.quantity == "time":
        ratio = _time_ratio(bar, above, below, result, notes)
    else:
        ratio = _memory_ratio(bar, above, below, notes)
    if isinstance(ratio, str):
        return Judged(bar=bar, verdict="not measured", reason=ratio)
    return Judged(
        bar=bar,
        verdict=verdict_of(ratio, bar),
        reason="; ".join(notes),
        ratio=ratio,
        above=above.engine,
        below=below.engine,
    )


def _memory_ratio(bar: Bar, above: Timing, below: Timing, notes: list[str]) -> Ratio | str:
    """The figure of a bar about memory, or why there is none; adds to `notes` what it was made of."""
    both = above, below
    if not all(one.memory_peak and (one.memory_before or bar.quantity == "memory") for one in both):
        return "this system does not tell peak memory"
    work = [(one.memory_peak or 0) - (one.memory_before or 0) for one in both]
    if bar.quantity == "memory":
        notes.append(f"whole processes; the work alone: {_mebibytes(work)}")
        return _exact((above.memory_peak or 0) / (below.memory_peak or 1))
    if min(work) <= 0:
        return "the work left no peak above what was there before"
    if bar.quantity == "work_mebibytes":
        return _exact(work[0] / 2**20)
    rest = [held - 2 * 4 * trained_numbers(one.workload) for held, one in zip(work, both, strict=True)]
    if min(rest) <= 0:  # what is there before is not all that the peak holds, or that of the system is coarse
        return f"nothing was seen beyond weights, gradient and noise: {_mebibytes(rest)}"
    notes.append(_mebibytes(rest))
    return _exact(rest[0] / rest[1])


def _mebibytes(those: Sequence[int]) -> str:
    return " and ".join(f"{one / 2**20:.0f}" for one in those) + " MiB"


def _time_ratio(bar: Bar, above: Timing, below: Timing, result: Result, notes: list[str]) -> Ratio | str:
    """The figure of a bar about time, or why there is none."""
    those = [above, below]
    sides: list[tuple[Sequence[float | None], Sequence[float | None]]] = []
    for side, one in ((bar.above, above), (bar.below, below)):
        off: Sequence[float | None] = [0.0] * len(one.turns)
        if side.without is not None:
            other = result.of(*side.without, bar.allocator)
            if other is None or other.status != "ok":
                return f"{side.without[1]} has no times of {side.without[0].name} ({bar.allocator} allocator)"
            those.append(other)
            off = other.turns
        sides.append((one.turns, off))
    if len({one.begun for one in those}) > 1:
        return "the engines were not run together, but at other times"
    if len(those) > 2:
        ratio = difference_ratio(sides)
    else:
        ratio = paired_ratio(above.turns, below.turns) or "the two engines took no turn together"
    if isinstance(ratio, Ratio) and ratio.turns < FEWEST_TURNS:
        notes.append(f"{ratio.turns} turns only")
    return ratio


def _exact(value: float) -> Ratio:
    return Ratio(value=value, low=value, high=value, turns=0)


def _failures(bar: Bar, result: Result) -> list[str]:
    """Engines of the bar that might have been the fastest of their side, had they not failed."""
    found = [result.of(workload, name, bar.allocator) for workload, name in sorted(bar.engines, key=str)]
    return [f"without {one.engine}, which failed" for one in found if one is not None and one.status == "failed"]
