"""The ledgers of a run, and whether the record follows from them."""

from __future__ import annotations

import math

import msgspec

from trustml.compare.table import recorded_measures
from trustml.errors import RecordError
from trustml.measures.evidence import Evidence
from trustml.measures.privacy import releases
from trustml.plan.job import TrainJob
from trustml.privacy.accounting import epsilon_of, epsilon_of_releases
from trustml.privacy.ledger import Charge, read_ledger
from trustml.record.files import sha256
from trustml.record.schema import JobRecord
from trustml.record.store import RunDirectory
from trustml.scenario.regimes import PrivateRegime

_LEDGER = "ledger.jsonl"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was verified.

    Parameters
    ----------
    job : str
        Empty for the whole run.
    passed : bool
    message : str
    """

    job: str
    passed: bool
    message: str


def ledgers_of(run: RunDirectory) -> dict[str, list[Charge]]:
    """Give the charges of each private model.

    Raises
    ------
    RecordError
        If a ledger is damaged.
    """
    return {
        record.id: read_ledger(run.job_folder(record.id) / _LEDGER)
        for record, job in Evidence(run).trained()
        if isinstance(job.regime, PrivateRegime)
    }


def verify_ledgers(run: RunDirectory) -> list[Check]:
    """Compute every epsilon anew and compare it with the table; compare each ledger with the manifest."""
    evidence = Evidence(run)
    table = recorded_measures(run)
    checks: list[Check] = []
    ledgers: list[list[Charge]] = []
    deltas: list[float] = []
    for record, job in evidence.trained():
        if not isinstance(job.regime, PrivateRegime):
            continue
        try:
            charges = read_ledger(run.job_folder(record.id) / _LEDGER)
        except RecordError as error:
            checks.append(Check(job=record.id, passed=False, message=str(error)))
            continue
        rows = table[(table.job == record.id) & (table.measure == "epsilon")]
        stated = float(rows.value.iloc[0]) if len(rows) else math.nan
        checks += _check_model(evidence, record, job, charges, stated=stated)
        if charges:
            ledgers.append(charges)
            deltas.append(job.regime.delta)
    every = table[table.measure == "epsilon_all_releases"]
    for subject in dict.fromkeys(releases(charges) for charges in ledgers):
        same = [number for number, charges in enumerate(ledgers) if releases(charges) == subject]
        rows = every[every.subject == subject]
        delta = max(deltas[number] for number in same)
        found = epsilon_of_releases([ledgers[number] for number in same], delta=delta).value
        stated = float(rows.value.iloc[0]) if len(rows) else math.nan
        checks.append(_same("", f"epsilon of all releases ({subject})", found, stated))
    return checks


def _check_model(
    evidence: Evidence, record: JobRecord, job: TrainJob, charges: list[Charge], *, stated: float
) -> list[Check]:
    regime = job.regime
    if not charges or not isinstance(regime, PrivateRegime):
        nothing = math.isnan(stated) and record.status != "ok"
        return [Check(job=record.id, passed=nothing, message="nothing was charged, and nothing is claimed")]
    checks = [_same(record.id, "epsilon", epsilon_of(charges, delta=regime.delta).value, stated)]
    recorded = record.artifacts.get(_LEDGER)
    path = evidence.run.job_folder(record.id) / _LEDGER
    if recorded is not None:
        same = sha256(path) == recorded
        message = "the ledger is the one in the manifest" if same else "the ledger was changed after the job ended"
        checks.append(Check(job=record.id, passed=same, message=message))
    data = all(charge.data == evidence.manifest.data.fingerprint for charge in charges)
    checks.append(
        Check(job=record.id, passed=data, message="the data are those of the manifest" if data else "other data")
    )
    mechanism = job.mechanism
    if mechanism is not None and record.status == "ok":
        needed = mechanism.start_step + mechanism.steps
        paid = sum(charge.steps for charge in charges)
        message = f"{paid} steps charged for {needed} steps in the model"
        checks.append(Check(job=record.id, passed=paid >= needed, message=message))
    return checks


def _same(job: str, name: str, found: float, stated: float) -> Check:
    passed = math.isclose(found, stated, rel_tol=1e-9) or (math.isinf(found) and math.isinf(stated))
    message = f"{name} from the ledger {found:.6f}, in the record {stated:.6f}"
    return Check(job=job, passed=passed, message=message)
