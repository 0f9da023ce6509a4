"""A run for the dashboard to show: torch and jax whole, tensorflow missing, so it is partial."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import trustml
from tests.conftest import made_once


@pytest.fixture(scope="session")
def partial_run(tiny, tmp_path_factory) -> trustml.Run:
    """A real run, made once for all processes that run tests; its folder is the folder of runs."""
    return made_once(tmp_path_factory, "shown", lambda folder: _make(tiny, folder))


def _make(tiny, folder: Path) -> None:
    before = os.environ.get("TRUSTML_ENV_TENSORFLOW")
    os.environ["TRUSTML_ENV_TENSORFLOW"] = "/nonexistent"
    try:
        run = trustml.run(tiny, out=folder)
    finally:
        os.environ.pop("TRUSTML_ENV_TENSORFLOW")
        if before is not None:
            os.environ["TRUSTML_ENV_TENSORFLOW"] = before
    assert run.status == "partial"


@pytest.fixture(scope="session")
def entry() -> Path:
    """The dashboard's file."""
    return Path(__file__).resolve().parents[2] / "apps" / "dashboard.py"
