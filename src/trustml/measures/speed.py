"""Time of steps and explanations, throughput and memory."""

from __future__ import annotations

import numpy as np

from trustml.measures.evidence import Evidence
from trustml.measures.federated import examples_per_round
from trustml.measures.measure import Row
from trustml.plan.job import TrainJob, timings_file
from trustml.record.schema import JobRecord
from trustml.scenario.federated import FederatedSpec


def speed_rows(evidence: Evidence) -> list[Row]:
    """Rows of every finished job."""
    rows: list[Row] = []
    for record, job in evidence.trained():
        if record.status != "ok":
            continue
        rows += _step_rows(evidence, record, job)
        rows.append(_memory_row(evidence, record))
    for explanation in evidence.explanations:
        if explanation.is_control:
            continue
        record = explanation.record
        once = explanation.seconds == explanation.first_seconds
        first = f"first call{warm_start(record) or ', compiling included'}: no second was made"
        note = first if once else "second call"
        rows.append(
            evidence.row(
                "explain_time",
                explanation.seconds,
                record=record,
                subject=explanation.library,
                method=explanation.title,
                n=len(explanation.logits),
                note=_circumstances(record, note),
            )
        )
    return rows


def _step_rows(evidence: Evidence, record: JobRecord, job: TrainJob) -> list[Row]:
    what = "round" if isinstance(job.regime, FederatedSpec) else "step"
    names = ("step_time_first", "step_time_median", "examples_per_second")
    if job.mechanism is not None and not evidence.run.file(timings_file(job)).is_file():
        note = "absent: times of private steps are under private/, which is not at hand"
        return [evidence.row(name, None, record=record, subject=what, n=0, note=note) for name in names]
    timings = evidence.run.arrays(timings_file(job))
    seconds, examples = timings["seconds"].astype(float), timings["examples"].astype(float)
    if not len(seconds):
        note = f"absent: no {what} was left after an interruption, and those before it are not timed"
        return [evidence.row(name, None, record=record, subject=what, n=0, note=note) for name in names]
    counted = "first step left out"
    if job.mechanism is not None:  # what was really drawn stays secret
        expected = float(job.mechanism.expected_batch_size)
        examples = np.full(len(seconds), examples_per_round(evidence, job) if what == "round" else expected)
        counted = "expected batch sizes; first step left out; times follow secret batches, not covered by epsilon"
    first = evidence.row(
        "step_time_first",
        seconds[0],
        record=record,
        subject=what,
        n=1,
        note=_circumstances(record, f"tracing and compiling included{warm_start(record)}"),
    )
    steady = seconds[1:]
    if not len(steady):
        return [first]
    quartiles = np.quantile(steady, [0.25, 0.5, 0.75])
    return [
        first,
        evidence.row(
            "step_time_median",
            quartiles[1],
            record=record,
            subject=what,
            n=len(steady),
            interval=(quartiles[0], quartiles[2]),
            note=_circumstances(record, f"quartiles; {counted}"),
        ),
        evidence.row(
            "examples_per_second",
            examples[1:].sum() / steady.sum(),
            record=record,
            subject=what,
            n=int(examples[1:].sum()),
            note=_circumstances(record, counted),
        ),
    ]


def _memory_row(evidence: Evidence, record: JobRecord) -> Row:
    return evidence.row(
        "peak_memory",
        record.peak_memory,
        record=record,
        subject="worker",
        n=1,
        note=_circumstances(record, "worker and its children, sampled every 0.1 s; shared pages count twice"),
    )


def warm_start(record: JobRecord) -> str:
    """Say that a job found programs compiled before, so that its first call tells nothing of compiling; or nothing."""
    details = record.result.details if record.result else {}
    before = int(details.get("compiled_before", 0))
    if not before:
        return ""
    anew = int(details.get("compiled_anew", 0))
    return f", save what was compiled before: {before} programs were at hand and {anew} compiled anew"


def _circumstances(record: JobRecord, note: str) -> str:
    device = record.result.device if record.result else "unknown device"
    shared = "; other jobs ran beside it" if record.concurrent else ""
    return f"{note}; {device}{shared}"
