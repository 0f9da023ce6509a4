"""Plain jobs that were done before: found by all that their result follows from, and taken over from that run.

What is found is believed only by an entry in the user's own folder, written by the launcher that saw the job end: runs
in a folder may be anybody's. Private jobs are never taken over: each training is a release of its own, and a model that
was released twice must be charged twice. Nor are those that are attacked, or hold somebody's code.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import msgspec
from msgspec.structs import replace

from trustml.errors import EnvironmentMissingError, RecordError
from trustml.launch.environments import find_environment
from trustml.models.native import native_of
from trustml.plan.job import ExplainJob, Job, TrainJob, encode_job, job_needs
from trustml.record.files import UNREADABLE, arrays_digest, plain_bytes, sha256, write_atomic
from trustml.record.index import IndexUnavailableError, index_file, make_own
from trustml.record.provenance import hardware, source_revision
from trustml.record.schema import JobRecord, RecordStruct
from trustml.record.store import RunDirectory
from trustml.scenario.places import Local
from trustml.scenario.spec import Execution

RESULT = "result.json"


class Finished(RecordStruct, frozen=True, kw_only=True):
    """A job that is done: in which run, and how it ended."""

    run: str
    record: JobRecord


class FinishedJobs:
    """The user's finished plain jobs of one folder of runs.

    Parameters
    ----------
    run : RunDirectory
        That may take jobs over, and whose jobs others may.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run, self._root = run, run.path.parent
        self._folder = index_file(self._root).with_suffix(".jobs")
        source = source_revision()
        self._made_on = [hardware(), source, version("trustml")]
        self._whole = source.get("changed_files", "0") == "0"

    def take_over(self, job: Job, record: JobRecord) -> JobRecord | None:
        """Link the files of the same job of another run, and give its record, which names that run; None where none is.

        Files are copied where they cannot be linked, and must be those that the job wrote.
        """
        entry = self._entry(job)
        try:
            found = None if entry is None else msgspec.json.decode(plain_bytes(entry), type=Finished)
        except UNREADABLE:
            return None
        if found is None or found.run == self._run.path.name or Path(found.run).name != found.run:
            return None
        folder, other = self._run.job_folder(job.id), self._root / found.run / "jobs" / job.id
        if not self._linked(other, folder, found.record.artifacts):
            return None
        taken = found.record.reused_from or found.run
        return replace(
            found.record, digest=record.digest, subject=record.subject, attempt=record.attempt + 1, reused_from=taken
        )

    def offer(self, job: Job, record: JobRecord) -> None:
        """Let later runs of this folder take a job over that ended well."""
        entry = self._entry(job)
        if entry is None or record.status != "ok" or record.result is None:
            return
        with suppress(OSError, IndexUnavailableError):
            make_own(entry.parent)
            write_atomic(entry, msgspec.json.encode(Finished(run=self._run.path.name, record=record)), private=True)

    def _entry(self, job: Job) -> Path | None:
        """Where the entry of a job lies, by all that its result follows from; None if it is not to be taken over."""
        if not self._whole or not may_be_taken_over(job):
            return None
        try:
            python = find_environment(job.backend).require()
            key = [self._asked(job), *self._inputs(job), self._made_on, installed(python)]
        except (OSError, RecordError, EnvironmentMissingError):
            return None
        return self._folder / f"{hashlib.sha256(msgspec.json.encode(key)).hexdigest()}.json"

    def _asked(self, job: Job) -> str:
        """What the job asks for, but for limits, which change no result."""
        usual = Execution()
        same = {name: getattr(usual, name) for name in ("timeout", "memory_limit", "parallel_jobs")}
        return hashlib.sha256(encode_job(replace(job, execution=replace(job.execution, **same)))).hexdigest()

    def _inputs(self, job: Job) -> list[str]:
        """SHA-256 of the files that the job reads, of the data by their fingerprint."""
        data = self._run.head().data.fingerprint
        if isinstance(job, TrainJob):
            plan = arrays_digest(self._run.arrays(job.plan).items())
            return [data, sha256(self._run.file(job.initial_weights)), plan]
        assert isinstance(job, ExplainJob)
        given = [self._run.file(name) for name in (job.weights, job.examples, job.baselines) if name]
        return [data, *(sha256(path) if path.is_file() else "" for path in given)]

    @staticmethod
    def _linked(other: Path, folder: Path, artifacts: dict[str, str]) -> bool:
        """Put the files of a job into another's folder; none is left where one is not what it should be."""
        made: list[Path] = []
        try:
            for name in (*artifacts, RESULT):
                source, path = other / name, folder / name
                if source.is_symlink() or not source.is_file():
                    raise RecordError(f"{source}: is no file")
                path.unlink(missing_ok=True)
                made.append(path)
                try:
                    os.link(source, path)
                except OSError:
                    shutil.copyfile(source, path)
                if name in artifacts and sha256(path) != artifacts[name]:
                    raise RecordError(f"{source}: is not what its job wrote")
        except (OSError, RecordError):
            for path in made:
                path.unlink(missing_ok=True)
            return False
        return True


def may_be_taken_over(job: Job) -> bool:
    """Whether a job is plain, needs no other's outcome but weights, and leaves nothing of use under ``private/``."""
    if native_of(job.model) is not None or not isinstance(job.execution.place, Local):  # of other machines
        return False
    if isinstance(job, TrainJob):
        private = job.mechanism is not None or job.ablated is not None or job.clients
        attacked = job.scores or job.extracted or job.extraction is not None
        return not private and not attacked and not job_needs(job)
    return isinstance(job, ExplainJob)


def installed(python: Path) -> str:
    """SHA-256 of the names and versions of all that an interpreter's environment has."""
    places = python.parent.parent.glob("lib/python*/site-packages")
    names = sorted(one.name for place in places for one in place.glob("*.dist-info"))
    return hashlib.sha256("\n".join([str(python), *names]).encode()).hexdigest()
