"""The manifest of thousands of jobs is long: it is written for a part of the time, and nothing is told before it."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from tests.records import measured_anew
from trustml.launch import schedule
from trustml.launch.process import Ended
from trustml.launch.schedule import JobScheduler
from trustml.plan.job import promises_privacy
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


ENDED = Ended(status="error", reason="no result", seconds=1.0, peak_memory=0, exit_code=1, stderr_tail=(), result=None)


def kinds(scheduler):
    """Names of a job of which no privacy is promised, and of one of which it is."""
    private = {name: promises_privacy(job) for name, job in scheduler._jobs.items()}
    return next(name for name in private if not private[name]), next(name for name in private if private[name])


def test_an_end_is_told_once_it_is_on_disk(scheduler):
    plain, _ = kinds(scheduler)
    change(scheduler, plain)
    scheduler._save_if_due()
    scheduler._record_end(plain, ENDED)
    scheduler._save_if_due()
    assert scheduler.told == [] and len(scheduler.written) == 1, "it waits for the next writing"
    scheduler.now += 10 * SLOW
    scheduler._save_if_due()
    assert [event["job"] for event in scheduler.told] == [plain]
    assert {job.id: job.status for job in scheduler.written[-1].jobs}[plain] == "error"


def test_the_end_of_a_private_training_is_written_at_once(scheduler):
    plain, private = kinds(scheduler)
    change(scheduler, plain)
    scheduler._save_if_due()
    scheduler._record_end(private, ENDED)
    scheduler._save_if_due()
    assert [event["job"] for event in scheduler.told] == [private] and len(scheduler.written) == 2


def test_what_ends_before_it_begins_is_told_once_it_is_on_disk(scheduler, monkeypatch):
    plain, _ = kinds(scheduler)
    change(scheduler, plain)
    scheduler._save_if_due()
    taken = msgspec.structs.replace(scheduler._records[plain], status="ok", reused_from="another")
    scheduler._finished = SimpleNamespace(take_over=lambda job, record: taken)
    assert scheduler._start(plain) and scheduler.told == []
    monkeypatch.setattr(schedule, "job_needs", lambda job: (plain,))
    scheduler._update(msgspec.structs.replace(taken, status="error"))
    other = next(name for name in scheduler._records if name != plain)
    assert scheduler._start_ready([other]) == [] and scheduler.told == []
    scheduler.now += 10 * SLOW
    scheduler._save_if_due()
    assert [(event["job"], event["status"]) for event in scheduler.told] == [(plain, "ok"), (other, "blocked")]


def test_where_all_places_are_taken_the_rest_is_not_looked_at(scheduler, monkeypatch):
    job = SimpleNamespace(execution=Execution(parallel_jobs=1))
    names = [str(number) for number in range(4000)]
    scheduler._jobs, looked = dict.fromkeys(names, job), []
    monkeypatch.setattr(schedule, "job_needs", lambda job: looked.append(job) or ())
    monkeypatch.setattr(scheduler, "_start", lambda name: scheduler._running.update({name: ()}) or True)
    assert scheduler._start_ready(names) == names[1:] and len(looked) == 1
