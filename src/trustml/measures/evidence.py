"""What a run left behind, ready to be measured."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.measures.measure import MEASURES
from trustml.measures.notes import described
from trustml.measures.resampling import BOOTSTRAPS, FEWEST, draws_as_before
from trustml.measures.row import About, Row
from trustml.models.tasks import Quantity, Task
from trustml.plan.job import VARIANTS, ExplainJob, Job, TrainJob
from trustml.record.array_names import array_name, arrays_below
from trustml.record.explained import model_of
from trustml.record.files import sha256
from trustml.record.schema import JobRecord, Manifest, task_of
from trustml.record.store import HELDOUT, RunDirectory
from trustml.scenario.baselines import Rows
from trustml.scenario.methods import Method, RandomControl
from trustml.scenario.spec import rows_of_explanations

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One model explained by one method of one library.

    Attributes
    ----------
    record : JobRecord
    job : ExplainJob
    method : Method
    library : str
    seconds, first_seconds : float
        Of the last and of the first call.
    attributions : dict of str to float array of shape (n, *x)
        By variant: ``native``, and where there is one ``completed`` and ``common``.
    totals : dict of str to float array of shape (n,)
        Sum of each example's attributions, each feature counted once.
    logits : float array of shape (n, c)
    baseline_logits : float array of shape (n, c), optional
        Where the method has a baseline.
    targets : int array of shape (n,)
    probes : dict of str to array
        What was tried with it, by ``<variant>.<quantity>``.
    passes : dict of str to int array of shape (n,)
        Forward and backward passes of each example, by variant; for integrated gradients alone.
    tried : tuple of int
        Numbers of points that the library was asked for in search of a completeness error; empty without search.
    again : float array of shape (n, *x), optional
        The library's own attributions by other draws, where the method draws and was asked twice.
    outcomes : float array of shape (n, k), optional
        Probabilities or losses, where those are explained; `targets` are then columns of them.
    quantity : {"logit", "probability", "loss"}
        What is explained.
    """

    record: JobRecord
    job: ExplainJob
    method: Method
    library: str
    seconds: float
    first_seconds: float
    attributions: dict[str, npt.NDArray[np.float32]]
    totals: dict[str, npt.NDArray[np.float32]]
    logits: npt.NDArray[np.float32]
    baseline_logits: npt.NDArray[np.float32] | None
    targets: npt.NDArray[np.int64]
    probes: dict[str, npt.NDArray[Any]]
    passes: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    tried: tuple[int, ...] = ()
    again: npt.NDArray[np.float32] | None = None
    outcomes: npt.NDArray[np.float32] | None = None
    quantity: Quantity = "logit"

    @property
    def title(self) -> str:
        """Name of the method."""
        return self.method.title

    @property
    def is_control(self) -> bool:
        """Whether these are random numbers."""
        return isinstance(self.method, RandomControl)

    @property
    def by_definition(self) -> str:
        """The library's variant that follows the definition of the method."""
        return "completed" if "completed" in self.attributions else "native"

    def name(self, variant: str) -> str:
        """Give the name of one variant in tables."""
        if variant == "native":
            return self.library
        return f"{self.library} ({variant})" if variant == "completed" else f"common ({self.record.backend})"


