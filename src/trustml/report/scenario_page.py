"""The page of all fields of a scenario, from its types and their docstrings.

``python -m trustml.report.scenario_page`` prints it.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from trustml.scenario.json_schema import scenario_schema
from trustml.scenario.spec import Scenario

_HEAD = """# Fields of a scenario

Made by `python -m trustml.report.scenario_page` from the types in `scenario/` and `models/`; a test says that it is
current.

A scenario is a Python module with `scenario = Scenario(...)`, or a TOML file of the same data. Every field can be
overridden: `trustml run digits --set training.1.epsilon=3`. In TOML a choice between types is made by `kind`; in
Python by the name of the type. `trustml schema` writes the same as a JSON schema, with which editors complete TOML. A
field without a default has to be given.
"""
_FIRST = "Scenario"
_FIELD = re.compile(r"^(\w+(?:, \w+)*) : .+$")
_BOUNDS = {"minimum": "at least {}", "exclusiveMinimum": "above {}", "maximum": "at most {}"}
_BOUNDS |= {"exclusiveMaximum": "below {}", "minItems": "at least {} of them", "pattern": "matches `{}`"}


def scenario_markdown() -> str:
    """Write the page: a heading a type, the scenario's own first, then in the order in which fields mention them."""
    types, classes = json.loads(scenario_schema())["$defs"], _classes()
    lines = [_HEAD]
    for name in _in_order(types):
        text, fields = _documented(types[name].get("description", ""))
        fields = _inherited(classes[name]) | fields
        lines += ["", f"## {name}", "", *text, ""]
        properties = {key: one for key, one in types[name].get("properties", {}).items() if key != "kind"}
        if properties:
            lines += ["| field | type | default | what it is |", "|---|---|---|---|"]
            lines += [
                _line(key, one, types[name], fields.get(key) or _of_its_type(one, types))
                for key, one in properties.items()
            ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def _classes() -> dict[str, type]:
    """Every type that a scenario may hold, by its name: a schema does not tell from what they inherit."""
    found: dict[str, type] = {}
    waiting: list[Any] = [msgspec.inspect.type_info(Scenario)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, msgspec.inspect.StructType):
            if one.cls.__name__ in found:
                continue
            found[one.cls.__name__] = one.cls
            waiting += [field.type for field in one.fields]
        for name in ("types", "item_types", "item_type", "value_type", "type"):
            part = getattr(one, name, ())
            waiting += part if isinstance(part, tuple) else [part]
    return found


def _inherited(kind: type) -> dict[str, str]:
    """What the docstrings of the types that one inherits from say of its fields."""
    found: dict[str, str] = {}
    for base in kind.__mro__[1:]:
        found = _documented(inspect.getdoc(base) if base.__module__.startswith("trustml.") else "")[1] | found
    return found


def _in_order(types: dict[str, Any]) -> list[str]:
    order, waiting = list[str](), [_FIRST]
    while waiting:
        name = waiting.pop(0)
        if name not in order:
            order.append(name)
            waiting += list(_mentioned(types[name]))
    return order


def _mentioned(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        for name, part in schema.items():
            if name not in ("discriminator", "default"):
                yield from _mentioned(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _mentioned(part)


def _documented(docstring: str | None) -> tuple[list[str], dict[str, str]]:
    """Cut a numpydoc docstring into its text and what it says of each field."""
    text, _, rest = (docstring or "").partition("\nParameters\n")
    fields: dict[str, str] = {}
    names: list[str] = []
    for line in rest.splitlines()[1:]:
        if found := _FIELD.match(line):
            names = found[1].split(", ")
        elif line and not line.startswith(" "):
            names = []  # another section of the docstring
        elif line.strip():
            fields |= {name: f"{fields.get(name, '')} {line.strip()}".strip() for name in names}
    kept = text.partition("\nNotes\n")[0].partition("\nExamples\n")[0].strip()
    return [_markdown(part) for part in kept.splitlines()], fields


def _of_its_type(schema: dict[str, Any], types: dict[str, Any]) -> str:
    """What the one type that a field can have says of itself, in its first line; its name need say no more."""
    if "$ref" not in schema:
        return ""
    return _documented(types[schema["$ref"].rpartition("/")[2]].get("description", ""))[0][0]


def _line(name: str, schema: dict[str, Any], owner: dict[str, Any], meaning: str) -> str:
    default = "" if name in owner.get("required", ()) else _default(schema.get("default"))
    kind = _type(schema) + _bounds(schema)
    cells = (f"`{name}`", kind, default, _markdown(meaning))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type(schema: dict[str, Any]) -> str:
    """A type in words; types of our own as links within the page."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) + _bounds(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    kind = schema.get("type", "anything")
    if kind == "array":
        inner = [_type(one) for one in schema.get("prefixItems", ())] or [_type(schema.get("items") or {})]
        return f"list of {', '.join(inner)}"
    if kind == "object":
        return f"table of {_type(schema['additionalProperties'])}" if "additionalProperties" in schema else "table"
    return str(
        {"null": "nothing", "string": "text", "integer": "whole number", "boolean": "true or false"}.get(kind, kind)
    )


def _bounds(schema: dict[str, Any]) -> str:
    there = {name: schema[name] for name in _BOUNDS if name in schema and schema[name] != sys.float_info.max}
    found = [_BOUNDS[name].format(bound) for name, bound in there.items()]
    return f", {', '.join(found)}" if found else ""


def _default(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict) and "kind" in value:
        return f"`{value['kind']}`"
    text = json.dumps(value)
    return f"`{text}`" if len(text) <= 60 else "see its type"


def _markdown(text: str) -> str:
    """Turn the roles and literals of a docstring into Markdown."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


if __name__ == "__main__":
    print(scenario_markdown(), end="")
