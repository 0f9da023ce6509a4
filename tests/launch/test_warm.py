"""Workers that are forked with their framework imported: which jobs may be, what they give, and how they end."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

import trustml
from tests.launch.test_process import NO_LIMITS, run_until_end
from tests.reliability.launched import fourth_backend
from trustml.launch.environments import find_environment
from trustml.launch.process import Worker, clean_environment
from trustml.launch.schedule import JobScheduler
from trustml.launch.warm import AVAILABLE, Forked, NotReadyError, WarmWorkers
from trustml.models.layers import Architecture, Dense, Flatten, NativeModule
from trustml.plan.attack_files import scores_file
from trustml.plan.forking import may_be_forked
from trustml.plan.job import ExplainJob, TrainJob
from trustml.plan.switches import job_variables
from trustml.record.files import sha256
from trustml.scenario.methods import Saliency
from trustml.scenario.places import Command
from trustml.scenario.regimes import DPSGD, Ablation, Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Execution, Explanations, Probes, Scenario

pytestmark = [pytest.mark.cold, pytest.mark.skipif(not AVAILABLE, reason="workers are forked on Linux alone")]

MODEL = Architecture(layers=(Flatten(), Dense(units=10)))
SHARED = {"backend": "torch", "model": MODEL, "input_shape": (8, 8, 1), "execution": Execution()}
TRAINED = TrainJob(
    id="train.torch.Plain.s0",
    regime=Plain(),
    seed=0,
    initial_weights="",
    data="",
    plan="",
    data_fingerprint="",
    **SHARED,
)
EXPLAINED = ExplainJob(
    id="explain.torch.of.torch.Plain.s0",
    subject=TRAINED.id,
    weights="",
    examples="",
    baselines="",
    methods=(Saliency(),),
    target="true",
    probes=Probes(),
    timing=False,
    **SHARED,
)


@pytest.fixture
def numpy_backend() -> Iterator[None]:
    with fourth_backend():
        yield


def test_explanations_without_times_of_plain_models_alone_may_be_forked(numpy_backend):
    assert may_be_forked(EXPLAINED, TRAINED)
    own = Architecture(layers=(NativeModule(backend="torch", module="somewhere:make"),))
    elsewhere = Execution(place=Command(submit=("sh",), poll=("sh",)))
    refused = [
        (TRAINED, None),
        (EXPLAINED, None),
        (replace(EXPLAINED, timing=True), TRAINED),
        (replace(EXPLAINED, model=own), TRAINED),
        (replace(EXPLAINED, execution=elsewhere), TRAINED),
        (replace(EXPLAINED, execution=Execution(warm_workers=False)), TRAINED),
        (EXPLAINED, replace(TRAINED, regime=DPSGD(epsilon=1.0, steps=1))),
        (EXPLAINED, replace(TRAINED, regime=Plain(ablation=Ablation(of="DPSGD", keeps="clipping")))),
        (EXPLAINED, replace(TRAINED, scores=scores_file(TRAINED.id))),
    ]
    assert not [job for job, subject in refused if may_be_forked(job, subject)]


def test_what_is_forked_gives_what_is_started_gives_and_says_so(tmp_path, numpy_backend):
    scenario = Scenario(
        name="warm",
        data=Digits(),
        model=MODEL,
        training=(Plain(epochs=1, batch_size=256),),
        backends=("numpy",),
        seeds=(0, 1),
        explanations=Explanations(methods=(Saliency(),), examples=4, timing=False),
        execution=Execution(threads=1, parallel_jobs=2),
    )
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    run = trustml.run(scenario, out=tmp_path, progress=False)
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    assert run.status == "success"
    assert [(one.kind, one.warm) for one in run.manifest.jobs] == [("train", False)] * 2 + [("explain", True)] * 2
    told = run.measures().query("measure == 'explain_time'")
    assert set(told["note"].str.contains("forked with its framework imported")) == {True}
    record = run.manifest.jobs[-1]
    assert record.artifacts and record.peak_memory > 2**20
    directory = run.path / "jobs" / record.id
    job = trustml.record.store.RunDirectory(run.path).job(record.id)
    environment = find_environment("numpy")
    started = Worker(
        python=environment.require(),
        folder=directory,
        variables=job_variables(job) | environment.variables,
        limits=NO_LIMITS,
        logs=tmp_path / "logs",
    )
    ended = run_until_end(started)
    assert (ended.status, ended.warm) == ("ok", False)
    assert {name: sha256(directory / name) for name in record.artifacts} == record.artifacts


def forked_by(workers: WarmWorkers, output: int, **asked) -> Forked | None:
    """Fork as soon as what it is forked from is ready."""
    asked = {"backend": "numpy", "lock": None} | asked
    while True:
        try:
            return workers.fork(output, output, **asked)
        except NotReadyError:
            while not workers.has_news():
                time.sleep(0.005)


def in_environment() -> dict:
    """Interpreter and variables of the backend of plain numpy."""
    environment = find_environment("numpy")
    return {"python": environment.require(), "variables": clean_environment() | environment.variables}


def full_pipe() -> tuple[int, int]:
    """Both ends of a pipe into which nothing fits."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(write, bytes(4096))
    os.set_blocking(write, True)
    return read, write


