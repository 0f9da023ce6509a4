"""What workers used over time: what is drawn adds up to what was used."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.records import copy_of
from trustml.record.usage import write_usage
from trustml.report.speed.usage import has_usage, usage_frame, usage_lines


def test_workers_of_a_framework_add_up_and_pauses_are_left_out(tmp_path):
    run = copy_of("frameworks", tmp_path)
    first, second, other = (replace(run.manifest.jobs[0], id=name, backend=b) for name, b in ABOUT)
    days = 3 * 86400.0
    write_usage(run.directory, "a", ((1.0, 2**30, 1.0), (100.0, 2**30, 100.0)), started=50.0)
    write_usage(run.directory, "b", ((1.0, 2**31, 0.5), (100.0, 2**31, 50.0)), started=50.0)
    write_usage(run.directory, "c", ((1.0, 2**30, 0.0), (50.0, 2**30, 25.0)), started=50.0 + days)
    frame = usage_frame(run.directory, [first, second, other])
    width = 2 * frame.seconds.min()
    assert frame.seconds.max() < 160  # not days
    used = frame.groupby("backend").cores.sum() * width
    assert used["jax"] == pytest.approx(150.0) and used["torch"] == pytest.approx(25.0)
    jax = frame[frame.backend == "jax"]
    assert jax.memory.max() == pytest.approx(3.0) and jax.memory.iloc[-1] == 0
    assert usage_frame(run.directory, run.manifest.jobs).empty
    assert has_usage(run.directory, [*run.manifest.jobs, other])
    write_usage(run.directory, "c", ((1.0, 2**30, 0.0),), started=50.0)  # one sample draws no line
    assert not has_usage(run.directory, [*run.manifest.jobs, other])
    shown = [chart.to_dict() for chart in usage_lines(frame)]
    assert [one["encoding"]["y"]["field"] for one in shown] == ["cores", "memory"]
    assert all("strokeDash" in one["encoding"] for one in shown)  # a colour is never alone


ABOUT = (("a", "jax"), ("b", "jax"), ("c", "torch"))
