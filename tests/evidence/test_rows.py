"""The table of measures against what was computed anew: which rows an old table may lack."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from trustml.evidence import rows
from trustml.evidence.rows import Recomputed, _compare, row_checks
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


@pytest.mark.parametrize(
    ("changes", "outcome", "words"),
    [
        ({}, "ok", ""),
        ({"low": 0.43}, "ok", ""),  # a thousand resamples may be that far off
        ({"low": 0.5}, "differs", "low is 0.5 in the table"),
        ({"low": None}, "differs", "low is"),
        ({"value": 0.61}, "differs", "value is 0.61"),
        ({"verdict": "no better than random"}, "not recomputed", "by an interval that was drawn"),
        ({"interval": "wilson"}, "differs", "interval is 'wilson'"),
    ],
)
def test_ends_of_before_the_bootstrap_was_exact_may_be_near(changes, outcome, words):
    about = {"verdict": "better than random", "facts": {"gain": 0.1, "gain_low": 0.01, "gain_high": 0.2}}
    common = {"run": "r", "job": "j", "backend": "torch", "regime": "Plain", "seed": 0, "subject": "captum", "n": 20}
    anew = Row(
        **common, **about, measure="insertion_auc", unit="1", value=0.6, low=0.4, high=0.8, confidence=0.95,
        interval="exact bootstrap over examples",
    )  # fmt: skip
    stated = msgspec.structs.replace(anew, interval="bootstrap over examples")
    changed = msgspec.structs.replace(stated, **changes)
    found = _compare(changed, anew, same_words=False, untyped=False)
    assert found.outcome == outcome and words in found.message
    # A table of this very revision has no drawn ends.
    assert _compare(changed, anew, same_words=True, untyped=False).outcome == "differs"
    if "interval" not in changes and "verdict" not in changes:  # one of before rows had types names no interval
        untyped = msgspec.structs.replace(changed, interval="", verdict="", confidence=None, facts={})
        assert _compare(untyped, anew, same_words=False, untyped=True).outcome == outcome
