"""Rows on canary sequences: what ranks and a law can tell, and records of before both ends were known to be drawn."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from trustml.compare.table import table_of
from trustml.evidence import rows as table
from trustml.evidence.rows import Recomputed, row_checks
from trustml.measures.measure import MEASURES
from trustml.measures.notes import described
from trustml.measures.remembered import EXPOSURE, LARGEST, _of_canaries
from trustml.measures.resampling import drawn_as_before
from trustml.measures.row import About, Row
from trustml.models.tasks import DEFAULT_TASK
from trustml.report.attacks.tables import remembered_cells


def canary_rows(*, remembered, references=None):
    """Rows on 20 canaries, half of which a model has so much less loss of than of others."""
    generator = np.random.default_rng(0)
    losses, others = generator.normal(size=20), generator.normal(size=999)
    included = np.arange(20) < 10
    arrays = {
        "losses": losses - remembered * included,
        "included": included,
        "reference_losses": others if references is None else references,
    }

    def row(measure, value, *, record, subject, n, interval=(None, None), about):
        made = Row(
            run="r", job=record.id, backend="jax", regime="Plain", seed=0, subject=subject, measure=measure,
            value=value, low=interval[0], high=interval[1], unit=MEASURES[measure].unit, n=n,
        )  # fmt: skip
        return described(made, about if about is not None else About())

    run = SimpleNamespace(file=lambda _: SimpleNamespace(is_file=lambda: True), arrays=lambda _: arrays)
    job = SimpleNamespace(output="losses.npz", canaries=SimpleNamespace(confidence=0.95))
    return _of_canaries(SimpleNamespace(run=run, row=row), SimpleNamespace(id="canary.jax.Plain", status="ok"), job)


def test_where_all_canaries_rank_first_the_mean_is_at_least_so_much_and_the_largest_is_extrapolated():
    mean, largest = canary_rows(remembered=100.0)
    assert mean.high is None and mean.low < mean.value and "no upper end" in mean.note
    assert largest.value > 4000 and "skew-normal" in largest.note
    first, second = remembered_cells(table_of([mean, largest])).to_dict("records")
    assert first["interval"].text == f"at least {MEASURES[EXPOSURE].text(mean.low)}" and second["interval"].text == "-"
    inside = canary_rows(remembered=1.0)[0]
    assert inside.low < inside.value < inside.high and "no upper end" not in inside.note


def test_a_law_that_does_not_fit_and_losses_that_are_none_are_two_reasons():
    law = canary_rows(remembered=1.0, references=np.random.default_rng(0).random(999))[1]
    assert law.value is None and "follow no skew-normal law" in law.note
    (nothing,) = canary_rows(remembered=1.0, references=np.full(999, np.inf))
    assert nothing.value is None and "losses are not finite" in nothing.note


@pytest.mark.parametrize("remembered", [1.0, 100.0])
def test_a_record_of_before_is_held_to_what_was_computed_then(monkeypatch, remembered):
    with drawn_as_before():
        then = canary_rows(remembered=remembered)
    now = canary_rows(remembered=remembered)
    assert then[0].high != now[0].high and (then[1].value is None) == (remembered > 50)
    monkeypatch.setattr(
        table, "row_functions", lambda: {MEASURES[LARGEST].rows[0]: lambda _: canary_rows(remembered=remembered)}
    )
    evidence = SimpleNamespace(manifest=SimpleNamespace(format=3), run=None, task=DEFAULT_TASK)

    def told(stated, *, same_words=False):
        monkeypatch.setattr(table, "read_table", lambda run: stated)
        found = Recomputed(rows=list(now), statements=[], missing={}, failed={})
        return [one.outcome for one in row_checks(evidence, found, {}, same_words=same_words)]

    assert told(then) == told(now) == ["ok", "ok"] and told(then, same_words=True)[0] == "differs"
    middle = (then[0].low + then[0].value) / 2
    for forged in (
        {"low": middle + 0.01},
        {"n": 99},
        {"value": 0.1},
        {"verdict": "not above guessing", "p_value": 0.9},
    ):
        assert told([msgspec.structs.replace(then[0], **forged), then[1]]) == ["differs", "ok"]
    assert told([then[0], msgspec.structs.replace(then[1], value=1.5)]) == ["ok", "differs"]