class Evidence:
    """Reads a run's files as measures ask for them.

    Parameters
    ----------
    run : RunDirectory
    second_opinion : bool
        Whether another library's accountant is asked for epsilons too, which takes seconds in a process of its own.
    """

    def __init__(self, run: RunDirectory, *, second_opinion: bool = True) -> None:
        self.run, self.second_opinion = run, second_opinion
        self.manifest: Manifest = run.manifest()
        self._made: dict[Callable[[Evidence], Any], Any] = {}
        self._jobs: dict[str, Job] = {}

    def once(self, make: Callable[[Evidence], Made]) -> Made:
        """Give what a function makes of this evidence; it is called the first time alone."""
        if make not in self._made:
            self._made[make] = make(self)
        found: Made = self._made[make]
        return found

    @functools.cached_property
    def heldout(self) -> dict[str, npt.NDArray[Any]]:
        """Held-out labels, explained inputs and their classes."""
        return self.run.arrays(HELDOUT)

    @functools.cached_property
    def task(self) -> Task:
        """What the models are asked."""
        return task_of(self.manifest)

    def trained(self) -> list[tuple[JobRecord, TrainJob]]:
        """All train jobs, finished or not."""
        return [
            (record, job)
            for record in self.manifest.jobs
            if record.kind == "train" and isinstance(job := self._job(record), TrainJob)
        ]

    @functools.cached_property
    def explanations(self) -> list[Explanation]:
        """All finished explanations, one for each method."""
        found: list[Explanation] = []
        for record in self.manifest.jobs:
            if record.kind != "explain" or record.status != "ok" or record.result is None:
                continue
            job = self._job(record)
            if not isinstance(job, ExplainJob):
                continue
            arrays = self.run.arrays(f"jobs/{record.id}/attributions.npz")
            probes = self.run.arrays(f"jobs/{record.id}/probes.npz")
            methods = {method.title: method for method in job.methods}
            found += [
                Explanation(
                    record=record,
                    job=job,
                    method=methods[done.method],
                    library=done.library,
                    seconds=done.seconds,
                    first_seconds=done.first_seconds,
                    attributions=_variants(arrays, done.method),
                    totals={v: arrays[array_name(done.method, f"total_{v}")] for v in _variants(arrays, done.method)},
                    logits=arrays["logits"],
                    outcomes=arrays.get("outcomes"),
                    quantity=job.quantity,
                    baseline_logits=arrays.get(array_name(done.method, "baseline_logits")),
                    targets=arrays.get("columns", arrays["targets"]),
                    probes=arrays_below(probes, done.method),
                    passes=_passes(arrays, done.method),
                    tried=tuple(int(n) for n in arrays.get(array_name(done.method, "tried"), ())),
                    again=arrays.get(array_name(done.method, "again")),
                )
                for done in record.result.methods
                if done.ok
            ]
        return found

    @functools.cached_property
    def explain_jobs(self) -> list[tuple[JobRecord, ExplainJob]]:
        """All explain jobs, finished or not."""
        return [
            (record, job)
            for record in self.manifest.jobs
            if record.kind == "explain" and isinstance(job := self._job(record), ExplainJob)
        ]

    @functools.cached_property
    def shown_rows(self) -> dict[Rows, tuple[str, ...]]:
        """Methods whose explanations show rows, by whose rows those are."""
        found: dict[Rows, list[str]] = {"public": [], "held-out": [], "training": []}
        for _, job in self.explain_jobs:
            for rows, titles in rows_of_explanations(job.methods, job.probes).items():
                found[rows] += titles
        return {rows: tuple(dict.fromkeys(titles)) for rows, titles in found.items()}

    def subject_record(self, explanation: Explanation) -> JobRecord:
        """Record of the training of the model that was explained."""
        return next(record for record in self.manifest.jobs if record.id == explanation.job.subject)

    @functools.cached_property
    def plans(self) -> dict[str, Path]:
        """Batch plans by their SHA-256, as far as ``private/`` is at hand."""
        return {sha256(path): path for path in sorted(self.run.file("private/plans").glob("*.npz"))}

    def row(
        self,
        measure: str,
        value: float | None,
        *,
        record: JobRecord | None,
        subject: str,
        n: int,
        interval: tuple[float, float | None] | None = None,
        method: str = "",
        about: About | None = None,
    ) -> Row:
        """Fill a row; the model's columns come from its record, the note from what is known of the value."""
        about = about if about is not None else About()
        if about.interval in BOOTSTRAPS and n < FEWEST and not draws_as_before():
            interval, about = None, msgspec.structs.replace(about, interval="", confidence=None)
        low, high = interval if interval is not None else (None, None)
        row = Row(
            run=self.manifest.run,
            job=record.id if record else "",
            backend=record.backend if record else "-",
            regime=record.regime if record else "-",
            seed=record.seed if record else -1,
            subject=subject,
            method=method,
            measure=measure,
            value=None if value is None else float(value),
            low=None if low is None else float(low),
            high=None if high is None else float(high),
            unit=MEASURES[measure].unit,
            n=n,
            kind=record.kind if record else "",
            model=model_of(self.run, record) if record else "",
        )
        return described(row, about)

    def _job(self, record: JobRecord) -> Job:
        if record.id not in self._jobs:  # measures and pages ask for all jobs many times
            self._jobs[record.id] = self.run.job(record.id)
        return self._jobs[record.id]


def _variants(arrays: dict[str, npt.NDArray[Any]], title: str) -> dict[str, npt.NDArray[np.float32]]:
    return {name: array for name, array in arrays_below(arrays, title).items() if name in VARIANTS}


def _passes(arrays: dict[str, npt.NDArray[Any]], title: str) -> dict[str, npt.NDArray[np.int64]]:
    found = arrays_below(arrays, title)
    return {variant: found[f"passes_{variant}"] for variant in VARIANTS if f"passes_{variant}" in found}
