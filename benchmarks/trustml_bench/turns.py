"""Engines that live at the same time and take turns, in alternating order."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import psutil

from trustml_bench.places import NoPlace, find_place
from trustml_bench.process import EngineProcess, uninterrupted
from trustml_bench.protocol import Answer, Failed, Impossible, LookAtMemory, Memory, Ready, RunRequest, Times
from trustml_bench.results import Status, Timing
from trustml_bench.selection import Group, Seat

Listener: TypeAlias = Callable[[dict[str, Any]], None]

TURN_SECONDS = 0.35
STARTING_TOGETHER = 2
START_TIMEOUT, TURN_TIMEOUT = 400.0, 300.0
"""Seconds. TF Privacy's optimizers trace for a minute; 64 shadow models with a loader take half a minute."""
SLOW_ENGINE_SECONDS = 15.0
"""An engine that no bar needs sits out turns, so that all of its turns take about so long; at least three are left."""
GROUP_SECONDS = 200.0
"""All turns of a group are fewer, at least three, where a call of every engine lasts too long for them."""
_FEWEST = 3
_FOLDERS = re.compile(r"(?<![\w./:])/(?:[\w.+-]+/)+")
"""Of absolute paths, which are the machine's own and do not belong into a result that others read."""
LEAST_FREE_MEMORY = 2**30


