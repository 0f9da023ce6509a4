"""Whether a run's ledgers are whole, in order and of their jobs' mechanisms, and give the epsilons of its record.

A ledger's lines charge blocks of steps: those of one attempt begin at step 0 and follow each other without a gap, and
attempts are numbered from 1. So a line that was taken out, moved or put in twice shows, whatever hashes were fixed.
What does not show is a ledger whose last lines of an *interrupted* attempt were cut off: nothing says how far that
attempt came. The hash in the manifest and the signature of the bundle tell that.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from trustml.compare.table import recorded_measures
from trustml.errors import RecordError
from trustml.evidence.checks import NOT_COMPUTABLE, Check, same_number
from trustml.frameworks.table import entry_of, is_known
from trustml.measures.evidence import Evidence
from trustml.measures.privacy import releases
from trustml.plan.charged import participation_problem
from trustml.plan.job import CanaryJob, Job, Mechanism, TrainJob
from trustml.plan.mechanism import UNKNOWN, NoiseDraw, make_charge, tells_participation
from trustml.privacy.accounting import epsilon_released
from trustml.privacy.ledger import Charge, read_ledger
from trustml.privacy.tails import noise_source
from trustml.record.choices import composed_runs
from trustml.record.files import sha256
from trustml.record.schema import JobRecord
from trustml.record.starts import earlier_charges, is_void, once
from trustml.record.store import RunDirectory
from trustml.scenario.federated import FederatedSpec, PrivateClients
from trustml.scenario.regimes import DPSGD, PrivateRegime

LEDGER = "ledger.jsonl"
_OF_THE_ATTEMPT = {"plan", "largest_participation", "participation"}
_EPSILON_TOLERANCE = 1e-9  # relative: one ledger, one accountant


class _Ledger(NamedTuple):
    """Charges of one private training, and what is wrong with them in themselves and beside their job."""

    record: JobRecord
    regime: PrivateRegime
    mechanism: Mechanism | None
    path: Path
    charges: list[Charge]
    problems: list[str]


def ledgers_of(run: RunDirectory) -> dict[str, list[Charge]]:
    """Give the charges of each private model.

    Raises
    ------
    RecordError
        If a ledger is damaged.
    """
    return {
        record.id: read_ledger(run.job_folder(record.id) / LEDGER)
        for record, job in Evidence(run).trained()
        if isinstance(job.regime, PrivateRegime)
    }


def ledger_checks(evidence: Evidence, jobs: Mapping[str, Job]) -> list[Check]:
    """Check the ledger of every job that was charged for, or should have been; one line each."""
    checks = []
    for ledger in _ledgers(evidence, jobs):
        steps = sum(charge.steps for charge in ledger.charges)
        message = f"{len(ledger.charges)} lines charge {steps} steps in order"
        if ledger.problems:
            message = _first_of(ledger.problems)
        elif not ledger.charges:
            message = f"nothing charged; ended {ledger.record.status}"
        checks.append(_check(f"ledger of {ledger.record.id}", message, passed=not ledger.problems))
    return checks


def verify_ledgers(run: RunDirectory) -> list[Check]:
    """Check every ledger, and the record's epsilons, hashes, data and steps by it.

    Returns
    -------
    list of Check
        The subject is the job; empty for the whole run.
    """
    evidence = Evidence(run)
    jobs = {record.id: run.job(record.id) for record in evidence.manifest.jobs if record.kind in ("train", "canary")}
    stated = _stated_epsilons(run)
    checks: list[Check] = []
    released: dict[str, list[_Ledger]] = defaultdict(list)
    for ledger in _ledgers(evidence, jobs):
        model = ledger.record.id
        if ledger.record.kind == "train":
            checks += _model_checks(evidence, ledger, stated=stated.get(("epsilon", model), math.nan))
            if ledger.charges:
                released[releases(ledger.charges)].append(ledger)
        if ledger.problems:
            checks.append(_check(model, _first_of(ledger.problems), passed=False))
    for subject, group in released.items():
        delta = max(ledger.regime.delta for ledger in group)
        name, told = f"epsilon of all releases ({subject})", stated.get(("epsilon_all_releases", subject), math.nan)
        before = once(earlier_charges(evidence.manifest, ledger.regime) for ledger in group)
        charged = [*(ledger.charges for ledger in group), *before]
        runs = composed_runs(evidence.manifest, [one.regime for one in group])
        void = any(is_void(evidence.manifest, one.regime) for one in group)
        checks.append(_epsilon_check("", name, charged, delta=delta, stated=told, runs=runs, void=void))
    return checks


def _stated_epsilons(run: RunDirectory) -> dict[tuple[str, str], float]:
    """Epsilons of the table: of each model by its job, of all releases by their subject."""
    table = recorded_measures(run)
    found: dict[tuple[str, str], float] = {}
    for measure, column in (("epsilon", "job"), ("epsilon_all_releases", "subject")):
        rows = table[table.measure == measure]
        for name, value in zip(rows[column], rows.value, strict=True):
            found.setdefault((measure, name), float(value))
    return found


def _ledgers(evidence: Evidence, jobs: Mapping[str, Job]) -> Iterator[_Ledger]:
    for record in evidence.manifest.jobs:
        job = jobs.get(record.id)
        trained = job.training if isinstance(job, CanaryJob) else job
        if not isinstance(trained, TrainJob) or not isinstance(trained.regime, PrivateRegime):
            continue
        path = evidence.run.job_folder(record.id) / LEDGER
        try:
            charges = read_ledger(path)
            problems = _problems(evidence, record, trained, path, charges)
        except RecordError as error:
            charges, problems = [], [str(error).replace(f"{path}: ", "")]
        yield _Ledger(record, trained.regime, trained.mechanism, path, charges, problems)


def _problems(evidence: Evidence, record: JobRecord, job: TrainJob, path: Path, charges: Sequence[Charge]) -> list[str]:
    ended = record.status == "ok"
    if not charges:
        return ["missing or empty, yet the job is done"] if ended else []
    if job.mechanism is None:
        return ["job.json states no mechanism that it could be charged for"]
    problems = order_problems(charges, expected=job.mechanism if ended else None)
    problems += _mechanism_problems(charges, job, job.mechanism, evidence.manifest.data.fingerprint)
    problems += filter(None, [participation_problem(job, job.mechanism, charges)])
    if not path.read_bytes().endswith(b"\n") and ended:
        problems.append(f"line {len(charges) + 1} is cut off")
    return problems


def _model_checks(evidence: Evidence, ledger: _Ledger, *, stated: float) -> list[Check]:
    """Hold the record of one model against its ledger."""
    record, charges, mechanism = ledger.record, ledger.charges, ledger.mechanism
    if not charges:
        if not math.isnan(stated):
            message = f"no charge can be read, yet the record states epsilon {stated:.6f}"
            return [_check(record.id, message, passed=False)]
        nothing = _check(record.id, "nothing was charged, and nothing is claimed", passed=True)
        return [] if ledger.problems else [nothing]
    checks = [
        _epsilon_check(
            record.id,
            "epsilon",
            [charges, *earlier_charges(evidence.manifest, ledger.regime)],
            delta=ledger.regime.delta,
            stated=stated,
            runs=composed_runs(evidence.manifest, [ledger.regime]),
            void=is_void(evidence.manifest, ledger.regime),
        )
    ]
    recorded = record.artifacts.get(LEDGER)
    if recorded is not None:
        same = sha256(ledger.path) == recorded
        message = "the ledger is the one in the manifest" if same else "the ledger was changed after the job ended"
        checks.append(_check(record.id, message, passed=same))
    data = all(charge.data == evidence.manifest.data.fingerprint for charge in charges)
    checks.append(_check(record.id, "the data are those of the manifest" if data else "other data", passed=data))
    if mechanism is not None and record.status == "ok":
        needed = mechanism.start_step + mechanism.steps
        paid = sum(charge.steps for charge in charges)
        message = f"{paid} steps charged for {needed} steps in the model"
        checks.append(_check(record.id, message, passed=paid >= needed))
    return checks


def _epsilon_check(
    subject: str,
    name: str,
    released: Sequence[Sequence[Charge]],
    *,
    delta: float,
    stated: float,
    runs: float | None,
    void: bool = False,
) -> Check:
    try:
        found = math.inf if void else epsilon_released(released, delta=delta, tuned_runs=runs).value
    except NOT_COMPUTABLE as error:
        message = f"{name} cannot be computed from the ledger ({type(error).__name__}: {error})"
        return _check(subject, message, passed=False)
    passed = not math.isnan(found) and same_number(found, stated, within=_EPSILON_TOLERANCE)
    return _check(subject, f"{name} from the ledger {found:.6f}, in the record {stated:.6f}", passed=passed)


def _check(subject: str, message: str, *, passed: bool) -> Check:
    return Check(area="ledgers", subject=subject, outcome="ok" if passed else "differs", message=message)


def _first_of(problems: Sequence[str]) -> str:
    return "; ".join(problems[:5])


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
    """Say what draws the noise of a job, or drew it in earlier versions; the first ledgers tell nothing of it."""
    if not charge.noise_source:
        return UNKNOWN
    stock = isinstance(job.regime, DPSGD) and job.regime.engine != "core"
    rounds = isinstance(job.regime, FederatedSpec) and not isinstance(job.regime, PrivateClients)
    source = noise_source(job.backend, federated=rounds, stock=stock)
    noise = entry_of(job.backend).noise
    if noise is not None and charge.noise_source in noise.earlier and not stock and not rounds:
        source = charge.noise_source
    return NoiseDraw(source=source, coordinates=charge.coordinates)


def _missing(line: int, attempt: int, first: int, end: int) -> str:
    steps = f"step {first}" if end == first + 1 else f"steps {first} to {end - 1}"
    return (
        f"line {line} is missing: {steps} of attempt {attempt} {'is' if end == first + 1 else 'are'} charged by no line"
    )


def _block(charge: Charge) -> str:
    steps = f"step {charge.first_step}" if charge.steps == 1 else f"steps {charge.first_step} to {charge.end_step - 1}"
    return f"{steps} of attempt {charge.attempt}"
