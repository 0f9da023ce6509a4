"""Making a run ready to go on: what is finished stays, what is not gets a new attempt."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy.typing as npt

from trustml.data.batches import BatchPlan
from trustml.data.clients import read_federated_plan
from trustml.data.dataset import Ints
from trustml.data.partition import owners_fingerprint, read_owners
from trustml.errors import PrivacyError, RecordError, ScenarioError, UsageError
from trustml.launch.canaries import redraw_canaries
from trustml.launch.drawn_batches import draw_plan
from trustml.launch.federation import draw_rounds, salt
from trustml.launch.intact import NEXT_JOB, settle_jobs, spent_by
from trustml.launch.places.ticket import require_nobody
from trustml.launch.prepare import write_job, write_plan
from trustml.models.native import require_trust
from trustml.plan.client_mechanism import next_client_attempt
from trustml.plan.job import CanaryJob, Job, TrainJob, checkpoint_file, digest
from trustml.plan.mechanism import next_attempt
from trustml.plan.user_mechanism import next_user_attempt
from trustml.record.checkpoint import checkpoint_step
from trustml.record.files import remove_half_written, sha256
from trustml.record.schema import JobRecord, Manifest
from trustml.record.store import PRIVATE_DATA, RunDirectory
from trustml.scenario.federated import DPFedAvg, PrivateClients
from trustml.scenario.places import Local
from trustml.scenario.problems import explain_problem
from trustml.scenario.read import set_field
from trustml.scenario.regimes import PrivateRegime
from trustml.scenario.spec import Execution

_LIMITS = ("timeout", "memory_limit", "parallel_jobs", "place", "resources")
"""Fields of ``execution`` that change no result, whatever device and library compute it."""


def prepare_resume(
    run: RunDirectory, *, allow_overrun: bool, overrides: Sequence[str] = (), trust_code: bool = False
) -> Manifest:
    """Check what is there, and give every unfinished private job new batches and what budget is left.

    Parameters
    ----------
    run : RunDirectory
    allow_overrun : bool
    overrides : sequence of str
        ``execution.timeout=7200`` and other limits for the jobs that are not done.
    trust_code : bool
        Whether code that the record names may be run.

    Raises
    ------
    UsageError
        If the run's private data is gone, an override is no limit, or the model is own code that nobody trusts.
    PrivacyError
        If a private job has no budget left and `allow_overrun` is off.
    RecordError
        If a finished file is not what its job wrote.
    """
    _refuse_links(run)
    manifest = run.manifest()
    execution = _changed_limits(manifest, overrides)
    require_nobody(run)
    named = any(override.partition("=")[0].strip() == "execution.place" for override in overrides)
    if not run.file(PRIVATE_DATA).is_file():
        raise UsageError(f"{run.path}: {PRIVATE_DATA} is gone, so unfinished jobs cannot run; start a new run")
    remove_half_written(run.path)
    settle_jobs(run, manifest)
    records = []
    for record in manifest.jobs:
        if record.status == "ok":
            _check_artifacts(run, record)
        else:
            require_trust(run.job(record.id).model, trust_code=trust_code)
            _require_trusted_place(run.job(record.id), trusted=trust_code or named)
            job = _renew(run, run.job(record.id), allow_overrun=allow_overrun)
            if overrides:
                limits = {name: getattr(execution, name) for name in _LIMITS}
                job = msgspec.structs.replace(job, execution=msgspec.structs.replace(job.execution, **limits))
            record = msgspec.structs.replace(
                record, digest=_plan_job(run, record, job), status="pending", reason="", stderr_tail=(), result=None
            )
        records.append(record)
    if overrides:
        scenario = {**manifest.scenario, "execution": msgspec.to_builtins(execution)}
        told = (*manifest.overrides, *overrides)
        manifest = msgspec.structs.replace(manifest, scenario=scenario, overrides=told)
    manifest = msgspec.structs.replace(manifest, jobs=tuple(records), status="running", ended="")
    run.write_manifest(manifest)
    # Only now: killed before, the jobs are those of the old manifest, and after, those of the new one.
    settle_jobs(run, manifest)
    run.remove_audit()  # of the run as it was: beside what it will be it would be a forgery
    return manifest


def _plan_job(run: RunDirectory, record: JobRecord, job: Job) -> str:
    """Write a job beside the one that the manifest asks for, where it is another; give its digest."""
    if job == run.job(record.id):
        return record.digest
    write_job(run, job, name=NEXT_JOB)
    return digest(job)


def _changed_limits(manifest: Manifest, overrides: Sequence[str]) -> Execution:
    """Execution of the record with other limits.

    Raises
    ------
    ScenarioError
    """
    data = {"execution": msgspec.to_builtins(Execution()) | manifest.scenario.get("execution", {})}
    for override in overrides:
        field = override.partition("=")[0].strip()
        if field not in [f"execution.{name}" for name in _LIMITS]:
            raise ScenarioError(
                field,
                "cannot change when a run goes on, as its jobs would no longer be of one scenario",
                fix=f"change execution.{', execution.'.join(_LIMITS)} alone, or start a new run",
            )
        set_field(data, override)
    try:
        return msgspec.convert(data["execution"], Execution)
    except msgspec.ValidationError as error:
        raise explain_problem(error, data["execution"], Execution, root="execution") from None


def _require_trusted_place(job: Job, *, trusted: bool) -> None:
    """Refuse to run commands that a record names, or to speak to a cluster that it names, unasked."""
    if not trusted and not isinstance(job.execution.place, Local):
        raise UsageError(
            f"{job.id}: its record has it run elsewhere, by commands and addresses that the record names; if they are "
            "yours use --trust-code, or run it here: --set 'execution.place={kind = \"local\"}'"
        )


def _refuse_links(run: RunDirectory) -> None:
    """Refuse a run directory in which writing a file could write elsewhere."""
    for folder, folders, files in os.walk(run.path):
        for name in (*folders, *files):
            mode = os.lstat(os.path.join(folder, name)).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise RecordError(f"{folder}/{name}: is a link or no file, which no run holds; delete it")


def _check_artifacts(run: RunDirectory, record: JobRecord) -> None:
    if record.result is None or (record.kind == "train" and not record.artifacts):
        raise RecordError(f"{run.path}/manifest.json: {record.id} is done and wrote nothing; start a new run")
    for name, expected in record.artifacts.items():
        path = run.job_folder(record.id) / name
        if not path.is_file() or sha256(path) != expected:
            raise RecordError(f"{path}: is not the file that {record.id} wrote; start a new run")


def _renew(run: RunDirectory, job: Job, *, allow_overrun: bool) -> Job:
    """Plan another attempt if the job needs another plan; give the job as it is to run now."""
    spent = spent_by(run, job)
    if not spent:
        return job
    if isinstance(job, CanaryJob):  # new coins and new batches
        fresh, files = redraw_canaries(job, run=run, attempt=1 + max(entry.attempt for entry in spent))
        for name, arrays in files.items():
            write_plan(run, name, arrays)
        return fresh
    if not isinstance(job, TrainJob) or not isinstance(job.regime, PrivateRegime) or job.mechanism is None:
        return job
    attempt = 1 + max(entry.attempt for entry in spent)
    if isinstance(job.regime, DPFedAvg):
        done, arrays = 0, _new_rounds(run, job, attempt)
        rounds = read_federated_plan(arrays)
        mechanism = next_user_attempt(job.mechanism, spent, job.regime, plan=rounds, allow_overrun=allow_overrun)
    elif isinstance(job.regime, PrivateClients):
        done, arrays = 0, _new_rounds(run, job, attempt)
        mechanism = next_client_attempt(job.mechanism, spent, job.regime, allow_overrun=allow_overrun)
    else:
        done = checkpoint_step(run.file(checkpoint_file(job)))
        if job.regime.unit == "user":
            _owners(run, job)
        arrays = draw_plan(
            job.regime,
            seed=job.seed,
            examples=job.mechanism.examples,
            attempt=attempt,
            done=done,
            groups=job.mechanism.separation,
        )
        plan = BatchPlan(indices=arrays["indices"], offsets=arrays["offsets"])
        mechanism = next_attempt(
            job.mechanism, spent, job.regime, plan=plan, start_step=done, allow_overrun=allow_overrun
        )
    if mechanism.steps == 0 and done == 0:
        raise PrivacyError(
            f"{job.id}: its earlier attempts spent the whole budget of epsilon {job.regime.epsilon:g}; "
            "resume with --allow-overrun to train again and report the larger epsilon"
        )
    name = f"private/plans/{job.id}.a{mechanism.attempt}.npz"
    write_plan(run, name, arrays)
    return msgspec.structs.replace(job, plan=name, mechanism=mechanism)


def _new_rounds(run: RunDirectory, job: TrainJob, attempt: int) -> dict[str, npt.NDArray[Any]]:
    assert isinstance(job.regime, DPFedAvg | PrivateClients)
    owners, count = _owners(run, job)
    rounds = draw_rounds(job.regime, owners, clients=count, seed=job.seed, attempt=attempt)
    return {**rounds.arrays(), "salt": salt(job.regime, seed=job.seed, attempt=attempt)}


def _owners(run: RunDirectory, job: TrainJob) -> tuple[Ints, int]:
    """Read who holds what, the partition that a job protects, and how many clients or users there are."""
    clients = run.arrays(job.clients)
    examples = run.manifest().data.train_examples
    owners, count = read_owners(clients, name=str(run.file(job.clients)), examples=examples)
    assert job.mechanism is not None
    if owners_fingerprint(owners) != job.mechanism.users:
        raise RecordError(f"{run.file(job.clients)}: is not the partition that {job.id} protects; start a new run")
    return owners, count
