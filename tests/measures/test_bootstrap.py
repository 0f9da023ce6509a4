"""Intervals of the bootstrap without drawing: against all resamples there are, and the binomial law."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from scipy.stats import binom

from trustml.attacks.estimates import quantile_error
from trustml.measures.bootstrap import mean_ends, median_ends, ratio_ends
from trustml.measures.means import mean_with_interval, redraw_error
from trustml.measures.resampling import ENDS, RESAMPLES, estimates, roc_auc_of

GENERATOR = np.random.default_rng(0)
SKEWED = GENERATOR.exponential(size=7)
OTHER = GENERATOR.exponential(size=7) + 0.1


def every_resample(count):
    return np.array(list(itertools.product(range(count), repeat=count)))


@pytest.mark.parametrize("count", [2, 3, 5, 6])
def test_ends_are_those_of_all_resamples(count):
    values, rows = SKEWED[:count], every_resample(count)
    for confidence in (0.8, 0.95, 0.99):
        shares = [(1 - confidence) / 2, (1 + confidence) / 2]
        medians = np.quantile(np.median(values[rows], axis=1), shares, method="inverted_cdf")
        np.testing.assert_allclose(median_ends(values, confidence=confidence), medians, rtol=1e-12)
        if count < 6:
            continue  # too few places for ends to be near one another
        error = values.std() / count**0.5
        means = np.quantile(values[rows].mean(axis=1), shares)
        np.testing.assert_allclose(mean_ends(values, confidence=confidence), means, atol=0.02 * error)
        ratios = np.quantile(values[rows].sum(axis=1) / OTHER[:count][rows].sum(axis=1), shares)
        np.testing.assert_allclose(ratio_ends(values, OTHER[:count], confidence=confidence), ratios, rtol=0.01)


@pytest.mark.parametrize(("hits", "count"), [(5, 12), (1, 500), (180, 200), (4000, 10_000)])
def test_the_mean_of_zeros_and_ones_is_binomial(hits, count):
    values = np.repeat([1.0, 0.0], [hits, count - hits])
    expected = binom.ppf(ENDS, count, hits / count) / count
    np.testing.assert_allclose(mean_ends(values), expected, atol=0.03 * values.std() / count**0.5)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_ends_follow_scale_and_place_and_no_draw(scale):
    values = GENERATOR.normal(size=300) + 2
    low, high = mean_ends(values)
    found = mean_ends(scale * (values - 5))
    np.testing.assert_allclose(found, [scale * (low - 5), scale * (high - 5)], rtol=1e-6)
    assert mean_ends(np.full(9, scale)) == (scale, scale)
    assert mean_ends(values[::-1]) == pytest.approx((low, high), rel=1e-9)
    mean = mean_with_interval(np.array([0.0, np.nan, 1.0]))
    assert (mean.low, mean.value, mean.high, mean.n) == (0.0, 0.5, 1.0, 2)


def test_other_draws_move_drawn_ends_by_the_error_that_is_told():
    draws = GENERATOR.exponential(size=(400, RESAMPLES))
    for share in ENDS:
        told = np.mean([quantile_error(one, share) for one in draws])
        assert told == pytest.approx(np.quantile(draws, share, axis=1).std(), rel=0.25)
    scores, positive = GENERATOR.random(60), np.arange(60) % 2 == 0
    found = estimates({"auc": roc_auc_of(scores, positive)}, examples=60)["auc"]
    assert 0.003 < found.facts["ends_error"] < 0.05 and found.low < found.value < found.high


def test_another_draw_that_all_examples_share_moves_their_mean_as_a_whole():
    first, second = GENERATOR.normal(size=(2, 4000))
    each = np.zeros(50)
    errors = [redraw_error(each + a, each + b) for a, b in zip(first, second, strict=True)]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(1.0, rel=0.05)  # the spread of the mean
    assert redraw_error(each, np.full(50, np.nan)) is None


@pytest.mark.parametrize("tiny", [1e-6, 1e-12, 1e-15, 5e-324])
def test_one_tiny_change_leaves_the_ends_of_a_ratio_where_they_are(tiny):
    generator = np.random.default_rng(1)
    below = generator.uniform(0.2, 0.9, size=64)
    above = below * generator.uniform(0, 0.03, size=64)
    above[0] = below[0] = 0
    expected = ratio_ends(above, below, confidence=0.95)
    above[0], below[0] = tiny / 100, tiny
    np.testing.assert_allclose(ratio_ends(above, below, confidence=0.95), expected, rtol=1e-4)
    rows = generator.integers(64, size=(4000, 64))
    drawn = np.quantile(above[rows].sum(axis=1) / below[rows].sum(axis=1), ENDS)
    np.testing.assert_allclose(expected, drawn, rtol=0.03)


def test_many_examples_widen_no_interval():
    values = np.random.default_rng(2).normal(size=400_000)
    low, high = mean_ends(values)
    assert (high - low) / (2 * 1.95996 * values.std() / len(values) ** 0.5) == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("outlier", [None, 1e300])
def test_the_median_of_many_is_that_of_resamples_and_takes_no_time_of_pairs(outlier):
    generator = np.random.default_rng(3)
    values = generator.normal(size=6000)  # a matrix of all pairs would be 288 MB
    values[0] = outlier or values[0]
    tracemalloc.start()
    found = median_ends(values, confidence=0.95)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
    drawn = np.quantile([np.median(generator.choice(values, 6000)) for _ in range(800)], ENDS)
    np.testing.assert_allclose(found, drawn, atol=0.006)
