"""Files of a stranger's code: found without importing anything, and read from their source alone."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    PathFinder,
    SourceFileLoader,
)
from pathlib import Path
from typing import Any

from trustml.errors import UsageError


def find_file(name: str, folder: str) -> Path | None:
    """File of a module that lies in a folder or is installed; none for one that has no file.

    Raises
    ------
    UsageError
        If there is no such module.
    """
    first, *others = name.split(".")
    PathFinder.invalidate_caches()
    spec = PathFinder.find_spec(first, [folder]) or _installed(first)
    for part in others:  # by its own name in its package's folders: importlib.util.find_spec would run the package
        places = list((spec and spec.submodule_search_locations) or ())
        spec = PathFinder.find_spec(part, places) if places else None
    if spec is None:
        raise UsageError(f"model.module: there is no module {name!r} in {folder}; check its name, and model.folder")
    return Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None


def _installed(first: str) -> Any:
    try:
        return importlib.util.find_spec(first)
    except ValueError:  # what it was started as, __main__
        return None


def files_beside(name: str, folder: str) -> list[Path]:
    """Source files of a folder that a module is, and imports by name, in an order that does not change.

    Other files of the folder do not matter: it may be a home.
    """
    root = Path(folder).resolve()
    found: dict[Path, None] = {}
    waiting = list(_running(name, root))
    while waiting:
        file = waiting.pop(0)
        if file not in found:
            found[file] = None
            waiting += [other for named in _imported(file, root) for other in _running(named, root)]
    return list(found)


def _running(name: str, root: Path) -> Iterator[Path]:
    """Files that run when a dotted name is imported: its packages too."""
    place = root
    for part in name.split("."):
        for file in (place / part / "__init__.py", place / f"{part}.py"):
            if file.is_file():
                yield file
                break
        place = place / part


def _imported(file: Path, root: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # which cannot be run either
        return
    package = file.parent.relative_to(root).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: max(0, len(package) - node.level + 1)] if node.level else ()
            within = ".".join((*base, *([node.module] if node.module else [])))
            yield from (f"{within}.{alias.name}".lstrip(".") for alias in node.names)


class _Source(SourceFileLoader):
    """Compiles the source: a compiled file beside it may hold other code, and says itself not to be checked."""

    def path_stats(self, path: str) -> Any:
        raise OSError("compiled files are not read")


_places: set[Path] = set()
"""Folders whose compiled files are not read."""


def _finder(path: str) -> FileFinder:
    if Path(path).resolve() not in _places:
        raise ImportError(f"{path} is none of them")
    return FileFinder(path, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Source, SOURCE_SUFFIXES))


def read_source_alone(name: str, folder: str) -> None:
    """From now on read a module, and what it imports from its folder, from those files that are digested."""
    new = {file.parent for file in files_beside(name, folder)} - _places
    if not new:
        return
    _places.update(new)
    if _finder not in sys.path_hooks:
        sys.path_hooks.insert(0, _finder)
    for path in list(sys.path_importer_cache):
        if Path(path).resolve() in new:
            del sys.path_importer_cache[path]
