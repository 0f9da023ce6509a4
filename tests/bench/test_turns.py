"""Processes of engines: how they answer, die and are ended. Fakes of no library."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.bench.fakes import WORKLOAD, engine, seat
from trustml_bench import places, turns
from trustml_bench.engine import Engine
from trustml_bench.places import Place, find_place
from trustml_bench.process import EngineProcess
from trustml_bench.protocol import Failed, LookAtMemory, Memory, Ready, RunRequest, Times
from trustml_bench.selection import Group
from trustml_bench.turns import _FOLDERS, _sits_out, measure_group

ROOT = str(Path(__file__).resolve().parents[2])


@pytest.fixture(autouse=True)
def fakes_are_found(monkeypatch):
    """Show the processes the fakes of the tests."""
    real = places.switch_variables
    monkeypatch.setattr(places, "switch_variables", lambda execution: real(execution) | {"PYTHONPATH": ROOT})


@pytest.fixture
def started(tmp_path):
    """Start an engine that is ended with the test."""
    running = []

    def start(function: str) -> EngineProcess:
        place = find_place("jax", "tuned")
        assert isinstance(place, Place)
        running.append(EngineProcess(engine(function), WORKLOAD, place=place, log=tmp_path / f"{len(running)}.txt"))
        return running[-1]

    yield start
    for process in running:
        process.end()


def test_a_group_keeps_going_when_engines_fail(monkeypatch):
    monkeypatch.delenv("TRUSTML_BENCH_FEDJAX", raising=False)
    events = []
    names = ["quick", "refuses", "breaks", "dies_later"]
    seats = (*(seat(name) for name in names), seat("quick", environment="fedjax"))
    found, versions = measure_group(Group(allocator="tuned", seats=seats), turns=3, listener=events.append)
    quick, refuses, breaks, dies, missing = found
    assert quick.status == "ok" and len(quick.turns) == 3 and quick.calls >= 3
    assert all(0.001 <= turn < 0.5 for turn in quick.turns)
    assert quick.low <= quick.median <= quick.high
    assert (refuses.status, refuses.reason) == ("impossible", "nobody wrote it")
    assert breaks.status == "failed" and "KeyError" in breaks.reason
    assert dies.status == "failed" and "SIGKILL" in dies.reason and "last words" in dies.reason
    assert missing.status == "missing" and "pip install --no-deps --target FOLDER fedjax" in missing.reason
    assert versions["jax"]["numpy"]
    assert [event["step"] for event in events if event["event"] == "step"] == [0, 1, 2, 3]


def test_a_group_takes_as_many_turns_as_it_can_afford():
    def taken(*seconds: float) -> list:
        found = []
        for warm in seconds:
            one = turns._Taken(seat("quick"))
            one.ready = Ready(making=1.0, first=1.0, warm=warm, versions={})
            found.append(one)
        return found

    assert turns._affordable(taken(0.001, 0.5), 7) == 7
    assert turns._affordable(taken(10.0, 20.0, 10.0), 7) == 5
    assert turns._affordable(taken(100.0, 200.0), 7) == 3
    assert turns._affordable(taken(100.0, 200.0), 2) == 2
    assert turns._affordable([], 7) == 7


def test_the_end_takes_children_along(started):
    process = started("with_child")
    assert isinstance(process.wait(timeout=60), Ready)
    child = psutil.Process(int(process.last_words().rpartition("child ")[2]))
    assert child.is_running()
    process.end()
    process.end()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child.pid) and psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not psutil.pid_exists(process.pid)


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts, also where whoever started the tests put them into the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_an_engine_starts_leaves_none_behind(monkeypatch, interruptible):
    begun: list[EngineProcess] = []

    class Interrupted(EngineProcess):
        """Ctrl-C comes when its process is there, and nobody knows it yet."""

        def __init__(self, *arguments, **named) -> None:
            super().__init__(*arguments, **named)
            begun.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(turns, "EngineProcess", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_group(Group(allocator="tuned", seats=(seat("quick"),)), turns=3, listener=lambda event: None)
    (process,) = begun
    ended = not psutil.pid_exists(process.pid)
    process.end()
    assert ended
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_engines_are_ended_ends_all(monkeypatch, interruptible):
    real, begun = EngineProcess.end, list[EngineProcess]()

    def interrupted(process: EngineProcess) -> None:
        begun.append(process)
        signal.raise_signal(signal.SIGINT)
        real(process)

    monkeypatch.setattr(EngineProcess, "end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_group(
            Group(allocator="tuned", seats=(seat("quick"), seat("slow"))), turns=1, listener=lambda event: None
        )
    assert len(begun) == 2 and not any(psutil.pid_exists(process.pid) for process in begun)


@pytest.mark.tensorflow
@pytest.mark.long
def test_an_engine_enters_another_environment_by_path(tmp_path):
    place = find_place("tensorflow", "tuned")
    assert isinstance(place, Place)
    maker = Engine(
        name="ours", environment="tensorflow", maker="own:plain_step:tensorflow", kinds=("plain_step",), role="ours"
    )
    process = EngineProcess(maker, WORKLOAD, place=place, log=tmp_path / "log.txt")
    try:
        ready = process.wait(timeout=300)
    finally:
        process.end()
    assert isinstance(ready, Ready), ready
    assert ready.first > 0 and "tensorflow" in ready.versions and "torch" not in ready.versions


def test_turns_last_as_long_as_asked_and_memory_is_told(started):
    process = started("holds")
    ready = process.wait(timeout=60)
    assert isinstance(ready, Ready) and ready.first > 0 and ready.making >= 0
    answer = process.ask(RunRequest(seconds=0.0), timeout=30)
    assert isinstance(answer, Times) and len(answer.seconds) == 1
    answer = process.ask(RunRequest(seconds=30.0, calls=5), timeout=30)
    assert isinstance(answer, Times) and len(answer.seconds) == 5
    memory = process.ask(LookAtMemory(), timeout=30)
    assert isinstance(memory, Memory)
    assert 50 * 2**20 < memory.peak - memory.before < 200 * 2**20
    os.kill(process.pid, 9)
    assert isinstance(process.ask(LookAtMemory(), timeout=30), Failed)


def test_an_engine_that_does_not_answer_in_time_has_failed(started):
    process = started("slow")
    assert isinstance(process.wait(timeout=60), Ready)
    answer = process.ask(RunRequest(seconds=5.0), timeout=0.05)
    assert answer == Failed(reason="no answer within 0 s")


def test_slow_engines_sit_out_turns_but_take_three():
    assert _sits_out(0.001, 7) == 1
    assert _sits_out(3.0, 7) == 2  # 15 s allow five turns; every second one is four
    assert _sits_out(100.0, 7) == 3
    taken = [sum(turn % _sits_out(seconds, 7) == 0 for turn in range(7)) for seconds in np.logspace(-3, 3, 20)]
    assert min(taken) >= 3


def test_the_default_setting_leaves_the_allocator_alone():
    tuned, default = (find_place("jax", allocator) for allocator in ("tuned", "default"))
    assert any(name.startswith("MALLOC_") for name in tuned.variables)
    assert not any(name.startswith("MALLOC_") for name in default.variables)
    assert find_place("nowhere", "tuned").reason == "there is no environment 'nowhere'"


def test_reasons_name_no_folders():
    text = "No such file '/home/me/.venv/lib/python3.11/x.py', line 3; 1/2 of a/b/c at https://a.b/c"
    assert _FOLDERS.sub("", text) == "No such file 'x.py', line 3; 1/2 of a/b/c at https://a.b/c"
