"""A run directory: where its files are, and how they are read and written.

::

    runs/<id>/
      manifest.json      scenario, versions, hardware, data fingerprint, how every job ended, hashes
      events.jsonl       when jobs began and ended, in whole seconds, one line an event
      measures.parquet   the tidy table
      privacy.json       a privacy statement for each private model
      heldout.npz        held-out labels, and the explained examples
      weights/           starting weights, one file a seed
      jobs/<job>/        job.json, and what its worker wrote
      private/           data, batches: what must stay secret for the epsilons to hold
"""

from __future__ import annotations

import datetime
import errno
import fcntl
import functools
import os
import re
import secrets
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import msgspec

from trustml.errors import RecordError, RunNotFoundError, UsageError, did_you_mean
from trustml.plan.job import Job, decode_job
from trustml.record.files import UNREADABLE, inside, plain_bytes, read_arrays, write_atomic
from trustml.record.heads import ManifestHead
from trustml.record.mapped import map_arrays
from trustml.record.schema import FORMAT, OLDEST_FORMAT, JobRecord, Manifest, RecordedScenario, RunStatus

if TYPE_CHECKING:
    import numpy.typing as npt

_Kind = TypeVar("_Kind", Manifest, ManifestHead)

MANIFEST = "manifest.json"
LOCK = ".lock"
EVENTS = "events.jsonl"
ALL_EVENTS = "private/events.jsonl"
MEASURES = "measures.parquet"
PRIVACY = "privacy.json"
_RELEASED_EVENTS = ("run", "job-start", "job-end", "done")
"""None between the start and the end of a job, for any job: those beside a private one tell of its steps too."""
CURVES = "curves.json"
EXPOSED = "private/attacks/exposed.npz"
AUDIT = "audit.json"
AUDIT_REPORT = "audit.html"
MODEL_CARD = "model_card.md"
BUNDLE_INDEX = "bundle.json"
HELDOUT = "heldout.npz"
PRIVATE_DATA = "private/data.npz"
SEEN = "private/held_out_seen.npz"
"""Which held-out rows the start was trained on, where some are."""
_PRIVATE_WARNINGS = "private/warnings.json"
BASELINES = "private/baselines.npz"
_PATIENCE = 2.0  # seconds


