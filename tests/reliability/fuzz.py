"""``python -m tests.reliability.fuzz --seconds 600``: every reader is given changed files, a good many of each.

A file is read, or refused by a `TrustmlError` of one line, within a time and a memory, and whatever it holds no program
is started, nothing is unpickled or asked of a network, and nothing is written outside the folder of the test. Readers
run in processes of their own, so that one that crashes, hangs or swells is a finding and no end.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.reliability.launched import imported
from tests.reliability.readers import READERS, Reader
from tests.reliability.results import write_result
from trustml.errors import TrustmlError

SECONDS = 20.0
"""Of a processor, that one file may take."""
MEMORY = 1 << 30
"""Bytes more than it held before, that a reader may hold."""
FORBIDDEN = (
    "os.system", "os.exec", "os.spawn", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "socket.connect",
    "socket.getaddrinfo", "ctypes.dlopen",
)  # fmt: skip
_watched: list[str] = []
_inside: list[str] = []


@dataclass
class Fuzzed:
    """What came of one reader.

    Attributes
    ----------
    read, refused : int
    faults : list of str
        The seed of a change, and what was wrong.
    most_seconds : float
    most_memory : int
        Bytes.
    """

    read: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)
    most_seconds: float = 0.0
    most_memory: int = 0


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """See what a reader does that none may; an audit hook of this process, for good."""
    if not _inside:
        return
    ours = event == "subprocess.Popen" and arguments[0] == "git"  # which revision of trustml this is
    if event in FORBIDDEN and not ours:
        _watched.append(f"{event} {arguments!r:.200}")
    if (
        event == "open"
        and isinstance(arguments[0], str | bytes)
        and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    ):
        place = os.path.realpath(os.fsdecode(arguments[0]))
        if not place.startswith((_inside[0], tempfile.gettempdir(), "/dev/null")) and "__pycache__" not in place:
            _watched.append(f"wrote to {place}")


def _ask_no_other() -> None:
    """Let no second opinion be asked of Opacus: that is a process of ours, and any process counts as a fault here."""
    from trustml.measures import privacy_statements
    from trustml.privacy.crosscheck import SecondOpinion

    privacy_statements.prv_epsilons = lambda models: [SecondOpinion(why="not asked") for _ in models]


def try_reader(name: str, reader: Reader, *, seeds: range, seconds: float, told: int) -> None:
    """In a process of its own, change a file by each seed and read it; write what came of it to a descriptor."""
    sys.addaudithook(_watch)
    _ask_no_other()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="trustml-fuzz-") as place:
        folder = Path(os.path.realpath(place))
        os.chdir(folder)
        path = reader.make(folder)
        whole = path.read_bytes()
        with contextlib.suppress(TrustmlError):
            reader.read(path)  # imports
        ended = _one(reader, path, folder)
        _tell(told, seed=-1, ended=ended, seconds=0.0, memory=0)
        if ended != reader.good:
            return
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + 4 * MEMORY, hard))
        until = time.monotonic() + seconds
        for seed in seeds:
            if time.monotonic() > until:
                return
            path.unlink(missing_ok=True)
            path.write_bytes(reader.change(random.Random(f"{name} {seed}"), whole))
            _tell(told, seed=seed, ended="begun", seconds=0.0, memory=0)
            started = time.process_time()
            ended = _one(reader, path, folder)
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held)
            if grown > MEMORY:
                ended = f"held {grown >> 20} MiB more"
            _tell(told, seed=seed, ended=ended, seconds=time.process_time() - started, memory=grown)


def _one(reader: Reader, path: Path, folder: Path) -> str:
    _watched.clear()
    _inside[:] = [str(folder)]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its default ends the process: that is the finding
    try:
        reader.read(path)
        ended = "read"
    except TrustmlError as error:
        text = str(error)
        if os.environ.get("TRUSTML_FUZZ_SHOWN"):
            print(text, file=sys.stderr)
        ended = "refused" if text and text.isprintable() else f"{type(error).__name__} of no one line: {text!r:.300}"
    except BaseException as error:
        ended = f"{type(error).__name__}: {error!s:.300}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _inside.clear()
    return f"did what none may: {_watched[0]}" if _watched else ended


def _tell(told: int, **line: Any) -> None:
    os.write(told, json.dumps(line).encode() + b"\n")


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def fuzz(name: str, *, seeds: range, seconds: float) -> Fuzzed:
    """Give one reader changed files until they or the time are used up; where it crashes, go on behind it."""
    found, first = Fuzzed(), seeds.start
    while first < seeds.stop and seconds > 0:
        started = time.monotonic()
        lines, status = _forked(name, range(first, seeds.stop), seconds)
        seconds -= time.monotonic() - started
        for line in lines:
            if line["seed"] < 0 and line["ended"] != READERS[name].good:
                found.faults.append(f"the good file: {line['ended']}")
            if line["seed"] < 0 or line["ended"] == "begun":
                continue
            found.most_seconds = max(found.most_seconds, line["seconds"])
            found.most_memory = max(found.most_memory, line["memory"])
            found.read += line["ended"] == "read"
            found.refused += line["ended"] == "refused"
            if line["ended"] not in ("read", "refused"):
                found.faults.append(f"{line['seed']}: {line['ended']}")
        if status == 0:
            return found
        last = lines[-1]["seed"] if lines else -1
        if last < 0:
            found.faults.append(f"the good file is not read: the process ended with {_words(status)}")
            return found
        found.faults.append(f"{last}: the process ended with {_words(status)}")
        first = last + 1
    return found


def _words(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"{signal.Signals(-code).name}" if code < 0 else f"code {code}"


def _forked(name: str, seeds: range, seconds: float) -> tuple[list[dict[str, Any]], int]:
    reading, writing = os.pipe()
    sys.stdout.flush()
    if (child := os.fork()) == 0:
        code = 70
        try:
            os.close(reading)
            faulthandler.disable()  # a crash is told once
            if not os.environ.get("TRUSTML_FUZZ_SHOWN"):
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try_reader(name, READERS[name], seeds=seeds, seconds=seconds, told=writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, "rb") as stream:
        lines = [json.loads(line) for line in stream]
    return lines, os.waitpid(child, 0)[1]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all readers together")
    parser.add_argument("--first", type=int, default=0, help="seed of the first change")
    parser.add_argument("--reader", action="append", choices=list(READERS), help="only this one; may be repeated")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/fuzz.json")
    asked = parser.parse_args()
    imported()
    names = asked.reader or list(READERS)
    found: dict[str, Fuzzed] = {}
    for name in names:
        found[name] = one = fuzz(
            name, seeds=range(asked.first, asked.first + 10**9), seconds=asked.seconds / len(names)
        )
        print(
            f"{name:30} {one.read:7} read {one.refused:7} refused  "
            f"{one.most_seconds:5.2f} s {one.most_memory >> 20:5} MiB"
        )
        for fault in one.faults[:5]:
            print(f"    {fault}", flush=True)
    readers = {
        name: {
            "read": one.read, "refused": one.refused, "faults": len(one.faults),
            "most seconds": round(one.most_seconds, 2), "most MiB more": one.most_memory >> 20,
        }
        for name, one in found.items()
    }  # fmt: skip
    if asked.write:
        command = f"python -m tests.reliability.fuzz --seconds {asked.seconds:g} --first {asked.first}"
        write_result("fuzz", {"readers": readers}, command=command)
    sys.exit(any(one.faults for one in found.values()))


if __name__ == "__main__":
    main()
