"""Where the benchmark is: ``trustml_bench`` is a package of its own, beside trustml in a checkout, or installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from trustml.launch.added import checkout_root

BENCH = "trustml_bench"


def how_to_get(asked: str) -> str:
    """Say what the benchmark's package is missing for, and how to get it."""
    return (
        f"{asked}: needs the package trustml-bench, which is not installed beside trustml; take a checkout of trustml "
        "and run `pip install ./benchmarks` there"
    )


def bench_module(name: str) -> ModuleType | None:
    """Import a module of the benchmark; None where there is no benchmark.

    A checkout's own comes before one that is installed, so that it is of the same revision as trustml.
    """
    if BENCH not in sys.modules:
        top = checkout_root()
        package = top / "benchmarks" / BENCH if top is not None else None
        if package is not None and (package / "__init__.py").is_file():
            _enter(package)
        elif importlib.util.find_spec(BENCH) is None:
            return None
    return importlib.import_module(f"{BENCH}.{name}")


def _enter(package: Path) -> None:
    """Import a package by path, without showing what lies beside it."""
    spec = importlib.util.spec_from_file_location(
        package.name, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[package.name] = module
    spec.loader.exec_module(module)
