"""Every measure of explanations on images of 224 x 224 x 3: time and memory that grow with the size, not its square."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from trustml.attribution.complexity import entropy, gini
from trustml.attribution.infidelity import (
    logit_changes,
    products,
    random_features,
    removal_steps,
    unexplained_share,
)
from trustml.attribution.randomisation import histogram_entropy
from trustml.attribution.removal import comprehensiveness, deletion, erase, insertion, sufficiency
from trustml.attribution.road import imputation_noise, impute
from trustml.attribution.sensitivity import distances, local_lipschitz, max_sensitivity, neighbours
from trustml.attribution.similarity import SIMILARITIES, rank_directions, top_directions
from trustml.attribution.upsample import upsample

SHAPE = (224, 224, 3)
SIZE = 150_528
MEBIBYTES = 448
"""A square matrix of the features would take 169 GiB."""
SECONDS = 20
"""Of this process; the slowest takes 2 on a core. All pairs of features at 1e8 a second would take 110."""


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, *SHAPE), np.float32)


@pytest.fixture(scope="module")
def attributions() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((2, *SHAPE), np.float32)


@pytest.fixture(autouse=True)
def watched():
    """Fail what takes too much time or memory."""
    tracemalloc.start()
    began = time.process_time()
    yield
    seconds, (_, most) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < SECONDS, f"{seconds:.1f} s"
    assert most < MEBIBYTES * 2**20, f"{most / 2**20:.0f} MiB"


def predict(rows: np.ndarray) -> np.ndarray:
    """Two classes: brighter above than below, or not."""
    half = rows[:, :112].mean(axis=(1, 2, 3)) - rows[:, 112:].mean(axis=(1, 2, 3))
    return np.stack([half, -half], axis=1)


@pytest.mark.long  # test_similarity.py asks for such a photograph, too
@pytest.mark.parametrize("name", SIMILARITIES)
def test_similarities(images, attributions, name):
    found = SIMILARITIES[name].function(images, attributions)
    assert found.shape == (2,) and np.isfinite(found).all()
    itself = SIMILARITIES[name].function(images, images)
    np.testing.assert_allclose(itself, 1.0, atol=1e-9)  # sums of 150,528 products in double precision


def test_what_regimes_are_compared_by(images):
    assert rank_directions(images).shape == top_directions(images).shape == (2, SIZE)


def test_concentration(images):
    assert (gini(images) > 0).all() and (entropy(images) < np.log(SIZE)).all()
    assert (histogram_entropy(images) > 0).all()


def test_taking_features_away(images, attributions):
    features = np.arange(SIZE).reshape(SHAPE)
    common = {
        "inputs": images, "targets": np.array([0, 1]), "attributions": attributions,
        "baseline": np.zeros_like(images), "features": features,
    }  # fmt: skip
    assert deletion(predict, **common).logits.shape == insertion(predict, **common).logits.shape == (2, 21)
    erased = erase(predict, **common)
    assert np.isfinite(comprehensiveness(erased)).all() and np.isfinite(sufficiency(erased)).all()


@pytest.mark.long
def test_infidelity(images, attributions):
    removed = random_features(
        np.arange(SIZE).reshape(SHAPE), share=0.2, examples=2, samples=50, generator=np.random.default_rng(2)
    )
    assert tracemalloc.get_traced_memory()[1] < 200 * 2**20  # ranks of all examples at once take 360
    assert (removed.sum(axis=(2, 3, 4)) == 30_106).all()  # a fifth, rounded up
    steps = removal_steps(images, baseline=np.zeros_like(images), removed=removed)
    changes = logit_changes(predict, inputs=images, targets=np.array([0, 1]), steps=steps)
    assert (unexplained_share(products(attributions, steps=steps), changes) > 0.5).all()


@pytest.mark.long
def test_road(images):
    """Small images are filled in 64 at a time; of these each holds a matrix for every row of its pixels."""
    few = np.concatenate([images, images[:1]])
    removed = np.random.default_rng(3).random((len(few), 224, 224)) < 0.5
    noise = imputation_noise(few, generator=np.random.default_rng(4))
    filled = impute(few, removed=removed, noise=noise)
    assert tracemalloc.get_traced_memory()[1] < 200 * 2**20  # one at a time: 90 MiB each
    np.testing.assert_array_equal(filled[~removed], few[~removed])
    assert np.abs(filled[removed]).max() < np.abs(few).max() + 0.1  # a mean of neighbours, and ten deviations of noise


def test_robustness(images):
    around = neighbours(images, radius=0.1, samples=5, generator=np.random.default_rng(5))
    found = distances(lambda inputs: 2 * inputs, inputs=images, around=around)
    assert np.isfinite(max_sensitivity(found)).all() and np.isfinite(local_lipschitz(found)).all()


def test_enlarging():
    assert upsample(np.ones((2, 7, 7), np.float32), shape=SHAPE).shape == (2, *SHAPE)
