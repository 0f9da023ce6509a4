"""The files of a run directory, as types.

``FORMAT`` goes up when an old reader could misread a new file, or a new reader an old one.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from trustml.data.preparation import Preparation
from trustml.errors import RecordError
from trustml.models.tasks import DEFAULT_TASK, Task
from trustml.plan.support import Skip
from trustml.record.provenance import NodeRecord
from trustml.record.starts import StartRecord
from trustml.scenario.spec import BackendName
from trustml.scenario.sweep import Swept

FORMAT = 3
"""3: rows of the table of measures have their facts as columns. 2: the note held them."""
OLDEST_FORMAT = 2
TYPED_ROWS = 3

JobStatus: TypeAlias = Literal[
    "pending", "running", "ok", "error", "timeout", "out-of-memory", "signal", "blocked", "interrupted"
]
JobKind: TypeAlias = Literal["train", "explain", "shadow", "canary", "game", "reconstruction"]
RunStatus: TypeAlias = Literal["running", "success", "partial", "failed", "interrupted"]
"""``partial`` where some jobs are done and others are not, ``failed`` where none is."""


class RecordStruct(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a record. Unknown fields are passed over, so that newer files can still be read."""


class EngineRecord(RecordStruct, frozen=True, kw_only=True):
    """Which of a library's ways to clip gradients was used.

    Parameters
    ----------
    name : str
    seconds : dict
        Way to the median time of one clipped sum on synthetic data; empty where there was no choice.
    refused : dict
        Way to the reason it was left out.
    """

    name: str
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}


class MethodRecord(RecordStruct, frozen=True, kw_only=True):
    """How one method of an explain job went.

    Parameters
    ----------
    method, library : str
    ok : bool
    reason : str
        One line; empty when all is well.
    seconds, first_seconds : float
        Wall time of the last and of the first call on all examples; the first one compiles. They are the same
        where the first took so long that no second one was made.
    """

    method: str
    library: str
    ok: bool
    reason: str = ""
    seconds: float = 0.0
    first_seconds: float = 0.0


class WorkerResult(RecordStruct, frozen=True, kw_only=True):
    """What a worker says of itself when it ends on its own.

    Parameters
    ----------
    status : {"ok", "error", "out-of-memory"}
    error : str
        One line; empty when all is well.
    versions : dict
        Package to version.
    device : str
    switches : dict
        Threads, precision and allocator settings in force.
    library : str
        Whose code did the work.
    seconds : dict
        Stage of the worker to its wall time.
    details : dict
        Numbers of the job that no array holds.
    notes : tuple of str
        What a reader must know of how it went.
    engine : EngineRecord, optional
        For private training.
    methods : tuple of MethodRecord
        For explanations.
    """

    status: Literal["ok", "error", "out-of-memory"]
    error: str = ""
    versions: dict[str, str] = {}
    device: str = ""
    switches: dict[str, str] = {}
    library: str = ""
    seconds: dict[str, float] = {}
    details: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    engine: EngineRecord | None = None
    methods: tuple[MethodRecord, ...] = ()


class JobRecord(RecordStruct, frozen=True, kw_only=True):
    """How a job ended, as its parent saw it.

    Parameters
    ----------
    id, backend, kind : str
    subject : str
        Of an explain job, the train job of its model; empty for others, and in records of before format 3.
    regime, seed : str, int
        Of the model trained or explained.
    digest : str
    status : JobStatus
    reason : str
        One line; empty when all is well.
    attempt : int
    seconds : float
        Wall time of the process.
    peak_memory : int
        Bytes held at once by the process and its children, sampled; at least the worker's own high-water mark.
    exit_code : int, optional
    stderr_tail : tuple of str
        Last lines, kept for every job that did not end well.
    result : WorkerResult, optional
    artifacts : dict
        File in the job's folder to SHA-256.
    concurrent : bool
        Whether other jobs ran beside it on its machine, which disturbs its timings.
    node : NodeRecord, optional
        Where it ran, if not on the machine of the run (``execution.place``).
    reused_from : str
        Run in which it was done, where its files were taken over: times and memory are of there.
    warm : bool
        Whether its worker was forked from a process that had imported its framework, so that its times hold no import.
    """

    id: str
    backend: BackendName
    kind: JobKind
    regime: str
    seed: int
    digest: str
    status: JobStatus = "pending"
    reason: str = ""
    attempt: int = 0
    seconds: float = 0.0
    peak_memory: int = 0
    exit_code: int | None = None
    stderr_tail: tuple[str, ...] = ()
    result: WorkerResult | None = None
    artifacts: dict[str, str] = {}
    concurrent: bool = False
    subject: str = ""
    node: NodeRecord | None = None
    reused_from: str = ""
    warm: bool = False


