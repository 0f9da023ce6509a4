"""Canaries in numpy: their directions, their joining, the evidence for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustml.attacks import canaries
from trustml.attacks.canaries import (
    DiracDirections,
    SignDirections,
    draw_joins,
    example_canaries,
    step_evidence,
)
from trustml.data.dataset import Examples
from trustml.models.losses import example_losses

SEED = (1, 2, 3, 4)


def make(count=6, size=40):
    return DiracDirections(np.arange(count) * 3, size), SignDirections(SEED, count=count, size=size)


@pytest.mark.parametrize("directions", make(), ids=["dirac", "signs"])
def test_directions_have_length_one_and_project_as_their_rows_do(directions):
    rows = directions.rows(np.arange(directions.count))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-6)
    assert len(np.unique(rows, axis=0)) == directions.count
    vector = np.random.default_rng(0).normal(size=directions.size)
    np.testing.assert_allclose(directions.project(vector), rows @ vector, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(directions.rows(np.array([4, 1])), rows[[4, 1]])


def test_directions_that_are_not_kept_are_the_same(monkeypatch):
    kept = SignDirections(SEED, count=7, size=100)
    monkeypatch.setattr(canaries, "_KEPT", 0)
    monkeypatch.setattr(canaries, "_AT_ONCE", 300)
    drawn_again = SignDirections(SEED, count=7, size=100)
    vector = np.random.default_rng(0).normal(size=100)
    np.testing.assert_allclose(drawn_again.project(vector), kept.project(vector), rtol=1e-5)


@given(rate=st.floats(0.01, 1.0), noise=st.floats(0.7, 5.0), strength=st.floats(0.1, 1.0), joined=st.booleans())
def test_evidence_is_the_logarithm_of_a_likelihood_ratio(rate, noise, strength, joined):
    """The mean of the ratio is 1 where the canary is out, and of its inverse where it is in: a sum over a fine grid."""
    grid = np.linspace(-12, 12, 4001) * noise + strength
    out = np.exp(-((grid / noise) ** 2) / 2)
    there = np.exp(-(((grid - strength) / noise) ** 2) / 2)
    density = (1 - rate) * out + rate * there if joined else out
    evidence = step_evidence(grid, rate=rate, noise_multiplier=noise, strength=strength)
    mean = (np.exp(-evidence if joined else evidence) * density).sum() / density.sum()
    assert abs(mean - 1) < 1e-6


def test_evidence_stays_finite_without_noise():
    found = step_evidence(np.array([0.0, 1.0]), rate=0.1, noise_multiplier=0.0)
    assert np.isfinite(found).all() and found[1] > 1000 > 0 > found[0]


@pytest.mark.parametrize("sampling", ["poisson", "shuffle", "all", "in turn"])
def test_only_included_canaries_join_and_by_the_law_of_the_batches(sampling):
    included = np.arange(400) % 2 == 0
    plan = draw_joins(included, sampling=sampling, rate=0.25, steps=20, cycle=4, generator=np.random.default_rng(0))
    joined = np.array([np.bincount(step, minlength=400) for step in plan])
    assert joined.shape == (20, 400) and joined[:, ~included].sum() == 0 and joined.max() == 1
    each = joined[:, included]
    if sampling == "all":
        assert (each == 1).all()
    elif sampling == "poisson":
        assert abs(each.mean() - 0.25) < 5 * (0.25 * 0.75 / each.size) ** 0.5
        assert each.sum(axis=0).std() > 1
    else:
        turns = each.reshape(5, 4, -1)
        assert (turns.sum(axis=1) == 1).all()
        assert (turns == turns[0]).all() == (sampling == "in turn")


def test_examples_as_canaries():
    draw = np.random.default_rng(0)
    train = Examples(inputs=draw.uniform(0, 16, (50, 2, 3)).astype(np.float32), labels=draw.integers(0, 4, 50))
    heldout = Examples(inputs=draw.uniform(0, 16, (20, 2, 3)).astype(np.float32), labels=draw.integers(0, 4, 20))
    found = {
        kind: example_canaries(kind, 20, train=train, heldout=heldout, classes=4, generator=np.random.default_rng(1))
        for kind in ("natural", "mislabelled", "blank", "out-of-distribution")
    }
    for examples in found.values():
        assert examples.inputs.shape == (20, 2, 3) and examples.inputs.dtype == np.float32
        assert set(examples.labels) <= {0, 1, 2, 3}
    order = [int(np.flatnonzero((heldout.inputs == one).all(axis=(1, 2)))[0]) for one in found["natural"].inputs]
    assert sorted(order) == list(range(20))
    np.testing.assert_array_equal(found["natural"].labels, heldout.labels[order])
    np.testing.assert_array_equal(found["mislabelled"].inputs, found["natural"].inputs)
    assert (found["mislabelled"].labels != found["natural"].labels).all()
    blank = found["blank"]
    assert ((blank.inputs != 0).sum(axis=(1, 2)) == 1).all() and blank.inputs.max() == train.inputs.max()
    assert len({(one.tobytes(), label) for one, label in zip(blank.inputs, blank.labels, strict=True)}) == 20
    noise = found["out-of-distribution"].inputs
    assert train.inputs.min() <= noise.min() < 2 and 14 < noise.max() <= train.inputs.max()


def test_cross_entropy():
    logits = np.array([[0.0, 0.0], [1000.0, 0.0], [1000.0, 0.0]], np.float32)
    np.testing.assert_allclose(example_losses(logits, np.array([0, 0, 1])), [np.log(2), 0, 1000])
