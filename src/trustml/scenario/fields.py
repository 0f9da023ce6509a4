"""Which fields a scenario may have, from its types alone: no file is read and no scenario is run."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from msgspec import inspect

from trustml.scenario.spec import Scenario

_MOST_ITEMS = 4


def fields_below(path: str) -> list[str]:
    """Complete a path: the fields that may stand below ``training.1.``, or those that begin as its last part does.

    Where a value may be of several kinds, such as a regime, these are the fields of all of them.

    Parameters
    ----------
    path : str
        ``training.1.eps``, with the dot where the field above is whole.

    Returns
    -------
    list of str
        Whole paths, those with more below them ending in a dot.
    """
    *above, begun = path.split(".")
    places = [_scenario()]
    for key in above:
        places = [found for place in places for found in _step(place, key)]
    before = "".join(f"{key}." for key in above)
    names = dict.fromkeys(name for place in places for name in _names(place) if name.startswith(begun))
    return [f"{before}{name}{_end(places, name)}" for name in names]


@functools.cache
def _scenario() -> inspect.Type:
    return inspect.type_info(Scenario)


def _end(places: Iterable[inspect.Type], name: str) -> str:
    """A dot after what holds more."""
    return "." if any(_names(found) for place in places for found in _step(place, name)) else ""


def _names(place: inspect.Type) -> list[str]:
    if isinstance(place, inspect.StructType):
        return [*filter(None, [place.tag_field]), *(field.encode_name for field in place.fields)]
    if isinstance(place, inspect.VarTupleType | inspect.ListType):
        return [str(number) for number in range(_MOST_ITEMS)] if _kinds(place.item_type) else []
    return []


def _step(place: inspect.Type, key: str) -> list[inspect.Type]:
    if isinstance(place, inspect.StructType):
        return [kind for field in place.fields if field.encode_name == key for kind in _alternatives(field.type)]
    if isinstance(place, inspect.VarTupleType | inspect.ListType) and (key.isdigit() or key == "*"):
        return _kinds(place.item_type)
    return []


def _kinds(kind: inspect.Type) -> list[inspect.Type]:
    """Structs that a type may be."""
    return [one for one in _alternatives(kind) if isinstance(one, inspect.StructType)]


def _alternatives(kind: Any) -> list[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        return _alternatives(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [one for each in kind.types for one in _alternatives(each)]
    return [kind]
