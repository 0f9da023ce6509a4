"""The regression gate: ratios of a new result against those of an old one. Times are never compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from trustml_bench.bars import BARS
from trustml_bench.judge import Ratio, judge
from trustml_bench.results import Result
from trustml_bench.rows import floor_ratio, floor_workload
from trustml_bench.workloads import Workload

ALLOWANCE = 0.15
"""Times of one engine drift by 10 to 25 % between runs on a shared machine; ratios of paired turns move less."""

Change: TypeAlias = Literal["worse", "broken", "not run", "within", "better"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One ratio, before and now.

    Attributes
    ----------
    name : str
    before : Ratio
    now : Ratio or None
    lower_is_better : bool
    change : str
        ``worse``: the interval now lies beyond the value before and the allowance. ``better``: the same to the other
        side. ``broken``: one of its engines failed now. ``not run``: was not asked for, or has no environment here.
    reason : str
    """

    name: str
    before: Ratio
    now: Ratio | None
    lower_is_better: bool
    change: Change
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class _Known:
    ratio: Ratio
    lower_is_better: bool
    engines: frozenset[tuple[Workload, str]]
    allocator: str


def compare_results(before: Result, now: Result, *, allowance: float = ALLOWANCE) -> list[Compared]:
    """Compare every ratio that `before` holds: those of the bars, and of our engines against the floors."""
    old, new = _ratios(before), _ratios(now)
    found = []
    for name, known in old.items():
        there = new.get(name)
        if there is None:
            change, reason = _why_not(known, now)
            ratio = None
        else:
            change, reason, ratio = _change(known, there.ratio, allowance), "", there.ratio
        found.append(
            Compared(
                name=name,
                before=known.ratio,
                now=ratio,
                lower_is_better=known.lower_is_better,
                change=change,
                reason=reason,
            )
        )
    return found


def passes(compared: list[Compared]) -> bool:
    """Whether nothing got worse and nothing broke."""
    return not any(one.change in ("worse", "broken") for one in compared)


def _change(before: _Known, now: Ratio, allowance: float) -> Change:
    worse, better = before.ratio.value * (1 + allowance), before.ratio.value / (1 + allowance)
    if before.lower_is_better:
        return "worse" if now.low > worse else "better" if now.high < better else "within"
    return "worse" if now.high < better else "better" if now.low > worse else "within"


def _ratios(result: Result) -> dict[str, _Known]:
    found: dict[str, _Known] = {}
    for bar in BARS:
        ratio = judge(bar, result).ratio
        if ratio is not None:
            found[bar.name] = _Known(
                ratio=ratio, lower_is_better=bar.at_most is not None, engines=bar.engines, allocator=bar.allocator
            )
    for one in result.measured:
        if one.role != "ours":
            continue
        for floor in ("its framework", "any framework"):
            against = floor_ratio(one, result, any_framework=floor == "any framework")
            if against is not None:
                found[f"{one.engine} / floor of {floor} | {one.workload.name} | {one.allocator}"] = _Known(
                    ratio=against[0],
                    lower_is_better=True,
                    engines=frozenset({(one.workload, one.engine), (floor_workload(one.workload), against[1].engine)}),
                    allocator=one.allocator,
                )
    return found


def _why_not(known: _Known, now: Result) -> tuple[Change, str]:
    there = [now.of(workload, engine, known.allocator) for workload, engine in sorted(known.engines, key=str)]
    bad = [one for one in there if one is not None and one.status in ("failed", "impossible")]
    if bad:
        return "broken", "; ".join(f"{one.engine}: {one.status}: {one.reason}" for one in bad)
    missing = [one for one in there if one is not None and one.status == "missing"]
    if missing:
        return "not run", "; ".join(f"{one.engine}: {one.reason}" for one in missing)
    return "not run", "not asked for"
