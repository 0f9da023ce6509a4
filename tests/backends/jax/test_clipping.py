"""One example's clipped gradient, flat and per layer, against its whole gradient."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from trustml.models.layers import Architecture, Dense, Flatten

pytestmark = pytest.mark.jax

MODEL = Architecture(layers=(Flatten(), Dense(units=5), Dense(units=3)))
NORM = 0.7


def one_example():
    generator = np.random.default_rng(0)
    sizes = {"1.kernel": (4, 5), "1.bias": (5,), "2.kernel": (5, 3), "2.bias": (3,)}
    params = {name: generator.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    inputs = 3 * generator.normal(size=(1, 1, 4)).astype(np.float32)
    return params, (inputs, np.array([1]), np.ones(1, np.float32))


@pytest.fixture(scope="module")
def clipped():
    """The clipped gradient as a function of the norm, and whether the example counts as unclipped."""
    import jax

    from trustml.backends.jax.clipping import clipped_gradients

    params, piece = one_example()
    programs = {each: jax.jit(functools.partial(clipped_gradients, MODEL, per_layer=each)) for each in (False, True)}

    def clip(norm, *, per_layer):
        sums, unclipped = programs[per_layer](params, piece, clipping_norm=np.float32(norm), key=jax.random.key(0))
        return {name: np.asarray(part, np.float64) for name, part in sums.items()}, int(unclipped)

    return clip


def scaled(whole, *, per_layer):
    norms = {name: np.linalg.norm(part) for name, part in whole.items()}
    if per_layer:
        each = NORM / len(whole) ** 0.5
        assert min(norms.values()) > each, "every layer is to be clipped"
        return {name: part * each / norms[name] for name, part in whole.items()}
    together = np.linalg.norm(list(norms.values()))
    return {name: part * NORM / together for name, part in whole.items()}


@pytest.mark.parametrize("per_layer", [False, True])
def test_no_example_is_longer_than_the_clipping_norm_over_all_layers(clipped, per_layer):
    whole, unclipped = clipped(1e6, per_layer=per_layer)
    assert unclipped == 1
    found, unclipped = clipped(NORM, per_layer=per_layer)
    assert unclipped == 0
    expected = scaled(whole, per_layer=per_layer)
    for name, part in found.items():
        np.testing.assert_allclose(part, expected[name], rtol=1e-5, atol=1e-7, err_msg=name)
    length = np.linalg.norm([np.linalg.norm(part) for part in found.values()])
    assert NORM * (1 - 1e-5) < length <= NORM * (1 + 1e-6)


@pytest.mark.parametrize("per_layer", [False, True])
def test_gradients_that_are_given_are_clipped_by_the_same_rule(clipped, per_layer):
    import jax

    from trustml.backends.jax.clipping import clip_rows

    whole, _ = clipped(1e6, per_layer=per_layer)
    rows = {name: np.float32(part)[None] for name, part in whole.items()}
    expected = scaled(whole, per_layer=per_layer)
    clip = jax.jit(functools.partial(clip_rows, per_layer=per_layer))
    for name, part in clip(rows, np.float32(NORM)).items():
        np.testing.assert_allclose(part, expected[name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_a_norm_of_an_outer_product_is_never_too_small():
    """Squares of what is small underflow, and its product with something large need not."""
    import jax

    from trustml.backends.jax import clipping

    inputs, outputs = np.full((1, 4), 1e18, np.float32), np.full((1, 3), 1e-23, np.float32)
    found = jax.jit(lambda a, g: clipping._Outer(a, g).square_norms())(inputs, outputs)
    assert float(found[0]) >= np.square(inputs.astype(float)).sum() * np.square(outputs.astype(float)).sum() > 0
