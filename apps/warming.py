"""What the pages import, imported while the first of them is read: nobody waits for it at a page's first visit."""

from __future__ import annotations

import ast
import functools
import threading
from contextlib import suppress
from pathlib import Path

from trustml.launch.benchmarks import bench_module

_HERE = Path(__file__).resolve().parent


@functools.cache
def warm() -> threading.Thread:
    """Begin to import, once in a process."""
    found = threading.Thread(target=_import_all, daemon=True)
    found.start()
    return found


def _import_all() -> None:
    """Each by itself: the page that needs what cannot be imported says so when it is opened."""
    for page in sorted(_HERE.rglob("*.py")):
        found: list[ast.ImportFrom] = []
        with suppress(Exception):
            found = imports_of(page)
        for one in found:
            with suppress(Exception):
                __import__(one.module or "", fromlist=[name.name for name in one.names])
    with suppress(Exception):
        bench_module("panels")


def imports_of(page: Path) -> list[ast.ImportFrom]:
    """Give what a page takes of trustml."""
    return [
        one
        for one in ast.walk(ast.parse(page.read_bytes()))
        if isinstance(one, ast.ImportFrom) and (one.module or "").startswith("trustml.")
    ]
