"""``python examples/flower/compare.py``: one federated regime as trustml's simulation and as Flower's processes.

Prints how far the weights are apart, and the bytes that the simulation states beside those that went over the wire.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from relay import Relay

import trustml
from trustml.data.clients import read_federated_plan
from trustml.data.dataset import Ints
from trustml.models.layers import Architecture, Dense, Flatten, ReLU
from trustml.models.weights import read_weights
from trustml.plan.job import TrainJob, encode_job
from trustml.privacy.secure_aggregation import secure_sum
from trustml.privacy.secure_settings import SecureAggregation
from trustml.record.store import RunDirectory

Rounds: TypeAlias = list[dict[int, list[Ints]]]
APP = Path(__file__).resolve().parent / "app"
STARTING, ROUND = 120.0, 60.0  # seconds that the server may take to come up, and a round


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the two have in common, and what not.

    Attributes
    ----------
    dropped : int
        Answers that did not come, over all rounds.
    difference, moved : float
        Largest of a weight between the two, and between the start and the simulation's end.
    stated_up, stated_down : float
        Bytes of all rounds, as the simulation's measures state them; with secure aggregation, and as its messages are
        long.
    wire_up, wire_down, calls : dict of str to int
        Bytes that all clients sent and were sent over TCP, and requests, by what they asked.
    seconds : float
        Of the processes, from the start of the run to the weights after its last round.
    """

    clients: int
    rounds: int
    dropped: int
    secure: bool
    difference: float
    moved: float
    stated_up: float
    stated_down: float
    wire_up: dict[str, int]
    wire_down: dict[str, int]
    calls: dict[str, int]
    seconds: float


def simulated(*, clients: int, rounds: int, dropout: float, secure: bool, backend: str, out: Path) -> trustml.Run:
    """Run the regime as a simulation; every client is asked in every round."""
    regime = trustml.FedAvg(
        partition=trustml.Dirichlet(clients=clients, alpha=1.0, minimum=20),
        cohort=trustml.FixedCohort(clients=clients, dropout=dropout),
        rounds=rounds,
        client_optimizer=trustml.SGD(learning_rate=0.1),
        weighting="uniform" if secure else "examples",
    )
    scenario = trustml.Scenario(
        name="flower",
        data=trustml.Digits(),
        model=Architecture(layers=(Flatten(), Dense(units=64), ReLU(), Dense(units=10))),
        training=(regime,),
        explanations=trustml.Explanations(methods=()),
        backends=(backend,),
    )
    run = trustml.run(scenario, out=out, progress=False)
    if run.status != "success":
        raise SystemExit(f"the simulation ended as {run.status}; see {run.path}")
    return run


def job_of(directory: RunDirectory) -> TrainJob:
    """Give the one training of a run."""
    for record in directory.manifest().jobs:
        if isinstance(job := directory.job(record.id), TrainJob):
            return job
    raise SystemExit(f"{directory.path} holds no training")


def read_rounds(directory: RunDirectory, job: TrainJob) -> Rounds:
    """Give the batches of each client that answers, by round."""
    plan = read_federated_plan(directory.arrays(job.plan))
    return [dict(zip(plan.participants(one).tolist(), plan.round(one), strict=True)) for one in range(len(plan))]


def write_folders(directory: RunDirectory, job: TrainJob, rounds: Rounds, *, clients: int, root: Path) -> None:
    """Write what the server starts from, and for each client a folder with its own examples and batches."""
    (root / "server").mkdir()
    np.savez(root / "server" / "start.npz", **read_weights(directory.file(job.initial_weights)))
    data = directory.mapped(job.data)
    for client in range(clients):
        own = np.unique(
            np.concatenate([np.zeros(0, int), *(one for visits in rounds for one in visits.get(client, []))])
        )
        arrays = {"inputs": data["train_inputs"][own], "labels": data["train_labels"][own]}
        for number, visits in enumerate(rounds, start=1):
            if client in visits:  # else it drops out
                batches = [np.searchsorted(own, batch) for batch in visits[client]]
                arrays[f"indices{number}"] = np.concatenate(batches)
                arrays[f"offsets{number}"] = np.cumsum([0, *map(len, batches)])
        folder = root / f"client-{client}"
        folder.mkdir()
        np.savez(folder / "own.npz", **arrays)
        (folder / "job.json").write_bytes(encode_job(job))


