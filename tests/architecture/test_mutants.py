"""The mistakes that `tests/mutants.py` makes still fit the code; trying them takes minutes, and is for its caller."""

from __future__ import annotations

from pathlib import Path

from tests.mutants import MUTANTS, misfits


def test_every_mutant_fits_the_code():
    assert not misfits(Path(__file__).resolve().parents[2])


def test_no_two_mutants_have_one_name_and_each_changes_something():
    assert len({one.name for one in MUTANTS}) == len(MUTANTS) >= 28
    assert all(one.old != one.new and one.tests for one in MUTANTS)
