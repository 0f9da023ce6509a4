"""Plain jobs that were done before: found by all that their result follows from, and taken over from that run.

What is found is believed only by an entry in the user's own folder, written by the launcher that saw the job end: runs
in a folder may be anybody's. Private jobs are never taken over: each training is a release of its own, and a model that
was released twice must be charged twice. Nor are those that are attacked, or hold somebody's code.

Files are copied, never linked: two runs that shared a file would change together where somebody edits one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import msgspec
from msgspec.structs import replace

from trustml.errors import EnvironmentMissingError, RecordError
from trustml.launch.environments import find_environment
from trustml.launch.process import clean_environment
from trustml.models.native import native_of
from trustml.plan.attacking import unattacked
from trustml.plan.job import ExplainJob, Job, TrainJob, encode_job, job_needs
from trustml.plan.switches import job_variables
from trustml.record.files import UNREADABLE, arrays_digest, plain_bytes, replacing, sha256, write_atomic
from trustml.record.index import IndexUnavailableError, index_file, make_own
from trustml.record.provenance import hardware, source_revision
from trustml.record.schema import JobRecord, RecordStruct
from trustml.record.store import RunDirectory
from trustml.scenario.places import Local
from trustml.scenario.spec import Execution

RESULT = "result.json"
_CLONE = 0x40049409  # FICLONE of Linux's fs.h: the blocks of a file are shared until one of both is written
_CHANGING = (
    *("XLA_", "JAX_", "TF_", "TORCH", "PYTORCH", "CUDA_", "CUBLAS", "CUDNN", "NVIDIA_", "NCCL_", "HIP_", "ROCR_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "DNNL_", "ONEDNN_", "ATEN_"),
    *("LD_", "DYLD_", "GLIBC_TUNABLES", "PYTHON", "NPY_"),
)
"""How the names begin of variables by which libraries compute another way, or other libraries are found."""
_ASKED = """
import importlib.metadata as m, json, os, sys
found = sorted([str(d.metadata["Name"]), d.version, d.read_text("direct_url.json") or ""] for d in m.distributions())
print(json.dumps([sys.version, found, [place for place in sys.path if os.path.isdir(place)]]))
"""


class _Installed(msgspec.Struct, frozen=True, kw_only=True):
    places: list[str]
    dates: list[int]
    digest: str


_known: dict[tuple[str, ...], _Installed] = {}


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
        self._code = revision()
        self._made_on = [hardware(), self._code, version("trustml")]
        self._data = run.head().data.fingerprint

    def take_over(self, job: Job, record: JobRecord) -> JobRecord | None:
        """Copy the files of the same job of another run, and give its record, which names that run; None where none is.

        Files must be those that the job wrote; its result is written from the entry.
        """
        entry = self._entry(job)
        try:
            found = None if entry is None else self._believed(entry)
        except (*UNREADABLE, IndexUnavailableError):
            return None
        if found is None or found.run == self._run.path.name or Path(found.run).name != found.run:
            return None
        folder, other = self._run.job_folder(job.id), self._root / found.run / "jobs" / job.id
        if not self._copied(other, folder, found.record):
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
            self._make_own()
            write_atomic(entry, msgspec.json.encode(Finished(run=self._run.path.name, record=record)), private=True)

    def _make_own(self) -> None:
        for folder in (self._folder.parent, self._folder):
            make_own(folder)

    def _believed(self, entry: Path) -> Finished:
        """Read an entry that nobody but this user can have written."""
        self._make_own()
        facts = entry.lstat()
        if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
            raise IndexUnavailableError(f"{entry}: others can write it")
        return msgspec.json.decode(plain_bytes(entry), type=Finished)

    def _entry(self, job: Job) -> Path | None:
        """Where the entry of a job lies, by all that its result follows from; None if it is not to be taken over."""
        if self._code is None or not may_be_taken_over(job):
            return None
        try:
            environment = find_environment(job.backend)
            python, variables = environment.require(), clean_environment() | environment.variables
            packages = installed(python, variables)
            if packages is None:
                return None
            seen = changing(variables | job_variables(job))
            key = [self._asked(job), *self._inputs(job), self._made_on, packages, seen]
        except (OSError, RecordError, EnvironmentMissingError):
            return None
        return self._folder / f"{hashlib.sha256(msgspec.json.encode(key)).hexdigest()}.json"

    def _asked(self, job: Job) -> str:
        """What the job asks for, but for limits, which change no result."""
        usual = Execution()
        same = {name: getattr(usual, name) for name in ("timeout", "memory_limit", "parallel_jobs", "warm_workers")}
        return hashlib.sha256(encode_job(replace(job, execution=replace(job.execution, **same)))).hexdigest()

    def _inputs(self, job: Job) -> list[str]:
        """SHA-256 of the files that the job reads, of the data by their fingerprint."""
        data = self._data
        if isinstance(job, TrainJob):
            plan = arrays_digest(self._run.arrays(job.plan).items())
            return [data, sha256(self._run.file(job.initial_weights)), plan]
        assert isinstance(job, ExplainJob)
        given = [self._run.file(name) for name in (job.weights, job.examples, job.baselines) if name]
        return [data, *(sha256(path) if path.is_file() else "" for path in given)]

    @staticmethod
    def _copied(other: Path, folder: Path, record: JobRecord) -> bool:
        """Put the files of a job into another's folder; none is left where one is not what it should be."""
        made: list[Path] = []
        artifacts = record.artifacts
        try:
            for name in artifacts:
                path = folder / name
                made.append(path)
                _copy(other / name, path)
                if sha256(path) != artifacts[name]:
                    raise RecordError(f"{other / name}: is not what its job wrote")
            made.append(folder / RESULT)
            write_atomic(folder / RESULT, msgspec.json.format(msgspec.json.encode(record.result), indent=2) + b"\n")
        except (OSError, RecordError):
            for path in made:
                path.unlink(missing_ok=True)
            return False
        return True


