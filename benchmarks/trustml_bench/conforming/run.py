"""Puts engines under the suite, each in a process of its own in the environment that has its library."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from trustml.launch.environments import Environment
from trustml.launch.module_process import run_module
from trustml_bench.conforming.catalogue import PeerEngine
from trustml_bench.conforming.results import CHECKED, CheckedEngine
from trustml_bench.places import NoPlace, find_place

_PACKAGE = Path(__file__).resolve().parent.parent
_TIMEOUT = 1800.0


def check_engine(engine: PeerEngine) -> CheckedEngine:
    """Check one engine; what keeps it from running is in the result."""
    place = find_place(engine.environment, "default")
    if isinstance(place, NoPlace):
        return CheckedEngine(engine=engine.name, problem=place.reason)
    environment = Environment(backend="torch", python=place.python, variables=place.variables)
    with tempfile.TemporaryDirectory(prefix="trustml-conformance-") as name:
        folder = Path(name)
        problem = run_module(
            "trustml_bench.conforming.serve",
            engine.name,
            name,
            environment=environment,
            folder=folder,
            timeout=_TIMEOUT,
            beside=(_PACKAGE,),
        )
        if problem:
            return CheckedEngine(engine=engine.name, problem=problem)
        return msgspec.json.decode((folder / CHECKED).read_bytes(), type=CheckedEngine)
