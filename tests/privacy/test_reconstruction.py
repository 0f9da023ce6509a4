"""What differential privacy leaves to guess: never less than an attacker gets, by the best attack and in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from trustml.privacy.reconstruction import most_guessed


def delta_of(mu, epsilon):
    """Of a Gaussian mechanism with that signal (Dong, Roth and Su, 2022)."""
    return norm.cdf(mu / 2 - epsilon / mu) - np.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)


@given(st.floats(0.05, 4), st.floats(0.01, 6), st.floats(1e-3, 0.9))
def test_the_best_test_of_a_gaussian_mechanism_gets_no_more(mu, epsilon, chance):
    power = norm.cdf(norm.ppf(chance) + mu)
    assert power <= most_guessed(epsilon=epsilon, delta=float(delta_of(mu, epsilon)), chance=chance) + 1e-12


@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_over_all_pairs_the_bound_is_that_power(mu):
    """The curve of all (epsilon, delta) is the trade-off function, so that no smaller bound holds."""
    for chance in (0.01, 0.1, 0.5):
        bounds = [
            most_guessed(epsilon=e, delta=float(delta_of(mu, e)), chance=chance) for e in np.linspace(1e-3, 12, 4000)
        ]
        assert min(bounds) == pytest.approx(norm.cdf(norm.ppf(chance) + mu), rel=2e-3)


def test_who_guesses_one_of_k_by_noisy_answers_stays_below():
    generator, k, mu, trials = np.random.default_rng(0), 10, 1.0, 20_000
    true = generator.integers(k, size=trials)
    seen = mu * np.eye(k)[true] + generator.normal(size=(trials, k))  # what is there moves one of k answers
    right = (seen.argmax(axis=1) == true).mean()
    assert right < min(most_guessed(epsilon=e, delta=float(delta_of(mu, e)), chance=1 / k) for e in (0.5, 1, 2, 3))


def test_ends():
    assert most_guessed(epsilon=float("inf"), delta=0.0, chance=0.2) == 1.0
    assert most_guessed(epsilon=1e4, delta=0.0, chance=0.2) == 1.0
    assert most_guessed(epsilon=0.0, delta=0.0, chance=0.2) == 0.2
