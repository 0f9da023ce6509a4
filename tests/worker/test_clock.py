"""What timings are worth: processor time beside wall time, and what others took of the machine."""

from __future__ import annotations

import time

import numpy as np
import pytest

from trustml.worker import machine_load
from trustml.worker.clock import Clock
from trustml.worker.machine_load import MachineLoad, own_seconds, resident_bytes


def test_processor_time_stands_beside_wall_time():
    clock = Clock(lambda: None)
    with clock.step(examples=3):
        time.sleep(0.05)
    with clock.step(examples=3):
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
    clock.epoch(4.0, [2, 1], processor=6.0)
    arrays = clock.arrays()
    assert arrays["seconds"][0] >= 0.05 > 5 * arrays["cpu_seconds"][0], "who sleeps uses no processor"
    assert arrays["seconds"][1] * 1.5 >= arrays["cpu_seconds"][1] >= 0.02
    np.testing.assert_array_equal(arrays["cpu_seconds"][2:], 3.0)
    np.testing.assert_array_equal(arrays["seconds"][2:], 2.0)
    assert len(arrays["examples"]) == 4


def test_what_others_used_is_what_was_used_less_our_own(monkeypatch):
    clock, machine, own = [10.0], [100.0], [5.0]
    monkeypatch.setattr(machine_load.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(machine_load.psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(machine_load, "machine_seconds", lambda: machine[0])
    monkeypatch.setattr(machine_load, "own_seconds", lambda: own[0])
    monkeypatch.setattr(machine_load.os, "getloadavg", lambda: (2.5, 0.0, 0.0))
    load = MachineLoad()
    clock[0], machine[0], own[0] = 20.0, 124.0, 9.0
    assert load.details() == {
        "load_before": 2.5,
        "cores": 4.0,
        "cpu_seconds": 4.0,
        "others_share": pytest.approx(20 / 40),
    }
    machine[0] = 100.0
    assert load.details()["others_share"] == 0.0


def test_the_system_tells_memory_and_processor_time():
    assert 0 < resident_bytes("VmRSS") <= resident_bytes("VmHWM")
    assert resident_bytes("VmNothing") == 0
    before = own_seconds()
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert own_seconds() - before >= 0.03
