"""The files by which launcher and node speak: ``private/places/<job>.<token>/`` of the run directory.

They are on storage that both see, or the job is not started: the node shows that it read the launcher's token, and the
launcher that it read the node's answer. Each ticket is used once, by whoever makes ``claimed`` first; an engine that
starts a command again finds it used. Nothing that is alive is told by a clock, as those of two machines differ: both
sides write a growing number, and look whether the other's still grows.

``ended.json`` is the node's word alone that its worker is gone. ``stop`` asks for that, and from then on the worker
itself charges and writes nothing (:func:`trustml.processes.require_wanted`). ``closed`` says that nobody works for the
ticket: it was taken back unused, or was silent for longer than a node that is cut off goes on.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from trustml import processes
from trustml.errors import UsageError
from trustml.record.files import UNREADABLE, plain_bytes, write_atomic
from trustml.record.provenance import NodeRecord
from trustml.record.schema import JobStatus
from trustml.record.store import RunDirectory

FOLDER = "private/places"
TICKET, STOP, ENDED = processes.TICKET, processes.STOP, processes.ENDED
CLAIMED, ANSWER, CLOSED = "claimed", "answer.json", "closed"
LAUNCHER_BEAT, NODE_BEAT = "launcher.beat", "node.beat"
BEAT_SECONDS = 2.0
LOST_SECONDS = 120.0
"""After so long without a sign of the other side it is given up: longer than file systems of clusters keep old news."""
_Read = TypeVar("_Read")


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is to do.

    Parameters
    ----------
    token : str
        Random; the command that the node is started by holds its SHA-256.
    version : str
        Of trustml, which must be the same on both sides.
    job, backend : str
    private : bool
        Whether the job charges a ledger.
    variables : dict
        For the worker.
    timeout : float
        Seconds.
    memory : int
        Bytes; 0 for no limit.
    """

    token: str
    version: str
    job: str
    backend: str
    private: bool
    variables: dict[str, str]
    timeout: float
    memory: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says when it begins.

    Parameters
    ----------
    token : str
        The ticket's.
    node : NodeRecord
    """

    token: str
    node: NodeRecord


class EndedOnNode(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker ended, as its node saw it; see :class:`trustml.launch.process.Ended`."""

    status: JobStatus
    reason: str
    seconds: float = 0.0
    peak_memory: int = 0
    exit_code: int | None = None
    stderr_tail: tuple[str, ...] = ()
    samples: tuple[tuple[float, int, float], ...] = ()


def fingerprint(token: str) -> str:
    """Of a token, as the command of a node holds it: others may see the command."""
    return hashlib.sha256(token.encode()).hexdigest()


def issue(run: RunDirectory, ticket: Ticket) -> Path:
    """Write a ticket and give its folder."""
    folder = run.file(f"{FOLDER}/{ticket.job}.{ticket.token[:8]}")
    folder.mkdir(parents=True, mode=0o700)
    write_atomic(folder / TICKET, msgspec.json.encode(ticket), private=True)
    return folder


