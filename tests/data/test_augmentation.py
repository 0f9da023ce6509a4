"""Copies of images: the same in every framework, those of one image whoever else is in its batch."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.data.augmentation import augmented
from trustml.scenario.regimes import Augmentation

IMAGES = np.random.default_rng(0).random((5, 8, 6, 2)).astype(np.float32)
ROWS = np.arange(5) * 3
SEVERAL = Augmentation(multiplicity=6, shift=2, flip=True)
ENTROPY = (7, 8, 9)


def copies_of(images=IMAGES, rows=ROWS, augmentation=SEVERAL, entropy=ENTROPY):
    return augmented(images, rows, augmentation, examples=20, entropy=entropy)


def views(image: np.ndarray, *, shift: int, mode: str = "constant") -> list[np.ndarray]:
    """All that an image can become: shifted, then also mirrored."""
    height, width, _ = image.shape
    padded = np.pad(image, ((shift, shift), (shift, shift), (0, 0)), mode=mode)
    places = range(2 * shift + 1)
    shifted = [padded[top : top + height, left : left + width] for top in places for left in places]
    return [*shifted, *(view[:, ::-1] for view in shifted)]


def test_copies_begin_with_the_image_itself_and_are_shifted_and_mirrored():
    copies = copies_of()
    assert copies.shape == (5, 6, 8, 6, 2) and copies.dtype == np.float32
    np.testing.assert_array_equal(copies, copies_of())
    np.testing.assert_array_equal(copies[:, 0], IMAGES)
    options = np.array(views(IMAGES[3], shift=2))
    assert all((options == copy).all(axis=(1, 2, 3)).any() for copy in copies[3])
    assert not np.array_equal(copies, copies_of(entropy=(7, 8, 10)))


def test_all_views_come_equally_often():
    image = np.random.default_rng(1).random((1, 4, 4, 1)).astype(np.float32)
    options = np.array(views(image[0], shift=1))
    once = Augmentation(multiplicity=1, shift=1, flip=True)
    many = augmented(image.repeat(3600, axis=0), np.arange(3600), once, examples=3600, entropy=(1,))[:, 0]
    counts = [(option == many).all(axis=(1, 2, 3)).sum() for option in options]
    assert sum(counts) == 3600 and np.square(np.array(counts) - 200).sum() / 200 < 40.8  # chi2.ppf(0.999, 17)
    still = augmented(image, np.arange(1), Augmentation(multiplicity=1, shift=0), examples=1, entropy=(1,))
    np.testing.assert_array_equal(still[0, 0], image[0])


def test_copies_of_an_image_are_the_same_whoever_else_is_in_the_batch():
    """With public batches one example more would else move the copies, and the gradients, of all that follow it."""
    whole = copies_of()
    for left_out in range(5):
        kept = np.arange(5) != left_out
        np.testing.assert_array_equal(copies_of(IMAGES[kept], ROWS[kept]), whole[kept])
    order = np.array([4, 0, 2, 1, 3])
    np.testing.assert_array_equal(copies_of(IMAGES[order], ROWS[order]), whole[order])


def test_a_reflected_border_is_the_same_before_and_after_a_scaling():
    reflected = Augmentation(multiplicity=6, shift=2, flip=True, border="reflect")
    found = copies_of(augmentation=reflected)
    options = np.array(views(IMAGES[3], shift=2, mode="reflect"))
    assert all((options == copy).all(axis=(1, 2, 3)).any() for copy in found[3])
    scaled = (IMAGES - np.float32(0.5)) / np.float32(0.25)
    after = (found - np.float32(0.5)) / np.float32(0.25)
    np.testing.assert_array_equal(copies_of(scaled, augmentation=reflected), after)
    assert not np.array_equal(copies_of(scaled), (copies_of() - np.float32(0.5)) / np.float32(0.25))  # zeros


def test_draws_are_those_of_a_stable_stream():
    """What an environment with another numpy must draw: PCG64's raw bits, three numbers of each."""
    bits = np.random.PCG64(np.random.SeedSequence(ENTROPY)).random_raw(20 * 6).reshape(20, 6)[3 * 3, 2]
    assert int(bits) == 12332088576035972378  # of numpy 1.25 and 2.4
    top, left, flip = int(bits) % 2**21 % 5, int(bits) // 2**21 % 2**21 % 5, int(bits) // 2**42 % 2
    np.testing.assert_array_equal(copies_of()[3, 2], views(IMAGES[3], shift=2)[25 * flip + 5 * top + left])


@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_may_be_small_or_empty(count):
    assert copies_of(IMAGES[:count], ROWS[:count]).shape == (count, 6, 8, 6, 2)
