"""The published JSON Schema of an audit: ``python -m trustml.auditing.schema > docs/audit.schema.json``."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import msgspec

from trustml.auditing.result import AUDIT_FORMAT, AuditRecord

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def audit_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of what `trustml.auditing.result.encode_audit` writes.

    It allows further fields where the record does: later versions may add some without another `format`.
    """
    schema = msgspec.json.schema(AuditRecord)
    for part in schema["$defs"].values():
        if "description" in part:  # from Python 3.13 on, docstrings come without their indentation
            part["description"] = inspect.cleandoc(part["description"])
    return {"$schema": DIALECT, "title": f"trustml audit record, format {AUDIT_FORMAT}", **schema}


def audit_schema_json() -> bytes:
    """Give the schema as readable JSON, byte for byte what is published in ``docs/audit.schema.json``."""
    return msgspec.json.format(msgspec.json.encode(audit_schema(), order="deterministic"), indent=2) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(audit_schema_json())
