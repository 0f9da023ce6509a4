"""``python -m tests.reliability.kills --count 200``: runs that are disturbed at random instants and resumed.

After each disturbance: no process is left, what was finished is as it was, no charge is less than what was done, and
commands that read the run say so or show it. At its end each run is whole and verifies.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.reliability import invariants, launched
from tests.reliability.invariants import Known, check, check_ended, check_readers
from tests.reliability.launched import Launched, fourth_backend, launch
from tests.reliability.results import write_result
from tests.reliability.scene import scenario, written
from trustml.record.store import RunDirectory
from trustml.scenario.spec import Scenario

PHASES = ("planning", "plain training", "private training", "federated training", "explaining", "measuring", "resuming")
_OF_JOB = {"Plain": "plain training", "DPSGD": "private training", "DPFedAvg": "federated training"}
_DISK = "16m"


def _kill_tree(command: Launched) -> None:
    command.send(signal.SIGKILL, tree=True)


def _kill_launcher(command: Launched) -> None:
    command.send(signal.SIGKILL)


def _kill_workers(command: Launched) -> None:
    """As of a node that vanishes: the launcher lives on and is told nothing."""
    for pid in command.started():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _freeze_and_kill(command: Launched) -> None:
    """Workers that hang, and a launcher that is killed: they must not stay for good.

    One that is stopped before its first line of Python cannot ask the kernel for anything, and would stay; who resumes
    the run is told its number.
    """
    for pid in filter(_asked_to_end_with_starter, command.started()):
        try:
            os.kill(pid, signal.SIGSTOP)
        except ProcessLookupError:
            continue
    command.send(signal.SIGKILL)


def _asked_to_end_with_starter(pid: int) -> bool:
    """Whether a process has told the kernel to kill it when its starter's pipe is closed."""
    try:
        told = [path.read_text().split("flags:\t", 1)[1].split()[0] for path in Path(f"/proc/{pid}/fdinfo").iterdir()]
    except (OSError, IndexError):
        return False
    return any(int(flags, 8) & os.O_ASYNC for flags in told)


DISTURBANCES: dict[str, Callable[[Launched], None]] = {
    "the whole tree is killed": _kill_tree,
    "the launcher is killed": _kill_launcher,
    "the workers are killed": _kill_workers,
    "the workers hang and the launcher is killed": _freeze_and_kill,
    "SIGTERM": lambda command: command.send(signal.SIGTERM),
    "SIGHUP": lambda command: command.send(signal.SIGHUP),
    "SIGINT": lambda command: command.send(signal.SIGINT),
}
SIGNALS = ("SIGTERM", "SIGHUP", "SIGINT")


