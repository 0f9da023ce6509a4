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
    audit_schema,
    audit_schema_json,
    decode_audit,
    encode_audit,
)

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "audit.schema.json"


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