class _Taken:
    """One seat while it is measured."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.process: EngineProcess | None = None
        self.ready: Ready | None = None
        self.status: Status = "ok"
        self.reason = ""
        self.every = 1
        self.turns: list[float | None] = []
        self.calls: list[float] = []
        self.memory = Memory(before=0, peak=0)

    @property
    def alive(self) -> bool:
        return self.ready is not None and self.status == "ok"

    def fail(self, answer: Answer, *, when: str) -> None:
        """Take down why it is over, and end its process."""
        match answer:
            case Impossible(reason=reason):
                self.status, self.reason = "impossible", reason
            case Failed(reason=reason):
                self.status, self.reason = "failed", f"{when}: {_FOLDERS.sub('', reason)}"
            case _:
                self.status, self.reason = "failed", f"{when}: answered out of turn"
        if self.process is not None:
            self.process.end()


def measure_group(group: Group, *, turns: int, listener: Listener) -> tuple[list[Timing], dict[str, dict[str, str]]]:
    """Measure all engines of a group.

    Parameters
    ----------
    group : Group
    turns : int
    listener : callable
        Is given events as those of a run: ``job-start``, ``stage``, ``step``, ``job-end``.

    Returns
    -------
    list of Timing
        One for every seat, whatever became of it.
    dict
        Environment to package to version.
    """
    taken = [_Taken(seat) for seat in group.seats]
    tell = _teller(listener, group.name)
    with tempfile.TemporaryDirectory(prefix="trustml-bench-") as folder, _ended(taken):
        _start(taken, group, Path(folder), tell)
        for one in taken:
            if one.ready is not None and not one.seat.judged:
                one.every = _sits_out(one.ready.warm, turns)
        _settle(taken)
        turns = _affordable(taken, turns)
        for turn in range(turns):
            tell(event="step", step=turn, steps=turns)
            for one in taken if turn % 2 else reversed(taken):
                _take_turn(one, turn)
        tell(event="step", step=turns, steps=turns)
        for one in taken:
            _look_at_memory(one)
    versions: dict[str, dict[str, str]] = {}
    for one in taken:
        if one.ready is not None:
            versions.setdefault(one.seat.engine.environment, {}).update(one.ready.versions)
    return [_measured(one, group) for one in taken], versions


def _teller(listener: Listener, name: str) -> Callable[..., None]:
    def tell(*, event: str, step: int = 0, steps: int = 0, stage: str = "") -> None:
        more = {"stage": stage} if event == "stage" else {"step": step, "steps": steps}
        listener({"event": event, "job": name, **more})

    return tell


@contextmanager
def _ended(taken: list[_Taken]) -> Iterator[None]:
    """End all processes, whatever happens."""
    try:
        yield
    finally:
        with uninterrupted():
            for one in taken:
                if one.process is not None:
                    one.process.end()


def _start(taken: list[_Taken], group: Group, folder: Path, tell: Callable[..., None]) -> None:
    """Start engines, two at a time or alone where one tries ways, and wait until each is warm or has said why not."""
    waiting: list[_Taken] = []
    queue = list(enumerate(taken))
    while queue or waiting:
        while queue and _may_start(queue[0][1], waiting):
            number, one = queue.pop(0)
            tell(event="stage", stage=f"starting {number + 1} of {len(taken)}: {one.seat.engine.name}")
            if _launch(one, group, folder / f"{number}.txt"):
                waiting.append(one)
        for one in list(waiting):
            if _heard_from(one):
                waiting.remove(one)
    tell(event="stage", stage="")


def _may_start(one: _Taken, waiting: list[_Taken]) -> bool:
    if one.seat.engine.tries or any(other.seat.engine.tries for other in waiting):
        return not waiting
    return len(waiting) < STARTING_TOGETHER


def _launch(one: _Taken, group: Group, log: Path) -> bool:
    engine = one.seat.engine
    place = find_place(engine.environment, group.allocator)
    if isinstance(place, NoPlace):
        one.status, one.reason = "missing", place.reason
        return False
    if psutil.virtual_memory().available < LEAST_FREE_MEMORY:
        one.fail(Failed(reason="less than 1 GiB of memory was left beside the other engines"), when="not started")
        return False
    with uninterrupted():
        one.process = EngineProcess(engine, one.seat.workload, place=place, log=log)
    return True


def _heard_from(one: _Taken) -> bool:
    assert one.process is not None
    answer = one.process.wait(timeout=0.1)
    if answer is None:
        if one.process.age < START_TIMEOUT:
            return False
        answer = Failed(reason=f"not ready within {START_TIMEOUT:.0f} s")
    if isinstance(answer, Ready):
        one.ready = answer
    else:
        one.fail(answer, when="starting")
    return True


def _sits_out(seconds: float, turns: int) -> int:
    """Every how many turns an engine takes one whose call lasts so long."""
    affordable = max(_FEWEST, int(SLOW_ENGINE_SECONDS / max(seconds, 1e-9)))
    return max(1, -(-turns // affordable)) if affordable < turns else 1


def _affordable(taken: list[_Taken], turns: int) -> int:
    """Turns of a group: as many as were asked for, fewer where they would last too long."""
    warm = [max(one.ready.warm, TURN_SECONDS) / one.every for one in taken if one.alive and one.ready is not None]
    return max(min(turns, _FEWEST), min(turns, int(GROUP_SECONDS / sum(warm)))) if warm else turns


def _settle(taken: list[_Taken]) -> None:
    """Some calls that do not count, one engine after another: those before were made while others started."""
    for one in taken:
        if one.alive and one.ready is not None and one.ready.warm < 1.0:
            _ask(one, RunRequest(seconds=0.1))


def _take_turn(one: _Taken, turn: int) -> None:
    if not one.alive:
        return
    if turn % one.every:
        one.turns.append(None)
        return
    seconds = _ask(one, RunRequest(seconds=TURN_SECONDS))
    if seconds:
        one.turns.append(float(np.median(seconds)))
        one.calls += seconds


def _ask(one: _Taken, question: RunRequest) -> tuple[float, ...]:
    assert one.process is not None
    answer = one.process.ask(question, timeout=TURN_TIMEOUT)
    if isinstance(answer, Times):
        return answer.seconds
    one.fail(answer, when="running")
    return ()


def _look_at_memory(one: _Taken) -> None:
    if not one.alive or one.process is None:
        return
    answer = one.process.ask(LookAtMemory(), timeout=TURN_TIMEOUT)
    if isinstance(answer, Memory):
        one.memory = answer


def _measured(one: _Taken, group: Group) -> Timing:
    engine, ready = one.seat.engine, one.ready
    found = Timing(
        workload=one.seat.workload,
        engine=engine.name,
        environment=engine.environment,
        role=engine.role,
        allocator=group.allocator,
        status=one.status,
        reason=one.reason,
    )
    if ready is None or one.status != "ok":
        return found
    low, middle, high = np.quantile(one.calls, [0.25, 0.5, 0.75]).tolist()
    taken = sum(turn is not None for turn in one.turns)
    return msgspec.structs.replace(
        found,
        reason=f"{taken} of {len(one.turns)} turns: a call lasts {ready.warm:.1f} s" if taken < len(one.turns) else "",
        note=ready.note,
        making=ready.making,
        first=ready.first,
        turns=tuple(one.turns),
        low=low,
        median=middle,
        high=high,
        calls=len(one.calls),
        memory_before=one.memory.before or None,
        memory_peak=one.memory.peak or None,
    )
