"""What the pages import, imported while the first of them is read: nobody waits for it at a page's first visit."""

from __future__ import annotations

import dis
import functools
import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import CodeType

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
        found: list[tuple[str, tuple[str, ...]]] = []
        with suppress(Exception):
            found = imports_of(page)
        for module, names in found:
            with suppress(Exception):
                __import__(module, fromlist=names)
    with suppress(Exception):
        bench_module("panels")


def imports_of(page: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Give what a page takes of trustml: modules, each with the names.

    Read from compiled code and not from a tree: before 3.11.8, Python fails where two threads make trees of source at
    once (gh-106905), and Streamlit makes one of each page that is opened.
    """
    codes, found = [compile(page.read_bytes(), str(page), "exec")], []
    for code in codes:
        codes += [one for one in code.co_consts if isinstance(one, CodeType)]
        steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
        for names, step in pairwise(steps):
            if step.opname == "IMPORT_NAME" and step.argval.startswith("trustml.") and names.argval:
                found.append((step.argval, names.argval))
    return found
