"""Ledgers of a run, by what they hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from trustml.plan.job import TrainJob
from trustml.record.files import sha256
from trustml.record.schema import JobRecord
from trustml.record.store import RunDirectory
from trustml.scenario.regimes import PrivateRegime


def ledger_digests(run: RunDirectory, jobs: Iterable[JobRecord], *, private: Collection[str] = ()) -> dict[str, str]:
    """SHA-256 of the ledger of each private model that was charged for.

    Of models that are known to be `private` no job is read.
    """
    return {
        record.id: sha256(path)
        for record in jobs
        if record.kind == "train"
        and (path := run.job_folder(record.id) / "ledger.jsonl").is_file()
        and path.stat().st_size
        and (record.id in private or _is_private(run, record))
    }


def _is_private(run: RunDirectory, record: JobRecord) -> bool:
    job = run.job(record.id)
    return isinstance(job, TrainJob) and isinstance(job.regime, PrivateRegime)
