"""The process of an audit of uploads: it makes arrays of their tables, audits, and ends that at the operator's limits.

It is started in the folder of the uploads, holds the lock that says that the audit runs, and outlives the server that
started it: neither the limits nor a cancellation need that server.
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trustml.errors import TrustmlError, UsageError
from trustml.launch.process import resident_bytes
from trustml.processes import module_command
from trustml.record.files import encode_arrays, write_atomic

CANCEL = ".cancel"
"""File whose presence in the folder ends the audit."""
TABLES = {"train.csv": "train.npz", "holdout.csv": "holdout.npz"}
"""Tables that may be in the folder, and the arrays that they become."""
MODULE = "trustml.auditing.upload_process"
_TABLE = "table"
_LARGEST_LABEL = 2**31 - 1
_LOOK_SECONDS, _LOOK_SELDOM, _LOOK_SHARE = 0.1, 1.0, 0.05


@dataclass(frozen=True, kw_only=True)
class AuditLimits:
    """What an audit may use: seconds, and bytes of it and all that it starts."""

    seconds: float
    memory: int


def examples_of_csv(source: Path) -> bytes:
    """Give a table of numbers, with a line of names above and labels in the last column, as .npz.

    Raises
    ------
    UsageError
    """
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            lines = (line for line in csv.reader(stream) if line)
            names, width, values = next(lines, []), 0, array("d")  # eight bytes a number, not the text of all
            for line in lines:
                width = width or len(line)
                if len(line) != width:
                    raise ValueError(f"a line of {len(line)} values, another of {width}")
                values.extend(map(float, line))
    except (csv.Error, ValueError) as error:
        raise UsageError(f"examples: are no table of numbers in UTF-8 ({str(error)[:80]}); give .npz") from None
    if width < 2:
        raise UsageError("examples: need a line of names, then rows of numbers, the label in the last column")
    table = np.frombuffer(values).reshape(-1, width)
    labels = table[:, -1]
    with np.errstate(over="ignore"):
        inputs = table[:, :-1].astype(np.float32)
    for row, column in np.argwhere(~np.isfinite(inputs))[:1]:
        name = names[column] if column < len(names) else f"column {column + 1}"
        raise UsageError(
            f"examples: {name[:60]!r} is {table[row, column]:g} in row {row + 1}, no finite number of float32; "
            "scale the column, or leave the row out"
        )
    for row in np.flatnonzero(~((labels >= 0) & (labels <= _LARGEST_LABEL) & (labels == np.round(labels))))[:1]:
        raise UsageError(
            f"examples: the label is {labels[row]:g} in row {row + 1}; the last column must hold labels, whole numbers "
            "from 0 in the order of the outputs"
        )
    return encode_arrays({"inputs": inputs, "labels": labels.astype(np.int64)})


def audit_uploads(folder: Path, arguments: Sequence[str], *, limits: AuditLimits) -> int:
    """Make arrays of the tables of a folder, then call ``trustml audit``; give its exit code.

    Parameters
    ----------
    folder : Path
    arguments : sequence of str
        Of ``trustml audit``.
    limits : AuditLimits
        Of all of it.

    Raises
    ------
    UsageError
        If it was cancelled, or used more than it may.
    """
    until = time.monotonic() + limits.seconds
    for table, arrays in TABLES.items():
        if (folder / table).is_file():
            code = _watched(folder, [MODULE, _TABLE, str(folder / table), str(folder / arrays)], limits, until=until)
            if code:
                return code
    return _watched(folder, ["trustml.cli", "audit", *arguments], limits, until=until)


def _watched(folder: Path, command: Sequence[str], limits: AuditLimits, *, until: float) -> int:
    """Run a module in a process that ends with this one, at the limits and when it is cancelled."""
    started = module_command(Path(sys.executable), *command)
    process = subprocess.Popen(
        started.arguments, pass_fds=started.inherited, stdin=subprocess.DEVNULL, cwd=folder, start_new_session=True
    )
    try:
        # Look without reaping: as long as the leader is a zombie its group id cannot be anybody else's.
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            used = time.thread_time()
            if (folder / CANCEL).exists():
                raise UsageError("the audit was cancelled")
            if time.monotonic() > until:
                raise UsageError(f"the audit took longer than {limits.seconds:g} s; give fewer examples")
            if resident_bytes(process.pid) > limits.memory:
                raise UsageError(
                    f"the audit held more than {limits.memory / 2**30:g} GiB, and was ended; give fewer examples or a "
                    "smaller model, or let the operator raise --audits-memory"
                )
            pause = (time.thread_time() - used) / _LOOK_SHARE
            time.sleep(min(_LOOK_SELDOM, max(_LOOK_SECONDS, pause)))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    if code < 0:
        raise UsageError(
            f"the audit was ended by {signal.Signals(-code).name}; the system does so when memory runs out"
        )
    return code


def main(arguments: Sequence[str]) -> int:
    """Serve ``SECONDS BYTES ARGUMENTS`` in the folder it is called from, and ``table SOURCE TARGET``."""
    try:
        if arguments[0] == _TABLE:
            source, target = Path(arguments[1]), Path(arguments[2])
            write_atomic(target, examples_of_csv(source), private=True)
            return 0
        seconds, memory, *given = arguments
        limits = AuditLimits(seconds=float(seconds), memory=int(memory))
        return audit_uploads(Path.cwd(), given, limits=limits)
    except (TrustmlError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
