"""What was measured, as a file: raw figures of every engine, and a tidy table made of them.

The file is JSON. ``measured`` holds one entry for each engine, workload and setting of the allocator, with the median
of every turn, from which intervals can be computed again; ``rows`` is the same in the columns of the project's tidy
table (:class:`trustml.measures.measure.Row`): ``job`` is the workload, ``backend`` the environment, ``subject`` the
engine, ``method`` the setting of the allocator, ``measure`` one of :data:`BENCH_MEASURES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from trustml.errors import RecordError
from trustml.measures.entry import Measure
from trustml.measures.row import Row
from trustml.record.files import UNREADABLE, write_atomic
from trustml_bench.engine import Role
from trustml_bench.places import Allocator
from trustml_bench.workloads import Workload

FORMAT = "trustml-bench-1"

BENCH_MEASURES: dict[str, Measure] = {
    "bench_time": Measure(
        unit="s", better="lower", title="time", meaning="Median wall time of a call after warm-up; quartiles of calls."
    ),
    "bench_first": Measure(
        unit="s", better="lower", title="first call", meaning="Wall time of the first call, with tracing and compiling."
    ),
    "bench_peak_memory": Measure(
        unit="bytes",
        better="lower",
        title="peak memory",
        meaning="Most memory resident at once, interpreter, framework and children included.",
    ),
    "bench_work_memory": Measure(
        unit="bytes",
        better="lower",
        title="memory of the work",
        meaning="Peak memory less what was resident just before the first call; compiling is in it.",
    ),
    "bench_ratio": Measure(
        unit="1",
        better="lower",
        title="against the floor",
        meaning="Time over that of the same framework's fastest floor; median of paired turns, 90 % interval.",
    ),
    "bench_ratio_any": Measure(
        unit="1",
        better="lower",
        title="against any floor",
        meaning="Time over that of the fastest floor of any framework; median of paired turns, 90 % interval.",
    ),
    "bench_rate": Measure(
        unit="GFLOP/s",
        better="higher",
        title="rate",
        meaning="Arithmetic of a plain step, counted as three forward passes, over its median time.",
    ),
    "bench_rate_fraction": Measure(
        unit="1",
        better="higher",
        title="share of the machine",
        meaning="That rate over the rate of a float32 matrix multiplication on all cores of this machine.",
    ),
}

Status: TypeAlias = Literal["ok", "impossible", "failed", "missing"]
"""``impossible`` where the library does not offer it, ``failed`` where it broke, ``missing`` without environment."""


class Timing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine on one workload under one setting of the allocator.

    Attributes
    ----------
    workload : Workload
    engine, environment, role, allocator : str
    status : str
    reason : str
        Why there are no figures, or why there are fewer.
    note : str
        Which way was taken where an engine has several.
    making, first : float or None
        Seconds of imports and set-up, and of the first call; two engines start at the same time.
    turns : tuple of float or None
        Median seconds of a call in each turn; None where a slow engine sat out.
    low, median, high : float or None
        Quartiles of all calls.
    calls : int
        Behind them.
    memory_before, memory_peak : int or None
        Bytes resident just before the first call, and at most.
    begun : str
        ISO time at which its group was begun: engines of the same took turns, so that their times are compared.
    """

    workload: Workload
    engine: str
    environment: str
    role: Role
    allocator: Allocator
    status: Status
    reason: str = ""
    note: str = ""
    making: float | None = None
    first: float | None = None
    turns: tuple[float | None, ...] = ()
    low: float | None = None
    median: float | None = None
    high: float | None = None
    calls: int = 0
    memory_before: int | None = None
    memory_peak: int | None = None
    begun: str = ""


class Ceilings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this machine can do at most, by numpy.

    Attributes
    ----------
    flops_one_core, flops_all_cores : float
        Float32 matrix multiplication, operations a second.
    bytes_one_core, bytes_all_cores : float
        Memory bandwidth in bytes a second, on arrays larger than any cache.
    """

    flops_one_core: float
    flops_all_cores: float
    bytes_one_core: float
    bytes_all_cores: float


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole benchmark.

    Attributes
    ----------
    format : str
    created : str
        ISO time in UTC.
    seconds : float
        How long it took.
    complete : bool
        False while it runs, and after an interruption, until it is gone on with by the same options.
    command : str
        Options that it was run with at last, or those of what is not complete.
    revision, hardware : dict
    versions : dict
        Environment to package to version.
    ceilings : Ceilings or None
    measured : tuple of Timing
    rows : tuple of Row
    repeats : int
        Turns of each engine that were asked for; 0 in files that do not tell.
    """

    format: str
    created: str
    seconds: float
    complete: bool
    command: str
    revision: dict[str, str]
    hardware: dict[str, str]
    versions: dict[str, dict[str, str]]
    ceilings: Ceilings | None
    measured: tuple[Timing, ...]
    rows: tuple[Row, ...] = ()
    repeats: int = 0

    def of(self, workload: Workload, engine: str, allocator: str) -> Timing | None:
        """What was measured of one engine, if it was asked for."""
        for one in self.measured:
            if one.workload == workload and one.engine == engine and one.allocator == allocator:
                return one
        return None


class _Head(msgspec.Struct):
    format: str = ""


def write_result(path: Path, result: Result) -> None:
    """Write atomically, indented."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def read_result(path: Path) -> Result:
    """Read a file that :func:`write_result` wrote.

    Raises
    ------
    RecordError
        If it is not there, of another format, or broken.
    """
    try:
        content = path.read_bytes()
        head = msgspec.json.decode(content, type=_Head)
    except UNREADABLE as error:
        raise RecordError(f"{path}: cannot be read as a result of `trustml bench` ({error})") from None
    if head.format != FORMAT:
        raise RecordError(
            f"{path}: its format is {head.format or 'unknown'!r}, not {FORMAT!r}; make it again with `trustml bench`"
        )
    try:
        return msgspec.json.decode(content, type=Result)
    except UNREADABLE as error:
        raise RecordError(f"{path}: is damaged ({error}); make it again with `trustml bench`") from None


def newest_result(folder: Path) -> Path | None:
    """The newest file below `folder`/benchmarks; names are times."""
    return max((folder / "benchmarks").glob("*.json"), default=None, key=lambda path: path.name)


def commit_text(revision: Mapping[str, str]) -> str:
    """Commit that something was measured at, and whether it was that alone."""
    changed = int(revision.get("changed_files", "0"))
    commit = revision.get("commit", "unknown")[:12]
    return f"{commit} with {changed} changed files" if changed else commit
