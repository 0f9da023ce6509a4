"""Copies of a run's own examples are found however they were rounded, others are not, and little is held meanwhile."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from trustml.data import near_rows
from trustml.data.near_rows import are_among, found_again, in_one_unit, tolerances

PIXELS = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1)).astype(np.uint8)
IMAGES = (PIXELS / 255).astype(np.float32)
TABLE = (np.random.default_rng(1).normal(size=(300, 5)) * [1e-3, 1, 1, 1e6, 0] + [0, 5, 0, 1.7e9, 0]).astype(np.float32)


def found(given, stored):
    return are_among(np.asarray(given, np.float32), stored, tolerances(stored)).tolist()


@pytest.mark.parametrize(
    "copy",
    [
        IMAGES,
        PIXELS.astype(np.float32) * np.float32(1 / 255),  # as Keras's Rescaling does
        IMAGES.astype(np.float16),
        np.where(IMAGES == 0, np.float32(-0.0), IMAGES),
        np.round(IMAGES * 255) / 255,
    ],
    ids=["the same", "times the reciprocal", "half precision", "minus zero", "eight bits"],
)
def test_an_image_is_found_however_it_was_scaled_and_stored(copy):
    assert all(found(copy[::-7], IMAGES))


def test_an_image_that_differs_by_a_step_of_eight_bits_is_another():
    other = PIXELS[:5].astype(np.int64)
    other[:, 3, 3] += np.where(other[:, 3, 3] < 128, 1, -1)
    given = np.concatenate([other / 255, IMAGES[-1:]])
    assert found(given, IMAGES) == [False] * 5 + [True]


def test_a_row_of_a_table_is_found_by_every_column_in_its_own_range():
    scaled = (TABLE.astype(np.float64) / 3 * 3).astype(np.float32) * np.float32(1 + 1e-7)
    assert all(found(scaled[:9], TABLE))
    for column in range(4):
        other = TABLE[:9].copy()
        other[:, column] += np.ptp(TABLE[:, column]) / 1000
        assert not any(found(other, TABLE))
    other = TABLE[:9].copy()
    other[:, 4] = 1e-6  # where all training examples have 0
    assert not any(found(other, TABLE))


def test_pieces_of_few_rows_find_what_is_anywhere(monkeypatch):
    monkeypatch.setattr(near_rows, "_VALUES", 130)  # two rows at once
    assert found(IMAGES[[0, 7, 299]], IMAGES) == [True] * 3
    assert found(np.flip(IMAGES[:3], axis=2), IMAGES) == [False] * 3


def test_what_looks_alike_in_the_means_is_compared_in_full():
    """Tokens in another order: some blocks of one row agree, no row does."""
    tokens = np.random.default_rng(2).permuted(np.tile(np.arange(64), (200, 1)), axis=1).astype(np.float32)
    swapped = tokens[:4].copy()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    assert found(np.concatenate([swapped, tokens[:2]]), tokens) == [False] * 4 + [True] * 2


def test_stored_examples_are_never_all_held(tmp_path):
    np.save(tmp_path / "stored.npy", np.random.default_rng(3).random((3000, 32, 32, 3), np.float32))
    stored = np.load(tmp_path / "stored.npy", mmap_mode="r")
    given = np.array(stored[:8])
    tracemalloc.start()
    try:
        assert all(found(given, stored))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < stored.nbytes / 1.5


PEOPLE = np.random.default_rng(5).normal(size=(200, 3)) * [1, 100, 1e-3]


def again(given, stored):
    same, near = found_again(np.asarray(given, np.float32), np.asarray(stored, np.float32))
    return int(same.sum()), int(near.sum())


def to_digits(values, digits):
    return np.array([[float(f"{value:.{digits}g}") for value in row] for row in values])


@pytest.mark.parametrize(
    ("written", "same"),
    [
        (PEOPLE, 200),
        (PEOPLE * np.float32(3) * np.float32(1 / 3), 200),
        (np.round(PEOPLE, 4), 200),
        (np.trunc(PEOPLE * 1e3) / 1e3, 200),
        (to_digits(PEOPLE, 3), 200),
        (to_digits(PEOPLE, 5), 200),
        (np.round(PEOPLE / [1, 100, 1e-3]) * [1, 100, 1e-3], 0),  # so coarse that anybody is near
    ],
    ids=["the same", "scaled and back", "4 decimals", "cut to 3", "3 digits", "5 digits", "whole numbers"],
)
def test_a_row_that_was_written_with_fewer_decimals_or_digits_may_be_the_same(written, same):
    for found in (again(written, PEOPLE), again(PEOPLE, written)):
        assert found == (same, 200)


@pytest.mark.parametrize("how", [lambda v: v, lambda v: np.round(v, 2), lambda v: to_digits(v, 4)])
def test_other_rows_are_other_rows_however_they_are_written(how):
    others = np.random.default_rng(6).normal(size=(200, 3)) * [1, 100, 1e-3]
    assert again(how(others[:, :2]), how(PEOPLE[:, :2])) == (0, 0)
    assert again(how(others), PEOPLE) == (0, 0)


def test_whole_numbers_that_differ_by_one_are_others():
    ages = np.stack([np.arange(20, 99), np.arange(79) % 2], axis=1)
    older = ages + [79, 0]  # to 177: of one digit more
    assert again(ages[:5], ages[5:]) == again(older, ages) == (0, 0) and again(ages, ages) == (79, 79)
    assert again(ages + [0.4, 0], ages) == (0, 79)  # of which the others are the whole years


def test_a_few_that_were_rounded_may_be_the_same():
    others = np.random.default_rng(6).normal(size=(200, 3)) * [1, 100, 1e-3]
    for count, expected in ((4, (0, 4)), (9, (9, 9))):
        assert again(np.round(np.concatenate([PEOPLE[:count], others]), 3), PEOPLE) == expected
        assert again(np.concatenate([PEOPLE[:count], others]), np.round(PEOPLE, 3)) == expected


@pytest.mark.parametrize("digits", [4, 8])
def test_one_column_is_compared_too(digits):
    values = np.random.default_rng(8).normal(size=(300, 1)) * 10.0 ** np.arange(300)[:, None].clip(0, 5)
    assert again(to_digits(values[:50], digits), values) == (50, 50)
    assert again(to_digits(values[:1], digits), values)[1] == 1


def test_what_may_be_in_another_unit_is_told_from_what_is_not():
    others = np.random.default_rng(6).normal(size=(60, 3)) * [1, 100, 1e-3]
    people, others = PEOPLE.astype(np.float32), others.astype(np.float32)
    assert in_one_unit(others, people) and in_one_unit(IMAGES[:20], IMAGES[20:])
    for factor, offset in (([1, 1, 1000], 0), ([1, 1 / 100, 1], 0), ([1, 1, 1], [0, 2000, 0])):
        assert not in_one_unit((others * factor + offset).astype(np.float32), people)
    assert not in_one_unit(IMAGES[:20] * 255, IMAGES[20:])
    marks = (np.arange(60)[:, None] % [2, 60] == 0).astype(np.float32)  # one of which is rare
    assert in_one_unit(marks[:30], marks[30:])


def test_rows_of_another_shape_are_none_of_them():
    assert again(PEOPLE[:, :2], PEOPLE) == (0, 0) and again(PEOPLE[:0], PEOPLE) == (0, 0)


def test_many_pairs_that_are_alike_in_part_are_looked_at_in_pieces(monkeypatch):
    monkeypatch.setattr(near_rows, "_VALUES", 64)
    coarse = np.random.default_rng(7).integers(0, 3, (150, 4)).astype(np.float32)
    known = {row.tobytes() for row in coarse[:100]}
    expected = [row.tobytes() in known for row in coarse[100:]]
    assert found(coarse[100:], coarse[:100]) == expected and 0 < sum(expected) < 50
