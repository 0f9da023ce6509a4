"""Claims against the figures that are said to be behind them."""

from __future__ import annotations

import dataclasses
import math

import dp_accounting
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustml.attacks.membership import verdict_of_curves
from trustml.attacks.roc import auc_of_counts, roc_of_scores
from trustml.auditing.checks_accounting import (
    _shown,
    attacked_claim,
    auc_allowed,
    check_accounting,
    check_claim,
    check_claim_terms,
)
from trustml.auditing.claim import Claim
from trustml.auditing.claimed_epsilon import Figures, epsilon_bounds
from trustml.errors import UsageError
from trustml.privacy.statement import at_most

CLAIM = Claim(
    epsilon=2.0,
    delta=1e-5,
    noise_multiplier=1.1,
    sample_rate=1 / 50,
    steps=500,
    sampling="poisson",
    loader="poisson",
)
FIGURES = Figures(noise_multiplier=1.1, sample_rate=1 / 50, steps=500, delta=1e-5, replace=False)


def replaced(**changes):
    return msgspec.structs.replace(CLAIM, **changes)


def found(**changes):
    return {finding.id: finding for finding in check_accounting(replaced(**changes))}


def test_the_recomputed_epsilon_is_that_of_our_own_accountant():
    from trustml.privacy.bounds import epsilon_upper
    from trustml.privacy.events import NoiseEvent

    mechanism = NoiseEvent(kind="poisson", noise_multiplier=1.1, count=500, sample_rate=1 / 50)
    own, _ = epsilon_upper([mechanism], delta=1e-5)
    assert epsilon_bounds(FIGURES, "poisson").high == pytest.approx(own, rel=1e-9)


def test_a_claim_that_is_too_small_is_a_violation_and_one_that_is_not_passes():
    exact = epsilon_bounds(FIGURES, "poisson").high
    assert found(epsilon=exact * 0.99)["accounting.recomputed"].severity == "violation"
    rounded = found(epsilon=exact * 0.9999)["accounting.recomputed"]
    assert rounded.severity == "pass" and rounded.title.endswith("claimed, which may be rounded by 0.1 %")
    finding = found(epsilon=exact * 1.01)["accounting.recomputed"]
    assert finding.severity == "pass" and finding.title.endswith("claimed")
    assert finding.measured[0].value == exact
    assert "certain, given the figures stated" in finding.measured[0].note


@pytest.mark.parametrize(
    ("epsilon", "changes"),
    [
        (0.2082, {"noise_multiplier": 8.0, "sample_rate": 256 / 60_000, "steps": 14_063}),
        (0.178, {"noise_multiplier": 200.0, "sample_rate": 0.01, "steps": 10**6}),
        (47.9, {"noise_multiplier": 1.0, "sample_rate": 0.01, "steps": 1000, "delta": 1e-18}),
    ],
)
def test_true_claims_that_were_called_violations_hold(epsilon, changes):
    finding = found(epsilon=epsilon, **changes)["accounting.recomputed"]
    assert (finding.severity, finding.verdict) == ("pass", "holds")


def test_between_the_bounds_nothing_is_decided_and_nobody_accused():
    changes = {"noise_multiplier": 0.7, "sample_rate": 0.004, "steps": 11_250, "delta": 1e-13}
    bound = epsilon_bounds(Figures(**changes, replace=False), "poisson")
    assert bound.low * 1.01 < bound.high
    finding = found(epsilon=(bound.low + bound.high) / 2, **changes)["accounting.recomputed"]
    assert (finding.severity, finding.verdict) == ("note", "not decided")
    assert "Not decided" in finding.title
    assert (finding.measured[0].low, finding.measured[0].high) == (bound.low, bound.high)
    false = found(epsilon=bound.low * 0.98, **changes)["accounting.recomputed"]
    assert (false.severity, false.verdict) == ("violation", "broken")


def test_no_noise_is_no_privacy():
    finding = found(noise_multiplier=0.0)["accounting.recomputed"]
    assert finding.severity == "violation" and "infinite" in finding.title


