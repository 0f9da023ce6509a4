"""A bill of materials of what was audited: CycloneDX 1.6, a model with its card each, for tools of supply chains.

Hashes are of the model's file or of its arrays; of a model that could only be asked there is none. Figures are those
that were measured, findings that are no pass are the card's limitations, in their own words. What is found of the run
and of none of its models alone is a property of the whole.
"""

from __future__ import annotations

import datetime
import math
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from trustml.auditing.result import AuditedModel, AuditRecord, Finding, Measurement
from trustml.report.audit.words import printable
from trustml.report.documents import write_document

SPEC = "1.6"
_NAMESPACE = uuid.UUID("8b1f2a52-7a4b-5d6e-9c3f-6d1a0f6f4c11")
"""Of serial numbers, which follow from an audit's identifier."""


def ml_bom(record: AuditRecord) -> str:
    """Write the bill of materials of the audited models, as JSON.

    Parameters
    ----------
    record : AuditRecord
    """
    shown = printable(record)
    found = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, record.id)}",
        "version": 1,
        "metadata": {
            **_timestamp(shown.created),
            "tools": {"components": [_tool(shown)]},
            "properties": [_property("audit", shown.id), _property("worst", shown.worst), *_of_the_whole(shown)],
        },
        "components": [_component(shown, model, place) for place, model in enumerate(shown.models)],
    }
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


def write_ml_bom(record: AuditRecord, path: Path | str) -> Path:
    """Write `ml_bom` to a file; gives its path.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    return write_document(path, ml_bom(record), what="bill of materials")


def _timestamp(text: str) -> dict[str, str]:
    """When it was made; nothing of what is no time."""
    try:
        made = datetime.datetime.fromisoformat(text)
    except ValueError:
        return {}
    return {"timestamp": made.isoformat()} if made.tzinfo is not None else {}


def _tool(record: AuditRecord) -> dict[str, Any]:
    version = record.versions.get("trustml", "")
    return {"type": "application", "name": "trustml", **({"version": version} if version else {})}


def _component(record: AuditRecord, model: AuditedModel, place: int) -> dict[str, Any]:
    about = [one for one in record.findings if _is_of(record, one, model)]
    identity = model.identity
    found: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model-{place}",
        "name": model.name or "model",
        "description": model.kind,
        "modelCard": {
            "quantitativeAnalysis": {"performanceMetrics": [*_accuracies(model), *_metrics(record, model)]},
            "considerations": {
                "technicalLimitations": [f"{one.severity}: {one.title}" for one in about if one.severity != "pass"]
            },
        },
        "properties": [_property(f"finding:{one.id}", one.severity) for one in about],
    }
    if identity is not None:
        found["properties"].append(_property("identity", identity.kind))
    if identity is not None and identity.kind != "answers" and re.fullmatch(r"[0-9a-f]{64}", identity.sha256):
        found["hashes"] = [{"alg": "SHA-256", "content": identity.sha256}]
    if model.claim is not None:
        claimed = {"epsilon": model.claim.epsilon, "delta": model.claim.delta}
        found["properties"] += [_property(f"claim:{name}", f"{value:g}") for name, value in claimed.items()]
    return found


def _accuracies(model: AuditedModel) -> list[dict[str, Any]]:
    rows = (("training", model.train_accuracy), ("held out", model.holdout_accuracy))
    return [
        {"type": "accuracy", "value": f"{value:.6g}", "slice": part}
        for part, value in rows
        if value is not None and math.isfinite(value)
    ]


def _is_of(record: AuditRecord, finding: Finding, model: AuditedModel) -> bool:
    """Whether a finding is about a model: by its name, or as there is no other that could be meant."""
    return finding.subject == model.name if finding.subject else len(record.models) == 1


def _metrics(record: AuditRecord, model: AuditedModel) -> list[dict[str, Any]]:
    """Every figure with a value of findings about a model, and its own ones of findings about several."""
    return [
        _metric(finding, one)
        for finding in record.findings
        for one in finding.measured
        if _has_value(one) and (one.subject == model.name if one.subject else _is_of(record, finding, model))
    ]


def _of_the_whole(record: AuditRecord) -> Iterator[dict[str, str]]:
    """Findings about no model alone, and their figures that are of none."""
    names = {model.name for model in record.models}
    for finding in record.findings:
        if any(_is_of(record, finding, model) for model in record.models):
            continue
        yield _property(f"finding:{finding.id}", f"{finding.severity}: {finding.title}")
        for one in finding.measured:
            if _has_value(one) and one.subject not in names - {""}:
                about = " ".join(part for part in (finding.subject, one.label) if part) or "the whole run"
                yield _property(f"figure:{finding.id}:{one.measure}", f"{one.value:.6g} ({about})")


def _has_value(figure: Measurement) -> bool:
    return figure.value is not None and math.isfinite(figure.value)


def _metric(finding: Finding, figure: Measurement) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": figure.measure,
        "value": f"{figure.value:.6g}",
        "slice": f"{finding.id} {figure.label}".strip(),
    }
    ends = {"lowerBound": figure.low, "upperBound": figure.high}
    told = {name: f"{value:.6g}" for name, value in ends.items() if value is not None and math.isfinite(value)}
    return found | ({"confidenceInterval": told} if told else {})


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"trustml:{name}", "value": value}
