"""Lower bounds: against closed forms, against jax-privacy, and against mechanisms of known epsilon."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from tests.attacks.auditing_peer import jax_privacy_auditing
from trustml.attacks.bounds import gaussian_estimate, many_run_bound, one_run_bound, one_run_fdp_bound
from trustml.attacks.guesses import count_guesses, fdp_epsilon, gaussian_mu, one_run_epsilon, one_run_p_value
from trustml.errors import DataError, EnvironmentMissingError, UsageError
from trustml.privacy.accounting import gaussian_epsilon

ROOT = Path(__file__).resolve().parents[2]
DELTA = 1e-5
COUNTS = ((1000, 500, 400), (1000, 990, 700), (2000, 500, 470), (200, 30, 29), (1000, 16, 16))


@pytest.fixture(scope="module")
def peer():
    return jax_privacy_auditing()


def asked(peer, m, guesses, correct):
    """The peer's auditor with so many guesses; whoever abstains has the lower score."""
    inside = np.r_[np.ones(correct), np.zeros(5)]
    outside = np.r_[np.ones(guesses - correct), np.zeros(m - 5 - guesses)]
    return peer.CanaryScoreAuditor(inside, outside)


@pytest.mark.parametrize(
    ("m", "guesses", "correct"),
    [
        pytest.param(*counts, marks=pytest.mark.long if counts[0] > 1000 or counts[1] == 990 else ())
        for counts in COUNTS
    ],
)
def test_one_run_agrees_with_jax_privacy_at_a_fixed_threshold(peer, m, guesses, correct):
    at = peer.Explicit(0.5)
    auditor = asked(peer, m, guesses, correct)
    ours = one_run_epsilon(m, guesses, correct, delta=DELTA, significance=0.05)
    assert ours == pytest.approx(auditor.epsilon_one_run(0.05, DELTA, threshold_strategy=at), abs=1e-5)  # its xtol
    ours = fdp_epsilon(m, guesses, correct, delta=DELTA, significance=0.05)
    theirs = auditor.epsilon_one_run_fdp(0.05, DELTA, threshold_strategy=at)
    assert ours == pytest.approx(theirs, abs=2e-5)  # a bisection of 50 in 22 steps


def test_the_peers_many_run_bound_at_a_fixed_cut_is_clopper_pearson(peer):
    auditor = peer.CanaryScoreAuditor(np.r_[np.ones(900), np.zeros(100)], np.r_[np.ones(30), np.zeros(970)])
    theirs = auditor.epsilon_clopper_pearson(0.05, DELTA, threshold_strategy=peer.Explicit(0.5))
    closed = math.log((beta.ppf(0.025, 900, 101) - DELTA) / beta.ppf(0.975, 31, 970))
    assert theirs == pytest.approx(closed, rel=1e-9)


def test_the_many_run_bound_is_its_formula_written_again():
    generator = np.random.default_rng(0)
    present, absent = generator.normal(1.5, 1, 4000), generator.normal(0, 1, 3000)
    found = 0.0
    for hits, misses in ((present, absent), (-absent, -present)):
        ranks = [4**j for j in range(20) if 4**j <= len(misses) // 2]
        each = 0.05 / 2 / len(ranks)
        for rank in ranks:
            cut = np.sort(misses)[-rank]
            above = int((hits > cut).sum())
            # One-sided Clopper-Pearson: as many above the cut as there are, rank - 1 of the misses.
            false = beta.ppf(1 - 0.75 * each, rank, len(misses) - rank + 1)
            true = beta.ppf(0.25 * each, above, len(hits) - above + 1)
            found = max(found, math.log((true - DELTA) / false))
    bound = many_run_bound(present, absent, delta=DELTA, confidence=0.95)
    assert bound.epsilon == pytest.approx(found, rel=1e-9)
    assert (bound.n, bound.assumes) == (7000, "")


def test_the_p_value_without_delta_is_a_binomial_tail():
    share = math.exp(1.2) / (1 + math.exp(1.2))
    assert one_run_p_value(100, 40, 35, epsilon=1.2, delta=0) == pytest.approx(binom.sf(34, 40, share))
    assert one_run_p_value(100, 40, 0, epsilon=1.2, delta=DELTA) == 1
    assert one_run_p_value(100, 40, 35, epsilon=1.2, delta=DELTA) > one_run_p_value(100, 40, 35, epsilon=1.2, delta=0)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_many_run_bounds_are_right_as_often_as_they_say_where_every_cut_is_worst(epsilon):
    # Laplace noise: in its tails, every cut has exactly the ratio exp(epsilon), so picking the best one would show.
    generator, wrong = np.random.default_rng(int(10 * epsilon)), 0
    for _ in range(400):
        present, absent = generator.laplace(epsilon, 1, 400), generator.laplace(0, 1, 400)
        wrong += many_run_bound(present, absent, delta=0, confidence=0.8).epsilon > epsilon + 1e-12
    assert wrong <= 0.2 * 400


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 3.0])
def test_one_run_bounds_are_right_as_often_as_they_say_against_randomised_response(epsilon):
    # Every coin is told truly with probability e^eps / (1 + e^eps): nothing is closer to what the theorem allows.
    generator, wrong, shown = np.random.default_rng(1), 0, []
    truth = math.exp(epsilon) / (1 + math.exp(epsilon))
    for _ in range(300):
        coins = generator.random(400) < 0.5
        scores = np.where(generator.random(400) < truth, coins, ~coins).astype(float)
        shown.append(one_run_bound(scores, coins, delta=1e-9, confidence=0.8).epsilon)
        wrong += shown[-1] > epsilon
    assert wrong <= 0.2 * 300
    assert np.median(shown) > 0.4 * epsilon  # and they are worth something


