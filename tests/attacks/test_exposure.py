"""Exposure of canary sequences: by hand, where they are remembered, and where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trustml.attacks.exposure import exposure_of, ranked_exposures
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
    assert found.mean <= found.high <= found.most == pytest.approx(np.log2(1000))
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
