"""The table of measures against what was computed anew: which rows an old table may lack."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from trustml.attacks.advantage import split_advantage
from trustml.evidence import rows
from trustml.evidence.checks import same_number, text_of
from trustml.evidence.rows import Recomputed, _compare, row_checks
from trustml.measures.means import mean_with_interval
from trustml.measures.membership import DISTINCT, HALVINGS
from trustml.measures.resampling import drawn_as_before, mean_ends
from trustml.measures.row import Row
from trustml.models.tasks import DEFAULT_TASK, Regression


def missing(monkeypatch, measure, *, task, same_words, stated=()):
    """What is told of a table without a row of this measure, which the files give, and with rows of others."""
    evidence = SimpleNamespace(manifest=SimpleNamespace(format=3), run=None, task=task)
    row = Row(
        run="r", job="train.jax.Plain.s0", backend="jax", regime="Plain", seed=0, subject="held-out", measure=measure,
        value=0.5, low=0.4, high=0.6, unit="1", n=9, note="",
    )  # fmt: skip
    others = [msgspec.structs.replace(row, measure=other) for other in stated]
    monkeypatch.setattr(rows, "read_table", lambda run: others)
    found = Recomputed(rows=[row, *others], statements=[], missing={}, failed={})
    checks = row_checks(evidence, found, {}, same_words=same_words)
    assert [check.outcome for check in checks[: len(others)]] == ["ok"] * len(others)
    return [check.outcome for check in checks[len(others) :]]


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
    ("measure", "stated", "outcomes"),
    [
        ("deployed_roc_auc_difference", ["accuracy", "roc_auc", "deployed_size"], []),
        ("deployed_score_difference", ["deployed_size"], ["differs"]),
        ("deployed_size", ["deployed_roc_auc_difference"], ["differs"]),
        ("mean_absolute_attribution", ["attribution_monte_carlo_error"], []),
        ("attribution_monte_carlo_error", ["mean_absolute_attribution"], ["differs"]),
        ("roc_auc", ["attribution_monte_carlo_error"], ["differs"]),
        # Exports make their own rows anew in a table that stays as it was made.
        ("mean_absolute_attribution", ["roc_auc", "deployed_roc_auc_difference"], []),
        ("deployed_size", ["mean_absolute_attribution"], ["differs"]),
    ],
)
def test_a_table_must_have_what_came_before_the_newest_that_it_has(monkeypatch, measure, stated, outcomes):
    given = {"task": DEFAULT_TASK, "stated": stated}
    assert missing(monkeypatch, measure, same_words=False, **given) == outcomes
    assert missing(monkeypatch, measure, same_words=True, **given) == ["differs"]


def test_what_came_after_a_task_may_be_missing_of_it_too(monkeypatch):
    given = {"task": Regression(target_range=(0.0, 1.0)), "stated": ["r2", "deployed_size"]}
    assert missing(monkeypatch, "mean_absolute_attribution", same_words=False, **given) == []


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"low": 0.3, "high": 0.7}, "not recomputed"),
        ({"low": 0.45, "high": 0.55}, "differs"),
        ({"low": 0.3, "high": 0.7, "n": 10}, "differs"),
        ({"low": 0.3, "high": 0.7, "confidence": 0.9}, "differs"),
        ({"value": 0.6}, "differs"),
        ({}, "ok"),
    ],
    ids=[
        "a wider interval",
        "a narrower one",
        "of more examples",
        "of another confidence",
        "another value",
        "the same",
    ],
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


VALUES = np.random.default_rng(0).exponential(size=20).astype(np.float32)
QUALITY = "trustml.measures.quality:quality_rows"


def of_quality(**changes):
    """A row as it is computed now, by whatever rule of ends is in force."""
    mean = mean_with_interval(VALUES)
    row = Row(
        run="r", job="j", backend="torch", regime="Plain", seed=0, subject="captum", n=20, unit="1",
        measure="mprt_signed_similarity", value=mean.value, low=mean.low, high=mean.high, confidence=0.95,
        interval="exact bootstrap over examples", verdict="fails the sanity check" if mean.low > 0.6 else "",
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def told_of(monkeypatch, row, *, same_words=False, file_format=3):
    """What is told of a table of this row."""
    monkeypatch.setattr(rows, "read_table", lambda run: [row])
    monkeypatch.setattr(rows, "row_functions", lambda: {QUALITY: lambda evidence: [of_quality()]})
    evidence = SimpleNamespace(manifest=SimpleNamespace(format=file_format), run=None, task=DEFAULT_TASK)
    found = Recomputed(rows=[of_quality()], statements=[], missing={}, failed={})
    (check,) = row_checks(evidence, found, {}, same_words=same_words)
    return check


def drawn_by_revisions_of_before():
    """Ends as they were drawn before they were exact."""
    means = np.random.default_rng(0).choice(VALUES, (1000, len(VALUES))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"low": float(low), "high": float(high), "interval": "bootstrap over examples"}


@pytest.mark.parametrize("file_format", [2, 3])
def test_ends_that_were_drawn_are_drawn_again_and_compared(monkeypatch, file_format):
    drawn = drawn_by_revisions_of_before()
    drawn["interval"] = drawn["interval"] if file_format == 3 else ""
    if file_format == 2:
        drawn |= {"confidence": None, "verdict": ""}
    stated, exact = of_quality(**drawn), of_quality()
    assert not same_number(stated.low, exact.low)
    assert told_of(monkeypatch, stated, file_format=file_format).outcome == "ok"
    forged = msgspec.structs.replace(stated, low=exact.low + 0.14 * (exact.high - exact.low))
    check = told_of(monkeypatch, forged, file_format=file_format)
    assert check.outcome == "not recomputed"
    assert text_of(forged.low) in check.message and text_of(exact.low) in check.message
    assert told_of(monkeypatch, forged, file_format=file_format, same_words=True).outcome == "differs"
    far = msgspec.structs.replace(stated, low=exact.low + 0.2 * (exact.high - exact.low))
    assert told_of(monkeypatch, far, file_format=file_format).outcome == "differs"


def test_a_word_of_the_owner_does_not_change_what_is_concluded(monkeypatch):
    drawn = drawn_by_revisions_of_before()
    changed = of_quality(**drawn, verdict="no better than random")
    assert told_of(monkeypatch, changed).outcome == "differs"
    assert "verdict is" in told_of(monkeypatch, changed).message


def test_figures_of_held_out_examples_are_drawn_again_as_they_were():
    values = VALUES.astype(np.float64)
    generator = np.random.default_rng([len(values), 200])
    means = values[generator.integers(len(values), size=(200, len(values)))].mean(axis=1)
    with drawn_as_before():
        assert mean_ends(values) == pytest.approx(np.quantile(means, [0.025, 0.975]), rel=1e-12)
    assert mean_ends(values) != pytest.approx(np.quantile(means, [0.025, 0.975]), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "outcome", "words"),
    [
        ({}, "ok", ""),
        ({"low": 0.02}, "not recomputed", "exact, 0.01"),  # a thousand resamples may be that far off
        ({"low": 0.5}, "differs", "low is 0.5 in the table"),
        ({"low": -0.01}, "differs", "low is -0.01 in the table"),  # as near, but it crosses 0
        ({"low": 0.0}, "differs", "low is 0 in the table"),
        ({"low": 0.02, "high": 0.1}, "differs", "high is 0.1 in the table"),
        ({"low": 0.02, "n": 21}, "differs", "n is 21"),
        ({"low": None}, "differs", "low is"),
        ({"value": 0.61}, "differs", "value is 0.61"),
        ({"verdict": "no better than random"}, "differs", "verdict is"),
        ({"low": 0.02, "verdict": "no better than random"}, "differs", "verdict is"),
        ({"interval": "wilson"}, "differs", "interval is 'wilson'"),
    ],
)
def test_ends_that_no_seed_gives_are_never_well(changes, outcome, words):
    about = {"verdict": "better than random", "facts": {"gain": 0.1, "gain_low": 0.01, "gain_high": 0.2}}
    common = {"run": "r", "job": "j", "backend": "torch", "regime": "Plain", "seed": 0, "subject": "captum", "n": 20}
    anew = Row(
        **common, **about, measure="insertion_auc", unit="1", value=0.2, low=0.01, high=0.4, confidence=0.95,
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


def test_an_end_beyond_the_limit_of_a_verdict_differs():
    anew = of_quality(value=0.3, low=0.11, high=0.5)
    near = msgspec.structs.replace(anew, low=0.09, interval="bootstrap over examples")
    assert _compare(near, anew, same_words=False, untyped=False).outcome == "differs"
    near = msgspec.structs.replace(near, low=0.12)
    assert _compare(near, anew, same_words=False, untyped=False).outcome == "not recomputed"


@pytest.mark.parametrize(
    ("stated", "outcome"),
    [
        ({"value": 0.62, "verdict": "above guessing"}, "not recomputed"),
        ({"value": 0.62, "verdict": "not above guessing"}, "differs"),
        ({"value": 0.41, "verdict": "not above guessing"}, "differs"),
        ({"value": 0.62, "verdict": "above guessing", "n": 4}, "differs"),
    ],
)
def test_a_bound_of_before_copies_were_counted_once_was_higher_and_concludes_from_itself(stated, outcome):
    anew = row_of(
        "membership_auc_at_least", value=0.45, verdict="not above guessing", confidence=0.99, facts={DISTINCT: 5}
    )
    told = msgspec.structs.replace(anew, facts={}, **stated)
    assert _compare(told, anew, same_words=False, untyped=False).outcome == outcome


def row_of(measure, **columns):
    return Row(
        run="r", job="train.jax.Plain.s0", backend="jax", regime="Plain", seed=0, subject="members ~ held-out",
        measure=measure, unit="1", n=40, **columns,
    )  # fmt: skip


def test_an_advantage_of_one_halving_is_held_to_that_halving(monkeypatch):
    """Leaving out how many halvings there were must not free a figure of everything else."""
    generator = np.random.default_rng(0)
    members, groups = np.arange(40) < 20, np.arange(40) // 2
    scores = generator.normal(size=40) + members
    model = SimpleNamespace(
        record=SimpleNamespace(id="train.jax.Plain.s0"), members=members, groups=groups,
        outcomes=[SimpleNamespace(attack="loss", scores=scores)],
    )  # fmt: skip
    evidence = SimpleNamespace(
        manifest=SimpleNamespace(format=3), run=None, task=DEFAULT_TASK, once=lambda made: [model]
    )
    first = split_advantage(scores, members, halvings=1)
    anew = row_of(
        "membership_advantage", method="loss", value=0.1, low=-0.3, high=0.5, confidence=0.95,
        interval="clopper-pearson", facts={HALVINGS: 15},
    )  # fmt: skip
    then = msgspec.structs.replace(anew, value=first.value, low=first.low, high=first.high, facts={})

    def told(**changed):
        monkeypatch.setattr(rows, "read_table", lambda run: [msgspec.structs.replace(then, **changed)])
        found = Recomputed(rows=[anew], statements=[], missing={}, failed={})
        return [one.outcome for one in row_checks(evidence, found, {}, same_words=False)]

    assert told() == ["ok"] and then.value != anew.value
    inside = {"value": 0.1, "low": 0.09, "high": 0.11}
    forged = ({"n": 99_999}, {"unit": "bits"}, {"confidence": 0.5}, {"low": None, "high": None}, {"value": 0.1}, inside)
    assert [told(**one) for one in forged] == [["differs"]] * len(forged)
    with_copies = split_advantage(scores, members, groups=groups, halvings=1)
    kept = {"value": with_copies.value, "low": with_copies.low, "high": with_copies.high}
    assert told(**kept, facts={DISTINCT: 10}) == ["ok"] and told(facts={DISTINCT: 10}) == ["differs"]
