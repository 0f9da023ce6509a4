"""Distinguishing games: right steps are let through, broken ones are caught, and the rest is on a list with reasons."""

from __future__ import annotations

import numpy as np
import pytest

from tests import WHOLE
from tests.conformance.broken import BROKEN_STEPS, data, factory
from tests.conformance.special_pairs import NOT_DETECTABLE, TRIALS, special_pairs
from trustml.conformance import StepSettings
from trustml.conformance.games import (
    candidate_pairs,
    judge,
    play,
    worst_pair,
)
from trustml.errors import UsageError

SETTINGS = StepSettings(noise_multiplier=2.0, seed=10)
DELTA, CONFIDENCE = 1e-5, 0.99
# Which pair shows it, and in how many trials; "worst" is what the search without noise finds.
CAUGHT = {
    "no clipping": ("worst", 1000),
    "clipping the batch mean": ("worst", 1000),
    "noise scaled by the batch twice": ("worst", 1000),
    "sensitivity halved": ("worst", TRIALS),
    "BatchNorm let through": ("worst", 1000),
    "groups of examples clipped": ("worst", 5000),
    "noise on every micro-batch": ("micro-batch", 8000),
    "division by the batch at hand": ("beside one", 2000),
    "NaN spoils the batch": ("not a number", 500),
    "no noise on an empty batch": ("alone", 500),
    "uniform noise": ("one feature", 8000),
    "noise reused between steps": ("next step", 500),
    "noise does not depend on the run": ("another run", 500),
}
TWICE_THE_CLAIM = (
    "no clipping",
    "clipping the batch mean",
    "noise scaled by the batch twice",
    "sensitivity halved",
)


def the_pair(name, make_step):
    return worst_pair(make_step, *data(), SETTINGS) if name == "worst" else special_pairs(*data())[name]


def result(make_step, pair, *, trials, confidence=CONFIDENCE, settings=SETTINGS):
    present, absent = play(make_step, pair, settings, trials=trials)
    return judge(present, absent, noise_multiplier=2.0, delta=DELTA, confidence=confidence)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long if CAUGHT[name][1] >= 5000 else ()) for name in CAUGHT],
)
def test_a_broken_step_is_caught(name):
    make_step = factory(BROKEN_STEPS[name][0])
    pair, trials = CAUGHT[name]
    found = result(make_step, the_pair(pair, make_step), trials=trials)
    assert found.violated, (found.bound.epsilon, found.claim)


def test_every_broken_step_is_caught_or_on_the_list_of_what_cannot_be():
    assert set(BROKEN_STEPS) == set(CAUGHT) | set(NOT_DETECTABLE)
    assert not set(CAUGHT) & set(NOT_DETECTABLE)
    assert set(TWICE_THE_CLAIM) <= set(CAUGHT)


@pytest.mark.parametrize("name", NOT_DETECTABLE)
def test_what_is_on_the_list_moves_the_sum_by_less_than_two_clipping_norms(name):
    # So its epsilon is below that of the halved sensitivity, the hardest that is caught.
    make_step = factory(BROKEN_STEPS[name][0])
    pair = worst_pair(make_step, *data(), SETTINGS)
    quiet = make_step(StepSettings())
    inside, outside = (
        np.concatenate([part.ravel() for part in quiet(*pair.batch(there), 0).values()]) for there in (True, False)
    )
    assert 1.01 < 16 * np.linalg.norm(inside - outside) < 1.95


def test_at_most_a_tenth_of_honest_games_are_flagged():
    flagged, runs = 0, 200 if WHOLE else 60
    pairs = [worst_pair(factory(), *data(), SETTINGS), *special_pairs(*data()).values()]
    for run in range(runs):
        settings = StepSettings(noise_multiplier=2.0, seed=1000 + 10 * run)
        flagged += result(factory(), pairs[run % len(pairs)], trials=60, confidence=0.95, settings=settings).violated
    assert flagged <= runs // 10


def test_an_honest_game_of_that_size_can_flag_at_all():
    make_step = factory(BROKEN_STEPS["no clipping"][0])
    assert result(make_step, the_pair("worst", make_step), trials=60, confidence=0.95).violated


def test_a_right_step_is_a_gaussian_mechanism_of_its_claim():
    make_step = factory()
    present, absent = play(make_step, the_pair("alone", make_step), SETTINGS, trials=3000)
    # Standard errors: 2 / sqrt(3000) of a mean, 2 / sqrt(6000) of a deviation; five of them.
    assert present.mean() == pytest.approx(1, abs=0.19)
    assert absent.mean() == pytest.approx(0, abs=0.19)
    assert [present.std(), absent.std()] == pytest.approx([2, 2], abs=0.13)
    assert abs(np.corrcoef(present, absent)[0, 1]) < 0.1
    assert not judge(present, absent, noise_multiplier=2.0, delta=DELTA, confidence=0.99).violated


def test_worlds_differ_by_one_example():
    for pair in (*candidate_pairs(*data()), *special_pairs(*data()).values()):
        (more, labels), (less, fewer) = pair.batch(True), pair.batch(False)
        assert len(more) == len(labels) == len(less) + 1 == len(fewer) + 1
        np.testing.assert_array_equal(more[:-1], less)
        assert more.dtype == np.float32


def test_progress_ends_with_all_steps():
    told = []
    play(factory(), the_pair("alone", factory()), SETTINGS, trials=70, tell=lambda *counts: told.append(counts))
    assert told == [(50, 140), (100, 140), (140, 140)]


def test_what_cannot_be_played_is_refused():
    inputs, _ = data()
    with pytest.raises(UsageError, match="labels: 1 class"):
        special_pairs(inputs, np.zeros(len(inputs), np.int64))
    with pytest.raises(UsageError, match="trials: 1"):
        play(factory(), the_pair("alone", factory()), SETTINGS, trials=1)
    with pytest.raises(UsageError, match="noise_multiplier"):
        judge(np.arange(3.0), np.arange(3.0), noise_multiplier=0.0, delta=DELTA, confidence=0.9)
