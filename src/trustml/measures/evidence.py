"""What a run left behind, ready to be measured."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.measures.measure import MEASURES, Row
from trustml.plan.job import ExplainJob, TrainJob, decode_job
from trustml.plan.support import explainer_library
from trustml.record.files import sha256
from trustml.record.schema import JobRecord, Manifest
from trustml.record.store import HELDOUT, RunDirectory


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One model explained by one library.

    Attributes
    ----------
    record : JobRecord
    job : ExplainJob
    library : str
    attributions : dict of str to float array of shape (n, *x)
        By variant: ``native``, ``common``, and where there is one ``completed``.
    logits, baseline_logits : float arrays of shape (n, c)
    """

    record: JobRecord
    job: ExplainJob
    library: str
    attributions: dict[str, npt.NDArray[np.float32]]
    logits: npt.NDArray[np.float32]
    baseline_logits: npt.NDArray[np.float32]

    def name(self, variant: str) -> str:
        """Give the name of one variant in tables."""
        if variant == "native":
            return self.library
        return f"{self.library} ({variant})" if variant == "completed" else f"common ({self.record.backend})"


class Evidence:
    """Reads a run's files as measures ask for them."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.manifest: Manifest = run.manifest()

    @functools.cached_property
    def heldout(self) -> dict[str, npt.NDArray[Any]]:
        """Held-out labels, explained inputs and their classes."""
        return self.run.arrays(HELDOUT)

    def trained(self) -> list[tuple[JobRecord, TrainJob]]:
        """All train jobs, finished or not."""
        return [
            (record, job)
            for record in self.manifest.jobs
            if record.kind == "train" and isinstance(job := self._job(record), TrainJob)
        ]

    @functools.cached_property
    def explanations(self) -> list[Explanation]:
        """All finished explanations."""
        found = []
        for record in self.manifest.jobs:
            if record.kind != "explain" or record.status != "ok":
                continue
            job = self._job(record)
            if not isinstance(job, ExplainJob):
                continue
            arrays = self.run.arrays(f"jobs/{record.id}/attributions.npz")
            prefix = "attributions_"
            found.append(
                Explanation(
                    record=record,
                    job=job,
                    library=explainer_library(record.backend, job.method),
                    attributions={k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)},
                    logits=arrays["logits"],
                    baseline_logits=arrays["baseline_logits"],
                )
            )
        return found

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
        interval: tuple[float, float] | None = None,
        note: str = "",
    ) -> Row:
        """Fill a row; the model's columns come from its record."""
        low, high = interval if interval is not None else (None, None)
        return Row(
            run=self.manifest.run,
            job=record.id if record else "",
            backend=record.backend if record else "-",
            regime=record.regime if record else "-",
            seed=record.seed if record else -1,
            subject=subject,
            measure=measure,
            value=None if value is None else float(value),
            low=None if low is None else float(low),
            high=None if high is None else float(high),
            unit=MEASURES[measure].unit,
            n=n,
            note=note,
        )

    def _job(self, record: JobRecord) -> TrainJob | ExplainJob:
        return decode_job((self.run.job_folder(record.id) / "job.json").read_bytes())
