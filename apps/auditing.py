"""Audits of uploaded models: by the command line, in a process of its own, in the operator's folder.

What an upload is called is used for nothing but its ending: folders have their names from the content.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trustml.auditing.result import AuditRecord, decode_audit
from trustml.errors import UsageError
from trustml.frameworks.shipped import SHIPPED
from trustml.record.files import UNREADABLE, encode_arrays, plain_bytes, write_atomic

MODEL_ENDINGS = tuple(one for entry in SHIPPED for one in entry.live_files if one.startswith("."))
DATA_ENDINGS = (".npz", ".csv")
LARGEST_MIB = 200
"""Of one upload."""
MOST_SECONDS = 1800.0
"""That one audit may take."""
RECORD, REPORT = "audit.json", "audit.html"
_LOCK, _OUTPUT = ".lock", "output.txt"
_NAME = re.compile(r"[0-9a-f]{16}")


def audits_folder() -> Path | None:
    """Folder of the audits of uploaded models, where the operator named one."""
    named = os.environ.get("TRUSTML_AUDITS")
    return Path(named) if named and Path(named).is_dir() else None


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


def examples_of(upload: Upload) -> bytes:
    """Give an uploaded file of examples as .npz: that itself, or columns of numbers with the labels in the last.

    Raises
    ------
    UsageError
    """
    match _ending(upload.name, DATA_ENDINGS):
        case ".npz":
            return upload.content
        case _:
            return _of_csv(upload.content)


def _of_csv(content: bytes) -> bytes:
    try:
        lines = [line for line in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if line]
        values = np.array(lines[1:], dtype=np.float64)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UsageError(f"examples: are no table of numbers in UTF-8 ({str(error)[:80]}); give .npz") from None
    if values.ndim != 2 or values.shape[1] < 2 or not len(values):
        raise UsageError("examples: need a line of names, then rows of numbers, the label in the last column")
    labels = values[:, -1]
    if not np.isfinite(values).all() or (labels != np.round(labels)).any() or (labels < 0).any():
        raise UsageError("examples: the last column must hold labels, whole numbers from 0 in the order of the outputs")
    return encode_arrays({"inputs": values[:, :-1].astype(np.float32), "labels": labels.astype(np.int64)})


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
        If a file is of no known kind, or another audit is running.
    """
    ending = _ending(model.name, MODEL_ENDINGS)
    files = {f"model{ending}": model.content, "train.npz": examples_of(train)}
    if holdout is not None:
        files["holdout.npz"] = examples_of(holdout)
    options = [] if claim is None else [f"--claim-epsilon={_exactly(claim[0])}", f"--claim-delta={_exactly(claim[1])}"]
    digests = [f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in files.items()]
    name = hashlib.sha256("\n".join([*digests, *options]).encode()).hexdigest()[:16]
    if any(one.running for one in uploaded(folder)):
        raise UsageError("another audit is running; start this one when that is done")
    path = folder / name
    path.mkdir(mode=0o700, exist_ok=True)
    (path / RECORD).unlink(missing_ok=True)
    for file, content in files.items():
        write_atomic(path / file, content, private=True)
    given = [f"--train={path / 'train.npz'}"]
    given += [f"--holdout={path / 'holdout.npz'}"] if holdout is not None else []
    _run(path, [str(path / f"model{ending}"), *given, *options])
    return name


def _exactly(value: float) -> str:
    """Write a number with six digits, or as many as it has."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _run(path: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-P", "-m", "trustml.cli", "audit", *arguments]
    command += [f"--report={path / REPORT}", "--json", f"-o={path / RECORD}"]
    with (path / _LOCK).open("wb") as lock, (path / _OUTPUT).open("wb") as output:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held by the process as long as it lives
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=path,
            pass_fds=(lock.fileno(),),
            start_new_session=True,
        )
    threading.Thread(target=_end_in_time, args=(process,), daemon=True).start()


def _end_in_time(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(MOST_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def uploaded(folder: Path) -> list[Uploaded]:
    """Audits of the folder, the newest first."""
    paths = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and (path / _LOCK).is_file()]
    return [_look(path) for path in sorted(paths, key=lambda path: (path / _LOCK).stat().st_mtime, reverse=True)]


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
