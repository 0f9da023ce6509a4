"""The page on how numbers are checked knows every number, and names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec

from trustml.catalogue.methods import METHODS
from trustml.measures.measure import MEASURES
from trustml.privacy.ledger import Charge
from trustml.privacy.statement import PrivacyStatement

ROOT = Path(__file__).resolve().parents[2]
LINES = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs" / "assurance.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| number", "| finding", "| methods"))
]
NAMED = {name for cells in LINES for name in re.findall(r"`([^`]+)`", cells[0])}
FINDING = re.compile(r"""\b(?:id|rule)=f?"([a-z][a-z.-]*)""")


def numbers_of(kind: type[msgspec.Struct]) -> set[str]:
    """Fields that hold a number."""
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return {name for name, one in types.items() if {int, float} & {one, *get_args(one)}}


def test_every_measure_has_a_line():
    assert [name for name in MEASURES if name not in NAMED] == []


def test_every_method_has_a_line():
    assert {method.__name__ for method in METHODS} <= NAMED


def test_every_number_of_statement_and_ledger_has_a_line():
    assert numbers_of(PrivacyStatement) | numbers_of(Charge) <= NAMED
    assert {"epsilon", "steps"} <= numbers_of(PrivacyStatement) and "participation" in numbers_of(Charge)


def test_every_finding_has_a_line():
    found = {
        name
        for path in (ROOT / "src" / "trustml" / "auditing").glob("*.py")
        for name in FINDING.findall(path.read_text("utf-8"))
        if not name.startswith("audit-")
    }
    assert len(found) > 25 and found <= NAMED, sorted(found - NAMED)


def test_every_line_names_tests_that_are_there_or_says_that_there_are_none():
    for cells in LINES:
        assert len(cells) == 4 and all(cells), cells
        tests = re.findall(r"`([^`]+)`", cells[2])
        assert bool(tests) == (cells[2] != "-") == (cells[1] != "-"), cells
        assert tests or cells[3] != "-", cells
        missing = [name for name in tests if not (ROOT / name).is_file()]
        assert not missing, missing


def test_nothing_is_listed_that_is_no_number_any_more():
    known = set(MEASURES) | numbers_of(PrivacyStatement) | numbers_of(Charge)
    gone = {name for name in NAMED if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", name)} - known
    assert not gone, gone
