"""Whether an audit follows from the record of its run."""

from __future__ import annotations

import msgspec

from trustml.auditing.result import AuditedModel, AuditRecord, Finding, decode_audit, encode_audit
from trustml.evidence.checks import NOT_COMPUTABLE, Check, Outcome, same_number, says_no_more, text_of
from trustml.record.files import UNREADABLE, plain_bytes
from trustml.record.store import AUDIT, AUDIT_REPORT, RunDirectory


def audit_checks(run: RunDirectory, *, same_words: bool) -> list[Check]:
    """Conclude anew from the record, and compare with what the audit says; nothing where there is no audit."""
    from trustml.auditing.run_audit import audit_run

    path = run.path / AUDIT
    if not path.is_file():
        return []
    try:
        content = plain_bytes(path)
        stated = decode_audit(content)
    except UNREADABLE as error:
        return [_check("audit", "differs", f"{AUDIT} cannot be read ({error})")]
    name = run.manifest().run
    if stated.run != name:
        return [_check("audit", "differs", f"is of run {stated.run or 'none'!r}, not of {name}")]
    try:
        anew = audit_run(run)
    except NOT_COMPUTABLE as error:
        return [_check("audit", "differs", f"cannot be concluded anew ({type(error).__name__}: {error})")]
    checks = [*_finding_checks(stated, anew, same_words=same_words), *_other_parts(stated, anew, same_words=same_words)]
    if not says_no_more(msgspec.json.decode(content), msgspec.json.decode(encode_audit(stated))):
        checks.append(_check("audit", "differs", f"{AUDIT} holds what no audit has"))
    if (run.path / AUDIT_REPORT).is_file():
        checks.append(_check(AUDIT_REPORT, "not recomputed", "a picture of audit.json: its hash alone is checked"))
    return checks


def _finding_checks(stated: AuditRecord, anew: AuditRecord, *, same_words: bool) -> list[Check]:
    checks = []
    before, now = _by_id(stated), _by_id(anew)
    for name in [*before, *(name for name in now if name not in before)]:
        if name not in now:
            checks.append(_check(f"finding {name}", "differs", "nothing in the record leads to it"))
        elif name not in before:
            checks.append(_check(f"finding {name}", "differs", "follows from the record, and is not in the audit"))
        elif different := _differences(before[name], now[name], same_words=same_words):
            checks.append(_check(f"finding {name}", "differs", different))
        else:
            checks.append(_check(f"finding {name}", "ok", f"{now[name].severity}, as the record gives it"))
    if len(before) != len(stated.findings):
        checks.append(_check("audit", "differs", "has two findings of one name"))
    return checks


def _by_id(record: AuditRecord) -> dict[str, Finding]:
    return {finding.id: finding for finding in record.findings}


def _differences(stated: Finding, anew: Finding, *, same_words: bool) -> str:
    words = ("title", "claim", "how", "artifacts", "would_change") if same_words else ()
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
        for name in ("measure", "n", "unit", *(("note",) if same_words else ())):
            if getattr(first, name) != getattr(second, name):
                return f"{first.measure}: {name} is not what the record gives"
    return ""


def _other_parts(stated: AuditRecord, anew: AuditRecord, *, same_words: bool) -> list[Check]:
    """Compare all but the findings, through JSON, where what is not finite is nothing."""
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
    return [
        _check("audit", "ok", f"{len(stated.models)} models and {len(stated.curves)} curves as the record gives them")
    ]


def _as_recorded(model: AuditedModel, anew: tuple[AuditedModel, ...]) -> AuditedModel:
    """Let the claim's sampling be the record's where it is unknown: audits of earlier versions knew not all of them."""
    same = [one.claim for one in anew if one.name == model.name]
    if model.claim is None or model.claim.sampling != "unknown" or len(same) != 1 or same[0] is None:
        return model
    claim = msgspec.structs.replace(model.claim, sampling=same[0].sampling)
    return msgspec.structs.replace(model, claim=claim)


def _check(subject: str, outcome: Outcome, message: str) -> Check:
    return Check(area="audit", subject=subject, outcome=outcome, message=message)
