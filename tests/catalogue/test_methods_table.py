"""The table in the documentation is the catalogue's, and no cell is claimed without having run."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustml.catalogue.available import availability
from trustml.catalogue.methods import METHODS as ROWS
from trustml.frameworks.implementation import Implementation
from trustml.report.explanations.methods import rules_markdown
from trustml.scenario.methods import RandomControl
from trustml.scenario.read import read_scenario
from trustml.scenario.ready import find_scenario
from trustml.scenario.spec import BACKEND_NAMES

TABLE = Path(__file__).resolve().parents[2] / "docs" / "explanation_methods.md"
METHODS = read_scenario(find_scenario("all_methods")).explanations.methods


def test_the_ready_scenario_tries_every_method_of_the_catalogue():
    assert {type(method) for method in METHODS} == set(ROWS) - {RandomControl}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.title)
def test_a_row_says_what_the_catalogue_says(method):
    (row,) = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{method.title}`")]
    cells = [cell.strip() for cell in row.strip("|").split("|")][2:]
    assert len(cells) == len(BACKEND_NAMES)
    for backend, cell in zip(BACKEND_NAMES, cells, strict=True):
        found = availability(backend, method)
        if isinstance(found, Implementation):
            assert cell.startswith(found.library), f"{backend}: make the table anew (docs/explanation_methods.md)"
        else:
            assert cell == f"not available: {found.reason}"


def test_every_backend_has_a_method_of_each_kind():
    for backend in BACKEND_NAMES:
        needs = {ROWS[type(m)].needs for m in METHODS if isinstance(availability(backend, m), Implementation)}
        assert needs == {"gradients", "layers", "forward"}


def test_the_page_lists_every_layer_without_a_rule():
    assert TABLE.read_text(encoding="utf-8").endswith("\n".join(["", *rules_markdown()]) + "\n")