class Processes:
    """Processes of one Flower environment, each in a group of its own, ended together.

    Parameters
    ----------
    environment : Path
        A virtual environment with flwr in it.
    root : Path
        Where Flower keeps its files, and logs go.
    """

    def __init__(self, environment: Path, root: Path) -> None:
        self._bin, self._root = environment / "bin", root
        source = Path(trustml.__file__).parents[1]
        self._variables = {
            **os.environ,
            "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(source),
            "FLWR_HOME": str(root / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *arguments: str, log: str) -> None:
        """Start a program of Flower's."""
        with (self._root / log).open("wb") as file:
            process = subprocess.Popen(
                [self._bin / name, *arguments], env=self._variables, stdout=file, stderr=file, start_new_session=True
            )
        self._started.append(process)

    def call(self, name: str, *arguments: str) -> None:
        """Run a program to its end."""
        done = subprocess.run(
            [self._bin / name, *arguments], env=self._variables, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{name} ended with {done.returncode}: {done.stdout}{done.stderr}")

    def check(self) -> None:
        """Hear of a process that has ended by itself."""
        for process in self._started:
            if process.poll() is not None:
                raise SystemExit(f"{process.args!r} ended with {process.returncode}; see {self._root}")

    def end(self) -> None:
        """End every group, also what its processes have started."""
        for process in reversed(self._started):
            for word in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, word)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=10)


@contextlib.contextmanager
def federation(environment: Path, root: Path, *, clients: int) -> Iterator[tuple[Processes, Relay]]:
    """Start a SuperLink and a SuperNode for each client, which reaches it through the relay alone."""
    processes, port = Processes(environment, root), free_port()
    relay = Relay(port)
    (root / "home").mkdir()
    (root / "home" / "config.toml").write_text(f'[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n')
    try:
        processes.start("flower-superlink", "--insecure", "--port", str(port), log="superlink.log")
        wait_for(lambda: connects(port), processes, seconds=STARTING, what="the SuperLink")
        for client in range(clients):
            arguments = ("--insecure", "--superlink", f"127.0.0.1:{relay.port}", "--port", str(free_port()))
            where = json.dumps(str(root / f"client-{client}"))
            processes.start(
                "flower-supernode", *arguments, "--node-config", f"folder={where}", log=f"node-{client}.log"
            )
        yield processes, relay
    finally:
        processes.end()
        relay.close()


def as_processes(environment: Path, root: Path, *, clients: int, rounds: int, secure: bool) -> tuple[Relay, float]:
    """Take the rounds between processes; the weights after them are in ``server/after.npz``."""
    with federation(environment, root, clients=clients) as (processes, relay):
        config = (
            f"folder={json.dumps(str(root / 'server'))} clients={clients} rounds={rounds} secure={str(secure).lower()}"
        )
        app = shutil.copytree(APP, root / "app", ignore=shutil.ignore_patterns("__pycache__"))
        began = time.monotonic()
        processes.call("flwr", "run", str(app), "here", "--run-config", config)
        after = root / "server" / "after.npz"
        wait_for(
            after.exists, processes, seconds=STARTING + rounds * ROUND * (5 if secure else 1), what="the last round"
        )
        return relay, time.monotonic() - began