@dataclass
class Figures:
    """What was done.

    Attributes
    ----------
    disturbed : counter of (phase, how)
    ended_first : int
        Disturbances that came when all was over.
    runs, disks_filled, second_resumes, clocks_set_back : int
    lasted : dict
        Seconds that a phase took last, as a random instant of it is wanted.
    """

    disturbed: Counter[tuple[str, str]] = field(default_factory=Counter)
    ended_first: int = 0
    runs: int = 0
    disks_filled: int = 0
    second_resumes: int = 0
    clocks_set_back: int = 0
    lasted: dict[str, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Disturbances that met a run at work."""
        return sum(self.disturbed.values())


def phase_of(run: Path | None, *, since: int) -> str:
    """Which phase a run is in, by what it told after so many bytes of its events."""
    if run is None:
        return "planning"
    events = [json.loads(line) for line in (run / "events.jsonl").read_bytes()[since:].splitlines()]
    if not events:
        return "resuming"
    if RunDirectory(run).head().status != "running":
        return "measuring"
    started = [event["job"] for event in events if event["event"] == "job-start"]
    if not started:
        return "resuming"
    kind, _, regime, *_ = started[-1].split(".")  # or it has ended, and the next is about to start
    return _OF_JOB[regime] if kind == "train" else "explaining"


class Disturbed:
    """One run, disturbed again and again until it has been through every phase.

    Parameters
    ----------
    folder : Path
        For the scenario and what commands print; runs lie below it.
    generator : random.Random
    figures : Figures
    of : Scenario, optional
    """

    def __init__(self, folder: Path, *, generator: random.Random, figures: Figures, of: Scenario | None = None) -> None:
        self.root, self.output, self.known = folder / "runs", folder / "output.txt", Known()
        self.scenario, self.generator, self.figures = written(folder, of or scenario()), generator, figures
        self.run: Path | None = None

    def begin(self) -> tuple[Launched, int]:
        """Start the run or go on with it; give the command and how much it told before."""
        clock = None
        if self.generator.random() < 0.15:
            self.figures.clocks_set_back += 1
            clock = clock_going_back(self.generator)
        if self.run is None:
            return launch(["run", str(self.scenario), "--runs", str(self.root)], output=self.output, clock=clock), 0
        events = self.run / "events.jsonl"
        told = events.stat().st_size if events.exists() else 0
        arguments = ["run", "--resume", str(self.run), "--allow-overrun", "--runs", str(self.root)]
        return launch(arguments, output=self.output, clock=clock), told

    def find(self) -> None:
        """Look whether the run is planned."""
        if self.run is None and self.root.is_dir():
            self.run = next((path.parent for path in self.root.glob("*/manifest.json")), None)

    def disturb(self, phase: str, how: str) -> None:
        """Disturb it in a phase, or in a later one where it is past that."""
        command, told = self.begin()
        begun, now, before = time.monotonic(), phase, ""
        deadline = begun + 300
        while command.poll() is None:
            self.find()
            now = phase_of(self.run, since=told) if self._tells() else "planning"
            if now != before:
                self.figures.lasted[before] = time.monotonic() - begun
                begun, before = time.monotonic(), now
            if PHASES.index(now) >= PHASES.index(phase) and (now != "resuming" or phase == "resuming"):
                break
            assert time.monotonic() < deadline, (phase, command.said()[-500:])
            time.sleep(0.005)
        time.sleep(self.generator.random() * self.figures.lasted.get(now if command.poll() is None else phase, 0.5))
        self.find()
        now = phase_of(self.run, since=told) if self._tells() else "planning"
        if command.poll() is None:
            DISTURBANCES[how](command)
            self.figures.disturbed[now, how] += 1
        else:
            self.figures.ended_first += 1
        command.require_gone()
        self.find()
        if how in SIGNALS:
            assert "Traceback" not in command.said() and "Internal error" not in command.said(), command.said()[-800:]
        self.look()

    def _tells(self) -> bool:
        return self.run is not None and (self.run / "events.jsonl").exists()

    def look(self) -> None:
        """Check all that must hold now."""
        if self.run is None:
            code, said = launched.told(["list", "--runs", str(self.root)], output=self.output)
            assert code == 0, said
            return
        check(self.run, self.known)
        readers = (self.generator.choice(invariants.READERS),)
        check_readers(self.run, readers, output=self.output)

    def resume_twice(self) -> None:
        """Let two go on at once: one does, the other says so or finds nothing left."""
        assert self.run is not None
        arguments = ["run", "--resume", str(self.run), "--allow-overrun", "--runs", str(self.root)]
        both = [launch(arguments, output=self.output.with_suffix(f".{number}")) for number in range(2)]
        codes = [command.wait() for command in both]
        for command in both:
            command.require_gone()
        assert 0 in codes, [command.said()[-500:] for command in both]
        for command, code in zip(both, codes, strict=True):
            if code != 0:
                line = command.said().strip()
                assert code == 2 and "is being run by another process" in line and "\n" not in line, line
        self.figures.second_resumes += 1
        self.look()

    def end(self) -> None:
        """Let it go on to its end, and check that it is whole."""
        command, _ = self.begin()
        assert command.wait() == 0, command.said()[-1500:]
        command.require_gone()
        self.find()
        assert self.run is not None
        check(self.run, self.known)
        check_ended(self.run, output=self.output)
        self.figures.runs += 1


def clock_going_back(generator: random.Random) -> Callable[[float], float]:
    """Make a wall clock that now and then is set back by up to a day."""
    behind = 0.0

    def clock(now: float) -> float:
        nonlocal behind
        if generator.random() < 0.05:
            behind += generator.random() * 86_400
        return now - behind

    return clock


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Give a folder on a disk of its own that is soon full; None where this user may mount none."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "trustml-tests", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill the disk of a folder to the last byte."""
    path, free = folder / "ballast", os.statvfs(folder)
    with path.open("wb", buffering=0) as stream:
        try:
            for _ in range(free.f_bavail + 64):
                stream.write(bytes(free.f_frsize))
        except OSError:
            pass
    return path


def full_disk(folder: Path, *, generator: random.Random, figures: Figures) -> None:
    """Let the disk be full at a random instant of a run, then make room and go on."""
    disturbed = Disturbed(folder, generator=generator, figures=figures)
    for _ in range(3):
        command, _ = disturbed.begin()
        time.sleep(generator.random() * 3.0)
        alive = command.poll() is None
        ballast = fill(folder)
        command.wait()
        said = command.said()
        ballast.unlink()
        command.require_gone()
        assert "Traceback" not in said and "Internal error" not in said, said[-800:]
        disturbed.find()
        disturbed.look()
        figures.disks_filled += alive
    disturbed.end()


def disturb_all(folder: Path, figures: Figures, *, count: int, seed: int, told: Callable[[], None]) -> None:
    """Disturb runs until there are so many disturbances, every phase as often as the others; tell after each run."""
    generator = random.Random(seed)
    while figures.count < count:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            disturbed = Disturbed(Path(place), generator=generator, figures=figures)
            for phase in PHASES[:-1]:
                for _ in range(2):
                    if figures.count < count:
                        again = "resuming" if disturbed.run is not None and generator.random() < 0.2 else phase
                        disturbed.disturb(again, generator.choice(list(DISTURBANCES)))
            if disturbed.run is not None and generator.random() < 0.5:
                disturbed.resume_twice()
            disturbed.end()
            print(f"{figures.count} disturbances, {figures.runs} runs whole", file=sys.stderr, flush=True)
            told()


def result_of(figures: Figures, *, disk: str) -> dict[str, Any]:
    """The figures as they are written."""
    return {
        "disturbances": figures.count,
        "came when all was over": figures.ended_first,
        "runs ended whole": figures.runs,
        "two resumes at once": figures.second_resumes,
        "lives with a clock that went back": figures.clocks_set_back,
        "disk filled while at work": figures.disks_filled,
        "disk": disk,
        "by phase": _sums(figures.disturbed, 0, PHASES),
        "by disturbance": _sums(figures.disturbed, 1, tuple(DISTURBANCES)),
    }


def _sums(disturbed: Counter[tuple[str, str]], place: int, names: tuple[str, ...]) -> dict[str, int]:
    return {name: sum(count for key, count in disturbed.items() if key[place] == name) for name in names}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="disturbances")
    parser.add_argument("--disks", type=int, default=2, help="runs whose disk is full, three times each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where runs lie while they last")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/kills.json")
    asked = parser.parse_args()
    figures, disk = Figures(), "none could be mounted"

    def tell() -> None:
        if asked.write:
            command = f"python -m tests.reliability.kills --count {asked.count} --seed {asked.seed}"
            write_result("kills", result_of(figures, disk=disk), command=command)

    launched.imported()
    with fourth_backend(), tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        for number in range(asked.disks):
            with small_disk(Path(folder) / f"disk{number}") as place:
                if place is not None:
                    disk = f"tmpfs of {_DISK}"
                    full_disk(place, generator=random.Random(asked.seed + number), figures=figures)
        disturb_all(Path(folder), figures, count=asked.count, seed=asked.seed, told=tell)
    print(json.dumps(result_of(figures, disk=disk), indent=2))


if __name__ == "__main__":
    main()
