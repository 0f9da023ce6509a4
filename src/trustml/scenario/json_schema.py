"""A scenario's JSON schema, from its types."""

from __future__ import annotations

import inspect
import json
from typing import Any

import msgspec

from trustml.scenario.spec import Scenario

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def scenario_schema() -> str:
    """Write the schema: fields, choices, ranges and defaults; rules between fields are not in it."""
    schema = msgspec.json.schema(Scenario)
    for definition in schema["$defs"].values():
        definition["description"] = inspect.cleandoc(definition.get("description", ""))
        optimizer = definition["properties"].get("optimizer", {})
        optimizer.pop("discriminator", None)  # an optimizer without a kind is SGD
    _make_kind_of_sgd_optional(schema)
    return json.dumps({"$schema": DRAFT, "title": "trustml scenario"} | schema, indent=1) + "\n"


def _make_kind_of_sgd_optional(schema: dict[str, Any]) -> None:
    sgd = schema["$defs"]["SGD"]
    sgd["required"] = [name for name in sgd.get("required", ()) if name != "kind"]
