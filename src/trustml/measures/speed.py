"""Time of steps and explanations, throughput and memory."""

from __future__ import annotations

import numpy as np

from trustml.measures.evidence import Evidence
from trustml.measures.federated import examples_per_round
from trustml.measures.notes import absent
from trustml.measures.row import About, Facts, IntervalKind, Row
from trustml.plan.job import TrainJob, timings_file
from trustml.record.provenance import NodeRecord
from trustml.record.schema import JobRecord, Manifest
from trustml.scenario.federated import FederatedSpec

MOST_APART = 2.0
"""Third quartile over first beyond which a median of times is marked."""


def speed_rows(evidence: Evidence) -> list[Row]:
    """Rows of every finished job."""
    rows: list[Row] = []
    for record, job in evidence.trained():
        if record.status != "ok":
            continue
        rows += _step_rows(evidence, record, job)
        rows += _memory_rows(evidence, record)
    for explanation in evidence.explanations:
        if explanation.is_control:
            continue
        record = explanation.record
        once = explanation.seconds == explanation.first_seconds
        call = "second call"
        if once:
            warm = warm_start(record)
            call = f"first call{'' if warm else ', compiling included'}: no second was made"
        rows.append(
            evidence.row(
                "explain_time",
                explanation.seconds,
                record=record,
                subject=explanation.library,
                method=explanation.title,
                n=len(explanation.logits),
                about=_circumstances(evidence, record, {"call": call, **(warm_start(record) if once else {})}),
            )
        )
    return rows


def _step_rows(evidence: Evidence, record: JobRecord, job: TrainJob) -> list[Row]:
    what = "round" if isinstance(job.regime, FederatedSpec) else "step"
    names = ("step_time_first", "step_time_median", "examples_per_second")
    if job.mechanism is not None and not evidence.run.file(timings_file(job)).is_file():
        about = absent("times of private steps are under private/, which is not at hand", not_at_hand=True)
        return [evidence.row(name, None, record=record, subject=what, n=0, about=about) for name in names]
    timings = evidence.run.arrays(timings_file(job))
    seconds, examples = timings["seconds"].astype(float), timings["examples"].astype(float)
    if not len(seconds):
        about = absent(f"no {what} was left after an interruption, and those before it are not timed")
        return [evidence.row(name, None, record=record, subject=what, n=0, about=about) for name in names]
    counted: Facts = {"counted": "first step left out"}
    if job.mechanism is not None:  # what was really drawn stays secret
        expected = float(job.mechanism.expected_batch_size)
        examples = np.full(len(seconds), examples_per_round(evidence, job) if what == "round" else expected)
        counted = {
            "counted": "expected batch sizes; first step left out",
            "not_covered": "times follow secret batches, not covered by epsilon",
        }
    first = evidence.row(
        "step_time_first",
        seconds[0],
        record=record,
        subject=what,
        n=1,
        about=_circumstances(evidence, record, {"call": "tracing and compiling included", **warm_start(record)}),
    )
    steady = seconds[1:]
    if not len(steady):
        return [first]
    quartiles = np.quantile(steady, [0.25, 0.5, 0.75])
    timed = dict(counted)
    if "cpu_seconds" in timings:
        timed["cpu_time"] = float(np.median(timings["cpu_seconds"][1:].astype(float)))
    if quartiles[2] > MOST_APART * quartiles[0] > 0:
        timed["quartiles_apart"] = float(quartiles[2] / quartiles[0])
    return [
        first,
        evidence.row(
            "step_time_median",
            quartiles[1],
            record=record,
            subject=what,
            n=len(steady),
            interval=(quartiles[0], quartiles[2]),
            about=_circumstances(evidence, record, timed, interval="quartiles"),
        ),
        evidence.row(
            "examples_per_second",
            examples[1:].sum() / steady.sum(),
            record=record,
            subject=what,
            n=int(examples[1:].sum()),
            about=_circumstances(evidence, record, counted),
        ),
    ]


def _memory_rows(evidence: Evidence, record: JobRecord) -> list[Row]:
    """Peak with interpreter and framework, and what the work added to them; the latter not in older records."""
    device = _device(evidence, record)
    whole = About(facts={"counted": "worker and its children, sampled every 0.1 s; shared pages count twice", **device})
    rows = [evidence.row("peak_memory", record.peak_memory, record=record, subject="worker", n=1, about=whole)]
    details = record.result.details if record.result else {}
    most, before = (details.get(name, 0.0) for name in ("largest_resident_bytes", "resident_before_work_bytes"))
    if most and before:
        counted = f"the worker's process alone; {before / 2**20:.0f} MiB were held before the work"
        about = About(facts={"counted": counted, **device})
        rows.append(
            evidence.row("work_memory", max(0.0, most - before), record=record, subject="worker", n=1, about=about)
        )
    return rows


def warm_start(record: JobRecord) -> Facts:
    """Count the programs a job found compiled before, so that its first call tells nothing of compiling; or nothing."""
    details = record.result.details if record.result else {}
    before = int(details.get("compiled_before", 0))
    if not before:
        return {}
    return {"compiled_before": before, "compiled_anew": int(details.get("compiled_anew", 0))}


def machine_load(record: JobRecord) -> Facts:
    """Say how busy the machine was beside a job; nothing in records of before that was looked at."""
    details = record.result.details if record.result else {}
    if "others_share" not in details:
        return {}
    known = ("load_after", "throttled_share", "throttled_seconds")
    later: Facts = {name: details[name] for name in known if name in details}
    return {
        "others_share": details["others_share"],
        "load_before": details.get("load_before", 0.0),
        "cores": int(details.get("cores", 0)),
        **later,
    }


def unequal_nodes(manifest: Manifest) -> bool:
    """Whether jobs that are done ran on machines of several kinds, whose times tell of the machines as well."""
    done = [record for record in manifest.jobs if record.status == "ok"]
    return len({_machine(record.node) for record in done}) > 1


def _machine(node: NodeRecord | None) -> tuple[str, int, int] | None:
    """What times depend on; GiB, as equal machines differ by some pages."""
    return (node.processor, node.cores, round(node.memory / 2**30)) if node else None


def _circumstances(evidence: Evidence, record: JobRecord, facts: Facts, *, interval: IntervalKind = "") -> About:
    return About(interval=interval, facts={**facts, **_device(evidence, record), **machine_load(record)})


def _device(evidence: Evidence, record: JobRecord) -> Facts:
    found: Facts = {"device": (record.result.device if record.result else "") or "unknown device"}
    if record.concurrent:
        found["beside"] = True
    if record.warm:
        found["warm"] = True
    if record.reused_from:
        found["reused_from"] = record.reused_from
    if record.node is not None:
        found |= {"node": record.node.name, "node_cores": record.node.cores}
    if unequal_nodes(evidence.manifest):
        found["unequal_nodes"] = True
    return found
