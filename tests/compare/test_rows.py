"""The table of a run is written whatever becomes of one measure."""

from __future__ import annotations

import pytest

from tests.conftest import measured_once
from tests.records import measured_anew
from trustml.compare.table import fact_of
from trustml.errors import PrivacyError
from trustml.measures import completeness, privacy


def test_a_measure_that_fails_is_an_absent_row_and_the_others_are_there(tmp_path_factory, tmp_path, monkeypatch):
    whole = measured_once(tmp_path_factory, "evidence").measures()

    def fail(evidence):
        raise ZeroDivisionError("nothing to divide\x1b[31m")

    monkeypatch.setattr(completeness, "completeness_rows", fail)
    table = measured_anew("evidence", tmp_path / "less").measures()
    lost = table[table.measure == "attribution_completeness_error"]
    assert lost.value.isna().all() and set(lost.verdict) == {"absent"}
    (reason,) = set(fact_of(lost, "reason", default=""))
    assert reason == r"cannot be computed (ZeroDivisionError: nothing to divide\x1b[31m)"
    others = ["measure", "job", "subject", "value"]
    kept = table[~table.measure.isin(set(lost.measure) | {"explain_passes"})][others]
    assert kept.reset_index(drop=True).equals(
        whole[~whole.measure.isin(set(lost.measure) | {"explain_passes"})][others].reset_index(drop=True)
    )


def test_an_epsilon_that_cannot_be_told_is_an_error(tmp_path, monkeypatch):
    def fail(evidence):
        raise PrivacyError("the ledger contradicts itself")

    monkeypatch.setattr(privacy, "private_rows", fail)
    with pytest.raises(PrivacyError, match="contradicts"):
        measured_anew("evidence", tmp_path)
