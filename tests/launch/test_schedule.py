"""The manifest of thousands of jobs is long: it is written for a part of the time, and nothing is told before it."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from tests.records import measured_anew
from trustml.launch import schedule
from trustml.launch.schedule import JobScheduler
from trustml.scenario.spec import Execution

SLOW = 1.0  # seconds that writing the manifest takes


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    """One whose clock is set by what it does: only writing takes time."""
    run = measured_anew("twice", tmp_path).directory
    made = JobScheduler(run, listener=lambda event: made.told.append(event), lock=-1)
    made.told, made.written, made.now = [], [], 0.0
    monkeypatch.setattr(schedule.time, "monotonic", lambda: made.now)

    def write(manifest):
        made.now += SLOW
        made.written.append(manifest)

    monkeypatch.setattr(run, "write_manifest", write)
    monkeypatch.setattr(run, "append_event", lambda event: None)
    return made


def change(scheduler, name):
    record = scheduler._records[name]
    scheduler._update(msgspec.structs.replace(record, attempt=record.attempt + 1))


def test_writing_takes_a_part_of_the_time(scheduler):
    first = next(iter(scheduler._records))
    for _ in range(1000):
        change(scheduler, first)
        scheduler._save_if_due()
        scheduler.now += 0.05
    share = SLOW * len(scheduler.written) / scheduler.now
    assert 0.1 < share < 0.25
    scheduler._finish("success")
    assert scheduler.written[-1].jobs[0] == scheduler._records[first], "nothing is lost at the end"


def test_an_end_is_told_once_it_is_on_disk(scheduler):
    first, second, *_ = scheduler._records
    for name in (first, second):
        change(scheduler, name)
        scheduler._after_save.append(lambda name=name: scheduler._tell({"event": "job-end", "job": name}))
        scheduler._save_if_due()
    assert [event["job"] for event in scheduler.told] == [first], "the second waits for the next writing"
    scheduler.now += 10 * SLOW
    scheduler._save_if_due()
    assert [event["job"] for event in scheduler.told] == [first, second]


def test_where_all_places_are_taken_the_rest_is_not_looked_at(scheduler, monkeypatch):
    job = SimpleNamespace(execution=Execution(parallel_jobs=1))
    names = [str(number) for number in range(4000)]
    scheduler._jobs, looked = dict.fromkeys(names, job), []
    monkeypatch.setattr(schedule, "job_needs", lambda job: looked.append(job) or ())
    monkeypatch.setattr(scheduler, "_start", lambda name: scheduler._running.update({name: ()}) or True)
    assert scheduler._start_ready(names) == names[1:] and len(looked) == 1
