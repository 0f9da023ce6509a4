"""Ray and submitit for real: long, and only where they are installed (``trustml[ray,slurm]``)."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.launch.places.pretended import DONE, JOB, pretend, unfinished
from trustml.errors import EnvironmentMissingError
from trustml.launch.places import ray as ray_place
from trustml.launch.places import slurm
from trustml.launch.schedule import JobScheduler
from trustml.record.store import RunDirectory
from trustml.scenario.places import Ray, Resources, Slurm

RAY = 'execution.place={kind = "ray", address = "%s"}'


def execute(run: RunDirectory):
    with run.lock() as lock:
        manifest = JobScheduler(run, listener=lambda event: None, lock=lock).execute()
    return next(record for record in manifest.jobs if record.id == JOB)


def test_what_slurm_is_asked_for_is_never_queued_again():
    asked = slurm.parameters(
        Slurm(partition="gpu", account="a7", setup=("module load cuda",)),
        Resources(cores=4, memory=16.0, gpus=1, time=90.0),
        name="trustml-train.jax.DPSGD.s0",
        cluster="slurm",
    )
    assert asked == {
        "name": "trustml-train-jax-DPSGD-s0",
        "cpus_per_task": 4,
        "mem_gb": 16.0,
        "gpus_per_node": 1,
        "timeout_min": 95,
        "slurm_additional_parameters": {"no_requeue": True},
        "slurm_partition": "gpu",
        "slurm_account": "a7",
        "slurm_setup": ["module load cuda"],
    }


def test_what_ray_is_asked_for():
    asked = ray_place.options(Ray(node_resources={"tensorflow": 1.0}), Resources(cores=2, gpus=1, memory=1.5), name="j")
    assert asked == {
        "name": "j", "num_cpus": 2, "num_gpus": 1, "memory": int(1.5 * 2**30), "resources": {"tensorflow": 1.0},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("engine", "package"), [(slurm.SlurmEngine(Slurm()), "submitit"), (ray_place.RayEngine(Ray()), "ray")]
)
def test_what_is_not_installed_is_told_with_its_extra(monkeypatch, tmp_path, engine, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EnvironmentMissingError, match=package):
        engine.submit(("x",), name="n", resources=Resources(), folder=tmp_path)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Slurm(python="/opt/my env/python"), {"slurm_python": "'/opt/my env/python'"}),
        (Slurm(), {}),
        (Slurm(python="/opt/python", cluster="local"), {}),
    ],
)
def test_submitit_is_read_by_the_interpreter_of_the_nodes(monkeypatch, tmp_path, spec, expected):
    asked = []

    class Executor:
        cluster = spec.cluster

        def __init__(self, **options):
            asked.append(options)

        def update_parameters(self, **options):
            pass

        def submit(self, *command):
            return SimpleNamespace(job_id="12")

    monkeypatch.setattr(slurm, "_submitit", lambda: SimpleNamespace(AutoExecutor=Executor))
    assert slurm.SlurmEngine(spec).submit(("x",), name="n", resources=Resources(), folder=tmp_path) == "12"
    assert asked == [{"folder": tmp_path, "cluster": spec.cluster, **expected}]


@pytest.mark.long
def test_slurm_scripts_say_no_requeue(tmp_path):
    pytest.importorskip("submitit")
    from submitit.slurm.slurm import _make_sbatch_string

    asked = slurm.parameters(Slurm(), Resources(), name="n", cluster="slurm")
    script = _make_sbatch_string("command", tmp_path, additional_parameters=asked["slurm_additional_parameters"])
    assert "#SBATCH --no-requeue" in script.splitlines()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # submitit waits for no process
def test_submitit_starts_a_job(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    pretend(tmp_path, monkeypatch)
    run = unfinished(tmp_path, overrides=('execution.place={kind = "slurm", cluster = "local"}',))
    record = execute(run)
    assert (record.status, record.node.name) == ("ok", socket.gethostname()), record.reason


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # submitit waits for no process
def test_submitit_ends_a_job_that_is_stopped(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    pretend(tmp_path, monkeypatch, does=f"echo $$ > {tmp_path / 'pid'}; sleep 30; {DONE}")
    run = unfinished(tmp_path, overrides=('execution.place={kind = "slurm", cluster = "local"}',))

    def interrupt() -> None:
        written(tmp_path / "pid")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    record = execute(run)
    thread.join()
    assert record.status == "interrupted"
    assert gone(int((tmp_path / "pid").read_text()))


def written(path: Path, *, seconds: float = 120) -> int:
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < deadline, f"{path.name} was not written"
        time.sleep(0.1)
    return int(path.read_text())


def gone(pid: int, *, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "resources": {"head": 1}})
    yield found
    import ray

    ray.shutdown()
    found.shutdown()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_ray_starts_a_job_and_one_whose_node_is_killed_is_not_started_again(cluster, tmp_path, monkeypatch):
    """Two nodes of one machine: the second is killed, with all that it started, in the middle of a job."""
    # The nodes have the environment of when they were started, so both jobs have the same python of torch.
    pid, flag = tmp_path / "pid", tmp_path / "quick"
    pretend(tmp_path, monkeypatch, does=f"echo $$ >> {pid}; test -e {flag} || sleep 60; {DONE}")
    node = cluster.add_node(num_cpus=1, resources={"second": 1})
    cluster.wait_for_nodes()
    place = f'execution.place={{kind = "ray", address = "{cluster.address}", node_resources = {{second = 1.0}}}}'

    flag.touch()
    first = execute(unfinished(tmp_path / "one", overrides=(place,)))
    assert (first.status, first.node.name) == ("ok", socket.gethostname()), first.reason
    assert len(pid.read_text().split()) == 1
    flag.unlink()
    pid.unlink()

    def kill() -> None:
        leader = written(pid)
        for process in reversed([psutil.Process(leader).parent(), psutil.Process(leader)]):
            process.kill()
        cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=kill)
    thread.start()
    run = unfinished(tmp_path / "two", overrides=(place,))
    lost = execute(run)
    thread.join()
    assert lost.status == "error" and lost.reason.startswith(f"node {socket.gethostname()} vanished"), lost
    cluster.add_node(num_cpus=1, resources={"second": 1})
    cluster.wait_for_nodes()
    time.sleep(5)
    assert len(pid.read_text().split()) == 1, "no engine started it again"
    assert len(list((run.path / "private" / "places").iterdir())) == 1
