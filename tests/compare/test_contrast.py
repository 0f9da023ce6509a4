"""The noise floor: by hand, by simulation where the truth is known, and by symmetry."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustml.compare.contrast import Agreements, contrast, difference, effects_of_swaps, holm, paired, trend
from trustml.compare.estimate_rows import Cell, estimate_rows


def simulated(seeds: int, *, shift: float, generator: np.random.Generator, features: int = 60) -> Agreements:
    """Attributions are a common signal, a regime's shift, and noise of each model; agreement is their cosine."""
    signal, moved = generator.normal(size=(2, features))
    plain = signal + 0.7 * generator.normal(size=(seeds, features))
    other = signal + shift * moved + 0.7 * generator.normal(size=(seeds, features))
    plain, other = (array / np.linalg.norm(array, axis=1, keepdims=True) for array in (plain, other))
    return Agreements(within_plain=plain @ plain.T, within_other=other @ other.T, cross=plain @ other.T)


def test_the_parts_by_hand():
    within = np.array([[1, 0.9, 0.8], [0.9, 1, 0.7], [0.8, 0.7, 1]])
    cross = np.array([[0.6, 0.5, 0.4], [0.5, 0.6, 0.3], [0.2, 0.1, 0.6]])
    found = contrast(Agreements(within_plain=within, within_other=within - 0.1, cross=cross))
    assert found.floor.value == pytest.approx(0.8)
    assert found.cross.value == pytest.approx((0.5 + 0.4 + 0.5 + 0.3 + 0.2 + 0.1) / 6)
    assert found.effect.value == pytest.approx(found.cross.value - 0.8)
    assert found.same_seed.value == pytest.approx(0.6)
    assert found.within_other.value == pytest.approx(0.7)
    assert found.effect.seeds == 3


def test_identical_regimes_have_no_effect():
    agreements = simulated(6, shift=0.0, generator=np.random.default_rng(0))
    same = Agreements(
        within_plain=agreements.within_plain, within_other=agreements.within_plain, cross=agreements.within_plain
    )
    found = contrast(same)
    assert found.effect.value == pytest.approx(0)
    assert found.effect.p_value == 1


@given(st.permutations(range(5)))
def test_the_names_of_seeds_do_not_matter(order):
    agreements = simulated(5, shift=0.5, generator=np.random.default_rng(1))
    pick = np.ix_(order, order)
    renamed = Agreements(
        within_plain=agreements.within_plain[pick],
        within_other=agreements.within_other[pick],
        cross=agreements.cross[pick],
    )
    one, other = contrast(agreements).effect, contrast(renamed).effect
    np.testing.assert_allclose([one.value, one.low, one.high], [other.value, other.low, other.high], atol=1e-12)
    assert one.p_value == pytest.approx(other.p_value)


def test_swapping_every_seed_exchanges_the_regimes():
    agreements = simulated(4, shift=0.5, generator=np.random.default_rng(2))
    exchanged = Agreements(
        within_plain=agreements.within_other, within_other=agreements.within_plain, cross=agreements.cross.T
    )
    assert effects_of_swaps(agreements)[-1] == pytest.approx(effects_of_swaps(exchanged)[0])


def test_a_planted_shift_is_found_and_none_is_not():
    generator = np.random.default_rng(3)
    found = contrast(simulated(8, shift=0.8, generator=generator)).effect
    assert found.high < 0 and found.p_value < 0.05
    nulls = [contrast(simulated(6, shift=0.0, generator=generator)).effect for _ in range(200)]
    rejected = np.mean([estimate.p_value <= 0.05 for estimate in nulls])
    assert rejected < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)  # three standard errors of the simulation


@pytest.mark.parametrize(
    "seeds", [5, *(pytest.param(seeds, marks=pytest.mark.long) for seeds in (7, 10))]
)  # 2**20 swaps of 10 seeds
def test_intervals_cover_the_truth_about_as_often_as_they_say(seeds):
    """300 simulations: nominal 95 %, three standard errors are 3.8 points; below 91 % would be too narrow."""
    generator = np.random.default_rng(4)
    features, shift = 60, 0.5
    signal, moved = generator.normal(size=(2, features))

    def draw(count: int) -> Agreements:
        plain = signal + 0.7 * generator.normal(size=(count, features))
        other = signal + shift * moved + 0.7 * generator.normal(size=(count, features))
        plain, other = (array / np.linalg.norm(array, axis=1, keepdims=True) for array in (plain, other))
        return Agreements(within_plain=plain @ plain.T, within_other=other @ other.T, cross=plain @ other.T)

    many = draw(2000)
    off = ~np.eye(2000, dtype=bool)
    truth = many.cross[off].mean() - many.within_plain[off].mean()
    estimates = [contrast(draw(seeds)).effect for _ in range(300)]
    covered = np.mean([estimate.low <= truth <= estimate.high for estimate in estimates])
    assert 0.91 <= covered <= 1.0