def test_one_run_bounds_are_right_against_gaussian_mechanisms():
    for judge in (one_run_bound, one_run_fdp_bound):
        generator, wrong = np.random.default_rng(2), 0
        mu = gaussian_mu(1.0, DELTA)
        for _ in range(60):
            coins = generator.random(300) < 0.5
            scores = generator.normal(0, 1, 300) + mu * coins
            wrong += judge(scores, coins, delta=DELTA, confidence=0.9).epsilon > 1.0
        assert wrong <= 6


def test_the_peers_gaussian_figure_is_no_bound(peer):
    # Why it is not used: without any signal it claims an epsilon. If a later version fixes it, this fails.
    generator = np.random.default_rng(0)
    assert (
        peer.CanaryScoreAuditor(generator.normal(size=100), generator.normal(size=100)).epsilon_from_gdp(0.05, DELTA)
        > 1
    )
    scores = generator.normal(size=(2, 100))
    assert many_run_bound(*scores, delta=DELTA, confidence=0.95).epsilon == 0


@given(st.integers(0, 2**31), st.sampled_from([0.0, 1e-5, 0.01]))
def test_bounds_do_not_depend_on_the_scale_of_scores(seed, delta):
    generator = np.random.default_rng(seed)
    present, absent = generator.normal(2, 1, 60), generator.normal(0, 1, 50)
    one = many_run_bound(present, absent, delta=delta, confidence=0.9)
    other = many_run_bound(np.exp(present), np.exp(absent), delta=delta, confidence=0.9)
    assert one.epsilon == other.epsilon
    assert many_run_bound(-absent, -present, delta=delta, confidence=0.9).epsilon == one.epsilon
    assert many_run_bound(present, absent, delta=delta, confidence=0.99).epsilon <= one.epsilon


def test_ties_are_broken_without_looking_at_the_coins():
    coins = np.arange(1000) < 500  # sorted: a sort that keeps the order would guess them all
    guesses, correct = count_guesses(np.zeros(1000), coins, name="canaries")
    assert list(guesses) == [16, 32, 62, 124, 250, 500, 1000]
    assert one_run_bound(np.zeros(1000), coins, delta=DELTA, confidence=0.95).epsilon == 0
    assert abs(int(correct[-1]) - 500) < 80


def test_scores_of_the_wrong_sign_show_nothing():
    generator = np.random.default_rng(5)
    coins = generator.random(500) < 0.5
    assert one_run_bound(-1.0 * coins, coins, delta=DELTA, confidence=0.95).epsilon == 0
    assert one_run_fdp_bound(-1.0 * coins, coins, delta=DELTA, confidence=0.95).epsilon == 0
    assert many_run_bound(np.zeros(50), np.ones(50), delta=DELTA, confidence=0.95).epsilon == 0


def test_the_estimate_is_near_the_truth_and_says_infinity_where_nothing_varies():
    generator = np.random.default_rng(0)
    found = gaussian_estimate(generator.normal(3.5, 2, 20_000), generator.normal(3, 2, 20_000), delta=DELTA)
    assert found == pytest.approx(gaussian_epsilon(0.25**2, delta=DELTA), rel=0.15)  # mu has a standard error of 4 %
    assert gaussian_estimate(np.ones(5), np.zeros(5), delta=DELTA) == math.inf
    assert gaussian_estimate(np.zeros(5), np.ones(5), delta=DELTA) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: many_run_bound([1.0, math.nan], [0.0, 1.0], delta=0, confidence=0.9), "scores.present: score 1"),
        (lambda: many_run_bound([1.0, 2.0], [0.0], delta=0, confidence=0.9), "at least 2 scores"),
        (lambda: many_run_bound([[1.0, 2.0]], [0.0, 1.0], delta=0, confidence=0.9), "one dimension"),
        (lambda: many_run_bound(["a", "b"], [0.0, 1.0], delta=0, confidence=0.9), "not an array of numbers"),
        (lambda: one_run_bound([1.0, 2.0], [1, 0], delta=DELTA, confidence=0.9), "give bool"),
        (lambda: one_run_bound([1.0, 2.0], [True, True], delta=DELTA, confidence=0.9), "fell alike"),
        (lambda: one_run_bound([1.0, 2.0, 3.0], [True, False], delta=DELTA, confidence=0.9), "shape"),
    ],
)
def test_scores_that_cannot_be_judged_are_refused(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_levels_that_are_none_are_refused():
    scores, coins = np.arange(4.0), np.array([True, False, True, False])
    with pytest.raises(UsageError, match="delta: 0 is not inside"):
        one_run_bound(scores, coins, delta=0, confidence=0.9)
    with pytest.raises(UsageError, match=r"confidence: 1\.0"):
        one_run_fdp_bound(scores, coins, delta=DELTA, confidence=1.0)
    with pytest.raises(UsageError, match="delta: 1"):
        many_run_bound(scores, scores, delta=1, confidence=0.9)


@pytest.mark.long
def test_the_peer_is_loaded_without_jax():
    code = (
        "import sys; from tests.attacks.auditing_peer import jax_privacy_auditing as load\n"
        "assert load() is load() and load().CanaryScoreAuditor\n"
        "assert not {'jax', 'jax_privacy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_a_missing_peer_says_how_to_get_it(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    from tests.attacks import auditing_peer

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(auditing_peer, "distribution", missing)
    with pytest.raises(EnvironmentMissingError, match="pip install --no-deps jax-privacy"):
        auditing_peer.jax_privacy_auditing.__wrapped__()
