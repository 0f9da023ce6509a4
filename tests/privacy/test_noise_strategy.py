"""Noise strategies against the dense matrices they stand for, and their sensitivity against every pattern."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_triangular

from trustml.errors import PrivacyError
from trustml.privacy.noise_strategy import (
    MOST_BANDS,
    BandedToeplitz,
    BufferedLinearToeplitz,
    IndependentVectors,
    NoiseStream,
    TreeNodes,
    banded_coefficients,
    banded_error,
    noise_matrix,
    noise_strategy,
    square_root_coefficients,
    toeplitz_buffers,
)
from trustml.scenario.federated import BandedMatrix, BufferedToeplitz, IndependentNoise, TreeAggregation

MECHANISMS = [
    IndependentNoise(), TreeAggregation(), BandedMatrix(), BandedMatrix(bands=3), BufferedToeplitz(),
    BufferedToeplitz(buffers=1),
]  # fmt: skip


def squared_sensitivity(matrix: np.ndarray, *, separation: int) -> float:
    """Bound the squared sensitivity of any C for examples that take part every `separation` steps.

    With columns whose products are not negative it is exact; else products count by their size (Choquette-Choo et al.,
    ICML 2023, arXiv 2211.06530, theorem 2).
    """
    products = np.abs(matrix.T @ matrix)
    steps = len(matrix)
    return max(float(products[first::separation, first::separation].sum()) for first in range(min(separation, steps)))


def nodes_of_running_sums(steps: int) -> np.ndarray:
    """C of a tree: row t sums the leaves below the highest node that ends at step t."""
    rows = np.zeros((steps, steps))
    for step in range(steps):
        size = (step + 1) & -(step + 1)
        rows[step, step + 1 - size : step + 1] = 1
    return rows


def banded(steps: int, bands: int) -> np.ndarray:
    factor = sum(c * np.eye(steps, k=-k) for k, c in enumerate(banded_coefficients(bands, steps)))
    return factor / np.linalg.norm(factor, axis=0)


def blt(steps: int, buffers: int) -> np.ndarray:
    decays, weights = toeplitz_buffers(buffers, steps)
    rest = [float((weights * decays**k).sum()) for k in range(steps - 1)]
    return sum(c * np.eye(steps, k=-k) for k, c in enumerate([1.0, *rest]))


def worst(factor: np.ndarray, patterns) -> float:
    """Largest squared norm over patterns and signs, by trying all of them."""
    found = 0.0
    for places in patterns:
        columns = factor[:, list(places)]
        for signs in itertools.product((1.0, -1.0), repeat=max(0, len(places) - 1)):
            found = max(found, float(((columns @ np.array([1.0, *signs])) ** 2).sum()))
    return found


def in_turn(steps: int, separation: int):
    return [tuple(range(first, steps, separation)) for first in range(min(steps, separation))]


def apart(steps: int, separation: int):
    """Every set of steps with at least so many between, and no more of them than taking part in turn gives."""
    return [
        places
        for count in range(1, -(-steps // separation) + 1)
        for places in itertools.combinations(range(steps), count)
        if all(after - before >= separation for before, after in itertools.pairwise(places))
    ]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 12), st.sampled_from(range(len(MECHANISMS))))
def test_the_tables_make_the_inverse_of_the_dense_matrix(steps, separation, which):
    strategy = noise_strategy(MECHANISMS[which], steps=steps, separation=separation)
    match strategy:
        case IndependentVectors():
            factor = np.eye(steps)
        case TreeNodes():
            factor = nodes_of_running_sums(steps)
        case BandedToeplitz(bands=bands):
            factor = banded(steps, bands)
        case BufferedLinearToeplitz(buffers=buffers):
            factor = blt(steps, buffers)
            factor *= np.sqrt(strategy.participation / squared_sensitivity(factor, separation=separation))
    np.testing.assert_allclose(noise_matrix(strategy) @ factor, np.eye(steps), atol=3e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 14), st.integers(1, 6), st.sampled_from(range(len(MECHANISMS))))
def test_no_example_in_turn_does_more_than_is_charged_and_one_does_as_much(steps, separation, which):
    strategy = noise_strategy(MECHANISMS[which], steps=steps, separation=separation)
    factor = np.linalg.inv(noise_matrix(strategy))
    found = worst(factor, in_turn(steps, separation))
    assert found <= strategy.participation * (1 + 1e-9)
    assert found >= strategy.participation * (1 - 1e-4), "more noise than is needed"
    assert squared_sensitivity(factor, separation=separation) == pytest.approx(found, rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 11), st.integers(1, 5), st.sampled_from([BandedMatrix(), BufferedToeplitz(), IndependentNoise()]))
def test_toeplitz_factors_hold_for_whatever_comes_no_sooner_than_the_separation(steps, separation, mechanism):
    strategy = noise_strategy(mechanism, steps=steps, separation=separation)
    factor = np.linalg.inv(noise_matrix(strategy))
    assert worst(factor, apart(steps, separation)) <= strategy.participation * (1 + 1e-9)


@pytest.mark.parametrize("separation", [7, 60, 500])
@pytest.mark.parametrize("which", range(len(MECHANISMS)))
def test_tables_in_float32_release_no_more_than_is_charged(which, separation):
    """What a backend computes with is rounded; over many steps that must not add up past the charge."""
    strategy = noise_strategy(MECHANISMS[which], steps=500, separation=separation)
    stream = NoiseStream(strategy, 500)
    inverse = np.stack([stream.take(row) for row in np.eye(500, dtype=np.float32)]).astype(np.float64)
    factor = np.linalg.inv(inverse)
    assert squared_sensitivity(np.tril(factor), separation=separation) <= strategy.participation * (1 + 1e-6)
    assert np.abs(np.triu(factor, 1)).max() < 1e-6


def test_for_any_matrix_products_of_either_sign_are_bounded():
    generator = np.random.default_rng(3)
    for separation in (1, 2, 3):
        factor = np.tril(generator.normal(size=(6, 6)))
        assert worst(factor, in_turn(6, separation)) <= squared_sensitivity(factor, separation=separation) * (1 + 1e-12)


def test_a_band_of_more_steps_than_lie_between_two_visits_is_refused():
    with pytest.raises(PrivacyError, match="bands: 4 is not from 1 to the separation, 3"):
        BandedToeplitz(steps=9, separation=3, bands=4)
    assert noise_strategy(BandedMatrix(bands=9), steps=9, separation=3) == BandedToeplitz(
        steps=9, separation=3, bands=3
    )
    assert noise_strategy(BandedMatrix(), steps=900, separation=300).bands == MOST_BANDS
    assert noise_strategy(BandedMatrix(bands=40), steps=900, separation=300).bands == 40


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_there_is_no_noise_for_steps_that_are_not_charged(mechanism):
    strategy = noise_strategy(mechanism, steps=3, separation=2)
    stream = NoiseStream(strategy, 2)
    for _ in range(3):
        stream.take(np.ones(2, np.float32))
    with pytest.raises(PrivacyError, match="step 3 is not among the 3 that are charged"):
        stream.take(np.ones(2, np.float32))


@pytest.mark.parametrize(("steps", "separation"), [(200, 50), (1000, 100), (600, 600)])
def test_running_sums_are_far_more_exact_than_with_independent_noise(steps, separation):
    """The point of all this: root mean square error of the running sums at one epsilon."""
    errors = {}
    for mechanism in (IndependentNoise(), TreeAggregation(), BandedMatrix(), BufferedToeplitz()):
        strategy = noise_strategy(mechanism, steps=steps, separation=separation)
        sums = np.cumsum(noise_matrix(strategy), axis=0)
        errors[type(mechanism)] = np.sqrt((sums**2).sum() / steps * strategy.participation)
    assert errors[TreeAggregation] < 0.6 * errors[IndependentNoise]
    assert errors[BandedMatrix] < 0.4 * errors[IndependentNoise]
    assert errors[BufferedToeplitz] < min(0.3 * errors[IndependentNoise], errors[BandedMatrix], errors[TreeAggregation])


def test_coefficients_are_those_of_the_square_root_of_the_prefix_sum():
    root = sum(c * np.eye(30, k=-k) for k, c in enumerate(square_root_coefficients(30)))
    np.testing.assert_allclose(root @ root, np.tril(np.ones((30, 30))), atol=1e-12)
    found = blt(1000, 8)[:, 0]
    near = np.abs(found / square_root_coefficients(1000) - 1)
    assert near[:20].max() < 0.2, "later ones fall faster, which several visits repay"
    assert (np.diff(found) <= 0).all()


def test_independent_vectors_are_given_as_they_come():
    strategy = noise_strategy(IndependentNoise(), steps=4, separation=2)
    fresh = np.arange(3, dtype=np.float32)
    assert NoiseStream(strategy, 3).take(fresh) is fresh


@pytest.mark.parametrize(("bands", "steps"), [(1, 50), (2, 400), (5, 3), (8, 300), (16, 300)])
def test_no_band_errs_less_than_ours(bands, steps):
    """Against the square root, and against coefficients near and far, worked out by dense matrices."""
    ours = banded_error(bands, steps)
    coefficients = banded_coefficients(bands, steps)
    assert len(coefficients) == bands and coefficients[0] == 1 and (np.diff(coefficients) <= 0).all()

    def error(others: np.ndarray) -> float:
        one = np.concatenate([[1.0], others])
        count = max(steps, bands)
        sums = solve_triangular(sum(c * np.eye(count, k=-k) for k, c in enumerate(one)), np.ones(count), lower=True)
        return float(np.sqrt(np.arange(count, 0, -1) @ sums**2 / count * (one @ one)))

    assert ours == pytest.approx(error(coefficients[1:]), rel=1e-9)
    assert ours <= error(square_root_coefficients(bands)[1:]) * (1 + 1e-12)
    slack = 1e-6 if steps <= 125 * bands else 5e-4  # they are made for no more steps than that
    generator = np.random.default_rng(bands)
    for scale in (1e-3, 1e-2, 0.1):
        for _ in range(4):
            moved = coefficients[1:] * (1 + scale * generator.normal(size=bands - 1))
            assert ours <= error(moved) * (1 + slack), scale


@pytest.mark.jax
@pytest.mark.long
def test_bands_are_jax_privacys_best():
    """The peer: banded Toeplitz matrices of jax_privacy, made best for the same sums by other means."""
    toeplitz = pytest.importorskip("jax_privacy.matrix_factorization.toeplitz")
    for bands in (4, 8):
        theirs = np.asarray(toeplitz.optimize_banded_toeplitz(200, bands), np.float64)
        error = float(np.sqrt(np.mean(np.asarray(toeplitz.per_query_error(strategy_coef=theirs, n=200)))))
        assert banded_error(bands, 200) == pytest.approx(error, rel=2e-3)
