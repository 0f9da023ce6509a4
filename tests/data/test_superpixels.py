"""Superpixels: segments of one colour in one piece, as scikit-image finds them, the same for every framework."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from trustml.data.own_groups import explained_features
from trustml.data.superpixels import superpixels
from trustml.errors import ScenarioError
from trustml.scenario.groups import Superpixels


def picture(*, size=24, noise=0.02):
    """Three parts of one colour each, of which one is a disc."""
    rows, columns = np.mgrid[:size, :size]
    parts = np.where(columns < size // 2, 0, 1)
    parts[(rows - 12) ** 2 + (columns - 12) ** 2 < 30] = 2
    colours = np.array([[0.1, 0.1, 0.1], [0.9, 0.2, 0.2], [0.2, 0.9, 0.9]])[parts]
    return parts, (colours + noise * np.random.default_rng(0).normal(size=colours.shape)).astype(np.float32)


def test_segments_are_whole_and_keep_to_the_parts_of_a_picture():
    parts, image = picture()
    found = superpixels(image[None], Superpixels(segments=20))
    assert found.shape == image.shape and (found == found[..., :1]).all()
    labels = found[..., 0]
    assert 12 <= labels.max() + 1 <= 30 and set(np.unique(labels)) == set(range(labels.max() + 1))
    assert all(ndimage.label(labels == one)[1] == 1 for one in range(labels.max() + 1))
    pure = sum(np.bincount(parts[labels == one]).max() for one in range(labels.max() + 1))
    assert pure / parts.size > 0.99
    flat = superpixels(np.zeros_like(image)[None], Superpixels(segments=16))[..., 0]
    sizes = np.bincount(flat.ravel())  # nothing to keep to: squares of 36
    assert len(sizes) == 16 and sizes.min() >= 25 and sizes.max() <= 49


def test_they_are_as_good_as_those_of_scikit_image():
    segmentation = pytest.importorskip("skimage.segmentation")
    parts, image = picture(noise=0.1)

    def purity(labels):
        return sum(np.bincount(parts[labels == one]).max() for one in np.unique(labels)) / parts.size

    peer = segmentation.slic(image, n_segments=20, compactness=0.2, start_label=0, convert2lab=False)
    assert purity(superpixels(image[None], Superpixels(segments=20))[..., 0]) > purity(peer) - 0.02


def test_all_explained_images_have_the_same_segments():
    _, image = picture()
    both = np.stack([image, image[:, ::-1]])
    dataset = SimpleNamespace(input_shape=image.shape, test=SimpleNamespace(inputs=np.zeros_like(both)))
    found = explained_features(dataset, groups=Superpixels(segments=9), inputs=both)
    np.testing.assert_array_equal(found, superpixels(both.mean(axis=0)[None], Superpixels(segments=9)))


@pytest.mark.parametrize(
    ("shape", "segments", "told"),
    [((2, 7), 3, "are of images, and inputs have shape"), ((1, 4, 4, 1), 16, "16 segments of 4 x 4 pixels join none")],
)
def test_what_has_no_segments_is_refused(shape, segments, told):
    with pytest.raises(ScenarioError, match=told):
        superpixels(np.zeros(shape, np.float32), Superpixels(segments=segments))
