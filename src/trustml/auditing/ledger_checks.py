"""Whether a ledger is whole and in order, and of the mechanism that its job says.

A ledger's lines charge blocks of steps: those of one attempt begin at step 0 and follow each other without a gap, and
attempts are numbered from 1. So a line that was taken out, moved or put in twice shows, whatever hashes were fixed.
What does not show is a ledger whose last lines of an *interrupted* attempt were cut off: nothing says how far that
attempt came. The hash in the manifest and the signature of the bundle tell that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trustml.auditing.checks import Check
from trustml.errors import RecordError
from trustml.frameworks.table import is_known
from trustml.measures.evidence import Evidence
from trustml.plan.job import CanaryJob, Job, Mechanism, TrainJob
from trustml.plan.mechanism import UNKNOWN, NoiseDraw, make_charge, tells_participation
from trustml.privacy.ledger import Charge, read_ledger
from trustml.privacy.tails import noise_source
from trustml.record.schema import JobRecord
from trustml.scenario.regimes import DPSGD

LEDGER = "ledger.jsonl"
_OF_THE_ATTEMPT = {"plan", "largest_participation", "participation"}


def ledger_checks(evidence: Evidence, jobs: dict[str, Job]) -> list[Check]:
    """Check the ledger of every job that was charged for, or should have been."""
    found: list[Check] = []
    for record in evidence.manifest.jobs:
        job = jobs.get(record.id)
        trained = job.training if isinstance(job, CanaryJob) else job
        if not isinstance(trained, TrainJob) or trained.mechanism is None:
            continue
        found.append(_check(evidence, record, trained, trained.mechanism))
    return found


def _check(evidence: Evidence, record: JobRecord, job: TrainJob, mechanism: Mechanism) -> Check:
    path = evidence.run.job_folder(record.id) / LEDGER
    subject = f"ledger of {record.id}"
    try:
        charges = read_ledger(path)
    except RecordError as error:
        return Check(area="ledgers", subject=subject, outcome="differs", message=_without_folder(error, path))
    ended = record.status == "ok"
    if not charges:
        if not ended:
            return Check(
                area="ledgers", subject=subject, outcome="ok", message=f"nothing charged; ended {record.status}"
            )
        return Check(
            area="ledgers", subject=subject, outcome="differs", message="missing or empty, yet the job is done"
        )
    problems = order_problems(charges, expected=mechanism if ended else None)
    problems += _mechanism_problems(charges, job, mechanism, evidence.manifest.data.fingerprint)
    if not path.read_bytes().endswith(b"\n") and ended:
        problems.append(f"line {len(charges) + 1} is cut off")
    if problems:
        return Check(area="ledgers", subject=subject, outcome="differs", message="; ".join(problems[:5]))
    steps = sum(charge.steps for charge in charges)
    return Check(
        area="ledgers", subject=subject, outcome="ok", message=f"{len(charges)} lines charge {steps} steps in order"
    )


def order_problems(charges: Sequence[Charge], *, expected: Mechanism | None = None) -> list[str]:
    """Tell which lines are missing, out of order or there twice; an empty list for a whole ledger.

    Parameters
    ----------
    charges : sequence of Charge
        As they stand in the ledger.
    expected : Mechanism, optional
        Of a job that ended well: its last attempt and the steps of that one.
    """
    in_order = sorted(charges, key=lambda charge: (charge.attempt, charge.first_step, charge.end_step))
    gaps = _gaps(in_order, expected)
    if list(charges) != in_order:
        number = next(n for n, pair in enumerate(zip(charges, in_order, strict=True)) if pair[0] != pair[1])
        other = list(charges).index(in_order[number]) + 1
        return [
            f"line {number + 1} is out of order: it charges {_block(charges[number])} before "
            f"{_block(in_order[number])} of line {other}",
            *gaps,
        ]
    return gaps


def _gaps(charges: Sequence[Charge], expected: Mechanism | None) -> list[str]:
    problems: list[str] = []
    attempt, step = 0, 0
    for number, charge in enumerate(charges, start=1):
        if charge.end_step <= charge.first_step:
            problems.append(f"line {number} charges no step")
        if charge.attempt > attempt:
            if charge.attempt > attempt + 1:
                until = f" to {charge.attempt - 1}" if charge.attempt > attempt + 2 else ""
                problems.append(f"line {number} is missing: attempt {attempt + 1}{until} is charged by no line")
            attempt, step = charge.attempt, 0
        elif charge.attempt < 1:
            problems.append(f"line {number} is of attempt {charge.attempt}")
        if charge.attempt < attempt or charge.first_step < step:
            problems.append(f"line {number} charges {_block(charge)} again")
        elif charge.first_step > step:
            problems.append(_missing(number, attempt, step, charge.first_step))
        step = max(step, charge.end_step)
    if expected is not None and expected.steps:
        if attempt < expected.attempt:
            problems.append(_missing(len(charges) + 1, expected.attempt, 0, expected.steps))
        elif attempt == expected.attempt and step < expected.steps:
            problems.append(_missing(len(charges) + 1, attempt, step, expected.steps))
    return problems


def _mechanism_problems(charges: Sequence[Charge], job: TrainJob, mechanism: Mechanism, data: str) -> list[str]:
    """Tell where the ledger charges for another mechanism, or other data, than job.json and the manifest say."""
    if not is_known(job.backend):
        return [f"backend {job.backend!r} is not there to say what draws its noise; install the package that adds it"]
    problems: list[str] = []
    plans: dict[int, str] = {}
    for number, charge in enumerate(charges, start=1):
        block = None if not tells_participation(mechanism) else charge.participation
        wanted = make_charge(
            mechanism,
            first=charge.first_step,
            end=charge.end_step,
            plan=charge.plan,
            data=data,
            block=block,
            drawn=_drawn(charge, job),
        )
        same_attempt = charge.attempt == mechanism.attempt
        for field in Charge.__struct_fields__:
            if field == "attempt" or (field in _OF_THE_ATTEMPT and not same_attempt):
                continue
            stated, known = getattr(charge, field), getattr(wanted, field)
            if stated != known:
                problems.append(f"line {number} says {field} {stated!r}, the record {known!r}")
        if plans.setdefault(charge.attempt, charge.plan) != charge.plan:
            problems.append(f"line {number} is of other batches than the rest of attempt {charge.attempt}")
    if len(set(plans.values())) < len(plans):
        problems.append("two attempts used the same batches")
    if job.data_fingerprint != data:
        problems.append("job.json names other data than the manifest")
    return problems


def _drawn(charge: Charge, job: TrainJob) -> NoiseDraw:
    """Say what draws the noise of a job; ledgers of before that was written down tell nothing."""
    if not charge.noise_source:
        return UNKNOWN
    stock = isinstance(job.regime, DPSGD) and job.regime.engine != "core"
    source = noise_source(job.backend, users=charge.unit == "user", stock=stock)
    return NoiseDraw(source=source, coordinates=charge.coordinates)


def _missing(line: int, attempt: int, first: int, end: int) -> str:
    steps = f"step {first}" if end == first + 1 else f"steps {first} to {end - 1}"
    return (
        f"line {line} is missing: {steps} of attempt {attempt} {'is' if end == first + 1 else 'are'} charged by no line"
    )


def _block(charge: Charge) -> str:
    steps = f"step {charge.first_step}" if charge.steps == 1 else f"steps {charge.first_step} to {charge.end_step - 1}"
    return f"{steps} of attempt {charge.attempt}"


def _without_folder(error: Exception, path: Path) -> str:
    return str(error).replace(f"{path}: ", "")
