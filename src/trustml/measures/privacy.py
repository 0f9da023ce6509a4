"""Epsilon of each private model and of all of them together, from the ledgers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from trustml.errors import RecordError
from trustml.measures.assumptions import NO_ROWS, OF_THIS_DATA
from trustml.measures.client_privacy import CLIENT
from trustml.measures.evidence import Evidence
from trustml.measures.notes import absent
from trustml.measures.privacy_statements import statements_of
from trustml.measures.row import About, Facts, Row, Verdict
from trustml.measures.wording import sampling_text
from trustml.plan.job import TrainJob
from trustml.privacy.accounting import epsilon_released
from trustml.privacy.ledger import Charge, read_ledger
from trustml.privacy.statement import Comparison, PrivacyStatement, contributed
from trustml.record.choices import composed_runs
from trustml.record.ledgers import ledger_digests
from trustml.record.schema import JobRecord
from trustml.record.starts import chosen_start, earlier_charges, once, unpaid_rows, worst
from trustml.scenario.regimes import PrivateRegime, Regime


def releases(charges: Sequence[Charge]) -> str:
    """Name what a model's ledger composes with: guarantees for examples, or for the users of one partition.

    A user of one partition is spread over many clients of another, so their guarantees are no pieces of one.
    """
    first = charges[0]
    return "all ledgers" if first.unit == "example" else f"user-level ledgers, partition {first.users[:12]}"


def privacy_statements(evidence: Evidence) -> list[PrivacyStatement]:
    """Give the statement of each private model that was charged for and whose ledger can be read."""
    ledgers = []
    for record, job in _private(evidence):
        charges = _charges(evidence, record)
        if isinstance(charges, list) and charges:
            ledgers.append((job, charges))
    digests = ledger_digests(evidence.run, evidence.manifest.jobs)
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
            rows.append(evidence.row("epsilon", None, record=record, subject="ledger", n=0, about=absent(charges)))
        elif not charges:
            about = absent(f"training ended {record.status}: {record.reason}")
            rows.append(evidence.row("epsilon", None, record=record, subject="ledger", n=0, about=about))
        else:
            ledgers.append(charges)
            charged.append(record.id)
            rows += _model_rows(evidence, record, stated[record.id])
    if unreadable:
        about = absent(unreadable[0])
        rows.append(
            evidence.row("epsilon_all_releases", None, record=None, subject="all ledgers", n=len(ledgers), about=about)
        )
        return rows
    groups: dict[str, list[tuple[list[Charge], PrivacyStatement]]] = {}
    for charges, job in zip(ledgers, charged, strict=True):
        groups.setdefault(releases(charges), []).append((charges, stated[job]))
    for subject, group in groups.items():
        rows.append(_all_releases(evidence, subject, group, others=len(ledgers) - len(group)))
    return rows


def _model_rows(evidence: Evidence, record: JobRecord, statement: PrivacyStatement) -> list[Row]:
    about = _of_statement(statement)
    facts = dict(about.facts)
    if statement.attempts > 1:
        facts["attempts"] = statement.attempts
    if record.status != "ok":
        facts["training_status"] = record.status
    unmet = {one.name for one in statement.assumptions if one.status != "met"}
    if NO_ROWS in unmet:
        facts["rows_shown"] = True
    if OF_THIS_DATA in unmet:
        facts["other_data"] = True
    facts |= _of_the_start(evidence, _regimes(evidence, [([], statement)]))
    if record.result and record.result.notes:
        facts["remarks"] = "; ".join(record.result.notes)
    value = math.inf if statement.epsilon is None else statement.epsilon
    about = msgspec.structs.replace(about, facts=facts)
    rows = [evidence.row("epsilon", value, record=record, subject="ledger", n=statement.steps, about=about)]
    for other in statement.comparisons:
        about = _of_comparison(statement, other)
        subject = f"all rows of the {other.group}" if other.group else "ledger"
        subject = other.group if other.name == CLIENT else subject
        rows.append(
            evidence.row(other.name, other.value, record=record, subject=subject, n=statement.steps, about=about)
        )
    return rows


def _of_statement(statement: PrivacyStatement) -> About:
    facts: Facts = {"secret_sampling": statement.secret_sampling}
    if not statement.secret_sampling:
        facts["largest_participation"] = statement.largest_participation
    if statement.accounted_by:
        facts["accounted_by"] = statement.accounted_by
    facts |= _contribution(statement)
    return About(
        delta=statement.delta,
        privacy_unit=statement.unit_of_privacy,
        relation=statement.neighboring_relation,
        sampling=statement.drawn,
        accountant=statement.accountant,
        facts=facts,
    )


def _contribution(statement: PrivacyStatement) -> Facts:
    """What a unit of examples, or of the users of a federation, is without a word is not said."""
    usual = ("", "example gradient", "client update")
    return {} if statement.contribution in usual else {"contribution": statement.contribution}


def _of_comparison(statement: PrivacyStatement, other: Comparison) -> About:
    facts: Facts = {"bound": other.bound, "secret_sampling": other.secret_sampling, **_contribution(statement)}
    if not other.secret_sampling:
        facts["largest_participation"] = statement.largest_participation
    verdict: Verdict = ""
    if other.value is None:
        verdict = "absent"
        facts["reason"] = other.note or "no finite value"
        facts |= {"not_at_hand": True} if other.not_at_hand else {}
    elif other.agrees is not None:
        verdict = "fits" if other.agrees else "does not fit"
    elif other.note:
        facts["of"] = other.note
    if other.own:
        facts["own_charges"] = True
    return About(
        verdict=verdict,
        delta=statement.delta,
        privacy_unit=statement.unit_of_privacy,
        relation=other.relation,
        sampling=other.drawn,
        accountant=other.accountant,
        facts=facts,
    )


def _all_releases(
    evidence: Evidence, subject: str, group: Sequence[tuple[list[Charge], PrivacyStatement]], *, others: int
) -> Row:
    delta = max(statement.delta for _, statement in group)
    released = [*(charges for charges, _ in group), *_before(evidence, group)]
    runs = composed_runs(evidence.manifest, _regimes(evidence, group))
    epsilon = epsilon_released(released, delta=delta, tuned_runs=runs)
    value = math.inf if any(statement.epsilon is None for _, statement in group) else epsilon.value
    first = group[0][0][0]
    drawn = {charge.sampling for charges, _ in group for charge in charges}
    facts: Facts = {
        "private_models": len(group),
        "samplings": " / ".join(dict.fromkeys(sampling_text(charges, contributed(one)) for charges, one in group)),
        "secret_sampling": all(charge.secret_sampling for charges, _ in group for charge in charges),
        "accounted_by": epsilon.by,
    }
    facts |= _of_the_start(evidence, _regimes(evidence, group))
    if others:
        facts["others"] = others
    plain = sum(
        record.status == "ok" and not isinstance(job.regime, PrivateRegime) for record, job in evidence.trained()
    )
    if plain:
        facts["models_without_privacy"] = plain
    about = About(
        delta=delta,
        privacy_unit=first.unit,
        relation=epsilon.relation,
        sampling=first.sampling if len(drawn) == 1 else "several",
        accountant=epsilon.accountant,
        facts=facts,
    )
    return evidence.row("epsilon_all_releases", value, record=None, subject=subject, n=len(group), about=about)


def _of_the_start(evidence: Evidence, regimes: Sequence[Regime]) -> Facts:
    """What an epsilon leaves out of what training started from."""
    left = worst("none", *(unpaid_rows(evidence.manifest, regime) for regime in regimes))
    told: Facts = {} if left == "none" else {"start_without_guarantee" if left == "some" else "start_not_known": True}
    if any(chosen_start(evidence.manifest, regime) for regime in regimes):
        told["start_chosen"] = True
    return told


def _before(evidence: Evidence, group: Sequence[tuple[list[Charge], PrivacyStatement]]) -> list[list[Charge]]:
    """Charges of an earlier training that some of the models start from, once."""
    return once(earlier_charges(evidence.manifest, regime) for regime in _regimes(evidence, group))


def _regimes(evidence: Evidence, group: Sequence[tuple[list[Charge], PrivacyStatement]]) -> list[Regime]:
    models = {statement.model for _, statement in group}
    return [job.regime for record, job in _private(evidence) if record.id in models]


def _private(evidence: Evidence) -> list[tuple[JobRecord, TrainJob]]:
    return [(record, job) for record, job in evidence.trained() if isinstance(job.regime, PrivateRegime)]


def _charges(evidence: Evidence, record: JobRecord) -> list[Charge] | str:
    """Charges of one model, or why they cannot be read."""
    try:
        return read_ledger(evidence.run.job_folder(record.id) / "ledger.jsonl")
    except RecordError as error:
        return str(error)
