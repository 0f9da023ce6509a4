"""The user's own folder of compiled JAX programs, shared by all runs that ask for it.

What lies in it is executed, so it must be nobody else's: not a link, readable by its owner alone, and below no folder
that others can write to. Programs are kept apart by the versions of JAX and by the processor they were compiled for.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import Distribution
from pathlib import Path

from trustml.errors import UsageError
from trustml.frameworks.table import entry_of
from trustml.plan.job import ExplainJob, Job, TrainJob

LARGEST = 2 * 2**30
"""Bytes of compiled programs that are kept; the oldest go first."""

_OF_RUN = "trustml-compiled-"
_LOCK = ".held"
_FIX = "use execution.compilation_cache='run'"


def reused_by(job: Job, *, python: Path, of_run: Path) -> Path | None:
    """Where a job finds what was compiled before; nowhere, if its first call is a figure that must be cold.

    Parameters
    ----------
    job : Job
    python : Path
        Interpreter of its backend.
    of_run : Path
        What this run compiled.

    Raises
    ------
    UsageError
        If the user's folder cannot be trusted.
    """
    distributions = entry_of(job.backend).compiled
    if not distributions:
        return None
    timed = isinstance(job, TrainJob) or (isinstance(job, ExplainJob) and job.timing)
    match job.execution.compilation_cache:
        case "user":
            return open_folder(python, distributions, root=user_folder())
        case "run":
            return None if timed else of_run
        case "off":
            return None


@contextmanager
def folder_of_run() -> Iterator[Path]:
    """Give a folder for what one run compiles, which is gone with it; those of runs that were killed are removed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_OF_RUN}*"):
        _remove_unheld(left)
    with ExitStack() as held, tempfile.TemporaryDirectory(prefix=_OF_RUN) as name:
        lock = held.enter_context((Path(name) / _LOCK).open("wb"))  # until the folder is gone
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Path(name)


def _remove_unheld(folder: Path) -> None:
    """Remove a folder of ours whose lock nobody holds; one without a lock is being made."""
    with suppress(OSError):
        if folder.lstat().st_uid != os.getuid() or not stat.S_ISDIR(folder.lstat().st_mode):
            return
        with open(os.open(folder / _LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def user_folder() -> Path:
    """Where compiled programs of all runs lie: below ``TRUSTML_COMPILED``, or the system's place for caches."""
    import platformdirs

    return Path(os.environ.get("TRUSTML_COMPILED") or Path(platformdirs.user_cache_dir("trustml")) / "compiled")


def open_folder(python: Path, distributions: Sequence[str], *, root: Path) -> Path:
    """Make the folder for what one interpreter's libraries compile on this processor, checked, with room in it.

    Raises
    ------
    UsageError
        If somebody else could put a program there.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    folder = root / f"{_versions(python, distributions)}-{processor()}"
    for own in (root, folder):
        _make_own(own)
    for above in root.resolve().parents:
        facts = above.stat()
        others = facts.st_mode & 0o022 and not facts.st_mode & stat.S_ISVTX
        if others or facts.st_uid not in (0, os.getuid()):
            raise UsageError(f"{above}: others can replace {root}, and what lies there is executed; {_FIX}")
    evict(root, largest=LARGEST)
    return folder


def _make_own(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made ({error.strerror}); {_FIX}") from None
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise UsageError(f"{folder}: is no folder of yours, and what lies there is executed; {_FIX}")
    if facts.st_mode & 0o077:
        raise UsageError(f"{folder}: is open to others, and what lies there is executed; `chmod 700` it, or {_FIX}")


def evict(root: Path, *, largest: int) -> None:
    """Delete the oldest files below `root` until those that are left are `largest` bytes together at most."""
    found = []
    for path in root.rglob("*"):
        facts = path.lstat()
        if stat.S_ISREG(facts.st_mode):
            found.append((facts.st_mtime, facts.st_size, path))
    size = sum(one for _, one, _ in found)
    for _, one, path in sorted(found):
        if size <= largest:
            return
        path.unlink(missing_ok=True)
        size -= one


def processor() -> str:
    """Short name of the kind of processor: what it can do decides which programs it can run."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        # of the first core: "flags" on x86, "Features" on Arm, and what it is called
        told = [line for line in lines if line.split("\t")[0].strip() in ("flags", "Features", "model name")][:2]
    except OSError:
        told = [platform.processor()]
    return f"{platform.machine()}-{hashlib.sha256(chr(10).join(told).encode()).hexdigest()[:12]}"


def _versions(python: Path, distributions: Sequence[str]) -> str:
    places = [str(place) for place in python.parent.parent.glob("lib/python*/site-packages")]
    found: dict[str, str] = {}
    for name in distributions:
        for one in Distribution.discover(name=name, path=places):
            found.setdefault(name, one.version)
    return "-".join(f"{name}-{found.get(name, 'unknown')}" for name in distributions)
