"""Epsilon of all releases together, from ledgers made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from tests.auditing.test_run_wording import statement
from tests.privacy.test_tails import made
from trustml.measures.notes import note_of
from trustml.measures.privacy import _all_releases, releases
from trustml.privacy.accounting import epsilon_of_releases


def cell(measure, value, *, about, **columns):
    return SimpleNamespace(measure=measure, value=value, note=note_of(about), about=about, **columns)


def together(*deltas: float, others: int = 0):
    group = [
        ([made(plan=f"plan {number}")], msgspec.structs.replace(statement(low=None, high=3.0), delta=delta))
        for number, delta in enumerate(deltas)
    ]
    evidence = SimpleNamespace(row=cell, trained=lambda: [], manifest=SimpleNamespace(scenario={}))
    return [charges for charges, _ in group], _all_releases(evidence, "all ledgers", group, others=others)


@pytest.mark.parametrize("deltas", [(1e-5, 1e-7), (1e-7, 1e-5)])
def test_all_releases_together_fail_as_rarely_as_the_one_that_fails_most_often(deltas):
    ledgers, row = together(*deltas)
    assert row.note.startswith("2 private models; delta=1e-05;")
    assert row.value == epsilon_of_releases(ledgers, delta=1e-5).value
    assert row.value < epsilon_of_releases(ledgers, delta=1e-7).value


def test_what_does_not_compose_is_named():
    assert "not in this number: 3 private models of the run for another unit" in together(1e-5, others=3)[1].note
    assert "not in this number" not in together(1e-5)[1].note
    users = [made(unit="user", users=name * 64) for name in "ab"]
    assert len({releases([one]) for one in users}) == 2 and releases([made()]) == releases([made(users="x")])