def compare(
    environment: Path, root: Path, *, clients: int, rounds: int, dropout: float, secure: bool, backend: str
) -> Comparison:
    """Do both, and look at what came out."""
    out = root / "runs"
    run = simulated(clients=clients, rounds=rounds, dropout=dropout, secure=secure, backend=backend, out=out)
    job = job_of(run.directory)
    visits = read_rounds(run.directory, job)
    if min(map(len, visits)) < (clients // 2 + 1 if secure else 2):
        raise SystemExit("too few clients answer in a round; give more of them, or a smaller --dropout")
    write_folders(run.directory, job, visits, clients=clients, root=root)
    relay, seconds = as_processes(environment, root, clients=clients, rounds=rounds, secure=secure)
    wanted = read_weights(run.directory.file(f"jobs/{job.id}/weights.safetensors"))
    start = read_weights(run.directory.file(job.initial_weights))
    with np.load(root / "server" / "after.npz") as after:
        difference = max(float(np.abs(after[name] - part).max()) for name, part in wanted.items())
    up, down = stated(run, visits, clients=clients, size=sum(part.size for part in start.values()), secure=secure)
    return Comparison(
        clients=clients,
        rounds=rounds,
        dropped=sum(clients - len(one) for one in visits),
        secure=secure,
        difference=difference,
        moved=max(float(np.abs(start[name] - part).max()) for name, part in wanted.items()),
        stated_up=up,
        stated_down=down,
        wire_up=dict(relay.up),
        wire_down=dict(relay.down),
        calls=dict(relay.calls),
        seconds=seconds,
    )


def stated(run: trustml.Run, visits: Rounds, *, clients: int, size: int, secure: bool) -> tuple[float, float]:
    """Bytes up and down of all rounds: the run's measures, and for secure sums the lengths of their messages."""
    measures = run.measures().set_index("measure")["value"]
    up, down = (len(visits) * float(measures[name]) for name in ("bytes_up", "bytes_down"))
    if not secure:
        return up, down
    settings = SecureAggregation(clients=clients, threshold=clients // 2 + 1, clipping_norm=1.0)
    rounds = [
        secure_sum(np.zeros((clients, size)), settings, stays={one: 2 for one in range(clients) if one not in visited})
        for visited in visits
    ]
    return float(sum(one.bytes_up for one in rounds)), down + sum(one.bytes_down for one in rounds)


def free_port() -> int:
    """Give a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connects(port: int) -> bool:
    """Tell whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_for(there: object, processes: Processes, *, seconds: float, what: str) -> None:
    """Wait until something is there, as long as every process lives."""
    end = time.monotonic() + seconds
    while not there():  # type: ignore[operator]
        processes.check()
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come in {seconds:g} seconds")
        time.sleep(0.2)


def main() -> None:
    """Read the arguments, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    place = os.environ.get("TRUSTML_BENCH_FLOWER", sys.prefix)
    parser.add_argument("--flower", type=Path, default=place, help="virtual environment with flwr 1.42 (%(default)s)")
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dropout", type=float, default=0.0, help="share of clients that do not answer (%(default)s)")
    parser.add_argument("--secure", action="store_true", help="sum by secure aggregation; every client weighs alike")
    parser.add_argument("--backend", default="jax", help="of the simulation (%(default)s)")
    parser.add_argument("--keep", type=Path, help="new folder for everything; left out, a temporary one")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not (given.flower / "bin" / "flower-superlink").is_file():
        parser.error(f"--flower: {given.flower} holds no flower-superlink; give an environment with flwr 1.42")
    with contextlib.ExitStack() as stack:
        root = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trustml-flower-")))
        root.mkdir(parents=True, exist_ok=root != given.keep)
        found = compare(
            given.flower,
            root.resolve(),
            clients=given.clients,
            rounds=given.rounds,
            dropout=given.dropout,
            secure=given.secure,
            backend=given.backend,
        )
    if given.json:
        print(json.dumps(asdict(found)))
        return
    show(found)


def show(found: Comparison) -> None:
    """Print a comparison."""
    how = "secure sums" if found.secure else "averages"
    print(f"{found.clients} clients, {found.rounds} rounds of {how}, {found.seconds:.0f} s between processes")
    print(f"{found.dropped} of {found.clients * found.rounds} answers did not come, as the regime's cohort drew it")
    print(f"weights: largest difference {found.difference:.2g}; the rounds moved one by {found.moved:.2g}")
    for way, stated, wire in (("down", found.stated_down, found.wire_down), ("up", found.stated_up, found.wire_up)):
        total = sum(wire.values())
        print(f"bytes {way}: {stated:,.0f} stated, {total:,} on the wire, {total / stated:.2f} times that")
    print(f"{'by request':32}{'requests':>10}{'bytes down':>14}{'bytes up':>14}")
    for path in sorted(found.calls, key=lambda path: -found.wire_up[path]):
        print(f"{path:32}{found.calls[path]:>10,}{found.wire_down.get(path, 0):>14,}{found.wire_up[path]:>14,}")


if __name__ == "__main__":
    main()