class RunDirectory:
    """Paths and small files of one run.

    Parameters
    ----------
    path : Path or str
        The directory; it need not exist yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.folder = os.fspath(path)

    @functools.cached_property
    def path(self) -> Path:
        """The directory; made when it is asked for, as lists of thousands do not."""
        return Path(self.folder)

    @property
    def name(self) -> str:
        """Name of the directory."""
        return os.path.basename(self.folder)

    def file(self, name: str) -> Path:
        """Path of a file inside the directory; refuses to leave it."""
        return inside(self.path, name)

    def job_folder(self, job_id: str) -> Path:
        """Folder of one job."""
        return self.file(f"jobs/{job_id}")

    def manifest(self) -> Manifest:
        """Read the manifest.

        Raises
        ------
        RunNotFoundError, RecordError
        """
        return self._decoded(Manifest)

    def head(self) -> ManifestHead:
        """Read of the manifest what a list of runs needs, which takes a small part of the time.

        Raises
        ------
        RunNotFoundError, RecordError
        """
        return self._decoded(ManifestHead)

    def job(self, job_id: str) -> Job:
        """Read what a job was asked for.

        Raises
        ------
        RecordError
        """
        path = self.job_folder(job_id) / "job.json"
        try:
            return decode_job(plain_bytes(path))
        except UNREADABLE as error:
            raise RecordError(f"{path}: cannot be read ({error}); start a new run") from None

    def shown_status(self, status: RunStatus) -> RunStatus:
        """Correct the status of a manifest: ``running`` is ``interrupted`` where the runner is gone."""
        return "interrupted" if status == "running" and not self.is_executed() else status

    def _decoded(self, kind: type[_Kind]) -> _Kind:
        path = self.path / MANIFEST
        try:
            manifest = msgspec.json.decode(plain_bytes(path), type=kind)
            if isinstance(manifest, Manifest):
                msgspec.convert(manifest.scenario, RecordedScenario)
        except FileNotFoundError:
            raise RunNotFoundError(f"{self.path}: no run there; `trustml list` shows the runs") from None
        except UNREADABLE as error:
            raise RecordError(f"{path}: cannot be read ({error})") from None
        if manifest.format < OLDEST_FORMAT:
            raise RecordError(f"{path}: format {manifest.format} is older than this trustml reads; run it again")
        if manifest.format > FORMAT:
            raise RecordError(f"{path}: format {manifest.format} is newer than this trustml knows ({FORMAT}); upgrade")
        return manifest

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest, atomically."""
        write_atomic(self.path / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Keep every other process from executing this run; give the descriptor that does.

        A process that inherits the descriptor keeps the lock as well: it is free when the last of them has ended.

        Raises
        ------
        UsageError
            If another one does so now.
        RecordError
            If the lock is a link or no file.
        """
        # Not at once: workers of a run that was killed may be ending, and whoever looks holds it for a moment.
        with held(self.path / LOCK, what=f"{self.path.name}: is being run by another process") as handle:
            yield handle

    def is_executed(self) -> bool:
        """Whether some process executes this run now; a manifest may say ``running`` after a crash."""
        try:
            with open(os.open(self.path / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def remove_audit(self) -> None:
        """Remove an audit that was concluded from other rows than the run has, or will have, and what shows it."""
        for name in (AUDIT, AUDIT_REPORT, MODEL_CARD):
            self.file(name).unlink(missing_ok=True)

    def write_private_warnings(self, warnings: Collection[str]) -> None:
        """Keep what whoever runs the scenario should know of the data, from which it follows."""
        write_atomic(self.file(_PRIVATE_WARNINGS), msgspec.json.encode(list(warnings)), private=True)

    def private_warnings(self) -> tuple[str, ...]:
        """Warnings that follow from the data; none where ``private/`` is not at hand."""
        try:
            return msgspec.json.decode(plain_bytes(self.file(_PRIVATE_WARNINGS)), type=tuple[str, ...])
        except UNREADABLE:
            return ()

    def append_event(self, event: dict[str, Any]) -> None:
        """Append one line to the private events, and to the public ones what they may hold; the time is added."""
        now = time.time()
        self._append(ALL_EVENTS, {"time": round(now, 3), **event})
        if event["event"] in _RELEASED_EVENTS:
            whole = {"seconds": round(event["seconds"])} if "seconds" in event else {}
            self._append(EVENTS, {"time": int(now), **event, **whole})

    def _append(self, name: str, event: dict[str, Any]) -> None:
        with (self.path / name).open("ab") as stream:
            stream.write(msgspec.json.encode(event) + b"\n")

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Read one ``.npz`` file of the directory."""
        return read_arrays(self.file(name))

    def mapped(self, name: str, *, names: Collection[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Map one ``.npz`` file of the directory, or some arrays of it: only what is looked at is read, unchecked."""
        return map_arrays(self.file(name), names=names)


@contextmanager
def held(path: Path, *, what: str) -> Iterator[int]:
    """Hold a lock that is a file, which stays; give its descriptor.

    Parameters
    ----------
    path : Path
    what : str
        To say where another process keeps it for longer than two seconds; who it is follows.

    Raises
    ------
    UsageError
        If another one does so.
    RecordError
        If the lock is a link or no file.
    """
    with _open_lock(path) as stream:
        patience = time.monotonic() + _PATIENCE
        while not _locked(stream):
            if time.monotonic() > patience:
                raise UsageError(f"{what}{_who_holds(stream)}")
            time.sleep(0.05)
        yield stream.fileno()


def _open_lock(path: Path) -> IO[bytes]:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        refused = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
        fix = "copy the run to where you may write" if refused else "a run's lock is a plain file"
        raise RecordError(f"{path}: cannot be opened ({error.strerror}); {fix}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise RecordError(f"{path}: is no plain file; delete it")
    return open(handle, "r+b")


def _locked(stream: IO[bytes]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _who_holds(stream: IO[bytes]) -> str:
    """Name the processes that have a lock open, and what to do about them."""
    import psutil

    ours, found = os.fstat(stream.fileno()), []
    for process in psutil.process_iter():
        try:
            names = [one.path for one in process.open_files() if process.pid != os.getpid()]
        except (psutil.Error, OSError):
            continue
        for name in names:
            try:
                if os.path.basename(name) == LOCK and os.path.samestat(os.stat(name), ours):
                    found.append(process.pid)
                    break
            except OSError:
                continue
    if not found:
        return "; wait for it, or end it"
    numbers = " and ".join(map(str, found))
    return f", number {numbers}; wait for it, or end it by `kill {' '.join(map(str, found))}`"


def create_run(root: Path, *, name: str) -> RunDirectory:
    """Make a new, empty run directory that cannot be another run's.

    The identifier is the scenario's name, the time in UTC, and four random letters.
    """
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    while True:
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
        path = root / f"{name}-{stamp}-{secrets.token_hex(2)}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        private = path / "private"
        private.mkdir(mode=0o700)
        return RunDirectory(path)


def is_run_name(name: str, scenario: str = "") -> bool:
    """Whether `create_run` could have given this name, for that scenario if one is named."""
    return re.fullmatch(f"{re.escape(scenario) or '.+'}-[0-9]{{8}}-[0-9]{{6}}-[0-9a-f]{{4}}", name) is not None


def find_run(name: str | Path, *, root: Path) -> RunDirectory:
    """Find a run by path, by identifier below `root`, by unambiguous beginning, or as ``latest``.

    Raises
    ------
    RunNotFoundError
    """
    for candidate in (Path(name), root / name):
        if (candidate / MANIFEST).is_file():
            return RunDirectory(candidate.resolve())
    if str(name) == "latest":
        from trustml.record.index import listed_runs

        if listed := listed_runs(root):
            return max(listed, key=lambda one: "" if one.head is None else one.head.created).directory
    known = list_runs(root)
    begun = [run for run in known if run.name.startswith(str(name))] if name else []
    if len(begun) == 1:
        return begun[0]
    if isinstance(name, str) and ("/" in name or Path(name).suffix):
        raise RunNotFoundError(f"{name}: no such file or folder; check the path")
    if begun:
        raise RunNotFoundError(f"{name}: begins {len(begun)} runs, such as {begun[0].path.name}; write more of it")
    near = did_you_mean(str(name), [run.path.name for run in known])
    raise RunNotFoundError(f"{name}: no run of that name in {root}; {near or '`trustml list` shows the runs'}")


def list_runs(root: Path) -> list[RunDirectory]:
    """All run directories below `root`, oldest name first."""
    if not root.is_dir():
        return []
    with os.scandir(root.resolve()) as entries:
        found = [(one.path, one.is_symlink()) for one in entries if os.path.isfile(f"{one.path}/{MANIFEST}")]
    return [RunDirectory(os.path.realpath(path) if link else path) for path, link in sorted(found)]


def newest_first(root: Path) -> list[RunDirectory]:
    """All run directories below `root`, by the time in their names: none is opened."""
    return sorted(list_runs(root), key=made, reverse=True)


def made(run: RunDirectory) -> tuple[str, ...]:
    """When a run was made, by its name, to sort by."""
    return tuple(run.name.split("-")[-3:])


def job_record(manifest: Manifest, job_id: str) -> JobRecord:
    """Find the record of one job.

    Raises
    ------
    RecordError
    """
    for record in manifest.jobs:
        if record.id == job_id:
            return record
    raise RecordError(f"{manifest.run}: has no job {job_id!r}; its jobs are {', '.join(r.id for r in manifest.jobs)}")
