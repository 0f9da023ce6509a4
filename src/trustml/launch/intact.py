"""Whether what a run left behind is whole: its jobs, and ledgers that hold every step that is known to have run.

A training may only go on where the count of its charges is sure. A ledger alone cannot show that its last lines are
gone, but checkpoints, progress and the job's own attempt are written after charges, and say how much there must be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from trustml.errors import RecordError
from trustml.plan.attack_files import events_file
from trustml.plan.charged import participation_problem
from trustml.plan.job import CanaryJob, Job, Mechanism, TrainJob, checkpoint_file
from trustml.plan.mechanism import make_charge
from trustml.privacy.ledger import Charge, read_ledger
from trustml.record.checkpoint import checkpoint_step
from trustml.record.files import UNREADABLE, plain_bytes
from trustml.record.schema import Manifest
from trustml.record.store import RunDirectory
from trustml.scenario.regimes import DPSGD

NEXT_JOB = "job.next.json"
"""A job as it is planned anew: it takes the place of ``job.json`` once the manifest asks for it."""
_OF_MECHANISM = (
    *("noise_multiplier", "quantile_noise_multiplier", "clipping_norm", "sample_rate", "batch_size", "examples"),
    *("sampling", "secret_sampling", "data", "unit", "relation", "noise", "users"),
)


class _Told(msgspec.Struct, frozen=True):
    """A line of a job's progress, as far as it is of steps; `attempt` is 0 in those of before it was told."""

    step: int = 0
    attempt: int = 0


def settle_jobs(run: RunDirectory, manifest: Manifest) -> None:
    """Let every job be what the manifest asks for.

    Raises
    ------
    RecordError
        If one is not.
    """
    known = {record.id for record in manifest.jobs}
    for folder in sorted(run.file("jobs").iterdir()) if run.file("jobs").is_dir() else ():
        if folder.name not in known:
            raise RecordError(f"{folder}: is of no job in manifest.json, which is damaged; start a new run")
    for record in manifest.jobs:
        folder = run.job_folder(record.id)
        planned = folder / NEXT_JOB
        if planned.is_file():
            if _asked(planned.read_bytes()) == record.digest:
                planned.replace(folder / "job.json")
            else:  # the manifest was not written, so that nothing has begun by it
                planned.unlink()
        path = folder / "job.json"
        try:
            asked = _asked(plain_bytes(path))
        except UNREADABLE as error:
            raise RecordError(f"{path}: cannot be read ({error}); start a new run") from None
        if asked != record.digest:
            raise RecordError(f"{path}: is not the job that manifest.json asks for; start a new run")


def _asked(content: bytes) -> str:
    """SHA-256 of a job without white space, which is its digest whatever fields have come since."""
    try:
        return hashlib.sha256(msgspec.json.format(content, indent=-1).strip()).hexdigest()
    except msgspec.DecodeError:
        return ""


def spent_by(run: RunDirectory, job: Job) -> list[Charge]:
    """Read what earlier attempts at a job were charged.

    Raises
    ------
    RecordError
        If charges are damaged, are not the job's, or are fewer than steps that ran.
    """
    training = job.training if isinstance(job, CanaryJob) else job
    path = run.job_folder(job.id) / "ledger.jsonl"
    spent = read_ledger(path)
    if not isinstance(training, TrainJob) or training.mechanism is None:
        return spent
    mechanism = training.mechanism
    problem = _not_of(mechanism, spent, data=training.data_fingerprint) or participation_problem(
        training, mechanism, spent
    )
    problem = problem or _gap(spent) or _lost(run, job, spent)
    if problem:
        raise RecordError(f"{path}: {problem}; epsilon cannot be stated, start a new run")
    return spent


def _not_of(mechanism: Mechanism, spent: Sequence[Charge], *, data: str) -> str:
    """Say which charge has numbers that the job has not."""
    expected = make_charge(mechanism, first=0, end=1, plan="", data=data)
    for number, entry in enumerate(spent, start=1):
        for name in _OF_MECHANISM:
            if getattr(entry, name) != getattr(expected, name):
                return f"line {number} has {name} {getattr(entry, name)!r}, and the job {getattr(expected, name)!r}"
    return ""


def _gap(spent: Sequence[Charge]) -> str:
    """Say where charges do not follow each other: steps of an attempt from 0 on, and attempts from 1 on."""
    attempt, end, plan = 0, 0, ""
    for number, entry in enumerate(spent, start=1):
        begins = (entry.attempt, entry.first_step) == (attempt + 1, 0) and entry.plan != plan
        goes_on = (entry.attempt, entry.first_step, entry.plan) == (attempt, end, plan)
        if not (begins or goes_on) or entry.steps <= 0:
            return f"line {number} does not follow the one before it: charges are missing or damaged"
        attempt, end, plan = entry.attempt, entry.end_step, entry.plan
    return ""


def _lost(run: RunDirectory, job: Job, spent: Sequence[Charge]) -> str:
    """Say what ran and was charged for, and is not in the ledger any more."""
    training = job.training if isinstance(job, CanaryJob) else job
    assert isinstance(training, TrainJob) and training.mechanism is not None
    mechanism = training.mechanism
    last = max((entry.attempt for entry in spent), default=0)
    if mechanism.attempt > last + 1:
        return f"attempt {mechanism.attempt} was planned, and those charged end with {last}: charges are missing"
    saved = checkpoint_step(run.file(checkpoint_file(training)))
    paid = mechanism.start_step + sum(entry.steps for entry in spent if entry.attempt == mechanism.attempt)
    if saved > paid:
        return f"{saved} steps are in a checkpoint, and {paid} were charged: charges are missing"
    goes_on = isinstance(training.regime, DPSGD) and training.regime.engine == "core" and job is training
    for told in _told(run, job):
        # Steps are counted over all attempts where a checkpoint is gone on with, and else in each by itself.
        paid = sum(
            entry.steps
            for entry in spent
            if not told.attempt or (entry.attempt <= told.attempt if goes_on else entry.attempt == told.attempt)
        )
        if told.step > paid:
            return f"{told.step} steps were told of, and {paid} were charged: charges are missing"
    return ""


def _told(run: RunDirectory, job: Job) -> list[_Told]:
    """Read what the job's progress tells of steps; what cannot be read tells nothing."""
    try:
        lines = plain_bytes(run.file(events_file(job.id))).split(b"\n")
    except UNREADABLE:
        return []
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=_Told))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
    return found
