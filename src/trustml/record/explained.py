"""What explain jobs left in a run directory, found by model, backend and method."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.errors import RecordError, UsageError
from trustml.frameworks.implementation import CONTROL_LIBRARY
from trustml.plan.job import VARIANTS, ExplainJob, explain_id
from trustml.record.array_names import array_name
from trustml.record.schema import JobRecord, Manifest, MethodRecord
from trustml.record.store import RunDirectory, job_record
from trustml.scenario.methods import same_method


def finished(manifest: Manifest, job: str) -> JobRecord:
    """Find the record of a job that ended well.

    Raises
    ------
    UsageError
    """
    try:
        record = job_record(manifest, job)
    except RecordError as error:
        raise UsageError(str(error)) from None
    if record.status != "ok":
        raise UsageError(f"{job}: ended {record.status}: {record.reason}")
    return record


def methods_done(record: JobRecord) -> tuple[MethodRecord, ...]:
    """Give the methods of an explain job that worked; none for any other job."""
    if record.kind != "explain" or record.status != "ok" or record.result is None:
        return ()
    return tuple(method for method in record.result.methods if method.ok)


def explained_model(run: RunDirectory, record: JobRecord) -> str:
    """Train job of the model that an explain job explained; its record says so since format 3."""
    if record.subject:
        return record.subject
    job = run.job(record.id)
    assert isinstance(job, ExplainJob)
    return job.subject


def model_of(run: RunDirectory, record: JobRecord) -> str:
    """Train job of the model that a job trained or explained; empty for any other kind of job."""
    if record.kind == "train":
        return record.id
    return explained_model(run, record) if record.kind == "explain" else ""


def variants_of(run: RunDirectory, record: JobRecord, title: str) -> dict[str, npt.NDArray[np.float32]]:
    """Attributions by one method, by variant."""
    wanted = {variant: array_name(title, variant) for variant in VARIANTS}
    arrays = run.mapped(f"jobs/{record.id}/attributions.npz", names=wanted.values())
    return {v: arrays[name].astype(np.float32, copy=False) for v, name in wanted.items() if name in arrays}


def read_attributions(
    run: RunDirectory, model: str, *, backend: str, method: str | None, variant: str
) -> npt.NDArray[np.float32]:
    """Read attributions; see :meth:`trustml.api.Run.attributions`."""
    record = finished(run.manifest(), explain_id(backend, model))
    title = _title(record, method)
    found = variants_of(run, record, title)
    if variant not in found:
        raise UsageError(f"{record.id}: {title} has no variant {variant!r}; choose among {', '.join(found)}")
    return found[variant]


def read_probes(run: RunDirectory, model: str, *, backend: str) -> dict[str, npt.NDArray[Any]]:
    """Read what was tried with explanations; see :meth:`trustml.api.Run.probes`."""
    return run.arrays(f"jobs/{finished(run.manifest(), explain_id(backend, model)).id}/probes.npz")


def _title(record: JobRecord, wanted: str | None) -> str:
    done = record.result.methods if record.result else ()
    titles = [method.method for method in done if method.library != CONTROL_LIBRARY]
    if wanted is None:
        if len(titles) == 1:
            return titles[0]
        raise UsageError(f"{record.id}: has {len(titles)} methods; name one of {', '.join(titles)}")
    for method in done:
        if same_method(method.method, wanted):
            if not method.ok:
                raise UsageError(f"{record.id}: {method.method} failed: {method.reason}")
            return method.method
    raise UsageError(f"{record.id}: has no method {wanted!r}; choose among {', '.join(titles)}")
