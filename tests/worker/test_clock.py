"""What timings are worth: processor time beside wall time, and what others took of the machine."""

from __future__ import annotations

import time

import numpy as np
import pytest

from trustml.worker import machine_load
from trustml.worker.clock import Clock
from trustml.worker.machine_load import MachineLoad, Quota, own_seconds, quotas, resident_bytes


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
    loads = iter((2.5, 3.5, 4.5))
    monkeypatch.setattr(machine_load.os, "getloadavg", lambda: (next(loads), 0.0, 0.0))
    counted = {"/a": Quota(100, 10, 1.0), "/": Quota(100, 50, 9.0), "/gone": Quota(1, 1, 1.0)}
    monkeypatch.setattr(machine_load, "quotas", lambda: dict(counted))
    load = MachineLoad()
    counted.update({"/a": Quota(140, 30, 3.5), "/": Quota(200, 60, 9.5), "/new": Quota(9, 9, 9.0)})
    del counted["/gone"]
    clock[0], machine[0], own[0] = 20.0, 124.0, 9.0
    assert load.details() == {
        "load_before": 2.5,
        "load_after": 3.5,
        "cores": 4.0,
        "cpu_seconds": 4.0,
        "others_share": pytest.approx(20 / 40),
        "throttled_share": 0.5,
        "throttled_seconds": 2.5,
    }
    machine[0] = 100.0
    counted["/a"], counted["/"] = Quota(140, 10, 1.0), Quota(200, 50, 9.0)
    details = load.details()
    assert details["others_share"] == 0.0 and "throttled_share" not in details


@pytest.mark.parametrize(
    ("groups", "at", "stat", "expected"),
    [
        ("0::/a/b\n", "a", "nr_periods 7\nnr_throttled 2\nthrottled_usec 1500000\n", Quota(7, 2, 1.5)),
        ("0::/\n", "", "usage_usec 5\nnr_periods 7\nnr_throttled 2\nthrottled_usec 1500000\n", Quota(7, 2, 1.5)),
        (
            "5:memory:/x\n4:cpu,cpuacct:/a\n0::/\n",
            "cpu,cpuacct/a",
            "nr_periods 7\nnr_throttled 2\nthrottled_time 1500000000\n",
            Quota(7, 2, 1.5),
        ),
    ],
)
def test_quotas_of_processors_are_read_of_the_group_and_those_above(tmp_path, groups, at, stat, expected):
    (tmp_path / "groups").write_text(groups)
    (tmp_path / "mounted" / at).mkdir(parents=True)
    (tmp_path / "mounted" / at / "cpu.stat").write_text(stat)
    (tmp_path / "cpu.stat").write_text(stat)  # not below what is mounted
    found = quotas(tmp_path / "groups", tmp_path / "mounted")
    assert found == {str(tmp_path / "mounted" / at): expected}


@pytest.mark.parametrize("stat", ["", "usage_usec 5\n", "nr_periods x\nnr_throttled 1\nthrottled_usec 1\n", "\xff"])
def test_where_the_system_does_not_tell_there_are_no_quotas(tmp_path, stat):
    assert quotas(tmp_path / "nothing", tmp_path) == {}
    (tmp_path / "groups").write_text("0::/\n")
    (tmp_path / "cpu.stat").write_text(stat)
    assert quotas(tmp_path / "groups", tmp_path) == {}


def test_the_system_tells_memory_and_processor_time():
    assert 0 < resident_bytes("VmRSS") <= resident_bytes("VmHWM")
    assert resident_bytes("VmNothing") == 0
    before = own_seconds()
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert own_seconds() - before >= 0.03
