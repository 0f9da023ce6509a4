"""What msgspec says of a bad scenario, as field, value and fix."""

from __future__ import annotations

import difflib
from typing import Any, TypeAlias

import msgspec

from trustml.errors import ScenarioError
from trustml.models import layers
from trustml.scenario import (
    baselines,
    clipping,
    federated,
    methods,
    optimizers,
    partition,
    regime,
    regimes,
    sources,
    spec,
)

PlainData: TypeAlias = dict[str, Any]


def nearest(key: str, choices: list[str]) -> str:
    """Suggest the nearest choice, or list all of them."""
    near = difflib.get_close_matches(key, choices, n=1)
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(sorted(choices))}"


def explain_problem(error: msgspec.ValidationError, data: PlainData) -> ScenarioError:
    """Turn msgspec's message into field, value and fix."""
    message, _, where = str(error).partition(" - at `$")
    field = where.rstrip("`").replace("[", ".").replace("]", "").lstrip(".")
    value: Any = data
    for key in filter(None, field.split(".")):
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, ValueError, TypeError):
            value = None
            break
    if message.startswith("Object contains unknown field"):
        unknown = message.split("`")[1]
        choices = _fields_beside(value)
        return ScenarioError(
            f"{field}.{unknown}".lstrip("."),
            "is unknown",
            fix=nearest(unknown, choices) if choices else "remove it",
        )
    if message.startswith("Object missing required field"):
        return ScenarioError(f"{field}.{message.split('`')[1]}".lstrip("."), "is missing", fix="add it")
    if message.startswith(("Invalid value", "Invalid enum value")):
        name = message.split("'")[1] if "'" in message else value
        return ScenarioError(field, f"{name!r} is not one of the choices", fix=_choices(field))
    if "matching regex" in message:
        return ScenarioError(field, f"{value!r} is no plain name", fix="use letters, digits, - and _, 64 at most")
    if message.startswith("Expected `array`") and not isinstance(value, list | tuple):
        return ScenarioError(field, f"{value!r} is no list", fix=f"write [{value!r}]")
    got = f" (got {value!r})" if isinstance(value, int | float | str | bool | None) else ""
    return ScenarioError(field or "scenario", f"{message[:1].lower()}{message[1:]}{got}", fix="give that type")


_MODULES = (
    layers, baselines, methods, optimizers, clipping, partition, regime, federated, regimes, sources, spec,
)  # fmt: skip
_KINDS: dict[str, type[msgspec.Struct]] = {
    "data": sources.Source,
    "training": regime.RegimeSpec,
    "layers": layers.LayerSpec,
    "methods": methods.MethodSpec,
    "optimizer": optimizers.OptimizerSpec,
    "client_optimizer": optimizers.OptimizerSpec,
    "clipping": clipping.ClippingSpec,
    "partition": partition.PartitionSpec,
    "cohort": partition.CohortSpec,
    "mechanism": federated.MechanismSpec,
}
"""What the field ``kind`` inside a field chooses among."""


def _structs() -> dict[str, type[msgspec.Struct]]:
    """Every struct a scenario is made of, by its kind, or by its name where it has none."""
    found: dict[str, type[msgspec.Struct]] = {}
    for module in _MODULES:
        for name, item in vars(module).items():
            if isinstance(item, type) and issubclass(item, msgspec.Struct):
                found[str(item.__struct_config__.tag or name)] = item
    return found


def _fields_beside(value: Any) -> list[str]:
    """Field names of the struct that `value` looks like most."""
    if not isinstance(value, dict):
        return []
    structs = _structs()
    if value.get("kind") in structs:
        return list(structs[value["kind"]].__struct_fields__)
    return list(max(structs.values(), key=lambda s: len(set(s.__struct_fields__) & set(value))).__struct_fields__)


def _choices(field: str) -> str:
    structs = _structs()
    parts = field.split(".")
    for part in reversed(parts[:-1] if parts[-1] == "kind" else []):
        if part in _KINDS:
            of = [n for n, s in structs.items() if issubclass(s, _KINDS[part]) and s.__struct_config__.tag]
            return f"choose one of {', '.join(of)}"
    name = parts[-1] if not parts[-1].isdigit() else parts[-2]
    for struct in structs.values():
        for info in msgspec.structs.fields(struct):
            if info.name == name:
                literals = _literals(msgspec.inspect.type_info(info.type))
                if literals:
                    return f"choose one of {', '.join(map(str, literals))}"
    return "choose another value"


def _literals(info: Any) -> list[Any]:
    if isinstance(info, msgspec.inspect.LiteralType):
        return list(info.values)
    if isinstance(info, msgspec.inspect.UnionType):
        return [value for one in info.types for value in _literals(one)]
    item = getattr(info, "item_type", None)
    return _literals(item) if item is not None else []
