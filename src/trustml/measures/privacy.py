"""Epsilon of each private model and of all of them together, from the ledgers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from trustml.errors import RecordError
from trustml.measures.assumptions import NO_ROWS
from trustml.measures.evidence import Evidence
from trustml.measures.measure import Row
from trustml.measures.privacy_statements import statements_of
from trustml.measures.wording import models_of
from trustml.plan.job import TrainJob
from trustml.privacy.accounting import epsilon_of_releases
from trustml.privacy.ledger import Charge, read_ledger
from trustml.privacy.statement import PrivacyStatement, statement_line
from trustml.record.files import sha256
from trustml.record.schema import JobRecord
from trustml.scenario.regimes import PrivateRegime


def releases(charges: Sequence[Charge]) -> str:
    """Name what a model's ledger composes with: guarantees for examples, or for the users of one partition.

    A user of one partition is spread over many clients of another, so their guarantees are no pieces of one.
    """
    first = charges[0]
    return "all ledgers" if first.unit == "example" else f"user-level ledgers, partition {first.users[:12]}"


def ledger_digests(evidence: Evidence) -> dict[str, str]:
    """SHA-256 of the ledger of each private model that was charged for."""
    paths = {record.id: evidence.run.job_folder(record.id) / "ledger.jsonl" for record, _ in _private(evidence)}
    return {model: sha256(path) for model, path in paths.items() if path.is_file() and path.stat().st_size}


def privacy_statements(evidence: Evidence) -> list[PrivacyStatement]:
    """Give the statement of each private model that was charged for and whose ledger can be read."""
    ledgers = []
    for record, job in _private(evidence):
        charges = _charges(evidence, record)
        if isinstance(charges, list) and charges:
            ledgers.append((job, charges))
    digests = ledger_digests(evidence)
    found = statements_of(evidence, ledgers)
    return [msgspec.structs.replace(one, ledger=digests.get(one.model, "")) for one in found]


def private_rows(evidence: Evidence) -> list[Row]:
    """Rows of :func:`privacy_rows` for the statements of the run."""
    return privacy_rows(evidence, evidence.once(privacy_statements))


def privacy_rows(evidence: Evidence, statements: list[PrivacyStatement]) -> list[Row]:
    """`epsilon` of each private model with what it is compared with; `epsilon_all_releases` of the run."""
    stated = {statement.model: statement for statement in statements}
    rows: list[Row] = []
    ledgers: list[list[Charge]] = []
    charged: list[str] = []
    unreadable: list[str] = []
    private = _private(evidence)
    for record, _ in private:
        charges = _charges(evidence, record)
        if isinstance(charges, str):
            unreadable.append(charges)
            note = f"absent: {charges}"
            rows.append(evidence.row("epsilon", None, record=record, subject="ledger", n=0, note=note))
        elif not charges:
            note = f"absent: training ended {record.status}: {record.reason}"
            rows.append(evidence.row("epsilon", None, record=record, subject="ledger", n=0, note=note))
        else:
            ledgers.append(charges)
            charged.append(record.id)
            rows += _model_rows(evidence, record, stated[record.id])
    if unreadable:
        note = f"absent: {unreadable[0]}"
        rows.append(
            evidence.row("epsilon_all_releases", None, record=None, subject="all ledgers", n=len(ledgers), note=note)
        )
        return rows
    groups: dict[str, list[tuple[list[Charge], PrivacyStatement]]] = {}
    for charges, job in zip(ledgers, charged, strict=True):
        groups.setdefault(releases(charges), []).append((charges, stated[job]))
    for subject, group in groups.items():
        rows.append(_all_releases(evidence, subject, group, others=len(ledgers) - len(group)))
    return rows


def _model_rows(evidence: Evidence, record: JobRecord, statement: PrivacyStatement) -> list[Row]:
    note = statement_line(statement)
    if record.status != "ok":
        note += f"; charged although training ended {record.status}"
    if any(one.name == NO_ROWS and one.status != "met" for one in statement.assumptions):
        note += "; WARNING: no epsilon holds for the released explanations, whose baselines are training rows"
    if any(one.name == "the ledger is of this data" and one.status != "met" for one in statement.assumptions):
        note += "; WARNING: the ledger names other data than the manifest"
    if record.result:
        note += "".join(f"; {remark}" for remark in record.result.notes)
    value = math.inf if statement.epsilon is None else statement.epsilon
    rows = [evidence.row("epsilon", value, record=record, subject="ledger", n=statement.steps, note=note)]
    for other in statement.comparisons:
        about = "; ".join(
            part
            for part in (f"delta={statement.delta:g}", f"relation: {other.relation}", other.accountant, other.note)
            if part
        )
        if other.value is None:
            about = f"absent: {other.note or 'no finite value'}"
        elif other.bound == "at least":
            about = f"a lower bound (>=); {about}"
        rows.append(
            evidence.row(other.name, other.value, record=record, subject="ledger", n=statement.steps, note=about)
        )
    return rows


def _all_releases(
    evidence: Evidence, subject: str, group: Sequence[tuple[list[Charge], PrivacyStatement]], *, others: int
) -> Row:
    delta = max(statement.delta for _, statement in group)
    epsilon = epsilon_of_releases([charges for charges, _ in group], delta=delta)
    models = models_of(len(group), kind="private ")
    samplings = " / ".join(dict.fromkeys(statement.sampling for _, statement in group))
    unit = group[0][1].unit_of_privacy
    note = (
        f"{models}; delta={delta:g}; unit: {unit}; relation: {epsilon.relation}; sampling: {samplings}; "
        f"accountant: {epsilon.accountant}"
    )
    if others:
        note += (
            f"; not in this number: {models_of(others, kind='private ')} of the run for another unit, or for users of "
            "another partition, whose publication too has no joint epsilon here"
        )
    plain = sum(
        record.status == "ok" and not isinstance(job.regime, PrivateRegime) for record, job in evidence.trained()
    )
    if plain:
        note += (
            f"; private models alone: this run also trained {models_of(plain)} without privacy on the same "
            "data, and publishing " + ("it" if plain == 1 else "any of them") + " has no finite epsilon"
        )
    return evidence.row("epsilon_all_releases", epsilon.value, record=None, subject=subject, n=len(group), note=note)


def _private(evidence: Evidence) -> list[tuple[JobRecord, TrainJob]]:
    return [(record, job) for record, job in evidence.trained() if isinstance(job.regime, PrivateRegime)]


def _charges(evidence: Evidence, record: JobRecord) -> list[Charge] | str:
    """Charges of one model, or why they cannot be read."""
    try:
        return read_ledger(evidence.run.job_folder(record.id) / "ledger.jsonl")
    except RecordError as error:
        return str(error)
