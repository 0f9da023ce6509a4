"""What was made again is found where it is the row, and not more often than by chance where it tells nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from trustml.attacks.reconstruction import (
    chance_of_found,
    decibels,
    dense_inputs,
    first_dense,
    inverted,
    likeness,
    nearness,
    rows_found,
)
from trustml.errors import DataError
from trustml.models.layers import Add, Architecture, Conv2D, Dense, Flatten, Node, ReLU


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        ((Dense(units=3), ReLU()), "0"),
        ((Flatten(), Dense(units=3)), "1"),
        ((Dense(units=3, bias=False), Dense(units=2)), ""),
        ((Conv2D(filters=2, kernel=(3, 3)), Flatten(), Dense(units=3)), ""),
        ((Node(name="a", layer=Dense(units=3)), Node(name="b", layer=Dense(units=3), inputs=("input",)), Add()), "a"),
    ],
)
def test_the_first_layer_tells_its_inputs_where_it_is_dense_with_a_bias(layers, name):
    layers = (*layers[:2], Node(name="c", layer=Add(), inputs=("a", "b"))) if name == "a" else layers
    assert first_dense(Architecture(layers=layers)) == name


def gradients(rows, slopes):
    return {"0.kernel": rows.T @ slopes, "0.bias": slopes.sum(axis=0)}


def test_of_one_row_every_unit_tells_it_and_of_two_those_that_one_of_them_moved():
    generator = np.random.default_rng(0)
    rows, slopes = generator.normal(size=(2, 7)), generator.normal(size=(2, 4))
    slopes[:, 3] = 0
    alone = dense_inputs(gradients(rows[:1], slopes[:1]), name="0")
    assert alone.shape == (3, 7) and np.allclose(alone, rows[0])
    slopes[1, 0] = slopes[0, 1] = 0
    both = dense_inputs(gradients(rows, slopes), name="0")
    assert np.allclose(both[:2], rows) and np.abs(both[2] - rows).max(axis=1).min() > 0.1
    assert dense_inputs(gradients(rows, 0 * slopes), name="0").shape == (0, 7)


def test_nothing_is_near_to_nothing_and_scale_and_what_all_have_in_common_do_not_make_it_near():
    generator = np.random.default_rng(0)
    rows, centre = 5 + generator.normal(size=(3, 50)), np.full(50, 5.0)
    found, error = nearness(np.stack([rows[1], 5 + 0.1 * (rows[2] - 5)]), rows, centre=centre)
    assert np.allclose(found[1:], 1) and abs(found[0]) < 0.5 and error[1] < 1e-12 < error[2]
    found, error = nearness(np.zeros((0, 50)), rows, centre=centre)
    assert not found.any() and np.isinf(error).all()


def planted(*, told, updates=40, among=20, size=30, seed=0):
    """What is made is the row and noise, by so much; nothing where nothing is told."""
    generator = np.random.default_rng(seed)
    near, error = [], []
    for _ in range(updates):
        rows = generator.normal(size=(among + 1, size))
        made = told * rows[:1] + generator.normal(size=(1, size))
        one, other = nearness(made, rows, centre=np.zeros(size))
        near.append(one)
        error.append(other)
    return np.stack(near), np.stack(error)


def test_rows_that_are_told_are_found_and_the_row_in_their_place_is_not():
    near, error = planted(told=5.0)
    found, like = rows_found(near), likeness(near, error, span=6.0)
    assert found.own.value == 1.0 and found.p_value < 1e-20 and found.chance == 1 / 20
    assert found.control.value < 0.2 < found.own.low
    assert like.correlation > 0.9 > like.control and like.low < like.decibels < like.high
    ratios = 10 * np.log10(36 / error)
    assert like.decibels == pytest.approx(ratios[:, 0].mean())
    assert like.nearest_other == pytest.approx(ratios[:, 2:].max(axis=1).mean())


def test_where_nothing_is_told_the_test_is_wrong_as_often_as_it_says():
    found = [rows_found(planted(told=0.0, seed=seed, size=5)[0]) for seed in range(80)]
    assert sum(one.p_value <= 0.05 for one in found) <= 10  # of 80; 4 are expected at the most
    for shares in ([one.own.value for one in found], [one.control.value for one in found]):
        assert binomtest(round(40 * sum(shares)), 40 * 80, 1 / 20).pvalue > 1e-3


@pytest.mark.parametrize("among", [10, 30])
def test_updates_that_share_their_others_are_wrong_no_more_often_than_they_say(among):
    """What was made is the same everywhere: the worst case."""
    generator, sets = np.random.default_rng(0), {"shared": np.zeros(50, np.int64), "as if not": np.arange(50)}
    chances = {name: [chance_of_found(n, one, among=among) for n in range(51)] for name, one in sets.items()}
    wrong = dict.fromkeys(sets, 0)
    for _ in range(2000):
        pool, own = generator.random(among), generator.random(50)
        stands_in = generator.integers(among, size=50)
        best = np.where(stands_in == pool.argmax(), np.sort(pool)[-2], pool.max())
        count = int((own > best).sum())
        for name, each in chances.items():
            wrong[name] += each[count] <= 0.05
    assert wrong["shared"] <= 100 < 150 < wrong["as if not"]
    assert chances["shared"][50] < 1e-9  # and what all updates tell is seen


def test_the_chance_of_updates_that_share_nothing_is_binomial_and_that_of_pairs_is_above_theirs():
    alone, pairs = np.arange(12), np.arange(12) // 2
    for count in range(13):
        exact = binomtest(count, 12, 1 / 7, alternative="greater").pvalue
        assert chance_of_found(count, alone, among=7) == pytest.approx(exact)
        # Both of a pair are first and second of eight with probability 1 / 28; either one is first of seven with 1 / 7.
        law = np.array([1.0])
        for _ in range(6):
            law = np.convolve(law, [3 / 4, 1 / 4 - 1 / 28, 1 / 28])
        assert law[count:].sum() - 1e-12 <= chance_of_found(count, pairs, among=7) <= 1


def test_what_is_not_finite_is_no_result():
    near, error = planted(told=0.0)
    near[3, 5] = np.nan
    with pytest.raises(DataError, match="1 of 40 updates, or what was made of them, are not finite"):
        rows_found(near)
    with pytest.raises(DataError, match="40 updates were attacked, and others are told of 3"):
        rows_found(error, sets=np.arange(3))
    broken = gradients(np.full((1, 7), np.nan), np.ones((1, 4)))
    made = dense_inputs(broken, name="0")
    assert np.isnan(nearness(made, np.ones((3, 7)), centre=np.zeros(7))).all()
    for name in ("train_likeness", "test_likeness", "test_other", "test_ceiling"):
        arrays = like_classes(nearer=0.1)
        arrays[name] = np.where(np.arange(len(arrays[name])) == 2, np.nan, arrays[name])
        with pytest.raises(DataError, match="are not finite"):
            inverted(arrays)


def test_copies_are_not_told_apart_and_few_updates_show_nothing():
    near = np.ones((12, 5))
    assert rows_found(near).own.value == rows_found(near).control.value == 0.0
    near[:, 2] = 0.5
    near[:, 3:] = 0.25
    assert rows_found(near).own.value == 1.0
    with pytest.raises(DataError, match="9 updates were attacked, and 10 are needed"):
        rows_found(near[:9])


def test_decibels_end_where_all_and_where_nothing_is_the_same():
    assert decibels(np.array([0.0, 4.0, 0.04, np.inf]), span=2.0).tolist() == pytest.approx([100, 0, 20, -100])


def like_classes(*, nearer, seed=0, rows=60):
    generator = np.random.default_rng(seed)
    classes = np.repeat([0, 1], rows // 2)
    base = np.where(classes, 0.6, 0.2)  # classes differ in what they are like
    own, rest = base + 0.1 * generator.normal(size=(2, rows))
    more = generator.random(rows) < 0.9
    return {
        "train_likeness": (own + nearer)[more],
        "train_classes": classes[more],
        "test_likeness": rest,
        "test_classes": classes,
        "test_other": np.full(rows, -0.1),
        "test_ceiling": np.full(rows, 0.7),
    }


def test_training_rows_that_are_nearer_are_told_and_classes_that_differ_are_no_sign():
    found = inverted(like_classes(nearer=0.1))
    assert found.p_value < 1e-4 and found.low < found.members < found.high
    assert (found.of_others, found.ceiling) == (pytest.approx(-0.1), pytest.approx(0.7))
    wrong = sum(inverted(like_classes(nearer=0.0, seed=seed)).p_value <= 0.05 for seed in range(150))
    assert 1 <= wrong <= 16  # 7.5 are expected
    mixed = like_classes(nearer=0.0)
    kept = (mixed["test_classes"] == 0) | (np.arange(60) % 3 == 0)  # fewer of the class that is nearer
    of_test = {name: array[kept] if name.startswith("test") else array for name, array in mixed.items()}
    assert inverted(of_test).p_value > 0.01
    with pytest.raises(DataError, match="no class has 5"):
        inverted({name: array[:4] for name, array in mixed.items()})
