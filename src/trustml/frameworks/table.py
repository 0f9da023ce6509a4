"""The backends by name: those that come with trustml, and those that entry points of other packages add.

Entry points are searched for only where a name is asked for that is none of ours, or all names are.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from trustml.errors import UsageError
from trustml.frameworks.entry import BackendEntry
from trustml.frameworks.shipped import SHIPPED

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "trustml.backends"
_MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
SHIPPED_NAMES: tuple[str, ...] = tuple(entry.name for entry in SHIPPED)
_OURS = {entry.name: entry for entry in SHIPPED}


def names_module(text: str) -> bool:
    """Whether a text is ``module:attribute``, and so no file."""
    return _MODULE.fullmatch(text) is not None


def file_backend(name: str) -> str:
    """Find the backend that opens a file, or folder, of a model of this name; empty where none does."""
    for entry in () if names_module(name) else SHIPPED:
        if name.endswith(tuple(one for one in entry.live_files if one.startswith("."))) or any(
            (Path(name) / one).is_file() for one in entry.live_files if not one.startswith(".")
        ):
            return entry.name
    return ""


def backend_names() -> tuple[str, ...]:
    """Names of all backends that are there, ours first."""
    return (*SHIPPED_NAMES, *sorted(_outside()))


def is_known(name: str) -> bool:
    """Whether there is a backend of that name."""
    return name in _OURS or name in _outside()


def entry_of(name: str) -> BackendEntry:
    """Give what is known of a backend.

    Raises
    ------
    UsageError
        If there is none of that name, or its entry point does not give one.
    """
    if name in _OURS:
        return _OURS[name]
    found = _outside().get(name)
    if found is None:
        names = ", ".join(backend_names())
        raise UsageError(f"backend {name!r} is not there; use one of {names}, or install the package that adds it")
    return _load(found)


def search_path(name: str) -> str:
    """Folder that a process must search to see the backend; empty where its interpreter searches it anyway.

    Workers are not shown what ``PYTHONPATH`` shows us, but for the package that adds their own backend.
    """
    found = None if name in _OURS else _outside().get(name)
    if found is None or found.dist is None:
        return ""
    folder = Path(str(found.dist.locate_file(""))).resolve()
    return "" if folder.is_relative_to(Path(sys.prefix).resolve()) else str(folder)


def _load(point: EntryPoint) -> BackendEntry:
    where = f"entry point {point.name!r} of {GROUP} ({point.value})"
    try:
        entry = point.load()
    except Exception as error:  # whatever somebody's module does
        lines = str(error).strip().splitlines() or ["no message"]
        raise UsageError(f"{where}: cannot be loaded ({type(error).__name__}: {lines[0]}); fix or remove it") from None
    if not isinstance(entry, BackendEntry):
        raise UsageError(f"{where}: gives {type(entry).__name__}, no BackendEntry; fix or remove it")
    if entry.name != point.name:
        raise UsageError(f"{where}: gives the backend {entry.name!r}; give both one name")
    return entry


def _outside() -> dict[str, EntryPoint]:
    return _found(tuple(sys.path))


@lru_cache(maxsize=8)
def _found(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Entry points of our group; a name of ours is never taken by another package."""
    from importlib.metadata import entry_points  # takes longer than all else here

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name in _OURS:
            raise UsageError(
                f"entry point {point.name!r} of {GROUP} ({point.value}): is a backend of trustml; rename it"
            )
        if not point.name.isidentifier() or point.name != point.name.lower():
            raise UsageError(
                f"entry point {point.name!r} of {GROUP} ({point.value}): is no plain name; use small letters and digits"
            )
        if found.setdefault(point.name, point).value != point.value:
            raise UsageError(f"entry point {point.name!r} of {GROUP}: two packages add it; uninstall one")
    return found
