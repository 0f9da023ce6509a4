"""The published schema is the one of the code, and what is written fits it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.report.audit.examples import empty_audit, example_audit, hostile_audit
from trustml.auditing.claim import Claim
from trustml.auditing.result import (
    AuditedModel,
    AuditRecord,
    Finding,
    audit_schema,
    audit_schema_json,
    decode_audit,
    encode_audit,
)

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "audit.schema.json"


def of(*findings):
    return AuditRecord(id="a", title="", created="", models=(), findings=findings)


def one(id, severity, claim=""):
    return Finding(id=id, check=id.split(".")[0], severity=severity, title="t", claim=claim)


@pytest.mark.parametrize("silent", [
    one("data.predictions", "not checked"),
    one("sampling.loader", "not checked", "epsilon 2"),
    one("accounting.recomputed", "not checked", "epsilon 2"),
])  # fmt: skip
def test_what_was_not_looked_at_is_neither_passed_nor_a_pass(silent):
    assert (of(one("data.overlap", "pass"), silent).worst, of(one("data.overlap", "note"), silent).passed) == (
        "not checked",
        False,
    )
    assert of(one("data.overlap", "risk"), silent).worst == "risk"


def test_what_was_not_asked_for_takes_nothing_away():
    found = of(one("data.overlap", "pass"), one("accounting.recomputed", "not checked"))
    assert (found.worst, found.passed) == ("pass", True)
    assert not of().passed


def test_the_published_schema_is_current():
    remedy = "python -m trustml.auditing.result > docs/audit.schema.json"
    assert PUBLISHED.read_bytes() == audit_schema_json(), f"make it again: {remedy}"


@pytest.mark.parametrize("make", [lambda: example_audit(1, 2), hostile_audit, empty_audit])
def test_what_is_written_fits_the_schema(make):
    schema = json.loads(PUBLISHED.read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(encode_audit(make())), schema, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("findings", 0, "severity"), "fine"),
        (("findings", 0, "measured", 0, "value"), "0.5"),
        (("models", 1, "claim", "epsilon"), None),
        (("models", 1, "claim", "surprise"), 1),
        (("curves", 0, "false_positives"), [0.5]),
        (("title",), 3),
    ],
)
def test_what_does_not_fit_is_refused(path, value):
    record = json.loads(encode_audit(example_audit(1, 2)))
    place = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record, audit_schema(), cls=jsonschema.Draft202012Validator)


def test_a_record_that_is_read_back_has_the_same_bytes():
    models = (AuditedModel(name="m", kind="k", claim=Claim(epsilon=3, delta=0)),)
    content = encode_audit(AuditRecord(id="a", title="", created="", models=models, findings=()))
    assert encode_audit(decode_audit(content)) == content