def test_a_loader_that_shuffles_is_a_violation_where_the_lower_bound_says_so_and_else_a_risk():
    bound = epsilon_bounds(FIGURES, "shuffle")
    assert 0 < bound.low < bound.high
    low = found(epsilon=bound.low * 0.9, loader="shuffle")["sampling.loader"]
    assert low.severity == "violation"
    assert [one.measure for one in low.measured] == [
        "epsilon_if_poisson",
        "epsilon_shuffle_lower",
        "epsilon_unamplified",
    ]
    poisson, shuffled, plain = low.measured
    assert poisson.value < shuffled.low < plain.value
    between = found(epsilon=(bound.low + bound.high) / 2, loader="shuffle")["sampling.loader"]
    assert between.severity == "risk"
    assert "nothing proves" in between.title
    assert found(epsilon=bound.high * 1.01, loader="shuffle")["sampling.loader"].severity == "note"


def test_what_is_not_stated_is_named():
    finding = found(noise_multiplier=None, steps=None)["accounting.recomputed"]
    assert finding.severity == "not checked"
    assert "noise_multiplier, steps" in finding.title
    finding = found(sampling="unknown", loader="unknown")
    assert "does not state sampling" in finding["accounting.recomputed"].title
    assert len(finding["accounting.recomputed"].measured) == 3
    assert finding["sampling.loader"].severity == "not checked"


def test_full_batches_need_no_rate():
    finding = found(sampling="full batch", sample_rate=None, steps=1, epsilon=3.5)["accounting.recomputed"]
    assert finding.severity == "violation"
    assert finding.measured[0].value == pytest.approx(3.92, abs=0.01)  # the closed form of one Gaussian mechanism
    assert (
        found(sampling="full batch", sample_rate=None, steps=1, epsilon=4.0)["accounting.recomputed"].severity == "pass"
    )


def test_parts_in_turn_are_as_many_full_batches_as_an_example_is_asked_for():
    exact = dp_accounting.get_epsilon_gaussian(1.1 / 10**0.5, 1e-5)  # 500 steps, 50 parts
    in_turn = epsilon_bounds(FIGURES, "in turn")
    whole = epsilon_bounds(dataclasses.replace(FIGURES, steps=10, sample_rate=1.0), "full batch")
    assert in_turn == whole and in_turn.low == in_turn.high == pytest.approx(exact, rel=1e-6)
    finding = found(sampling="in turn", loader="in turn", epsilon=18.0)["accounting.recomputed"]
    assert (finding.severity, finding.verdict) == ("pass", "holds")


def test_replacing_one_costs_more():
    plain = epsilon_bounds(FIGURES, "poisson").high
    replacing = epsilon_bounds(dataclasses.replace(FIGURES, replace=True), "poisson").high
    assert replacing > 1.3 * plain


def test_a_fixed_batch_size_has_a_bound_but_no_proof_of_the_contrary():
    bound = epsilon_bounds(FIGURES, "fixed")
    assert bound.low == 0 and 0 < bound.high < float("inf")
    finding = found(sampling="fixed", loader="fixed", epsilon=bound.high / 2)["accounting.recomputed"]
    assert finding.severity == "risk"


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": -1.0},
        {"delta": 0.0},
        {"delta": 1.0},
        {"sample_rate": 1.5},
        {"steps": 0},
        {"noise_multiplier": -1.0},
        {"noise_multiplier": 1e-160},
        {"noise_multiplier": 1e100},
    ],
)
def test_what_cannot_be_a_claim_is_refused(change):
    (field,) = change
    with pytest.raises(UsageError, match=f"claim.{field}"):
        check_claim(replaced(**change))


@pytest.mark.parametrize(("share", "severity"), [(1.0009, "pass"), (1.0011, "violation")])
def test_a_claim_may_be_rounded_down_by_a_thousandth(share, severity):
    exact = epsilon_bounds(FIGURES, "full batch").high
    assert found(sampling="full batch", epsilon=exact / share)["accounting.recomputed"].severity == severity


@settings(deadline=None)  # a busy machine is no fault
@given(st.floats(1e-9, 1e6))
def test_bounds_in_words_lie_on_their_safe_side(value):
    low, high = float(_shown(value, up=False)), float(_shown(value, up=True))
    assert low <= value * (1 + 1e-9) and value <= high + 1e-9
    assert high - low <= 1.01 * max(1e-12, min(1e-4, value * 1e-3))


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (2.00001, "2", "2.0001"),
        (2.0, "2", "2"),
        (0.00123456, "0.001234", "0.001235"),
        (math.inf, "infinite", "infinite"),
    ],
)  # fmt: skip
def test_bounds_are_written_with_four_digits(value, low, high):
    assert (_shown(value, up=False), _shown(value, up=True)) == (low, high)


