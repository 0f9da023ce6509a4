"""What differential privacy leaves to guess: never less than an attacker gets, by the best attack and in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from trustml.privacy.accounting import epsilon_of, gaussian_epsilon
from trustml.privacy.ledger import Charge
from trustml.privacy.reconstruction import most_guessed, most_guessed_of, most_guessed_of_gaussian


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
    epsilons = np.linspace(1e-3, 12, 1000)
    pairs = [*zip(epsilons.tolist(), delta_of(mu, epsilons).tolist(), strict=True)]
    for chance in (0.01, 0.1, 0.5):
        bounds = [most_guessed(epsilon=epsilon, delta=delta, chance=chance) for epsilon, delta in pairs]
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


@pytest.mark.parametrize("noise", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("chance", [1e-3, 0.01, 0.1, 0.5])
def test_the_bound_of_a_few_deltas_is_near_the_exact_one_and_never_below(noise, chance):
    exact = most_guessed_of_gaussian(noise_multiplier=noise, chance=chance)
    bound = most_guessed_of(lambda delta: gaussian_epsilon(noise**-2, delta=delta), chance=chance)
    assert exact <= bound + 1e-9 and bound <= 1.05 * exact


def poisson_steps(*, noise, rate, steps):
    return Charge(
        attempt=1, first_step=0, end_step=steps, noise_multiplier=noise, clipping_norm=1.0, sample_rate=rate,
        batch_size=10, examples=100, secret_sampling=True, participation=steps, largest_participation=steps,
        plan="p", data="d",
    )  # fmt: skip


def test_of_secret_batches_nobody_gets_more_in_simulation_and_an_attacker_gets_near():
    """The likelihood ratio of all steps picks one row of ten: the attacker of Hayes et al. 2023 who has a prior."""
    noise, rate, steps, among, trials = 0.7, 0.3, 8, 10, 4000
    charges = [poisson_steps(noise=noise, rate=rate, steps=steps)]
    bound = min(
        most_guessed(epsilon=epsilon_of(charges, delta=delta).value, delta=delta, chance=1 / among)
        for delta in (0.5, 0.3, 0.2, 0.1)
    )
    generator = np.random.default_rng(0)
    true = generator.integers(among, size=trials)
    joined = generator.random((trials, steps)) < rate
    seen = noise * generator.normal(size=(trials, steps, among))
    seen[np.arange(trials)[:, None], np.arange(steps)[None], true[:, None]] += joined
    ratios = np.log1p(rate * np.expm1((2 * seen - 1) / (2 * noise**2))).sum(axis=1)
    right = (ratios.argmax(axis=1) == true).mean()
    assert 0.6 * bound < right < bound < most_guessed_of_gaussian(noise_multiplier=noise * steps**-0.5, chance=0.1)


def test_without_noise_all_is_guessed_and_with_endless_noise_nothing_beyond_chance():
    assert most_guessed_of_gaussian(noise_multiplier=1e-3, chance=0.01) == 1.0
    assert most_guessed_of_gaussian(noise_multiplier=1e9, chance=0.01) == pytest.approx(0.01)
    assert most_guessed_of(lambda delta: 0.0, chance=0.25) == pytest.approx(0.25, rel=1e-6)
    assert most_guessed_of(lambda delta: float("inf"), chance=0.25) == 1.0