def blocked(workers: WarmWorkers, folder: Path) -> tuple[Forked | None, int]:
    """A worker that has no job, and waits to say so into a pipe that is full; give it and the pipe's other end."""
    read, write = full_pipe()
    forked = forked_by(workers, write, folder=folder, **in_environment())
    os.close(write)
    return forked, read


def test_one_that_is_killed_ends_alone_and_so_does_what_they_are_forked_from(tmp_path, numpy_backend, monkeypatch):
    with closing(WarmWorkers()) as workers:
        (killed, read), (other, its) = blocked(workers, tmp_path), blocked(workers, tmp_path)
        assert os.getpgid(killed.pid) == killed.pid and not killed.has_ended()
        os.kill(killed.pid, signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL and not other.has_ended()
        with open(its, "rb") as said:
            assert b"usage" in said.read()
        assert other.wait() == 2
        os.close(read)
        left, read = blocked(workers, tmp_path)
        (server,) = workers._servers.values()
        os.kill(server._process.pid, signal.SIGKILL)
        server._process.wait()
        assert not left.has_ended()
        left.kill_group()
        assert left.wait() is None
        os.close(read)
        again, read = blocked(workers, tmp_path)
        monkeypatch.setattr("trustml.launch.warm.IDLE_SECONDS", -1.0)
        workers.rest()
        assert workers._servers, "a worker of it runs"
        again.kill_group()
        assert again.wait() == -signal.SIGKILL
        os.close(read)
        workers.rest()
        assert not workers._servers, "it was idle"


def test_one_that_is_stopped_holds_nobody_up_and_what_it_forked_is_ended(tmp_path, numpy_backend):
    before = children()
    with closing(WarmWorkers()) as workers:
        left, read = blocked(workers, tmp_path)
        (server,) = workers._servers.values()
        os.kill(server._process.pid, signal.SIGSTOP)
        begun = time.monotonic()
        assert workers.fork(1, 2, backend="numpy", lock=None, folder=tmp_path, **in_environment()) is None
        assert time.monotonic() - begun < 4, "the next job is started cold"
        assert ended(children() - before) and left.wait() is None
        again, its = blocked(workers, tmp_path)
        assert again is not None, "another process took its place"
        again.kill_group()
        assert again.wait() == -signal.SIGKILL
        os.close(read)
        os.close(its)


def test_one_that_cannot_import_its_framework_is_asked_once(tmp_path, numpy_backend):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho x >> "$0.calls"\nexit 1\n')
    python.chmod(0o755)
    with closing(WarmWorkers()) as workers:
        for _ in range(2):
            assert forked_by(workers, 1, python=python, variables={}, folder=tmp_path) is None
    assert (tmp_path / "python.calls").read_text() == "x\n"


@pytest.mark.filterwarnings("ignore:os.fork")  # a test before may have imported JAX, of which the child calls nothing
def test_none_outlives_the_launcher(tmp_path, numpy_backend):
    read, write = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        try:
            workers = WarmWorkers()
            forked, _ = blocked(workers, tmp_path)
            (server,) = workers._servers.values()
            os.write(write, f"{forked.pid} {server._process.pid}".encode())
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    with open(read, "rb", buffering=0) as told:
        started = [psutil.Process(int(pid)) for pid in told.read(64).split()]
    assert len(started) == 2 and all(one.is_running() for one in started)
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    _, left = psutil.wait_procs(started, timeout=10)
    assert not left


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def ended(pids: set[int]) -> bool:
    """Whether all of them end, zombies of a process that is gone included."""
    alive = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return not psutil.wait_procs(alive, timeout=10)[1]


def test_nobody_waits_while_a_framework_is_imported(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    asked = {"backend": "numpy", "python": python, "variables": {"PATH": os.defpath}, "folder": tmp_path, "lock": None}
    with closing(WarmWorkers()) as workers:
        begun = time.monotonic()
        for _ in range(2):
            with pytest.raises(NotReadyError):
                workers.fork(1, 2, **asked)
        assert not workers.has_news() and len(workers._servers) == 1
        workers.rest()
        (server,) = workers._servers.values()
        os.kill(server._process.pid, signal.SIGKILL)
        server._process.wait()
        assert workers.has_news() and not workers.has_news()
        assert workers.fork(1, 2, **asked) is None
        assert time.monotonic() - begun < 30


def test_what_waits_for_an_import_is_begun_once_it_is_over_and_others_meanwhile(tmp_path, monkeypatch):
    asked = []

    class Importing:
        ready = False

        def has_news(self):
            return self.ready

    def start(name):
        asked.append(name)
        if name == "explain" and not scheduler._warm.ready:
            return False
        scheduler._running[name] = ()
        return True

    job = replace(EXPLAINED, execution=Execution(parallel_jobs=2))
    scheduler = object.__new__(JobScheduler)
    scheduler._warm, scheduler._running, scheduler._records = Importing(), {}, {}
    scheduler._jobs = dict.fromkeys(("explain", "other", "third"), job)
    monkeypatch.setattr("trustml.launch.schedule.job_needs", lambda job: ())
    monkeypatch.setattr(scheduler, "_start", start)
    left = scheduler._start_ready(["explain", "other", "third"])
    assert left == ["explain", "third"] and asked == ["explain", "other"], "it keeps its place"
    scheduler._warm.ready = True
    assert scheduler._start_ready(left) == ["third"] and list(scheduler._running) == ["other", "explain"]


def test_whoever_is_stopped_between_question_and_answer_loses_no_worker(tmp_path, numpy_backend):
    before = children()
    with closing(WarmWorkers()) as workers:
        first, read = blocked(workers, tmp_path)
        its, write = full_pipe()
        (server,) = workers._servers.values()
        connection, forked = server._connection, set()

        class Stopped:
            def __getattr__(self, name):
                return getattr(connection, name)

            def recv(self, size):
                assert select.select([connection], [], [], 10)[0], "its answer has come"
                forked.update(children() - before)
                raise KeyboardInterrupt

        server._connection = Stopped()
        with pytest.raises(KeyboardInterrupt):
            forked_by(workers, write, folder=tmp_path, **in_environment())
        assert len(forked) == 3 and ended(forked) and first.has_ended()
        assert first.wait() is None
    for one in (read, its, write):
        os.close(one)


def test_a_worker_that_cannot_be_followed_is_ended_and_no_other(tmp_path, numpy_backend, monkeypatch):
    with closing(WarmWorkers()) as workers:
        other, read = blocked(workers, tmp_path)
        before = children()

        def none_left(pid):
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(os, "pidfd_open", none_left)
        forked, its = blocked(workers, tmp_path)
        assert forked is None and children() == before and not other.has_ended()
        other.kill_group()
        assert other.wait() == -signal.SIGKILL
        os.close(read)
        os.close(its)
