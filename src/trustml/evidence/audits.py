"""Whether an audit follows from the record of its run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from trustml.auditing.result import AuditedModel, AuditRecord, Finding, decode_audit, encode_audit
from trustml.evidence.checks import NOT_COMPUTABLE, Check, Outcome, as_written, same_number, says_no_more, text_of
from trustml.record.files import UNREADABLE, plain_bytes
from trustml.record.store import AUDIT, AUDIT_REPORT, MODEL_CARD, RunDirectory
from trustml.report.audit.html import audit_html
from trustml.report.audit.model_card import model_card


def audit_checks(run: RunDirectory, *, same_words: bool) -> list[Check]:
    """Conclude anew from the record, and compare with what the audit says; nothing where there is no audit."""
    from trustml.auditing.run_audit import audit_run

    stated, problems = read_stated(run.path)
    if stated is None:
        return problems
    name = run.manifest().run
    if stated.run != name:
        return [_check("audit", "differs", f"is of run {stated.run or 'none'!r}, not of {name}")]
    try:
        anew = audit_run(run)
    except NOT_COMPUTABLE as error:
        return [_check("audit", "differs", f"cannot be concluded anew ({type(error).__name__}: {error})")]
    checks = [*_finding_checks(stated, anew, same_words=same_words), *_other_parts(stated, anew, same_words=same_words)]
    return [*checks, *problems, *page_checks(run.path, stated, same_words=same_words)]


def read_stated(folder: Path) -> tuple[AuditRecord | None, list[Check]]:
    """Read the audit of a folder, and tell what is wrong with it in itself; no audit and no check where there is none.

    A page or a card without the audit that it shows is told too.
    """
    path = folder / AUDIT
    if not os.path.lexists(path):
        orphans = [name for name in (AUDIT_REPORT, MODEL_CARD) if os.path.lexists(folder / name)]
        return None, [_check(name, "differs", f"shows an audit, and there is no {AUDIT}") for name in orphans]
    try:
        content = plain_bytes(path)
        stated = decode_audit(content)
    except UNREADABLE as error:
        return None, [_check("audit", "differs", f"{AUDIT} cannot be read ({error})")]
    problems = []
    if not says_no_more(msgspec.json.decode(content), msgspec.json.decode(encode_audit(stated))):
        problems.append(_check("audit", "differs", f"{AUDIT} holds what no audit has"))
    if not as_written(content):
        problems.append(_check("audit", "differs", f"{AUDIT} is not as trustml writes it"))
    return stated, problems


def page_checks(folder: Path, stated: AuditRecord, *, same_words: bool) -> list[Check]:
    """Render the pages that show an audit again, and compare every byte; nothing where there are none."""
    checks = []
    for name, render in ((AUDIT_REPORT, audit_html), (MODEL_CARD, model_card)):
        if not os.path.lexists(folder / name):
            continue
        try:
            same = plain_bytes(folder / name) == render(stated).encode()
        except (OSError, *NOT_COMPUTABLE) as error:
            checks.append(_check(name, "differs", f"cannot be compared ({type(error).__name__}: {error})"))
            continue
        if same:
            checks.append(_check(name, "ok", f"rendered again from {AUDIT}, byte for byte"))
        elif same_words:
            checks.append(_check(name, "differs", f"is not what {AUDIT} gives when it is rendered again"))
        else:
            why = "another revision of trustml made it, and this one renders it in other words"
            checks.append(_check(name, "not recomputed", why))
    return checks


def _finding_checks(stated: AuditRecord, anew: AuditRecord, *, same_words: bool) -> list[Check]:
    checks = compare_findings(
        stated.findings,
        anew.findings,
        same_words=same_words,
        groundless="nothing in the record leads to it",
        unstated="follows from the record, and is not in the audit",
        same="as the record gives it",
    )
    if len({finding.id for finding in stated.findings}) != len(stated.findings):
        checks.append(_check("audit", "differs", "has two findings of one name"))
    return checks


def compare_findings(
    stated: Sequence[Finding], anew: Sequence[Finding], *, same_words: bool, groundless: str, unstated: str, same: str
) -> list[Check]:
    """Hold findings against those that are concluded anew; the last three are what to say of each outcome."""
    checks = []
    before, now = ({finding.id: finding for finding in findings} for findings in (stated, anew))
    for name in dict.fromkeys([*before, *now]):
        if name not in now:
            checks.append(_check(f"finding {name}", "differs", groundless))
        elif name not in before:
            checks.append(_check(f"finding {name}", "differs", unstated))
        elif different := _finding_difference(before[name], now[name], same_words=same_words):
            checks.append(_check(f"finding {name}", "differs", different))
        else:
            checks.append(_check(f"finding {name}", "ok", f"{now[name].severity}, {same}"))
    return checks


def _finding_difference(stated: Finding, anew: Finding, *, same_words: bool) -> str:
    """Tell how two findings of one name differ; empty where they do not."""
    words = ("title", "claim", "how", "artifacts", "would_change", "rule", "reason") if same_words else ()
    verdict = ("verdict",) if stated.verdict is not None else ()  # audits of earlier versions give none
    for field in ("severity", "check", "subject", *verdict, *words):
        before, now = getattr(stated, field), getattr(anew, field)
        if before != now:
            return f"{field} is {before!r}, from the record {now!r}"
    if len(stated.measured) != len(anew.measured):
        return f"rests on {len(stated.measured)} figures, from the record on {len(anew.measured)}"
    for first, second in zip(stated.measured, anew.measured, strict=True):
        for name in ("value", "low", "high", "confidence"):
            before, now = getattr(first, name), getattr(second, name)
            if not same_number(now, before):
                return f"{first.measure}: {name} is {text_of(before)}, from the record {text_of(now)}"
        for name in ("measure", "n", "unit", *(("note", "label", "subject") if same_words else ())):
            if getattr(first, name) != getattr(second, name):
                return f"{first.measure}: {name} is not what the record gives"
    return ""


def _other_parts(stated: AuditRecord, anew: AuditRecord, *, same_words: bool) -> list[Check]:
    """Compare all but the findings, through JSON, where what is not finite is nothing."""
    unidentified = [model.name for model in stated.models if model.identity is None]
    stated = msgspec.structs.replace(stated, models=tuple(_as_recorded(model, anew.models) for model in stated.models))
    different = [
        name
        for name in (
            *("id", "title", "created", "models", "curves", "versions", "hardware", "source", "data"),
            *(("settings",) if same_words else ()),
        )
        if msgspec.json.encode(getattr(stated, name)) != msgspec.json.encode(getattr(anew, name))
    ]
    if different:
        return [_check("audit", "differs", f"its {', '.join(different)} are not what the record gives")]
    message = f"{len(stated.models)} models and {len(stated.curves)} curves as the record gives them"
    checks = [_check("audit", "ok", message)]
    if unidentified and any(model.identity is not None for model in anew.models):
        checks.append(_check("audit", "not recomputed", f"names no hash of {len(unidentified)} models"))
    return checks


def _as_recorded(model: AuditedModel, anew: tuple[AuditedModel, ...]) -> AuditedModel:
    """Take from the record what audits of earlier versions do not have: the model's hash, and some ways of sampling."""
    same = [one for one in anew if one.name == model.name]
    if len(same) != 1:
        return model
    if model.identity is None:
        model = msgspec.structs.replace(model, identity=same[0].identity)
    if model.claim is None or model.claim.sampling != "unknown" or same[0].claim is None:
        return model
    claim = msgspec.structs.replace(model.claim, sampling=same[0].claim.sampling)
    return msgspec.structs.replace(model, claim=claim)


def _check(subject: str, outcome: Outcome, message: str) -> Check:
    return Check(area="audit", subject=subject, outcome=outcome, message=message)
