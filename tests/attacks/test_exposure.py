"""Exposure of canary sequences: by hand, where they are remembered, and where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trustml.attacks.exposure import _ends, _log_tail, exposure_of, ranked_exposures
from trustml.errors import DataError

SKEWED = stats.skewnorm(-3)


def drawn(*, remembered=0.0, seed=0, canaries=60, references=999, law=SKEWED):
    """Losses of canaries, whose trained ones are lower by so much, and of others."""
    generator = np.random.default_rng(seed)
    included = generator.random(canaries) < 0.5
    losses = law.rvs(canaries, random_state=generator) - remembered * included
    return losses, included, law.rvs(references, random_state=generator)


def test_ranks_by_hand():
    references = np.array([3.0, 1.0, 2.0])
    found = ranked_exposures(np.array([0.5, 1.0, 1.5, 9.0]), references)
    np.testing.assert_allclose(found, [2.0, 1.0, 1.0, 0.0])  # an equal one ranks before


def test_what_is_not_remembered_has_the_exposure_of_chance():
    wrong = 0
    for seed in range(40):
        found = exposure_of(*drawn(seed=seed), confidence=0.95)
        wrong += found.p_value <= 0.05
        assert 0.5 < found.mean < 3 and found.untrained < 3
    assert wrong <= 6
    large = exposure_of(*drawn(canaries=4000))
    assert large.mean == pytest.approx(np.log2(np.e), abs=0.2)
    assert large.mean == pytest.approx(large.untrained, abs=0.1)


def test_what_is_remembered_is_exposed_beyond_what_ranks_can_tell():
    found = exposure_of(*drawn(remembered=4.0))
    assert found.p_value < 1e-6 and found.low > 7 > 3 > found.untrained
    assert found.high is None and found.mean <= found.most == pytest.approx(np.log2(1000))
    assert found.fit > 0.01 and found.extrapolated > found.most > found.extrapolated_untrained
    losses, included, references = drawn(remembered=4.0)
    exact = -stats.skewnorm(-3).logcdf(losses[included].min()) / np.log(2)
    assert found.extrapolated == pytest.approx(exact, rel=0.35)  # far in the tail, by estimated moments
    mirrored = exposure_of(losses, ~included, references)
    assert mirrored.p_value > 0.99


def test_losses_of_another_law_are_not_extrapolated():
    found = exposure_of(*drawn(remembered=4.0, law=stats.uniform()))
    assert found.extrapolated is None and found.fit < 0.01 and found.mean > 9


def test_too_few_are_refused():
    losses, included, references = drawn(canaries=4)
    for parts in ((losses, np.zeros(4, bool), references), (losses, included, references[:10])):
        with pytest.raises(DataError, match="too few; give more"):
            exposure_of(*parts)


@pytest.mark.parametrize(
    ("count", "remembered"),
    [
        (10, 0.0),
        (50, 2.5),
        pytest.param(500, 0.0, marks=pytest.mark.long),
        pytest.param(500, 2.5, marks=pytest.mark.long),
    ],
)
def test_the_interval_holds_over_canaries_and_over_the_sequences_they_are_ranked_among(count, remembered):
    """At 95 %; an interval that took the sequences as given missed as often as 42 times in 100."""
    generator, references, runs = np.random.default_rng(0), 199, 200
    ends, means = [], []
    for _ in range(runs):
        losses, others = generator.normal(size=2 * count), generator.normal(size=references)
        included = np.arange(2 * count) < count
        bits = ranked_exposures(losses[included] - remembered, others)
        low, high = _ends(losses[included] - remembered, bits, others, confidence=0.95)
        ends.append((low, high if high < np.log2(references + 1) else np.inf))
        means.append(bits.mean())
    lows, highs = np.array(ends).T
    true = np.mean(means)
    assert ((lows > true) | (highs < true)).mean() < 0.09


def test_where_all_rank_first_the_interval_has_no_upper_end_and_a_width():
    losses, included, references = drawn(remembered=50.0)
    found = exposure_of(losses, included, references)
    assert found.mean == found.most and found.high is None and 7 < found.low < found.most - 0.5
    before = exposure_of(losses, included, references, as_before=True)
    assert before.low == pytest.approx(before.high) == pytest.approx(before.most)  # as if that were certain


@pytest.mark.parametrize("shape", [-3.0, -0.5, 0.0, 0.5, 3.0])
def test_the_tail_of_the_law_is_that_of_its_distribution_and_goes_on_beyond_the_smallest_number(shape):
    for value in (-9.0, -6.0):
        assert _log_tail(value, shape) == pytest.approx(stats.skewnorm(shape).logcdf(value), rel=1e-7)
    bend = 1 + max(shape, 0.0) ** 2
    for value in (-60.0, -1000.0):
        assert -np.inf == stats.skewnorm(shape).logcdf(value) < _log_tail(value, shape)
        assert _log_tail(value, shape) == pytest.approx(-(value**2) * bend / 2, rel=0.01)


@pytest.mark.parametrize("remembered", [10.0, 60.0, 1000.0])
def test_the_strongest_memorisation_is_extrapolated_too(remembered):
    losses, included, references = drawn(remembered=remembered)
    found = exposure_of(losses, included, references)
    assert found.fit > 0.01 and found.extrapolated > 0.5 * remembered**2
    before = exposure_of(losses, included, references, as_before=True)
    assert (before.extrapolated is None) == (remembered > 50)


def test_losses_that_are_not_finite_are_refused():
    losses, included, references = drawn()
    losses[3] = np.nan
    with pytest.raises(DataError, match="some losses are not finite"):
        exposure_of(losses, included, references)