def _copy(source: Path, path: Path) -> None:
    """Copy a plain file; at once and without more room where the file system can."""
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as read, replacing(path) as written:
        try:
            fcntl.ioctl(written, _CLONE, read.fileno())
        except OSError:
            shutil.copyfileobj(read, written, 1 << 20)


def may_be_taken_over(job: Job) -> bool:
    """Whether a job is plain, needs no other's outcome but weights, and leaves nothing of use under ``private/``."""
    if native_of(job.model) is not None or not isinstance(job.execution.place, Local):  # of other machines
        return False
    if isinstance(job, TrainJob):
        private = job.mechanism is not None or job.ablated is not None or job.clients
        return not private and unattacked(job) == job and not job_needs(job)
    return isinstance(job, ExplainJob)


def revision() -> list[str] | None:
    """Which code of trustml this is; None where nothing says so, as of changed files, or a folder of no version.

    An installed wheel says it by the hashes of its files, which it came with.
    """
    source = source_revision()
    if source:
        return [source["commit"]] if source.get("changed_files") == "0" else None
    try:
        wheel = distribution("trustml")
    except PackageNotFoundError:
        return None
    files, here = wheel.read_text("RECORD"), Path(__file__).resolve().parents[1]
    if not files or Path(str(wheel.locate_file("trustml"))).resolve() != here:
        return None
    return [hashlib.sha256(files.encode()).hexdigest()]


def changing(variables: Mapping[str, str]) -> dict[str, str]:
    """Those of a worker's environment variables that may change what it computes."""
    return {name: variables[name] for name in sorted(variables) if name.startswith(_CHANGING)}


def installed(python: Path, variables: Mapping[str, str]) -> str | None:
    """SHA-256 of the versions of an interpreter and of all that it finds installed; None where it cannot say.

    It is asked itself, since nobody else knows where it looks, and again once a folder of those has changed.
    """
    key = (str(python), *changing(variables).values())
    if key in _known and (kept := _known[key]).dates == _dates(python, kept.places):
        return kept.digest
    command = [str(python), "-P", "-c", _ASKED]
    try:
        done = subprocess.run(
            command, env=dict(variables), stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60
        )
        release, found, places = msgspec.json.decode(done.stdout, type=tuple[str, list[list[str]], list[str]])
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return None
    if not found or any('"editable": true' in url for name, _, url in found if name != "trustml"):
        return None  # what is installed so changes, and its version does not
    digest = hashlib.sha256(msgspec.json.encode([str(python), release, found])).hexdigest()
    _known[key] = _Installed(places=places, dates=_dates(python, places), digest=digest)
    return digest


def _dates(python: Path, places: list[str]) -> list[int]:
    """When an interpreter and the folders that it looks into were changed last."""
    return [path.stat().st_mtime_ns for path in (python, *map(Path, places))]
