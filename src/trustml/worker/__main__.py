"""``python -m trustml.worker JOB_DIR``: read ``job.json``, do the work, write ``result.json``.

Exit code 0 when the job is done, 1 when it failed; the reason is in ``result.json``, the traceback on stderr.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import msgspec

from trustml.errors import TrustmlError
from trustml.plan.attack_files import logs_folder
from trustml.plan.job import Job, decode_job, promises_privacy
from trustml.processes import is_given_up, leave
from trustml.record.files import write_atomic
from trustml.record.schema import WorkerResult


def main(arguments: list[str]) -> int:
    """Run one job."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "job.json").is_file():
        print("usage: python -m trustml.worker JOB_DIR (a folder that holds job.json)", file=sys.stderr)
        return 2
    folder = Path(arguments[0]).resolve()
    job: Job | None = None
    try:
        job = decode_job((folder / "job.json").read_bytes())
        from trustml.worker.pipeline import run_job

        result = run_job(job, folder)
    except MemoryError as error:
        traceback.print_exc()
        result = WorkerResult(status="out-of-memory", error=released_line(error, job))
    except TrustmlError as error:
        result = WorkerResult(status="error", error=str(error))
        print(error, file=sys.stderr)
    except Exception as error:
        traceback.print_exc()
        result = WorkerResult(status="error", error=released_line(error, job))
    if is_given_up():  # another attempt's result may be there
        return 1
    write_atomic(folder / "result.json", msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return 0 if result.status == "ok" else 1


def released_line(error: BaseException, job: Job | None) -> str:
    """Name an error as far as the record may: a library's message may hold values of the data."""
    fixed = isinstance(error, FloatingPointError | NotImplementedError)  # our own words, or numpy's, without values
    if job is None or fixed or not promises_privacy(job):
        return one_line(error)
    return f"{type(error).__name__}: what it says is in {logs_folder(job.id)}/stderr.txt"


def one_line(error: BaseException) -> str:
    """Name an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:500]


def said_of(error: BaseException) -> str:
    """Our own words as they are; of another error its name, too."""
    return str(error) if isinstance(error, TrustmlError) else one_line(error)


def write_problem(folder: Path, error: Exception) -> None:
    """Leave one line on why a worker that is asked through a folder could not do it, and the traceback on stderr."""
    traceback.print_exception(error)
    write_atomic(folder / "problem.txt", said_of(error).encode())


if __name__ == "__main__":
    leave(main(sys.argv[1:]))  # what it did is on disk