def test_a_control_takes_its_share_of_the_effect():
    generator = np.random.default_rng(5)
    signal, moved = generator.normal(size=(2, 60))

    def models(shift: float) -> np.ndarray:
        found = signal + shift * moved + 0.5 * generator.normal(size=(8, 60))
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    plain, control, private, worse = models(0.0), models(0.6), models(0.6), models(1.6)

    def against(other: np.ndarray) -> Agreements:
        return Agreements(within_plain=plain @ plain.T, within_other=other @ other.T, cross=plain @ other.T)

    nothing_more = difference(against(private), against(control))
    assert nothing_more.low < 0 < nothing_more.high
    more = difference(against(worse), against(control))
    assert more.high < 0 and more.p_value < 0.05


def test_paired_differences():
    first = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = paired(first + 1, first)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert found.p_value == 2 / 2**5  # all signs alike, either way
    generator = np.random.default_rng(0)
    from scipy import stats

    one, other = generator.normal(size=(2, 9))
    estimate = paired(one, other)
    interval = stats.ttest_rel(one, other).confidence_interval()
    np.testing.assert_allclose([estimate.low, estimate.high], [interval.low, interval.high])


def test_too_few_seeds_are_refused():
    with pytest.raises(ValueError, match="2 seeds"):
        contrast(simulated(2, shift=0.0, generator=np.random.default_rng(0)))
    with pytest.raises(ValueError, match="2 seeds"):
        paired(np.ones(2), np.zeros(2))


def test_holm_adjusts_and_keeps_what_is_absent():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, np.nan, 0.03])), [0.03, 0.06, np.nan, 0.06])


def test_a_trend_by_hand_and_against_every_permutation():
    generator = np.random.default_rng(3)
    doses, cross = np.array([0.0, 1.0, 3.0]), generator.normal(size=(3, 4, 4))
    found = trend(cross, doses)
    off = ~np.eye(4, dtype=bool)
    means = np.array([part[off].mean() for part in cross])
    assert found.value == pytest.approx(np.polyfit(doses, means, 1)[0])
    columns = np.array([[part[off[:, j], j].mean() for j in range(4)] for part in cross])  # a model each
    slopes = [
        np.polyfit(doses, np.mean([columns[list(order), j] for j, order in enumerate(orders)], axis=0), 1)[0]
        for orders in itertools.product(itertools.permutations(range(3)), repeat=4)
    ]
    assert found.p_value == pytest.approx(np.mean(np.abs(slopes) >= abs(found.value) - 1e-12))
    assert found.least_p == 1 / 6**4


def test_a_trend_of_one_number_a_model_is_the_paired_slope():
    generator = np.random.default_rng(4)
    numbers, doses = generator.normal(size=(3, 7)), np.log2([1.0, 3.0, 8.0])
    found = trend(np.stack([np.tile(row, (7, 1)) for row in numbers]), doses)
    each = np.polyfit(doses, numbers, 1)[0]
    other = paired(each, np.zeros(7))  # seed by seed: Student's t
    np.testing.assert_allclose([found.value, found.low, found.high], [other.value, other.low, other.high], atol=1e-12)
    assert found.least_p == 1 / 4096


@pytest.mark.parametrize("seeds", [5, pytest.param(8, marks=pytest.mark.long)])
def test_trends_where_there_is_none_are_rarely_found(seeds):
    generator = np.random.default_rng(seeds)
    found = []
    for _ in range(300):
        models = generator.normal(size=(seeds, 1, 20)) + generator.normal(size=(seeds, 3, 20))  # a seed has its own
        plain = generator.normal(size=(seeds, 20))
        found.append(trend(np.einsum("if,jdf->dij", plain, models) / 20, np.array([0.0, 1.6, 3.0])))
    missed = np.mean([one.low > 0 or one.high < 0 for one in found])
    assert np.mean([one.p_value <= 0.05 for one in found]) < 0.09  # 0.05 and three standard errors
    assert missed < 0.09, missed


def test_a_p_value_from_some_of_the_swaps_tells_its_monte_carlo_error():
    gaps = np.random.default_rng(0).normal(0.3, 1, size=14)
    found = paired(gaps, np.zeros(14))
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=14)))
    exact = (np.abs((signs * gaps).mean(axis=1)) >= abs(gaps.mean()) - 1e-12).mean()
    assert found.swaps == 4095 and 0 < found.p_error < 0.01
    assert abs(found.p_value - exact) < 4 * found.p_error
    cell = Cell(run="run", backend="jax", regime="DPSGD", method="", first="Plain", second="DPSGD")
    p_row = estimate_rows(cell, "accuracy_trend", found)[1]
    assert p_row.facts["monte_carlo_error"] == found.p_error and "by its own draws (Monte-Carlo)" in p_row.note
    few = paired(gaps[:5], np.zeros(5))  # all swaps are tried
    assert few.swaps == 0 and "monte_carlo_error" not in estimate_rows(cell, "accuracy_trend", few)[1].facts
