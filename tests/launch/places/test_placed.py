"""What becomes of a job whose node, engine or launcher is lost; nothing is started, the files are written here."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from tests.launch.places.pretended import JOB, unfinished
from trustml.cli.main import _main
from trustml.errors import UsageError
from trustml.launch import schedule
from trustml.launch.places import node, placed
from trustml.launch.places import ticket as files
from trustml.launch.places.contract import Work
from trustml.launch.places.local import job_limits
from trustml.launch.places.placed import EnginePlace, PlacedWorker
from trustml.launch.places.ticket import Answer, EndedOnNode, Pulse, Ticket, fingerprint, left_at_work, require_nobody
from trustml.launch.process import Ended
from trustml.launch.resume import prepare_resume
from trustml.launch.schedule import JobScheduler, _as_released
from trustml.record.provenance import NodeRecord
from trustml.record.store import RunDirectory
from trustml.scenario.places import Resources

NODE = NodeRecord(name="n1", cores=4, memory=2**33, processor="p")
PRIVATE = "train.torch.DPSGD.s0"


class Engine:
    """Takes commands and starts none."""

    def __init__(self) -> None:
        self.there, self.cancelled, self.commands = True, [], []

    def submit(self, command, *, name, resources, folder):
        self.commands.append(command)
        return "7"

    def is_there(self, identifier):
        return self.there

    def cancel(self, identifier):
        self.cancelled.append(identifier)


def start(run: RunDirectory, engine: Engine, *, job: str = JOB) -> tuple[PlacedWorker, Path]:
    work = Work(run=run, job=run.job(job), variables={}, lock=-1, compiled=Path())
    worker = EnginePlace(engine, news_seconds=0.3).start(work)
    return worker, worker._folder


def answer(folder: Path, *, token: str = "") -> None:
    files.claim(folder)
    token = token or files.read(folder / files.TICKET, Ticket).token
    files.write(folder / files.ANSWER, Answer(token=token, node=NODE))


def wait(worker: PlacedWorker, seconds: float = 20) -> Ended:
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        ended = worker.poll()
        if ended is not None:
            return ended
        time.sleep(0.02)
    raise AssertionError("it did not end")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDirectory:
    """Each test starts jobs of its own in it."""
    return unfinished(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def own(tmp_path) -> RunDirectory:
    """One that no other test changes or looks at."""
    return unfinished(tmp_path)


def test_a_node_that_does_not_see_the_run_is_told_as_that(run, capsys, tmp_path):
    engine = Engine()
    worker, folder = start(run, engine)
    # What the node does where the path leads to nothing, or to a folder of its own: it says so, and starts nothing.
    assert node.main([str(tmp_path / "elsewhere"), "0" * 64]) == 3
    said = capsys.readouterr().err
    assert "not on storage that this node shares with the launcher" in said
    (folder / "node.err").write_text(said)
    engine.there = False
    ended = wait(worker)
    assert ended.status == "error" and "must lie on storage that nodes and launcher share" in ended.reason
    assert "holds no such ticket" in ended.reason
    # And if it starts after all, later, it is not let in.
    token = files.read(folder / files.TICKET, Ticket).token
    assert node.main([str(folder), fingerprint(token)]) == 0
    assert not (folder / files.ANSWER).exists() and "no job runs again by itself" in capsys.readouterr().err


def test_an_answer_without_the_token_is_none(run):
    worker, folder = start(run, Engine())
    answer(folder, token="another")
    time.sleep(0.3)
    assert worker.poll() is None and worker.node is None
    answer(folder)
    time.sleep(0.3)
    assert worker.poll() is None and worker.node == NODE


def test_another_token_opens_no_ticket(run, capsys):
    _, folder = start(run, Engine())
    assert node.main([str(folder), fingerprint("guessed")]) == 3
    assert not (folder / files.CLAIMED).exists()


def test_a_node_that_vanishes_ends_its_job_and_nothing_is_started_again(run):
    engine = Engine()
    worker, folder = start(run, engine)
    answer(folder)
    engine.there = False
    ended = wait(worker)
    assert ended.status == "error" and ended.reason.startswith("node n1 vanished (its engine no longer has the job)")
    assert "trustml run --resume" in ended.reason
    assert len(engine.commands) == 1 and (folder / files.STOP).exists()


def test_a_node_that_is_silent_is_given_up_though_its_engine_has_it(run, monkeypatch):
    monkeypatch.setattr(files, "LOST_SECONDS", 0.5)
    engine = Engine()
    worker, folder = start(run, engine)
    answer(folder)
    ended = wait(worker)
    assert "gave no sign" in ended.reason and engine.cancelled == ["7"]


def test_a_node_that_is_heard_of_goes_on_though_its_engine_forgot_it(run):
    engine = Engine()
    worker, folder = start(run, engine)
    answer(folder)
    engine.there = False
    begun = time.monotonic()
    while time.monotonic() - begun < 1.0:
        (folder / files.NODE_BEAT).write_text(str(time.monotonic()))
        assert worker.poll() is None
        time.sleep(0.02)
    samples = ((0.5, 3, 0.1), (1.0, 5, 0.2))
    told = EndedOnNode(status="timeout", reason="too long", seconds=3.0, peak_memory=5, samples=samples)
    files.write(folder / files.ENDED, told)
    ended = wait(worker)
    assert ended.samples == samples
    assert (ended.status, ended.reason, ended.seconds, ended.peak_memory) == ("timeout", "too long", 3.0, 5)


def test_what_waits_in_a_queue_is_taken_back_at_once(run):
    engine = Engine()
    worker, folder = start(run, engine)
    begun = time.monotonic()
    ended = worker.stop("interrupted", "stopped by the user")
    assert time.monotonic() - begun < 2 and engine.cancelled == ["7"]
    assert (ended.status, ended.reason) == ("interrupted", "stopped by the user")
    token = files.read(folder / files.TICKET, Ticket).token
    assert node.main([str(folder), fingerprint(token)]) == 0 and not (folder / files.ANSWER).exists()


@pytest.mark.parametrize(("kind", "refused"), [("tmpfs", True), ("nfs4", False)])
def test_a_ledger_that_would_be_gone_with_the_node_is_refused(run, monkeypatch, kind, refused):
    monkeypatch.setattr(node, "storage_of", lambda path: kind)
    monkeypatch.setattr(node, "_environment", lambda asked, folder: (_ for _ in ()).throw(UsageError("it went on")))
    for job in (JOB, PRIVATE):
        _, folder = start(run, Engine(), job=job)
        token = files.read(folder / files.TICKET, Ticket).token
        assert node.main([str(folder), fingerprint(token)]) == 0
        reason = files.read(folder / files.ENDED, EndedOnNode).reason
        assert ("is on tmpfs" in reason) == (refused and job == PRIVATE), reason


def test_another_version_of_trustml_is_refused(run):
    _, folder = start(run, Engine())
    ticket = files.read(folder / files.TICKET, Ticket)
    files.write(folder / files.TICKET, msgspec.structs.replace(ticket, version="0.0.1"))
    assert node.main([str(folder), fingerprint(ticket.token)]) == 0
    assert "0.0.1 where the run began" in files.read(folder / files.ENDED, EndedOnNode).reason


def test_nobody_goes_on_beside_a_node_that_still_works(own, monkeypatch, capsys):
    monkeypatch.setattr(files, "BEAT_SECONDS", 0.1)
    _, folder = start(own, Engine())
    answer(folder)
    stop = threading.Event()

    def beat() -> None:
        pulse = Pulse(folder / files.NODE_BEAT)
        while not stop.wait(0.05):
            pulse.beat()

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(UsageError, match=f"{JOB} still runs on n1, left by a launcher that is gone"):
            require_nobody(own, patience=2.0)
        own.write_manifest(msgspec.structs.replace(own.manifest(), status="running"))
        for command, shown in (("list", ("running", f'"left_on":["{NODE.name}"]')), ("jobs", (JOB, NODE.name))):
            assert _main([command, "--runs", str(own.path.parent), "--json"]) == 0
            said = capsys.readouterr().out
            assert all(word in said for word in shown), said
    finally:
        stop.set()
        thread.join()
    require_nobody(own, patience=0.3)
    assert left_at_work([own], patience=0.3) == {}


def test_going_on_takes_back_tickets_that_wait_in_a_queue(own, capsys):
    _, folder = start(own, Engine())
    require_nobody(own, patience=0.0)
    token = files.read(folder / files.TICKET, Ticket).token
    assert node.main([str(folder), fingerprint(token)]) == 0
    assert not (folder / files.ANSWER).exists()


def test_a_record_places_nothing_unasked(own):
    """Commands and addresses of somebody else's record, in the job's own file though its scenario names none."""
    job = own.job(JOB)
    place = {"kind": "command", "submit": ["sh", "{{shell}}"], "poll": ["ps", "{{id}}"]}
    prepare_resume(own, allow_overrun=False, trust_code=True, overrides=(f"execution.place={_toml(place)}",))
    assert own.job(JOB) != job
    with pytest.raises(UsageError, match=f"{JOB}: its record has it run elsewhere"):
        prepare_resume(own, allow_overrun=False)
    scenario = own.manifest().scenario
    local = {**scenario, "execution": {**scenario["execution"], "place": {"kind": "local"}}}
    own.write_manifest(msgspec.structs.replace(own.manifest(), scenario=local))
    with pytest.raises(UsageError, match="its record has it run elsewhere"):
        prepare_resume(own, allow_overrun=False)
    prepare_resume(own, allow_overrun=False, overrides=('execution.place={kind = "local"}',))
    assert own.job(JOB) == job


def _toml(place: dict) -> str:
    words = ", ".join(f"{name} = {msgspec.json.encode(value).decode()}" for name, value in place.items())
    return "{" + words + "}"


def test_limits_are_the_smaller_of_two(run):
    job = run.job(JOB)
    execution = msgspec.structs.replace(
        job.execution, timeout=100.0, memory_limit=4.0, resources={"train": Resources(time=1.0, memory=2.0)}
    )
    limits = job_limits(msgspec.structs.replace(job, execution=execution))
    assert (limits.timeout, limits.memory) == (60.0, 2 * 2**30)
    more = msgspec.structs.replace(execution, resources={"train": Resources(time=5.0), "explain": Resources(time=0.1)})
    limits = job_limits(msgspec.structs.replace(job, execution=more))
    assert (limits.timeout, limits.memory) == (100.0, 4 * 2**30)


def test_an_engine_that_answers_late_holds_nobody_up(run):
    engine = Engine()
    engine.is_there = lambda identifier: time.sleep(1.0) or True
    worker, _ = start(run, engine)
    time.sleep(0.35)
    slowest = 0.0
    for _ in range(20):
        begun = time.monotonic()
        assert worker.poll() is None
        slowest = max(slowest, time.monotonic() - begun)
        time.sleep(0.03)
    assert slowest < 0.5 and worker._question is not None


def test_a_job_that_could_not_be_asked_for_is_there_and_told_as_that_when_it_is_given_up(run, monkeypatch):
    def ask(identifier):
        raise RuntimeError("Unable to connect to the server\nat all")

    engine = Engine()
    engine.is_there = ask
    worker, folder = start(run, engine)
    begun = time.monotonic()
    while time.monotonic() - begun < 1.3:
        assert worker.poll() is None, "it may wait in a queue"
        time.sleep(0.05)
    monkeypatch.setattr(placed, "UNASKED_SECONDS", 1.0)
    ended = wait(worker)
    assert ended.status == "error" and "Unable to connect to the server" in ended.reason
    assert "storage" not in ended.reason and "\n" not in ended.reason and files.is_closed(folder)


def test_a_node_that_begins_after_hours_in_the_queue_is_not_lost_at_once(run):
    worker, folder = start(run, Engine())
    worker._ear._heard -= 10 * files.LOST_SECONDS
    worker._ear._looked = time.monotonic() + 60  # it looked a moment ago
    answer(folder)
    time.sleep(0.3)
    assert worker.poll() is None and worker.node == NODE


class Stubborn:
    """A job of which it is told when it was asked and waited for."""

    def __init__(self, name: str, told: list, error: Exception | None = None) -> None:
        self._name, self._told, self._error = name, told, error

    def ask_to_stop(self) -> None:
        self._told.append(("asked", self._name))
        if self._error:
            raise self._error

    def stop(self, status: str, reason: str) -> Ended:
        self._told.append(("waited", self._name))
        if self._error:
            raise self._error
        return _ended(status, reason)


def _ended(status: str, reason: str, code: int | None = None) -> Ended:
    return Ended(
        status=status, reason=reason, seconds=1.0, peak_memory=0, exit_code=code, stderr_tail=("x",), result=None
    )


def test_one_that_cannot_be_stopped_keeps_no_other_going_and_all_are_asked_first(own):
    jobs, told = [record.id for record in own.manifest().jobs[:3]], []
    with own.lock() as lock:
        scheduler = JobScheduler(own, listener=lambda event: None, lock=lock)
        errors = (RuntimeError("scancel"), None, OSError(5, "gone"))
        scheduler._running = {job: (Stubborn(job, told, error), None) for job, error in zip(jobs, errors, strict=True)}
        ended = scheduler._stop_all("stopped by the user")
    assert told == [("asked", job) for job in jobs] + [("waited", job) for job in jobs]
    assert {one.status for one in ended.values()} == {"interrupted"} and not scheduler._running
    assert "could not be told so (RuntimeError)" in ended[jobs[0]].reason
    assert ended[jobs[1]].reason == "stopped by the user"


def test_of_a_private_job_what_a_worker_said_is_hidden_and_what_we_say_is_not(own):
    job, said = own.job(PRIVATE), "on node n1: /runs: is on tmpfs"
    assert _as_released(_ended("error", said), job).reason == said
    hidden = _as_released(_ended("error", "no result: row 7 is 0.3", 1), job)
    assert "row 7" not in hidden.reason and hidden.stderr_tail == ()


class Brief:
    """A job that has ended when it is looked at for the first time."""

    pid, node = 0, None

    def __init__(self, looks: int = 1) -> None:
        self._looks = looks

    def poll(self) -> Ended | None:
        self._looks -= 1
        return None if self._looks else _ended("error", "no result", 1)


@pytest.mark.parametrize("looks", [1, 3])
def test_nobody_waits_while_jobs_end_and_nobody_hastens_while_they_run(own, monkeypatch, looks):
    slept, started = [], []
    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=slept.append)
    monkeypatch.setattr(schedule, "time", clock)
    place = SimpleNamespace(start=lambda work: started.append(work.job.id) or Brief(looks))
    monkeypatch.setattr(schedule, "make_place", lambda _: place)
    with own.lock() as lock:
        manifest = JobScheduler(own, listener=lambda event: None, lock=lock).execute()
    assert started and {job.status for job in manifest.jobs} <= {"ok", "error", "blocked"}
    assert bool(slept) == (looks > 1)


class Somewhere:
    """A job that runs on a node."""

    pid = 0

    def __init__(self, name: str) -> None:
        self.node = msgspec.structs.replace(NODE, name=name)


@pytest.mark.parametrize(("names", "shared"), [(("n1", "n2"), []), (("n1", "n1"), [0, 1]), (("n2", "n1"), [])])
def test_jobs_of_one_node_disturb_each_other_and_those_of_two_do_not(own, names, shared):
    with own.lock() as lock:
        scheduler = JobScheduler(own, listener=lambda event: None, lock=lock)
        jobs = [record.id for record in own.manifest().jobs[:2]]
        scheduler._running = {job: (Somewhere(name), None) for job, name in zip(jobs, names, strict=True)}
        scheduler._note_nodes()
        scheduler._save_if_due()
    records = {record.id: record for record in own.manifest().jobs}
    assert [records[job].node.name for job in jobs] == list(names)
    assert [number for number, job in enumerate(jobs) if records[job].concurrent] == shared


def test_asking_an_engine_is_seldom(run, monkeypatch):
    asked = []
    engine = Engine()
    engine.is_there = lambda identifier: asked.append(identifier) or True
    monkeypatch.setattr(placed, "_LOOK_SECONDS", 0.0)
    worker, _ = start(run, engine)
    worker._news = 30.0
    for _ in range(50):
        assert worker.poll() is None
    assert asked == []


def test_all_that_a_launcher_tells_of_an_end_comes_from_the_node():
    """But the worker's own result, which lies in the run, and that it was forked, as none of a node is."""
    told = {field.name for field in dataclasses.fields(Ended)}
    assert set(EndedOnNode.__struct_fields__) == told - {"result", "warm"}
