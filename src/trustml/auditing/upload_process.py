"""The process of an audit of uploads: it makes arrays of their tables, audits, and ends that at the operator's limits.

It is started in the folder of the uploads, holds the lock that says that the audit runs, and outlives the server that
started it: neither the limits nor a cancellation need that server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trustml.auditing.tables import examples_of_csv
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
_LOOK_SECONDS, _LOOK_SELDOM, _LOOK_SHARE = 0.1, 1.0, 0.05


@dataclass(frozen=True, kw_only=True)
class AuditLimits:
    """What an audit may use: seconds, and bytes of it and all that it starts."""

    seconds: float
    memory: int


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
    beside: list[str] = []
    for table, arrays in TABLES.items():
        if (folder / table).is_file():
            command = [MODULE, _TABLE, str(folder / table), str(folder / arrays), *beside]
            if code := _watched(folder, command, limits, until=until):
                return code
            beside = [str(folder / table)]
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
    """Serve ``SECONDS BYTES ARGUMENTS`` in the folder it is called from, and ``table SOURCE TARGET [BESIDE]``."""
    try:
        if arguments[0] == _TABLE:
            source, target, *beside = map(Path, arguments[1:])
            inputs, labels = examples_of_csv(source, beside=beside[0] if beside else None)
            write_atomic(target, encode_arrays({"inputs": inputs, "labels": labels}), private=True)
            return 0
        seconds, memory, *given = arguments
        limits = AuditLimits(seconds=float(seconds), memory=int(memory))
        return audit_uploads(Path.cwd(), given, limits=limits)
    except (TrustmlError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
