"""A run for the dashboard to show: torch and jax whole, tensorflow missing, so it is partial."""

from __future__ import annotations

from pathlib import Path

import pytest

import trustml
from tests.conftest import made_once
from tests.records import without_tensorflow


@pytest.fixture(scope="session")
def partial_run(tmp_path_factory) -> trustml.Run:
    """A stored run; its folder is the folder of runs."""
    run = made_once(tmp_path_factory, "partial", without_tensorflow)
    assert run.status == "partial"
    return run


@pytest.fixture(scope="session")
def entry() -> Path:
    """The dashboard's file."""
    return Path(__file__).resolve().parents[2] / "apps" / "dashboard.py"
