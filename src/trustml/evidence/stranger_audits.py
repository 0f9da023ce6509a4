"""Whether the audit of somebody's model follows from what it holds itself: its curves, its claim, its words.

The model and its data are not in it. So what rests on them (what data and explanations look like, how fast the model
answers) is said not to have been computed again; a hash tells whether a model at hand is the one that was audited.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeAlias

import msgspec

from trustml.attacks.catalogue import ATTACKS
from trustml.attacks.membership import QUESTIONS, Verdict
from trustml.attacks.task_signals import unfit_attacks
from trustml.auditing.checks_membership import findings_of_curves
from trustml.auditing.findings import reason
from trustml.auditing.identity import identity_of
from trustml.auditing.model_audit import accounting_findings, audit_id
from trustml.auditing.models import target_of
from trustml.auditing.result import AuditedModel, AuditRecord, Finding
from trustml.evidence.audits import compare_findings
from trustml.evidence.checks import NOT_COMPUTABLE, Check, Outcome
from trustml.models.tasks import DEFAULT_TASK, Regression
from trustml.record.store import AUDIT

Load: TypeAlias = Callable[[str], AbstractContextManager[Any]]
"""From the name of a model, such as ``module:attribute``, to the model, for as long as the context lasts."""

_OF_CURVES, _OF_CLAIMS = {"membership"}, {"accounting", "sampling"}
_OF_MODELS = {"data", "explanations", "performance"}
_SCORES = {"membership_advantage"}
_FROM_MODEL = "rests on the model and its data, which are not in the audit"
_STATED = "stated, and not in anything that the audit holds"
_GROUNDLESS = "nothing in the audit leads to it"
_HOW = "words on reference models and on how the sets differ, which no curve tells"
_WORDING = "made by another revision of trustml, whose words may differ: titles and notes are not compared"


def stranger_checks(record: AuditRecord, *, same_words: bool) -> list[Check]:
    """Conclude again what can be concluded from the audit itself, one line a finding.

    Parameters
    ----------
    record : AuditRecord
    same_words : bool
        Whether this very trustml made it, so that even words can be compared.
    """
    if len(record.models) != 1 or record.run:
        return [_check("audit", "differs", f"is of {len(record.models)} models; that of somebody's model is of one")]
    (model,) = record.models
    checks = [_head_check(record, model)]
    found, verdict = _membership(record, model, same_words=same_words)
    checks += found
    stated = [one for one in record.findings if one.check in _OF_CLAIMS]
    checks += _accounting(record, model, stated, verdict, same_words=same_words)
    checks += [_rest_check(one) for one in record.findings if one.check not in _OF_CURVES | _OF_CLAIMS]
    return [*checks, *_completeness(record), *_not_in_it(record, same_words=same_words)]


def _not_in_it(record: AuditRecord, *, same_words: bool) -> list[Check]:
    """Name what is told beside the findings and cannot be held against anything."""
    checks = [_check("accuracies, versions, hardware, source and data", "not recomputed", _STATED)]
    if any(one.check in _OF_CURVES for one in record.findings):
        checks.append(_check("how attacks were made", "not recomputed", _HOW))
    if not same_words:
        checks.append(_check("wording", "not recomputed", _WORDING))
    return checks


def _rest_check(finding: Finding) -> Check:
    if finding.check in _OF_MODELS:
        return _check(f"finding {finding.id}", "not recomputed", _FROM_MODEL)
    return _check(f"finding {finding.id}", "differs", "is of no check that an audit of a model makes")


def _head_check(record: AuditRecord, model: AuditedModel) -> Check:
    problems = []
    if record.id != audit_id(record.created, model.name, record.data):
        problems.append("its identifier is not that of its time, model and data")
    if record.title != f"Audit of {model.name}":
        problems.append(f"its title is not of {model.name}")
    if len({one.id for one in record.findings}) < len(record.findings):
        problems.append("has two findings of one name")
    strange = sorted({curve.subject for curve in record.curves} - {model.name})
    problems += [f"has a curve of {name}" for name in strange]
    return _check("audit", "differs" if problems else "ok", "; ".join(problems) or f"{len(record.findings)} findings")


def _accounting(
    record: AuditRecord, model: AuditedModel, stated: list[Finding], verdict: Verdict | None, *, same_words: bool
) -> list[Check]:
    """Judge the claim again."""
    if model.claim is None or not _asked("accounting", record):
        return [_nothing(one) for one in stated if one.severity != "not checked"]
    try:
        anew = accounting_findings(
            model.claim, members=model.members, verdict=verdict, curves=record.curves, subject=model.name
        )
    except NOT_COMPUTABLE as error:
        return [_check("claim", "differs", f"cannot be judged again ({type(error).__name__}: {error})")]
    return _compared(stated, anew, same_words=same_words)


def _membership(record: AuditRecord, model: AuditedModel, *, same_words: bool) -> tuple[list[Check], Verdict | None]:
    """Hold findings on membership against the curves, at the confidence that they say they have."""
    stated = [one for one in record.findings if one.check in _OF_CURVES]
    told = [one for one in stated if one.severity != "not checked"]
    checks = [_check(f"finding {one.id}", "not recomputed", _FROM_MODEL) for one in stated if one not in told]
    if not record.curves:
        return [*checks, *(_nothing(one) for one in told)], None
    each = next((m.confidence for one in told for m in one.measured[:1] if m.confidence is not None), None)
    confidence = None if each is None else 1 - QUESTIONS * len(record.curves) * (1 - each) / 2
    if confidence is None or f"{confidence:g}" != record.settings.get("confidence"):
        return [*checks, _check("curves", "differs", "no finding has the confidence that the audit says it has")], None
    checks += _untried(record, same_words=same_words)
    try:
        anew, verdict = findings_of_curves(record.curves, confidence=confidence, subject=model.name)
    except NOT_COMPUTABLE as error:
        return [*checks, _check("curves", "differs", f"are none ({type(error).__name__}: {error})")], None
    sizes = {(curve.true_positives[-1], curve.false_positives[-1]) for curve in record.curves}
    if sizes != {(model.members, model.non_members)}:
        checks.append(_check("curves", "differs", "are of other numbers of members and others than the model"))
    # `how` names reference models and how sets differ, which no curve tells.
    kept = [msgspec.structs.replace(one, how="", measured=_without_scores(one)) for one in told]
    mine = [msgspec.structs.replace(one, how="", measured=_without_scores(one)) for one in anew]
    return [*checks, *_compared(kept, mine, same_words=same_words)], verdict


def _untried(record: AuditRecord, *, same_words: bool) -> list[Check]:
    """Name attacks without a curve that every audit makes, as they need no reference models and no tokens."""
    tried = {curve.attack for curve in record.curves}
    unfit = unfit_attacks(Regression() if record.settings.get("outputs") == "values" else DEFAULT_TASK)
    outcome: Outcome = "differs" if same_words else "not recomputed"
    why = "has no curve" if same_words else "has no curve; another revision of trustml may have had no such attack"
    return [
        _check(f"attack {name}", outcome, why)
        for name, attack in ATTACKS.items()
        if not attack.references and not attack.texts and name not in tried and name not in unfit
    ]


def _without_scores(finding: Finding) -> tuple[Any, ...]:
    return tuple(one for one in finding.measured if one.measure not in _SCORES)


def _compared(stated: list[Finding], anew: list[Finding], *, same_words: bool) -> list[Check]:
    return compare_findings(
        stated,
        anew,
        same_words=same_words,
        groundless=_GROUNDLESS,
        unstated="follows from the audit, and is not in it",
        same="as its curves and claim give it",
    )


def _nothing(finding: Finding) -> Check:
    return _check(f"finding {finding.id}", "differs", _GROUNDLESS)


def _asked(check: str, record: AuditRecord) -> bool:
    return check in record.settings.get("checks", "").split(", ")


def _completeness(record: AuditRecord) -> list[Check]:
    """Name the checks that were asked for and of which nothing is told."""
    told = {"accounting" if one.check in _OF_CLAIMS else one.check for one in record.findings}
    return [
        _check(f"check {name}", "differs", "was asked for, and no finding is of it")
        for name in record.settings.get("checks", "").split(", ")
        if name and name not in told
    ]


def identity_check(record: AuditRecord, load: Load | None, *, intact: bool) -> list[Check]:
    """Hold the model of that name against the hash, where its code may be run.

    Parameters
    ----------
    record : AuditRecord
    load : callable, optional
        Only where the code that the audit names may be run.
    intact : bool
        Whether nothing else differs: whoever falsified an audit may have chosen the code that it names.
    """
    return [_identity_check(record.models[0], load, intact=intact)] if len(record.models) == 1 else []


def _identity_check(model: AuditedModel, load: Load | None, *, intact: bool) -> Check:
    identity = model.identity
    if identity is None:
        return _check("model", "not recomputed", "the audit names no hash of its model")
    told = f"{identity.kind} {identity.sha256[:16]}"
    if load is None:
        message = f"{told}: whose model that is was not looked at; --trust-code runs the code of {model.name}"
        return _check("model", "not recomputed", message)
    if not intact:
        message = f"{told}: the code of {model.name} was not run, as other checks do not hold"
        return _check("model", "not recomputed", message)
    try:
        with load(model.name) as loaded:
            target = target_of(loaded, parts=identity.parts, columns=identity.columns)
            if identity.kind == "answers":  # of a model whose arrays were not reached then
                target = replace(target, live=None)
            found = identity_of(
                target,
                shape=identity.shape[1:],
                dtype=identity.dtype,
                parts=identity.parts,
                columns=identity.columns,
            )
    except Exception as error:  # whatever a stranger's code raises
        return _check("model", "not recomputed", f"{told}: {model.name} cannot be asked here ({reason(error)})")
    if (found.kind, found.sha256) != (identity.kind, identity.sha256):
        return _check("model", "differs", f"{told} was audited; {model.name} here is {found.kind} {found.sha256[:16]}")
    return _check("model", "ok", f"{told}, as {model.name} here")


def _check(subject: str, outcome: Outcome, message: str) -> Check:
    return Check(area="audit", subject=subject, outcome=outcome, message=message or AUDIT)