def failed_methods(record: JobRecord) -> tuple[MethodRecord, ...]:
    """Methods of an explain job that did not work, while others did."""
    return tuple(method for method in record.result.methods if not method.ok) if record.result else ()


class DataRecord(RecordStruct, frozen=True, kw_only=True):
    """The data, without the data.

    Parameters
    ----------
    fingerprint : str
    train_examples, test_examples : int
    input_shape : tuple of int
    class_names : tuple of str
        Of the classes; where the task has none, of the labels or of the target.
    notes : tuple of str
        Sentences for readers, made from `preparation` and from the scenario; nothing is decided by them.
    feature_names : tuple of str
        Of a table's features; empty for images.
    feature_groups : tuple of int
        Feature that each column of a table belongs to; empty for images.
    preparation : Preparation
        Unknown in records of earlier versions.
    """

    fingerprint: str
    train_examples: int
    test_examples: int
    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    feature_groups: tuple[int, ...] = ()
    preparation: Preparation = Preparation()


def task_of(manifest: Manifest) -> Task:
    """Task of a run, by its scenario; the one there was before scenarios named any where it names none.

    Raises
    ------
    RecordError
        If it names what is no task.
    """
    named = manifest.scenario.get("task")
    try:
        return DEFAULT_TASK if named is None else msgspec.convert(named, Task)
    except msgspec.ValidationError as error:
        raise RecordError(f"{manifest.run}: its scenario's task cannot be read ({error}); it is damaged") from None


def regimes_of(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Regimes of a run's scenario, as they were recorded, by their titles."""
    return {regime.get("name") or regime["kind"]: regime for regime in manifest.scenario["training"]}


def sweep_of(manifest: Manifest) -> tuple[Swept, ...]:
    """Which regimes of a run differ in what alone."""
    return msgspec.convert(manifest.scenario.get("sweep", ()), tuple[Swept, ...])


def tuned_runs(manifest: Manifest) -> float | None:
    """Mean number of runs of which this one is the best; None where it was not chosen among several.

    Whoever drew the settings: :func:`trustml.tune`, or people who declare their search.
    """
    tuning = manifest.scenario.get("tuning")
    return float(tuning["mean_runs"]) if tuning else None


class PartitionRecord(RecordStruct, frozen=True, kw_only=True):
    """Who holds what, without the data.

    Parameters
    ----------
    regime, seed : str, int
    clients : int
    fingerprint : str
        SHA-256 of the client of every training example.
    left_out : int
        Training examples that no client holds.
    """

    regime: str
    seed: int
    clients: int
    fingerprint: str
    left_out: int = 0


class RecordedRegime(RecordStruct, frozen=True, kw_only=True):
    """What readers look up of a regime in a record.

    Parameters
    ----------
    kind, name : str
    """

    kind: str
    name: str = ""


class RecordedScenario(RecordStruct, frozen=True, kw_only=True):
    """What readers look up in the scenario of a record, whose other fields may be an older trustml's.

    Parameters
    ----------
    name : str
    training : tuple of RecordedRegime
    backends, seeds : tuple
    explanations, attacks : dict
    sweep : tuple of Swept
    """

    name: str
    training: tuple[RecordedRegime, ...]
    backends: tuple[str, ...]
    seeds: tuple[int, ...]
    explanations: dict[str, Any] = {}
    attacks: dict[str, Any] = {}
    sweep: tuple[Swept, ...] = ()


class Manifest(RecordStruct, frozen=True, kw_only=True):
    """The record of a run.

    Parameters
    ----------
    format : int
    run : str
        Identifier, and name of the directory.
    status : RunStatus
    created, ended : str
        UTC, ISO 8601.
    scenario : dict
        The resolved scenario as plain data; a ``.toml`` file of the same data runs the same.
    overrides : tuple of str
    data : DataRecord
    partitions : tuple of PartitionRecord
        Of the federated regimes.
    jobs : tuple of JobRecord
    skips : tuple of Skip
    warnings : tuple of str
    cohort_warnings : tuple of str
        Those of them that are about clients and cohorts; empty in records of before format 3.
    hardware, versions, source : dict
        Machine; packages of the main environment; revision of trustml.
    artifacts : dict
        File of the run directory outside ``jobs/`` and ``private/`` to SHA-256.
    """

    format: int = FORMAT
    run: str
    status: RunStatus
    created: str
    ended: str = ""
    scenario: dict[str, Any]
    overrides: tuple[str, ...] = ()
    data: DataRecord
    partitions: tuple[PartitionRecord, ...] = ()
    jobs: tuple[JobRecord, ...]
    skips: tuple[Skip, ...] = ()
    warnings: tuple[str, ...] = ()
    cohort_warnings: tuple[str, ...] = ()
    hardware: dict[str, str] = {}
    versions: dict[str, str] = {}
    source: dict[str, str] = {}
    artifacts: dict[str, str] = {}
    start: StartRecord | None = None
