"""Shapes against counting, starting weights against their law, files against tampering."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustml.data.dataset import Examples
from trustml.errors import RecordError, ScenarioError
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, GroupNorm, LayerNorm, MaxPool
from trustml.models.shapes import layer_output, refuse_erasing_norms, weight_shapes
from trustml.models.weights import encode_weights, initial_weights, read_weights
from trustml.models.zoo import mlp, small_cnn

sides = st.tuples(st.integers(0, 2), st.integers(0, 2))


@given(st.integers(3, 12), st.integers(3, 12), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), sides, sides)
def test_convolution_shapes_equal_counting_the_windows(height, width, rows, columns, stride, top, left):
    padded = np.zeros((height + sum(top), width + sum(left)))
    if padded.shape[0] < rows or padded.shape[1] < columns:
        return
    views = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns))[::stride, ::stride]
    layer = Conv2D(filters=5, kernel=(rows, columns), stride=(stride, stride), padding=(top, left))
    assert layer_output(layer, [(height, width, 2)], field="l") == (*views.shape[:2], 5)


def test_the_weights_of_a_network_by_name():
    shapes = weight_shapes(small_cnn(), (8, 8, 1))
    assert shapes == {
        "0.kernel": (3, 3, 1, 16),
        "0.bias": (16,),
        "2.kernel": (3, 3, 16, 32),
        "2.bias": (32,),
        "6.kernel": (288, 64),
        "6.bias": (64,),
        "8.kernel": (64, 10),
        "8.bias": (10,),
    }
    norm = Architecture(layers=(Dense(units=4, bias=False), GroupNorm(groups=2)))
    assert weight_shapes(norm, (3,)) == {"0.kernel": (3, 4), "1.scale": (4,), "1.bias": (4,)}


@pytest.mark.parametrize("law", ["torch", "glorot_uniform"])
def test_starting_weights_follow_their_law(law):
    architecture = Architecture(layers=(Conv2D(filters=64), Flatten(), Dense(units=100)), initialisation=law)
    weights = initial_weights(architecture, (10, 10, 3), generator=np.random.default_rng(0))
    fans = {"0": (27, 9 * 64), "2": (64 * 64, 100)}
    for index, (fan_in, fan_out) in fans.items():
        bound = 1 / math.sqrt(fan_in) if law == "torch" else math.sqrt(6 / (fan_in + fan_out))
        kernel = weights[f"{index}.kernel"]
        assert 0.98 * bound < np.abs(kernel).max() <= bound
        assert abs(kernel.std() - bound / math.sqrt(3)) < 0.05 * bound  # the uniform law's deviation
        assert (weights[f"{index}.bias"] == 0).all() == (law == "glorot_uniform")


def test_starting_weights_repeat_with_their_seed():
    one, same, other = (
        initial_weights(mlp([5], classes=2), (3,), generator=np.random.default_rng(s)) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one["0.kernel"], same["0.kernel"])
    assert not np.array_equal(one["0.kernel"], other["0.kernel"])


def test_weights_travel_and_are_checked(tmp_path):
    weights = initial_weights(mlp([5], classes=2), (3,), generator=np.random.default_rng(1))
    (tmp_path / "w").write_bytes(encode_weights(weights))
    found = read_weights(tmp_path / "w", expected=weight_shapes(mlp([5], classes=2), (3,)))
    assert list(found) == list(weights)
    for name in weights:
        np.testing.assert_array_equal(found[name], weights[name])
    with pytest.raises(RecordError, match="do not fit"):
        read_weights(tmp_path / "w", expected=weight_shapes(mlp([6], classes=2), (3,)))
    (tmp_path / "w").write_bytes(b"garbage")
    with pytest.raises(RecordError, match="not a readable"):
        read_weights(tmp_path / "w")


def test_pools_keep_channels():
    assert layer_output(MaxPool(size=(2, 2), stride=(2, 2)), [(7, 8, 3)], field="l") == (3, 4, 3)


def test_examples_are_counted():
    assert len(Examples(inputs=np.zeros((3, 2), np.float32), labels=np.zeros(3, np.int64))) == 3


@pytest.mark.parametrize(
    ("layers", "shape", "field"),
    [
        ((Dense(units=4), GroupNorm(groups=4)), (3,), "model.layers.1.groups: 4 groups of (4,) hold one value each"),
        ((GroupNorm(groups=2), Flatten()), (1, 1, 2), "model.layers.0.groups: 2 groups of (1, 1, 2)"),
        ((Dense(units=1), LayerNorm()), (3,), "model.layers.1: LayerNorm over the last axis of (1,)"),
        ((LayerNorm(), Flatten()), (4, 4, 1), "model.layers.0: LayerNorm over the last axis of (4, 4, 1)"),
    ],
)
def test_normalising_one_value_by_itself_erases_it_and_is_refused(layers, shape, field):
    with pytest.raises(ScenarioError) as caught:
        refuse_erasing_norms(Architecture(layers=layers), shape)
    assert field in str(caught.value)


def test_norms_over_several_values_are_let_through():
    refuse_erasing_norms(Architecture(layers=(GroupNorm(groups=2), LayerNorm(), Flatten(), LayerNorm())), (1, 2, 2))
    refuse_erasing_norms(Architecture(layers=(Dense(units=4), GroupNorm(groups=2))), (3,))
