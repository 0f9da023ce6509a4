"""``python -m trustml.worker JOB_DIR``: read ``job.json``, do the work, write ``result.json``.

Exit code 0 when the job is done, 1 when it failed; the reason is in ``result.json``, the traceback on stderr.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import msgspec

from trustml.errors import TrustmlError
from trustml.plan.job import decode_job
from trustml.record.files import write_atomic
from trustml.record.schema import WorkerResult


def main(arguments: list[str]) -> int:
    """Run one job."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "job.json").is_file():
        print("usage: python -m trustml.worker JOB_DIR (a folder that holds job.json)", file=sys.stderr)
        return 2
    folder = Path(arguments[0]).resolve()
    try:
        from trustml.worker.pipeline import run_job

        result = run_job(decode_job((folder / "job.json").read_bytes()), folder)
    except MemoryError as error:
        traceback.print_exc()
        result = WorkerResult(status="out-of-memory", error=one_line(error))
    except TrustmlError as error:
        result = WorkerResult(status="error", error=str(error))
        print(error, file=sys.stderr)
    except Exception as error:
        traceback.print_exc()
        result = WorkerResult(status="error", error=one_line(error))
    write_atomic(folder / "result.json", msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return 0 if result.status == "ok" else 1


def one_line(error: BaseException) -> str:
    """Name an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:500]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
