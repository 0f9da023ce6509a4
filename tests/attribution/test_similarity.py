"""Similarities against scipy, scikit-image, counting by hand, and their own properties."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kendalltau, spearmanr
from skimage.metrics import structural_similarity

from trustml.attribution import similarity as s

values = arrays(np.float64, (3, 6), elements=st.integers(-3, 3).map(float))


def pair_by_pair(first, second):
    """Orders of all ordered pairs of features, (n, d, d), of two arrays."""
    return tuple(np.sign(array[:, :, None] - array[:, None, :]) for array in (first, second))


@settings(deadline=None)  # a busy machine is no fault
@given(st.integers(1, 9).flatmap(lambda d: st.tuples(*[arrays(np.float64, (2, d), elements=st.integers(-2, 2))] * 2)))
def test_pairs_of_features_are_counted_as_one_by_one(both):
    first, second = both
    one, other = pair_by_pair(first, second)
    untied = np.sqrt(np.abs(one).sum((1, 2))) * np.sqrt(np.abs(other).sum((1, 2)))
    expected = np.divide((one * other).sum((1, 2)), untied, out=np.full(2, np.nan), where=untied > 0)
    np.testing.assert_allclose(s.kendall(first, second), expected, rtol=0, atol=1e-12)
    one, other = pair_by_pair(np.abs(first), np.abs(second))
    features = first.shape[1]
    pairs = features * (features - 1)
    expected = ((one == other).sum((1, 2)) - features) / pairs if pairs else np.full(2, np.nan)
    ranked = (one.any((1, 2))) & (other.any((1, 2)))
    expected = np.where(ranked, expected, np.nan)
    np.testing.assert_allclose(s.pairwise_rank_agreement(first, second), expected, rtol=0, atol=1e-12)


def test_pairs_of_many_features_are_counted_as_one_by_one():
    first, second = np.random.default_rng(0).normal(size=(2, 1, 700)).round(1)
    one, other = pair_by_pair(np.abs(first), np.abs(second))
    expected = ((one == other).sum() - 700) / (700 * 699)
    assert s.pairwise_rank_agreement(first, second)[0] == pytest.approx(expected, abs=1e-12)
    assert s.kendall(first, second)[0] == pytest.approx(kendalltau(first[0], second[0]).statistic, abs=1e-12)


def test_orders_of_values_that_are_not_finite_are_not_defined():
    broken, whole = np.array([[1.0, np.nan, 2.0], [1.0, np.inf, 2.0]]), np.array([[1.0, 2.0, 3.0]] * 2)
    for function in (s.kendall, s.pairwise_rank_agreement):
        assert np.isnan(function(broken, whole)).all() and np.isnan(function(whole, broken)).all()


@pytest.mark.parametrize("name", s.SIMILARITIES)
def test_a_photograph_of_224_pixels_takes_seconds_and_little_memory(name):
    generator = np.random.default_rng(0)
    first = generator.normal(size=(1, 224, 224, 3))
    second = first + generator.normal(size=first.shape)
    tracemalloc.start()
    try:
        began = time.process_time()
        (value,) = s.SIMILARITIES[name].function(first, second)
        taken, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.0 < value < 1.0
    assert taken < 10 and peak < 2**28


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
@settings(deadline=None)  # a busy machine is no fault
@given(values, values)
def test_rank_correlations_equal_scipy_with_ties_and_constants(first, second):
    ranks, tau = s.spearman(first, second), s.kendall(first, second)
    for number in range(3):
        assert ranks[number] == pytest.approx(
            spearmanr(first[number], second[number]).statistic, abs=1e-12, nan_ok=True
        )
        assert tau[number] == pytest.approx(kendalltau(first[number], second[number]).statistic, abs=1e-12, nan_ok=True)


def test_rank_correlation_of_many_features_equals_scipy():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 4, 28, 28, 1)).round(1)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(s.spearman(first, second), expected, atol=1e-12)


@settings(deadline=None)  # a busy machine is no fault
@given(values, values)
def test_similarities_are_symmetric_and_in_their_range(first, second):
    for name, similarity in s.SIMILARITIES.items():
        if similarity.images_only:
            continue
        one, other = similarity.function(first, second), similarity.function(second, first)
        np.testing.assert_allclose(one, other, atol=1e-12, err_msg=name)
        defined = one[np.isfinite(one)]
        assert ((defined >= similarity.low - 1e-9) & (defined <= similarity.high + 1e-9)).all(), name


@settings(deadline=None)  # a busy machine is no fault
@given(values)
def test_an_attribution_agrees_with_itself(array):
    for similarity in s.SIMILARITIES.values():
        if not similarity.images_only:
            found = similarity.function(array, array)
            np.testing.assert_allclose(found[np.isfinite(found)], 1.0, atol=1e-12)


@settings(deadline=None)  # a busy machine is no fault
@given(values, st.floats(0.1, 100))
def test_scale_does_not_matter(array, factor):
    for similarity in s.SIMILARITIES.values():
        if not similarity.images_only:
            found = similarity.function(array, array * factor)
            np.testing.assert_allclose(found[np.isfinite(found)], 1.0, atol=1e-12)


def test_agreements_at_k_counted_by_hand():
    first = np.array([[5.0, -4, 3, -2, 1, 0, 0, 0, 0, 0]])
    second = np.array([[5.0, 3, 4, -2, 0, 0, 0, 0, 0, -9]])
    # the four largest: {0, 1, 2, 3} in that order, and {9, 0, 2, 1}
    assert s.feature_agreement(first, second, share=0.4).tolist() == [0.75]
    assert s.rank_agreement(first, second, share=0.4).tolist() == [0.25]  # feature 2 in third place
    assert s.sign_agreement(first, second, share=0.4).tolist() == [0.5]  # features 0 and 2
    assert s.signed_rank_agreement(first, second, share=0.4).tolist() == [0.25]
    assert s.feature_agreement(first, second, share=0.01).tolist() == [0.0]  # at least one feature


def test_pairwise_rank_agreement_counts_pairs():
    first, second = np.array([[1.0, -2, 3, 4]]), np.array([[1.0, 3, -2, 4]])
    pairs = list(itertools.combinations(range(4), 2))
    same = sum((abs(first[0, i]) < abs(first[0, j])) == (abs(second[0, i]) < abs(second[0, j])) for i, j in pairs)
    assert s.pairwise_rank_agreement(first, second).tolist() == [same / len(pairs)]


def test_ssim_equals_scikit_image():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 5, 12, 9, 1))
    expected = [
        structural_similarity(
            a[..., 0] / np.abs(a).max(), b[..., 0] / np.abs(b).max(), data_range=2.0, win_size=7, full=True
        )[1][3:-3, 3:-3].mean()
        for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(s.ssim(first, second), expected, atol=1e-9)
    np.testing.assert_allclose(s.ssim(first, 3 * first), 1.0, atol=1e-12)


def test_directions_give_the_same_numbers_by_products():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 4, 30))
    products = (s.rank_directions(first) * s.rank_directions(second)).sum(axis=1)
    np.testing.assert_allclose(products, s.spearman(first, second), atol=1e-12)
    products = (s.top_directions(first) * s.top_directions(second)).sum(axis=1)
    np.testing.assert_allclose(products, s.feature_agreement(first, second), atol=1e-12)


def test_random_attributions_agree_no_more_than_chance():
    first, second = np.random.default_rng(0).normal(size=(2, 400, 100))
    assert abs(s.spearman(first, second).mean()) < 4 / np.sqrt(400 * 100)
    assert abs(s.feature_agreement(first, second).mean() - 0.1) < 0.02


AGREEMENTS = (s.feature_agreement, s.rank_agreement, s.sign_agreement, s.signed_rank_agreement)


def spot(place: int, value: float = 1.0) -> np.ndarray:
    found = np.zeros((1, 8, 8))
    found[0, place // 8, place % 8] = value
    return found


@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_maps_of_one_pixel_agree_where_it_is_the_same(agreement):
    assert agreement(spot(3), spot(40))[0] == 0
    assert agreement(spot(3), spot(3, 2.0))[0] == 1


@pytest.mark.parametrize("agreement", [*AGREEMENTS, s.pairwise_rank_agreement, s.spearman, s.kendall])
def test_zero_and_constant_maps_rank_nothing(agreement):
    for flat in (np.zeros((1, 8, 8)), np.full((1, 8, 8), 0.3)):
        assert np.isnan(agreement(flat, flat)).all() and np.isnan(agreement(flat, spot(3))).all()


def test_features_that_tie_for_the_last_place_share_it():
    first = np.array([[3.0, 2.0, 2.0, 1.0, 0, 0, 0, 0, 0, 0]])
    swapped = np.array([[3.0, 2.0, 2.0, 1.0, 0, 0, 0, 0, 0, 0]])[:, [0, 2, 1, *range(3, 10)]]
    assert s.feature_agreement(first, swapped, share=0.2)[0] == pytest.approx(1)
    other = np.array([[3.0, 2.0, 1.0, 0.5, 0, 0, 0, 0, 0, 0]])
    got = s.feature_agreement(first, other, share=0.2)[0]
    assert got == pytest.approx(1.5 / np.sqrt(1.5 * 2)) and got < 1


@given(arrays(np.float64, (2, 20), elements=st.floats(-1, 1)), st.permutations(range(20)))
@settings(deadline=None)
def test_agreements_do_not_depend_on_the_numbers_of_features(both, order):
    first, second = both[:1], both[1:]
    for agreement in AGREEMENTS:
        given_order, other_order = agreement(first, second), agreement(first[:, order], second[:, order])
        np.testing.assert_allclose(given_order, other_order, atol=1e-12)
