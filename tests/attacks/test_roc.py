"""ROC curves: closed forms, invariances, exact counts, and intervals that cover."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from trustml.attacks.estimates import NOT_ESTIMABLE
from trustml.attacks.roc import (
    Roc,
    auc_estimate,
    auc_lower_bound,
    auc_of_counts,
    compress,
    delong_variance,
    roc_of_scores,
    tpr_at_fpr,
    true_positives_at,
)
from trustml.errors import UsageError

SCORED = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=4, max_size=60)


def arrays(scored):
    scores, members = np.array([s for s, _ in scored], float), np.array([m for _, m in scored])
    assume(members.any() and not members.all())
    return scores, members


def area(roc):
    return auc_of_counts(roc.false_positives, roc.true_positives)


@given(SCORED)
def test_the_area_is_the_share_of_pairs_in_order(scored):
    scores, members = arrays(scored)
    ins, outs = scores[members][:, None], scores[~members]
    assert area(roc_of_scores(scores, members)) == ((ins > outs).sum() + (ins == outs).sum() / 2) / (
        ins.size * outs.size
    )


@given(SCORED)
def test_monotone_transforms_change_nothing_and_swapping_mirrors(scored):
    scores, members = arrays(scored)
    roc = roc_of_scores(scores, members)
    assert roc_of_scores(np.exp(scores) * 7 + 1, members) == roc
    assert area(roc_of_scores(scores, ~members)) == pytest.approx(1 - area(roc), abs=1e-12)
    assert area(roc_of_scores(-scores, ~members)) == area(roc)


@given(SCORED)
def test_compression_changes_no_figure(scored):
    scores, members = arrays(scored)
    roc = roc_of_scores(scores, members)
    small = compress(roc)
    assert len(small.false_positives) <= len(roc.false_positives) and compress(small) == small
    assert (small.members, small.non_members) == (roc.members, roc.non_members)
    assert area(small) == area(roc)
    np.testing.assert_allclose(delong_variance(small), delong_variance(roc), rtol=1e-9, atol=1e-15)
    for fpr in np.linspace(0.01, 0.99, 40):
        assert true_positives_at(small, fpr) == true_positives_at(roc, fpr)


def test_a_gaussian_shift_has_its_area_and_its_tpr():
    grid = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    roc = roc_of_scores(np.concatenate([grid + 1.0, grid]), np.arange(40_000) < 20_000)
    assert area(roc) == pytest.approx(norm.cdf(1 / 2**0.5), abs=1e-4)
    for fpr in (0.001, 0.01, 0.1):
        # the threshold is the first non-member that is not let in: half a step beyond the share that is
        expected = norm.sf(norm.isf(fpr + 0.5 / 20_000) - 1)
        assert tpr_at_fpr(roc, fpr).value == pytest.approx(expected, abs=1 / 20_000)


def test_delong_is_the_variance_of_placements():
    generator = np.random.default_rng(4)
    scores, members = generator.integers(0, 9, 70) * 1.0, np.arange(70) < 30
    ins, outs = scores[members], scores[~members]
    wins = (ins[:, None] > outs) + 0.5 * (ins[:, None] == outs)
    expected = wins.mean(1).var(ddof=1) / 30 + wins.mean(0).var(ddof=1) / 40
    assert delong_variance(roc_of_scores(scores, members)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shift", [1.0, *(pytest.param(one, marks=pytest.mark.long) for one in (0.0, 2.5))])
def test_bounds_of_the_area_cover(shift):
    generator = np.random.default_rng(int(shift * 10))
    members = np.arange(120) < 40
    truth, runs = norm.cdf(shift / 2**0.5), 800
    wrong = np.zeros(3)
    for _ in range(runs):
        roc = roc_of_scores(generator.normal(size=120) + shift * members, members)
        found = auc_estimate(roc, confidence=0.9)
        wrong += [found.low > truth, found.high < truth, auc_lower_bound(roc, confidence=0.99) > truth]
    # 5, 5 and 1 in 100, and three standard deviations of counting
    assert wrong[0] <= 40 + 19 and wrong[1] <= 40 + 19 and wrong[2] <= 8 + 9
    # an interval that is always right is too wide to be of use, where there is room on both sides
    assert shift > 2 or wrong[:2].min() >= 5


def test_perfect_and_constant_scores():
    members = np.arange(100) < 50
    perfect = auc_estimate(roc_of_scores(members * 1.0, members))
    assert perfect.value == 1.0 == perfect.high and perfect.low == pytest.approx(0.025 ** (1 / 50))
    worst = auc_estimate(roc_of_scores(-1.0 * members, members))
    assert worst.value == 0.0 == worst.low and worst.high == pytest.approx(1 - perfect.low)
    flat = auc_estimate(roc_of_scores(np.zeros(100), members))
    assert flat.value == 0.5 and flat.low < 0.42 and flat.high > 0.58
    assert auc_lower_bound(roc_of_scores(members * 1.0, members), confidence=0.99) == pytest.approx(0.01 ** (1 / 50))


def test_one_member_is_too_few_for_an_interval():
    roc = roc_of_scores(np.array([2.0, 1.0, 0.0]), np.array([True, False, False]))
    found = auc_estimate(roc)
    assert (found.value, found.low, found.high, found.note) == (1.0, None, None, NOT_ESTIMABLE)
    assert auc_lower_bound(roc, confidence=0.9) == 0.0


def test_a_tpr_is_reported_only_with_ten_false_positives_to_spare():
    members = np.arange(1999) < 1000
    scores = -np.arange(1999.0)
    short = tpr_at_fpr(roc_of_scores(scores, members), 0.01)
    assert (short.value, short.low, short.note) == (None, None, NOT_ESTIMABLE)
    enough = tpr_at_fpr(roc_of_scores(np.append(scores, -5000.0), np.append(members, False)), 0.01)
    assert enough.value == 1.0 and enough.low == pytest.approx(0.025 ** (1 / 1000)) and enough.high == 1.0


def test_a_tpr_never_interpolates_over_a_tie():
    # the strictest threshold lets in half of all at once: below that FPR nobody can be called
    scores, members = np.repeat([1.0, 0.0], 1000), np.tile([True, False], 1000)
    assert tpr_at_fpr(roc_of_scores(scores, members), 0.1).value == 0.0


def test_bad_scores_are_named():
    members = np.array([True, False, False])
    with pytest.raises(UsageError, match="1 are not a number"):
        roc_of_scores(np.array([1.0, np.nan, 0.0]), members)
    with pytest.raises(UsageError, match="3 of 3 are members"):
        roc_of_scores(np.zeros(3), np.ones(3, bool))
    with pytest.raises(UsageError, match="0 of 3 are members"):
        roc_of_scores(np.zeros(3), np.zeros(3, bool))
    with pytest.raises(UsageError, match="one bool for every score"):
        roc_of_scores(np.zeros(3), np.array([1, 0, 0]))
    with pytest.raises(UsageError, match="fpr"):
        tpr_at_fpr(roc_of_scores(np.zeros(3), members), 1.0)
    with pytest.raises(UsageError, match="confidence"):
        auc_estimate(roc_of_scores(np.zeros(3), members), confidence=95)
    for false, true in [((1, 0), (1, 1)), ((1,), (1, 2)), ((0,), (1,)), ((), ())]:
        with pytest.raises(UsageError, match="roc"):
            Roc(false_positives=false, true_positives=true)


@given(st.integers(1, 10**9), st.integers(1, 10**9))
@settings(max_examples=20)
def test_large_counts_do_not_overflow(false, true):
    assert auc_of_counts((0, false * 10**9), (true * 10**9, true * 10**9)) == 1.0
