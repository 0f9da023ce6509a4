"""The table of measures against what was computed anew: which rows an old table may lack."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from trustml.evidence import rows
from trustml.evidence.rows import Recomputed, row_checks
from trustml.measures.membership import DISTINCT
from trustml.measures.row import Row
from trustml.models.tasks import DEFAULT_TASK, Regression


def missing(monkeypatch, measure, *, task, same_words):
    """What is told of a table without a row of this measure, which the files give."""
    monkeypatch.setattr(rows, "read_table", lambda run: [])
    evidence = SimpleNamespace(manifest=SimpleNamespace(format=3), run=None, task=task)
    row = Row(
        run="r", job="train.jax.Plain.s0", backend="jax", regime="Plain", seed=0, subject="held-out", measure=measure,
        value=0.5, low=0.4, high=0.6, unit="1", n=9, note="",
    )  # fmt: skip
    found = Recomputed(rows=[row], statements=[], missing={}, failed={})
    return [check.outcome for check in row_checks(evidence, found, {}, same_words=same_words)]


@pytest.mark.parametrize("measure", ["r2", "rmse", "mae"])
def test_the_measures_of_a_task_that_came_with_them_cannot_be_left_out(monkeypatch, measure):
    regression = Regression(target_range=(0.0, 1.0))
    for same_words in (True, False):
        assert missing(monkeypatch, measure, task=regression, same_words=same_words) == ["differs"]


def test_a_table_of_an_earlier_revision_may_lack_what_came_later(monkeypatch):
    assert missing(monkeypatch, "roc_auc", task=DEFAULT_TASK, same_words=False) == []
    assert missing(monkeypatch, "roc_auc", task=DEFAULT_TASK, same_words=True) == ["differs"]
    assert missing(monkeypatch, "accuracy", task=DEFAULT_TASK, same_words=False) == ["differs"]


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [({"low": 0.3, "high": 0.7}, "not recomputed"), ({"value": 0.6}, "differs"), ({}, "ok")],
    ids=["a wider interval", "another value", "the same"],
)
def test_intervals_of_before_copies_were_counted_once_are_not_held_against_a_run(monkeypatch, changed, outcome):
    row = Row(
        run="r", job="train.jax.Plain.s0", backend="jax", regime="Plain", seed=0, subject="members ~ held-out",
        measure="membership_auc", value=0.5, low=0.4, high=0.6, unit="1", n=9, note="",
    )  # fmt: skip
    monkeypatch.setattr(rows, "read_table", lambda run: [row])
    evidence = SimpleNamespace(manifest=SimpleNamespace(format=3), run=None, task=DEFAULT_TASK)
    anew = msgspec.structs.replace(row, facts={DISTINCT: 5}, **changed)
    found = Recomputed(rows=[anew], statements=[], missing={}, failed={})
    assert [one.outcome for one in row_checks(evidence, found, {}, same_words=False)] == [outcome]
    now = "differs" if changed else "ok"
    assert [one.outcome for one in row_checks(evidence, found, {}, same_words=True)] == [now]