def test_the_title_of_a_claim_that_holds_rounds_its_bound_up():
    high = epsilon_bounds(FIGURES, "full batch").high
    title = found(sampling="full batch", epsilon=2 * high)["accounting.recomputed"].title
    written = float(title.split("at most ")[1].split(",")[0])
    assert high <= written < high + 1e-4


def test_what_epsilon_allows_of_an_auc():
    odds = math.exp(0.5)
    assert auc_allowed(0.5, 0.0, non_members=10**6) == pytest.approx(odds / (1 + odds), abs=1e-5)  # 0.6225
    delta = 0.01
    assert auc_allowed(0.5, delta, non_members=10**6) == pytest.approx(1 - (1 - delta) ** 2 / (1 + odds), abs=1e-5)
    assert auc_allowed(0.0, 0.0, non_members=50) == pytest.approx(0.5)
    assert auc_allowed(1000.0, 1e-5, non_members=50) == pytest.approx(1.0)
    # one non-member: which of two stands first; the mechanism that meets it gives the order, and knows one at a time
    assert auc_allowed(0.5, 0.0, non_members=1) == pytest.approx(1 - 0.5 / odds)


@pytest.mark.parametrize(("epsilon", "count"), [(0.5, 4000), (2.0, 300)])
def test_randomised_response_attains_what_epsilon_allows(epsilon, count):
    generator, areas = np.random.default_rng(0), []
    members, honest = np.arange(2 * count) < count, math.exp(epsilon) / (1 + math.exp(epsilon))
    for _ in range(200):
        scores = members ^ (generator.random(2 * count) > honest)
        roc = roc_of_scores(scores.astype(float), members)
        areas.append(auc_of_counts(roc.false_positives, roc.true_positives))
    most, error = auc_allowed(epsilon, 0.0, non_members=count), np.std(areas) / math.sqrt(200)
    assert np.mean(areas) <= most + 4 * error
    assert np.mean(areas) >= most - 4 * error - 2 / count


def attacked(shift, **changes):
    generator = np.random.default_rng(1)
    members = np.arange(800) < 400
    roc = roc_of_scores(generator.normal(size=800) + shift * members, members)
    area = auc_of_counts(roc.false_positives, roc.true_positives)
    verdict = verdict_of_curves({"loss": roc}, error=0.01)
    return attacked_claim(replaced(**changes), verdict, auc=area, subject="model")


def test_a_claim_that_an_attack_contradicts_has_the_comparison_beside_it():
    finding = attacked(1.5, epsilon=0.5)
    assert finding.severity == "risk" and "allows an AUC of at most 0.62" in finding.title
    assert "drawn at random" in finding.how and "does not refute the claim" in finding.how
    assert finding.measured[0].value < finding.measured[1].low
    assert attacked(1.5, epsilon=8.0).severity == attacked(0.0, epsilon=0.5).severity == "note"
    assert attacked(1.5, epsilon=0.5, unit="user") is None


def test_a_claim_is_written_rounded_up_wherever_it_stands():
    """Six digits to the nearest would be 1.05, 16.05 and less than was claimed."""
    assert "epsilon 1.0501 allows" in attacked(1.5, epsilon=1.0500004).title
    (noted,) = check_claim_terms(replaced(epsilon=16.050004), members=1000)
    assert noted.title.startswith("Epsilon 16.0501 promises")
    exact = epsilon_bounds(FIGURES, "poisson").high
    titles = [found(epsilon=exact * factor)["accounting.recomputed"].title for factor in (0.99, 1.5)]
    assert [at_most(exact * factor, 4) in title for factor, title in zip((0.99, 1.5), titles, strict=True)] == [
        True
    ] * 2


def test_terms_that_promise_little_are_noted():
    def noted(members=1000, **changes):
        return {one.id: one for one in check_claim_terms(replaced(**changes), members=members)}

    assert noted() == {}
    assert noted(delta=1e-3)["accounting.delta"].severity == "note" and noted(delta=0.99e-3) == {}
    assert noted(delta=1e-3, members=0) == {}
    assert "next to nothing" in noted(epsilon=1000.0)["accounting.epsilon"].title and noted(epsilon=10.0) == {}
    assert "users" in noted(unit="user")["accounting.unit"].title