def new_token() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def claim(folder: Path) -> bool:
    """Take a ticket, once; False if somebody took it before."""
    try:
        os.close(os.open(folder / CLAIMED, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


def take_back(folder: Path) -> bool:
    """Keep every node from a ticket; False if one took it before."""
    if not claim(folder):
        return False
    mark(folder / CLOSED)
    return True


def mark(path: Path) -> None:
    """Make one of these files that say all by being there."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600))


def is_closed(folder: Path) -> bool:
    """Whether nobody works for a ticket."""
    return (folder / ENDED).is_file() or (folder / CLOSED).is_file()


def is_stopped(folder: Path) -> bool:
    """Whether the node of a ticket is to end its worker; so it is where the run was removed."""
    return (folder / STOP).exists() or is_closed(folder) or not (folder / TICKET).is_file()


def write(path: Path, value: msgspec.Struct) -> None:
    """Write one of these files."""
    write_atomic(path, msgspec.json.encode(value), private=True)


def read(path: Path, kind: type[_Read]) -> _Read | None:
    """Read one of these files; None where it is not there or damaged."""
    try:
        return msgspec.json.decode(plain_bytes(path), type=kind)
    except UNREADABLE:
        return None


class Pulse:
    """A number that grows in one file, as long as its writer lives."""

    def __init__(self, path: Path) -> None:
        self._path, self._count, self._written = path, 0, 0.0

    def beat(self, *, at_once: bool = False) -> None:
        """Write the next number, if it is time."""
        now = time.monotonic()
        if self._count and now - self._written < BEAT_SECONDS and not at_once:
            return
        self._count, self._written = self._count + 1, now
        # Over itself, unsynchronised: a reader that sees half of it sees another number, which is all it asks.
        self._path.write_bytes(str(self._count).encode())


class Heart:
    """Beats every pulse that somebody holds from one thread: who waits for an engine or an installation still lives."""

    def __init__(self) -> None:
        self._pulses: weakref.WeakSet[Pulse] = weakref.WeakSet()
        self._guard, self._beats = threading.Lock(), False

    def add(self, path: Path) -> Pulse:
        """Begin a pulse, which beats until it is left out or nobody holds it."""
        pulse = Pulse(path)
        pulse.beat()
        with self._guard:
            self._pulses.add(pulse)
            if not self._beats:
                threading.Thread(target=self._beat, daemon=True).start()
                self._beats = True
        return pulse

    def leave_out(self, pulse: Pulse) -> None:
        """End a pulse."""
        with self._guard:
            self._pulses.discard(pulse)

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS / 2)
            with self._guard:
                pulses = list(self._pulses)
                if not pulses:
                    self._beats = False
                    return
            for pulse in pulses:
                with suppress(OSError):  # storage that fails for a moment, or a run that was removed
                    pulse.beat()
            del pulses, pulse


HEART = Heart()


@contextmanager
def beating(path: Path) -> Iterator[None]:
    """Beat while something is done."""
    pulse = HEART.add(path)
    try:
        yield
    finally:
        HEART.leave_out(pulse)


class Listener:
    """Looks whether the number of another side still grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen, self._heard, self._looked = path, b"", time.monotonic(), 0.0
        self.grew = False
        """Whether it was seen to: a number that lies there may be that of somebody who is gone."""

    def silence(self) -> float:
        """Seconds since it last changed, by this machine's clock."""
        now = time.monotonic()
        if now - self._looked >= BEAT_SECONDS / 4:
            self._looked = now
            try:
                seen = plain_bytes(self._path)
            except OSError:
                seen = b""
            if seen and seen != self._seen:
                self.grew = bool(self._seen)
                self._seen, self._heard = seen, now
        return now - self._heard


@dataclass(frozen=True, kw_only=True)
class LeftAtWork:
    """A job at which a node works on, though its launcher is gone."""

    job: str
    node: str


def _open_tickets(run: RunDirectory) -> list[Path]:
    """Folders of the tickets of a run that nobody closed."""
    if not (run.path / FOLDER).is_dir():
        return []
    places = run.path.resolve() / FOLDER
    if places.resolve() != places:  # a link leads to nothing of this run's
        return []
    return [one for one in places.iterdir() if one.is_dir() and not one.is_symlink() and not is_closed(one)]


def left_at_work(runs: Sequence[RunDirectory], *, patience: float | None = None) -> dict[str, list[LeftAtWork]]:
    """Tell at which jobs of runs whose launcher is gone nodes still work, by the run's name; it changes nothing.

    Where a node took a ticket and never said that it ended, this listens to it, to all of them at once.
    """
    ears = {
        folder: (run.path.name, Listener(folder / NODE_BEAT))
        for run in runs
        for folder in _open_tickets(run)
        if (folder / CLAIMED).exists()
    }
    found: dict[str, list[LeftAtWork]] = {}
    end = time.monotonic() + (3 * BEAT_SECONDS if patience is None else patience)
    while ears and time.monotonic() < end:
        time.sleep(BEAT_SECONDS / 4)
        for folder, (name, ear) in list(ears.items()):
            ear.silence()
            if is_closed(folder):
                del ears[folder]
            elif ear.grew:
                found.setdefault(name, []).append(_at_work(folder))
                del ears[folder]
    return found


def _at_work(folder: Path) -> LeftAtWork:
    answer = read(folder / ANSWER, Answer)
    return LeftAtWork(job=folder.name.rpartition(".")[0], node=answer.node.name if answer else "some node")


def require_nobody(run: RunDirectory, *, patience: float | None = None) -> None:
    """Take back tickets of earlier launchers that nobody used, and refuse if a node still works for one.

    A ticket whose node never said that it ended is listened to for as long as a node goes on that is cut off, then
    closed: should node and worker have slept and wake later, the worker charges and writes nothing.

    Raises
    ------
    UsageError
    """
    ears = {folder: Listener(folder / NODE_BEAT) for folder in _open_tickets(run) if not take_back(folder)}
    end = time.monotonic() + (LOST_SECONDS + 3 * BEAT_SECONDS if patience is None else patience)
    while ears:
        for folder, ear in ears.items():
            ear.silence()
            if ear.grew and not is_closed(folder):
                left = _at_work(folder)
                raise UsageError(
                    f"{run.path.name}: {left.job} still runs on {left.node}, left by a launcher that is gone; it "
                    f"ends by itself within {LOST_SECONDS:.0f} s, wait for that"
                )
        ears = {folder: ear for folder, ear in ears.items() if not is_closed(folder)}
        if time.monotonic() > end:
            break
        time.sleep(BEAT_SECONDS / 4)
    for folder in ears:
        mark(folder / STOP)
        mark(folder / CLOSED)
