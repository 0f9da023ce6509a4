"""What rows and statements of a run come to, as findings in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from trustml.attacks.membership import Verdict
from trustml.auditing.checks_membership import exposed_figure, exposed_words
from trustml.auditing.claim import Claim, claim_words
from trustml.auditing.result import Finding, Measurement, Severity, verdict_of
from trustml.measures.assumptions import EXACT_NOISE, NOTHING_ELSE
from trustml.measures.measure import shown_in
from trustml.measures.row import Row
from trustml.measures.started_assumptions import OTHER_DATA
from trustml.privacy.statement import PrivacyStatement, at_least, at_most, groups_line
from trustml.record.schema import JobRecord
from trustml.record.store import CURVES, MEASURES

_HOW_MEMBERSHIP = (
    "every training and every held-out example scored by each attack; a risk where the one-sided lower bound of an AUC "
    "is above 0.5, its upper bound below 0.5, or the examples an attack is surest of hold more members than chance "
    "allows; each of the three corrected for the number of attacks by itself"
)


def measured(row: Row) -> Measurement:
    """Give a row of the table as a figure of a finding."""
    return Measurement(
        measure=row.measure,
        value=row.value,
        low=row.low,
        high=row.high,
        confidence=row.confidence,
        unit=row.unit,
        n=row.n,
        note=row.note,
        label=row.method,
    )


def figure(row: Row) -> Measurement:
    """Give a row as a figure whose note says of what it is."""
    label = " ".join(part for part in (row.job, row.subject, row.method) if part)
    return Measurement(
        measure=row.measure,
        value=row.value,
        low=row.low,
        high=row.high,
        n=row.n,
        note=f"{label}: {row.note}",
        label=label,
        subject=row.job,
    )


def _beside_the_claim(shown: float, claimed: float) -> tuple[str, str]:
    """Write a lower bound and an upper one, with as many decimals as tell them apart where they contradict."""
    pairs = ((at_least(shown, digits), at_most(claimed, digits)) for digits in range(2, 13))
    pair = next(pairs)
    while shown > claimed and float(pair[0]) <= float(pair[1]):
        pair = next(pairs, (repr(shown), repr(claimed)))
    return pair


def _by_chance(audits: int) -> str:
    often = "as often as the confidence says"
    return often if audits == 1 else f"{often} of each of the {audits} audits of this run: repeat this one alone"


def untried(row: Row | None) -> str:
    """Say that no canary that was planted received loss, so that nothing was tried; empty where one did."""
    facts = {} if row is None else row.facts
    missed = int(facts.get("never_came", 0)) + int(facts.get("without_gradient", 0))
    if "planted" not in facts or not missed or missed < int(facts["planted"]):
        return ""
    return f"none of {facts['planted']} planted canaries received loss, so that nothing was tried"


def bound_finding(group: Sequence[Row], *, audits: int = 1) -> Finding:
    """Judge a canary audit or a game by its rows: what was shown against what was claimed.

    Each of the `audits` of a run has its own confidence, so that by chance one of many may well show too much.
    """
    by = {row.measure: row for row in group}
    first = group[0]
    game = first.kind == "game"
    check = "mechanism" if game else "canaries"
    claimed, audited = by.get("claimed_epsilon"), by.get("audited_epsilon")
    estimate = by.get("epsilon_estimate")
    beside = tuple(
        measured(row) for name, row in by.items() if name in shown_in("audit") and row not in (audited, estimate)
    )
    where = f"{first.subject}, {first.backend}"
    severity: Severity = "note"
    if idle := untried(audited or estimate):
        severity, title, figures = "not checked", f"{where}: {idle}.", beside
    elif audited is not None and audited.value is not None and claimed is not None and claimed.value is not None:
        violated = audited.value > claimed.value
        severity = "violation" if violated else "pass"
        low, high = _beside_the_claim(audited.value, claimed.value)
        title = (
            f"{where}: epsilon is at least {low}, above the claimed {high}."
            if violated
            else f"{where}: epsilon was shown to be at least {low}; the claim is {high}."
        )
        figures = (measured(audited), *beside)
    elif estimate is not None and estimate.value is not None:
        title = f"{where}: epsilon is estimated at {estimate.value:.2f}; an estimate is no bound and refutes nothing."
        figures = (measured(estimate), *beside)
    else:
        missing = audited or estimate or first
        severity, title, figures = "not checked", f"{where}: {missing.note}", beside
    return Finding(
        id=f"{check}.{first.job}",
        rule=check,
        check=check,
        severity=severity,
        title=title,
        subject=first.job,
        claim=claimed.note if claimed is not None else "",
        measured=figures,
        how=(audited or estimate or first).note,
        artifacts=("measures.parquet",),
        would_change=(
            "a mistake in the auditor's own choice of canary or score cannot produce this: only chance can, "
            f"{_by_chance(audits)}"
            if severity == "violation"
            else "more canaries or trials, or a stronger attacker: no violation is no proof"
        ),
    )


def membership_finding(record: JobRecord, rows: Sequence[Row], verdict: Verdict | None = None) -> Finding:
    """Judge one model by all attacks that were tried on it.

    Parameters
    ----------
    record : JobRecord
    rows : sequence of Row
        Its membership rows, whose lower bounds say whether members are told apart.
    verdict : Verdict, optional
        Of its published curves, each question by itself at the confidence of those rows: whether a few members are
        exposed where the area says nothing, or members lie below the others.
    """
    aucs = {row.method: row for row in rows if row.measure == "membership_auc" and row.value is not None}
    least = {row.method: row for row in rows if row.measure == "membership_auc_at_least" and row.value is not None}
    if not aucs:
        return Finding(
            id=f"membership.{record.id}",
            rule="membership",
            check="membership",
            severity="not checked",
            title=f"{record.id}: {rows[0].note}",
            subject=record.id,
        )
    order = sorted(aucs, key=lambda name: -(least[name].value or 0.0) if name in least else 0.0)
    flagged = [name for name in order if name in least and (least[name].value or 0.0) > 0.5]
    exposing = [name for name in order if not flagged and verdict is not None and name in verdict.exposing]
    below = [name for name in order if verdict is not None and name in verdict.reversed]
    strongest = order[0]
    value, low = aucs[strongest].value, least[strongest].value if strongest in least else None
    said = []
    if flagged:
        said.append(
            f"{len(flagged)} of {len(order)} attacks tell members from non-members; {strongest} has AUC {value:.3f}, "
            f"at least {at_least(low or 0.0, 3)}"
        )
    if verdict is not None:
        said += _beside_the_area(verdict, exposing, below, told=bool(flagged), of=len(order))
    title = (
        f"{record.id}: {'; '.join(said)}."
        if said
        else f"{record.id}: none of {len(order)} attacks is shown to beat guessing; the strongest, {strongest}, has "
        f"AUC {value:.3f}."
    )
    figures = []
    for name in order:
        figures.append(measured(aucs[name]))
        if name in least:
            figures.append(measured(least[name]))
        if name in exposing and verdict is not None:
            figures.append(exposed_figure(verdict.tops[name], label=name))
    return Finding(
        id=f"membership.{record.id}",
        rule="membership",
        check="membership",
        severity="risk" if said else "pass",
        title=title,
        subject=record.id,
        measured=tuple(figures),
        how=_HOW_MEMBERSHIP,
        artifacts=(CURVES,),
        would_change=(
            "a model that fits its training data less, or privacy with a small epsilon"
            if flagged or exposing
            else "a held-out set from the same source, no easier than the training examples"
            if below
            else "more examples, more shadow models or a stronger attack; an AUC up to the upper end of its interval "
            "is not excluded"
        ),
    )


def _beside_the_area(verdict: Verdict, exposing: list[str], below: list[str], *, told: bool, of: int) -> list[str]:
    """Say what curves show beside an area above one half."""
    said = []
    if exposing:
        surest = min(exposing, key=lambda name: verdict.tops[name].p_value)
        said.append(f"{surest} {exposed_words(verdict.tops[surest])}: a few members are exposed")
    if below:
        lowest = min(below, key=lambda name: verdict.uppers[name])
        why = "members differ the other way round" if told else "the sets differ, perhaps exchanged"
        said.append(
            f"{len(below)} of {of} attacks put members below non-members; the AUC of {lowest} is at most "
            f"{at_most(verdict.uppers[lowest], 3)}: {why}"
        )
    return said


def deployed_finding(auc: Row, bound: Row | None) -> Finding:
    """Judge one exported file by the attacks on what it answers.

    Parameters
    ----------
    auc, bound : Row
        Of the attack that is strongest on the file; without a value where it could not be attacked, and then no bound.
    """
    base = Finding(
        id=f"deployed.membership.{auc.job}.{auc.subject}",
        rule="deployed.membership",
        check="deployed",
        severity="not checked",
        title=f"{auc.job} as {auc.subject}: {auc.note}",
        subject=auc.job,
        how="every training and every held-out example was asked of the file, in a fresh process of its runtime, and "
        "scored by each attack; a risk where the one-sided lower bound of an AUC, corrected for the number of attacks, "
        "is above 0.5",
        artifacts=(MEASURES,),
        would_change="the file exported again where private/ is at hand, by `trustml export`",
    )
    if auc.value is None or bound is None or bound.value is None:
        return base
    leaks, tried = bound.verdict == "above guessing", auc.facts["strongest_of"]
    beside = (
        f"AUC {auc.value:.3f}, at least {at_least(bound.value, 3)}; on the model itself that attack has "
        f"{float(auc.facts['model_auc']):.3f}, at least {at_least(float(bound.facts['model_at_least']), 3)}"
    )
    told = (
        f"the file tells members from non-members: of {tried} attacks {auc.method} has {beside}"
        if leaks
        else f"none of {tried} attacks on the file is shown to beat guessing; the strongest, {auc.method}, has {beside}"
    )
    return msgspec.structs.replace(
        base,
        severity="risk" if leaks else "pass",
        title=f"{auc.job} as {auc.subject}: {told}.",
        measured=(measured(auc), measured(bound)),
        would_change=(
            "a model that fits its training data less, or privacy with a small epsilon; where the model itself is not "
            "at risk, a file that is not rounded"
            if leaks
            else "more examples, more shadow models or a stronger attack; an AUC up to the upper end of its interval "
            "is not excluded"
        ),
    )


def pooled_finding(regime: str, backend: str, rows: Sequence[Row]) -> Finding:
    """What the models of one regime come to together, at the low false positive rates that matter."""
    name = f"{regime} ({backend})"
    tprs = [row for row in rows if row.measure.startswith("membership_tpr")]
    found = sorted((r for r in tprs if r.value is not None), key=lambda row: -(row.value or 0.0))
    title = (
        f"{name}: over all its models, {found[0].method} finds {found[0].value:.1%} of members at "
        f"{'0.1' if '0_1' in found[0].measure else '1'} % false positives."
        if found
        else f"{name}: true positive rates at low false positive rates are not estimable with so few non-members."
    )
    return Finding(
        id=f"membership.pooled.{backend}.{regime}",
        check="membership",
        severity="note" if found else "not checked",
        title=title,
        subject=name,
        measured=tuple(measured(row) for row in (found or tprs)),
        how="one threshold for all models at the stated false positive rate; intervals take models as clusters",
        artifacts=(CURVES,),
        would_change="more models or more held-out examples",
    )


def _pays_for_its_start(statement: PrivacyStatement) -> bool:
    """Whether epsilon is of all that the start was made from, too."""
    weights = [one for one in statement.releases if one.name == "starting weights"]
    return bool(statement.composed_with) and all(one.coverage == "epsilon" for one in weights)


def accounting_finding(statement: PrivacyStatement, claim: Claim | None, *, artifact: str) -> Finding:
    """Judge what the ledger comes to against what was to be kept."""
    stated = math.inf if statement.epsilon is None else statement.epsilon
    claimed = math.inf if claim is None else claim.epsilon
    unmet = [one for one in statement.assumptions if one.status == "not met"]
    paid = (OTHER_DATA,) if _pays_for_its_start(statement) else ()
    graver = [one for one in unmet if one.name not in (EXACT_NOISE, NOTHING_ELSE, *paid)]
    severity: Severity = "pass"
    verdict = verdict_of(claimed, low=statement.epsilon_at_least or 0.0, high=stated)
    if math.isinf(stated):
        severity, title = "risk", f"{statement.model}: no finite epsilon holds."
    elif verdict == "broken":
        severity = "violation"
        title = f"{statement.model}: the ledger comes to epsilon {at_most(stated, 4)}, above {at_most(claimed, 4)}."
    elif verdict == "not decided":
        severity = "risk"
        title = (
            f"{statement.model}: not decided: the ledger comes to epsilon {at_most(stated, 4)}, which does not prove "
            f"{at_most(claimed, 4)}, and nothing refutes it."
        )
    elif graver:
        severity = "risk"
        names = "; ".join(one.name for one in graver)
        title = f"{statement.model}: epsilon {at_most(stated, 4)}, but what it rests on is not met: {names}."
    else:
        rounded = f"the {at_most(claimed, 4)} claimed but for 0.1 %" if stated > claimed else "as claimed"
        title = f"{statement.model}: the ledger comes to epsilon {at_most(stated, 4)}, {rounded}."
    composed = bool(statement.composed_with)
    figures = [
        Measurement(
            measure="epsilon",
            value=None if statement.epsilon is None else stated,
            low=statement.epsilon_at_least,
            unit="nats",
            n=statement.steps,
            note=f"delta={statement.delta:g}; unit: {statement.unit_of_privacy}; relation: "
            f"{statement.neighboring_relation}; sampling: {statement.sampling}; accountant: {statement.accountant}"
            + ("" if statement.cyclic is None else f"; groups: {groups_line(statement.cyclic)}")
            + (f"; composed with {statement.composed_with}, the lower bound is without it" * composed),
        )
    ]
    figures += [
        Measurement(
            measure=other.name,
            value=other.value,
            unit="nats",
            n=statement.steps,
            note=("a lower bound (>=); " if other.bound == "at least" else "")
            + other.note
            + ("; of this training alone" if other.own else ""),
        )
        for other in statement.comparisons
    ]
    return Finding(
        id=f"accounting.{statement.model}",
        rule="accounting",
        check="accounting",
        severity=severity,
        title=title,
        subject=statement.model,
        claim=claim_words(claim) if claim is not None else "",
        measured=tuple(figures),
        how="all charges of the append-only ledger composed anew: the least of several proved bounds, others beside it"
        + "".join(f"; not met: {one.name} ({one.why})" for one in unmet if one.name != NOTHING_ELSE),
        artifacts=(artifact,),
        would_change="a ledger that does not hold every step that ran; an assumption that does not hold",
        verdict=None if claim is None else verdict,
    )
