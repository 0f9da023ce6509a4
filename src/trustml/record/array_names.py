"""Names of arrays in files of explain jobs, such as ``Gradient.native.deletion``: made and taken apart here alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

_Array = TypeVar("_Array")


def array_name(title: str, *parts: str) -> str:
    """Name of an array of a method: its title, and then what it is."""
    return ".".join((title, *parts))


def arrays_below(arrays: Mapping[str, _Array], title: str, *parts: str) -> dict[str, _Array]:
    """Give the arrays of a method, by what is left of their names."""
    prefix = array_name(title, *parts, "")
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
