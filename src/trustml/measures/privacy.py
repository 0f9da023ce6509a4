"""Epsilon of each private model and of all of them together, from the ledgers alone."""

from __future__ import annotations

from trustml.errors import RecordError
from trustml.measures.evidence import Evidence
from trustml.measures.measure import Row
from trustml.privacy.accounting import epsilon_of, epsilon_of_releases
from trustml.privacy.ledger import Charge, read_ledger
from trustml.privacy.statement import statement_line
from trustml.record.schema import JobRecord
from trustml.scenario.regimes import DPSGD


def privacy_rows(evidence: Evidence) -> list[Row]:
    """`epsilon` of each private model; `epsilon_all_releases` of the run."""
    rows: list[Row] = []
    ledgers: list[list[Charge]] = []
    deltas: list[float] = []
    plain: list[JobRecord] = []
    unreadable: list[str] = []
    for record, job in evidence.trained():
        if not isinstance(job.regime, DPSGD):
            if record.status == "ok":
                plain.append(record)
            continue
        deltas.append(job.regime.delta)
        try:
            charges = read_ledger(evidence.run.job_folder(record.id) / "ledger.jsonl")
        except RecordError as error:
            unreadable.append(str(error))
            rows.append(evidence.row("epsilon", None, record=record, subject="ledger", n=0, note=f"absent: {error}"))
            continue
        if not charges:
            note = f"absent: training ended {record.status}: {record.reason}"
            rows.append(evidence.row("epsilon", None, record=record, subject="ledger", n=0, note=note))
            continue
        ledgers.append(charges)
        note = statement_line(charges, delta=job.regime.delta)
        if record.status != "ok":
            note += f"; charged although training ended {record.status}"
        if any(charge.data != evidence.manifest.data.fingerprint for charge in charges):
            note += "; WARNING: the ledger names other data than the manifest"
        rows.append(
            evidence.row(
                "epsilon",
                epsilon_of(charges, delta=job.regime.delta),
                record=record,
                subject="ledger",
                n=sum(charge.steps for charge in charges),
                note=note,
            )
        )
    if unreadable:
        note = f"absent: {unreadable[0]}"
        rows.append(
            evidence.row("epsilon_all_releases", None, record=None, subject="all ledgers", n=len(ledgers), note=note)
        )
    elif ledgers:
        rows.append(_all_releases(evidence, ledgers, delta=max(deltas), plain=plain))
    return rows


def _all_releases(evidence: Evidence, ledgers: list[list[Charge]], *, delta: float, plain: list[JobRecord]) -> Row:
    charges = [charge for ledger in ledgers for charge in ledger]
    models = "1 private model" if len(ledgers) == 1 else f"{len(ledgers)} private models"
    note = f"{models}; {statement_line(charges, delta=delta)}"
    if plain:
        note += (
            f"; private models alone: this run also trained {len(plain)} models without privacy on the same data, "
            "and publishing any of them has no finite epsilon"
        )
    value = epsilon_of_releases(ledgers, delta=delta)
    return evidence.row("epsilon_all_releases", value, record=None, subject="all ledgers", n=len(ledgers), note=note)
