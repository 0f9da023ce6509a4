"""Audits of uploaded models: by the command line, in a process of its own, in the operator's folder.

What an upload is called is used for nothing but its ending: folders have their names from the content.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from trustml.auditing.result import AuditRecord, decode_audit
from trustml.auditing.upload_process import CANCEL, MODULE, TABLES
from trustml.errors import UsageError
from trustml.frameworks.shipped import SHIPPED
from trustml.record.files import UNREADABLE, plain_bytes, write_atomic

MODEL_ENDINGS = tuple(one for entry in SHIPPED for one in entry.live_files if one.startswith("."))
DATA_ENDINGS = (".npz", ".csv")
LARGEST_MIB = 200
"""Of one upload."""
MOST_SECONDS = 1800.0
"""That one audit may take."""
_MEMORY_GIB = 8
RECORD, REPORT = "audit.json", "audit.html"
_LOCK, _OUTPUT = ".lock", "output.txt"
_NAME = re.compile(r"[0-9a-f]{16}")


def audits_folder() -> Path | None:
    """Folder of the audits of uploaded models, where the operator named one."""
    named = os.environ.get("TRUSTML_AUDITS")
    return Path(named) if named and Path(named).is_dir() else None


def most_memory() -> int:
    """Bytes that one audit may hold: the operator's word, else 8 GiB.

    Raises
    ------
    UsageError
    """
    said = os.environ.get("TRUSTML_AUDITS_MEMORY", "") or str(_MEMORY_GIB)
    if not said.isdecimal() or int(said) < 1:
        raise UsageError(f"TRUSTML_AUDITS_MEMORY: is {said!r}; name a whole number of GiB, from 1")
    return int(said) << 30


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that a reader gives.

    Attributes
    ----------
    name : str
        As the reader calls it.
    content : bytes
    """

    name: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """An audit that was asked for.

    Attributes
    ----------
    name : str
        Of its folder.
    path : Path
    running : bool
    record : AuditRecord, optional
        None where it is not done, or failed.
    said : str
        Last line that it printed.
    """

    name: str
    path: Path
    running: bool
    record: AuditRecord | None
    said: str


def _ending(name: str, allowed: Sequence[str]) -> str:
    for one in allowed:
        if name.lower().endswith(one):
            return one
    raise UsageError(f"{name[-60:]!r}: is of no known kind; give a file ending in {', '.join(allowed)}")


def start(
    folder: Path,
    *,
    model: Upload,
    train: Upload,
    holdout: Upload | None,
    claim: tuple[float, float] | None = None,
) -> str:
    """Start an audit in a process of its own, which goes on when the page is closed, and give its name.

    Parameters
    ----------
    folder : Path
        The operator's.
    model, train : Upload
    holdout : Upload, optional
    claim : (float, float), optional
        Epsilon and delta that are claimed.

    Raises
    ------
    UsageError
        If a file is of no known kind, another audit is running, or the folder cannot be written to.
    """
    named = f"model{_ending(model.name, MODEL_ENDINGS)}"
    files = {named: model.content}
    for part, upload in {"train": train, "holdout": holdout}.items():
        if upload is not None:
            files[f"{part}{_ending(upload.name, DATA_ENDINGS)}"] = upload.content
    options = [] if claim is None else [f"--claim-epsilon={float(claim[0])!r}", f"--claim-delta={float(claim[1])!r}"]
    digests = [f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in files.items()]
    name = hashlib.sha256("\n".join([*digests, *options]).encode()).hexdigest()[:16]
    path = folder / name
    # What is no array yet is made one by the process of the audit: a table may take many times its size to read.
    arrays = {file: path / TABLES.get(file, file) for file in files if file != named}
    given = [f"--{file.partition('.')[0]}={place}" for file, place in arrays.items()]
    command = [sys.executable, "-P", "-m", MODULE, f"{MOST_SECONDS:g}", str(most_memory()), str(path / named), *given]
    command += [*options, f"--report={path / REPORT}", "--json", "-o", str(path / RECORD)]
    with _changing(folder):
        if any(one.running for one in uploaded(folder)):
            raise UsageError("another audit is running; start this one when that is done")
        try:
            _run(path, command, files=files)
        except OSError as error:
            raise UsageError(f"{name}: cannot be kept or started ({error.strerror}); tell the operator") from None
    return name


@contextmanager
def _changing(folder: Path) -> Iterator[None]:
    """Let nobody else start or delete an audit meanwhile; refuse at once where somebody does."""
    with (folder / _LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError("another audit is being started or deleted; try again in a moment") from None
        yield


def _run(path: Path, command: list[str], *, files: Mapping[str, bytes]) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    with (path / _LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held by the process as long as it lives; others only look
        for earlier in (RECORD, REPORT, CANCEL):
            (path / earlier).unlink(missing_ok=True)
        with (path / _OUTPUT).open("wb") as output:
            for file, content in files.items():
                write_atomic(path / file, content, private=True)
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=path,
                pass_fds=(lock.fileno(),),
                start_new_session=True,
            )
    threading.Thread(target=process.wait, daemon=True).start()  # leaves no zombie beside the server


def cancel(one: Uploaded) -> None:
    """Tell the process of an audit to end it, whoever started it."""
    with suppress(OSError):  # deleted meanwhile
        (one.path / CANCEL).touch()


def delete(one: Uploaded) -> None:
    """Delete an audit that is not running, with all that was uploaded.

    Raises
    ------
    UsageError
        If it is running.
    """
    with _changing(one.path.parent):
        if not one.path.is_dir():
            return  # by somebody else
        if _look(one.path).running:
            raise UsageError(f"{one.name}: is running; cancel it first")
        shutil.rmtree(one.path)


def uploaded(folder: Path) -> list[Uploaded]:
    """Audits of the folder, the newest first."""
    found = []
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name) and (path / _LOCK).is_file():
            with suppress(OSError):  # deleted meanwhile
                found.append(((path / _LOCK).stat().st_mtime, _look(path)))
    return [one for _, one in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _look(path: Path) -> Uploaded:
    running, record, said = False, None, ""
    with (path / _LOCK).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            running = True
    try:
        record = None if running else decode_audit(plain_bytes(path / RECORD))
    except UNREADABLE:
        pass
    try:
        lines = plain_bytes(path / _OUTPUT).decode(errors="replace").strip().splitlines()
        said = lines[-1].removeprefix("Error: ") if lines else ""
    except OSError:
        pass
    return Uploaded(name=path.name, path=path, running=running, record=record, said=said)
