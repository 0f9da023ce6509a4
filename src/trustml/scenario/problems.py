"""What msgspec says of a bad scenario, as field, value and fix."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect

from trustml.errors import ScenarioError, did_you_mean

PlainData: TypeAlias = dict[str, Any]

ALWAYS_REFUSED = ("BatchNorm", "ghost")
"""Choices that are known only to be refused by name, with what to take instead: none is ever offered."""


def nearest(key: str, choices: list[str]) -> str:
    """Suggest the nearest choice, or list all of them."""
    return did_you_mean(key, choices) or f"choose one of {', '.join(sorted(choices))}"


def check_types(part: msgspec.Struct, *, field: str = "") -> None:
    """Check types and ranges of a scenario, or a part of it, that was made in Python.

    Raises
    ------
    ScenarioError
        For the first value that its type does not allow.
    """
    data = msgspec.to_builtins(part)
    try:
        msgspec.convert(data, type(part))
    except msgspec.ValidationError as error:
        raise explain_problem(error, data, type(part), root=field) from None


def explain_problem(error: msgspec.ValidationError, data: Any, kind: Any, *, root: str = "") -> ScenarioError:
    """Turn msgspec's message into field, value and fix.

    Parameters
    ----------
    error : msgspec.ValidationError
    data : builtin
        What was converted.
    kind : type
        What it was to become.
    root : str
        Path of `data` in the scenario.
    """
    message, _, where = str(error).partition(" - at `$")
    keys = [key for key in where.rstrip("`").replace("[", ".").replace("]", "").split(".") if key]
    value, types = _at(data, _type_info(kind), keys)
    field = ".".join([root, *keys] if root else keys)
    if message.startswith("Object contains unknown field"):
        unknown = message.split("`")[1]
        choices = [name for struct in _structs(types, value) for name in _field_names(struct)]
        fix = nearest(unknown, choices) if choices else "remove it"
        return ScenarioError(f"{field}.{unknown}".lstrip("."), "is unknown", fix=fix)
    if message.startswith("Object missing required field"):
        return ScenarioError(f"{field}.{message.split('`')[1]}".lstrip("."), "is missing", fix="add it")
    if message.startswith(("Invalid value", "Invalid enum value")):
        name = message.split("'")[1] if "'" in message else value
        return ScenarioError(field, f"{name!r} is not one of the choices", fix=_written_fix(types) or _choices(types))
    if "matching regex" in message:
        return ScenarioError(field, f"{value!r} is no plain name", fix="use letters, digits, - and _, 64 at most")
    if message.startswith("Expected `array` of length"):
        return ScenarioError(field, "is empty", fix=_written_fix(types) or "name at least one")
    if message.startswith("Expected `array`") and not isinstance(value, list | tuple):
        return ScenarioError(field, f"{value!r} is no list", fix=_written_fix(types) or f"write [{value!r}]")
    tags = _tags(types)
    if isinstance(value, str) and tags:
        fix = f'write {{kind = "{value if value in tags else tags[0]}"}}; {_choices(types)}'
        return ScenarioError(field, f"{value!r} is text, and its settings go into a table", fix=fix)
    if message.startswith("Expected `str` of length"):
        limit = message.removeprefix("Expected `str` of length ").replace("<=", "at most").replace(">=", "at least")
        tab = "; in double quotes \\t is a tab" if isinstance(value, str) and "\\" in value else ""
        return ScenarioError(field, f"{value!r} has {len(value)} characters", fix=f"use {limit}{tab}")
    if " >" in message or " <" in message:
        name = next((key for key in reversed(keys) if not key.isdigit()), root)
        bounds = next(one for one in types if isinstance(one, inspect.IntType | inspect.FloatType))
        problem, fix = _out_of_range(value, bounds, name)
        return ScenarioError(field, problem, fix=_written_fix(types) or fix)
    got = f" (got {value!r})" if isinstance(value, int | float | str | bool | None) else ""
    return ScenarioError(field or "scenario", f"{message[:1].lower()}{message[1:]}{got}", fix="give that type")


@functools.cache
def _type_info(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _out_of_range(value: float, bounds: inspect.IntType | inspect.FloatType, name: str) -> tuple[str, str]:
    """Say what is wrong with a number, and what would be right."""
    least = bounds.ge if bounds.ge is not None else bounds.gt
    most = bounds.le if bounds.le is not None else bounds.lt
    if most is not None and most < sys.float_info.max:
        below, above = "<=" if bounds.ge is not None else "<", "<=" if bounds.le is not None else "<"
        return f"{value} is out of range", f"use {least:g} {below} {name} {above} {most:g}"
    if least == 0 and bounds.ge is not None:
        return f"{value} is negative or not finite", "use 0 or more"
    if not least or least == 1:
        return f"{value} is not positive and finite", "use a value above 0"
    return f"{value} is too few", f"use {least} or more"


def _at(data: Any, kind: inspect.Type, keys: list[str]) -> tuple[Any, list[inspect.Type]]:
    """Value at a path, and the types that it could have there."""
    types = list(_alternatives(kind))
    for key in keys:
        types = [found for one in types for found in _below(one, key, data)]
        try:
            data = data[int(key)] if isinstance(data, list | tuple) else data[key]
        except (KeyError, IndexError, ValueError, TypeError):
            data = None
    return data, types


def _alternatives(kind: inspect.Type) -> Iterator[inspect.Type]:
    """The type itself, or those of a union; what is written beside a type comes before it."""
    if isinstance(kind, inspect.Metadata):
        yield kind
        yield from _alternatives(kind.type)
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _alternatives(one)
    else:
        yield kind


def _below(kind: inspect.Type, key: str, data: Any) -> Iterator[inspect.Type]:
    """Types of one field or item."""
    if isinstance(kind, inspect.StructType) and kind in _structs([kind], data):
        for field in kind.fields:
            if field.name == key:
                yield from _alternatives(field.type)
        if key == kind.tag_field:
            yield kind
    elif isinstance(kind, inspect.VarTupleType | inspect.ListType):
        yield from _alternatives(kind.item_type)
    elif isinstance(kind, inspect.TupleType) and key.isdigit() and int(key) < len(kind.item_types):
        yield from _alternatives(kind.item_types[int(key)])
    elif isinstance(kind, inspect.DictType):
        yield from _alternatives(kind.value_type)


def _structs(types: list[inspect.Type], data: Any) -> list[inspect.StructType]:
    """The structs among `types` that plain data could be: the one that its kind names, or all of them."""
    structs = [one for one in types if isinstance(one, inspect.StructType)]
    named = data.get(structs[0].tag_field) if structs and isinstance(data, dict) else None
    return [one for one in structs if one.tag == named] or structs


def _field_names(struct: inspect.StructType) -> list[str]:
    return [field.name for field in struct.fields]


def _written_fix(types: list[inspect.Type]) -> str:
    """The fix that stands beside a range, if any."""
    return next((str(one.extra["fix"]) for one in types if isinstance(one, inspect.Metadata) and one.extra), "")


def _choices(types: list[inspect.Type]) -> str:
    found = [str(value) for one in types if isinstance(one, inspect.LiteralType) for value in one.values]
    found = [name for name in dict.fromkeys(found + _tags(types)) if name not in ALWAYS_REFUSED]
    return f"choose one of {', '.join(found)}" if found else "choose another value"


def _tags(types: list[inspect.Type]) -> list[str]:
    return [str(one.tag) for one in types if isinstance(one, inspect.StructType) and one.tag is not None]
