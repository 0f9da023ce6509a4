"""Layers that change the number of places or their order: shapes against counting, and what is refused by field."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustml.errors import ScenarioError
from trustml.models.layers import (
    AdaptiveAvgPool,
    Architecture,
    Conv1D,
    ConvTranspose1D,
    ConvTranspose2D,
    Flatten,
    GlobalMaxPool,
    Scale,
    Transpose,
)
from trustml.models.resizing import adaptive_means
from trustml.models.shapes import layer_output, layer_shapes, weight_shapes

counts, cut = st.integers(1, 5), st.integers(0, 2)


@given(counts, counts, counts, counts, counts, counts, cut, cut)
def test_a_transposed_convolution_gives_what_its_convolution_takes(
    rows, columns, height, width, down, across, top, left
):
    layer = ConvTranspose2D(filters=4, kernel=(height, width), stride=(down, across), padding=((top, 0), (0, left)))
    image = np.zeros(((rows - 1) * down + height, (columns - 1) * across + width))
    image = image[top:, : image.shape[1] - left]
    if not image.size:
        with pytest.raises(ScenarioError, match="cuts all of"):
            layer_output(layer, [(rows, columns, 3)], field="l")
        return
    assert layer_output(layer, [(rows, columns, 3)], field="l") == (*image.shape, 4)


@given(st.integers(1, 30), st.integers(1, 30))
def test_adaptive_windows_are_means_that_leave_out_no_place(length, size):
    means = adaptive_means(length, size)
    np.testing.assert_allclose(means.sum(axis=1), 1, rtol=1e-6)
    assert (means.sum(axis=0) > 0).all()
    if length % size == 0:
        np.testing.assert_allclose(means, np.repeat(np.eye(size), length // size, axis=1) * size / length, rtol=1e-6)


def test_places_and_weights_along_a_chain():
    network = Architecture(
        layers=(
            ConvTranspose1D(filters=6, kernel=3, padding=(1, 0)),
            Transpose(axes=(1, 0)),
            Conv1D(filters=4, groups=2, kernel=2),
            AdaptiveAvgPool(size=(3,)),
            GlobalMaxPool(),
            Scale(value=0.5),
        )
    )
    assert layer_shapes(network, (4, 2)) == [(4, 2), (8, 6), (6, 8), (5, 4), (3, 4), (4,), (4,)]
    kernels = {name: shape for name, shape in weight_shapes(network, (4, 2)).items() if name.endswith("kernel")}
    assert kernels == {"0.kernel": (3, 6, 2), "2.kernel": (2, 4, 4)}


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (ConvTranspose2D(filters=3), (5, 2), "l: ConvTranspose2D takes images (height, width, channels) but gets"),
        (ConvTranspose1D(filters=3), (5, 5, 1), "l: ConvTranspose1D takes sequences (steps, channels) but gets"),
        (ConvTranspose1D(filters=3, padding=(2, 2)), (2, 1), "l.padding: (2, 2) cuts all of 4 off; cut off fewer"),
        (AdaptiveAvgPool(size=(2,)), (5, 5, 1), "l.size: (2,) is no number of windows along each axis of places of"),
        (AdaptiveAvgPool(size=(2,)), (5,), "l: AdaptiveAvgPool takes images or sequences but gets shape (5,)"),
        (GlobalMaxPool(), (5,), "l: GlobalMaxPool takes images or sequences but gets shape (5,); remove it"),
        (Transpose(axes=(0, 0)), (5, 2), "l.axes: (0, 0) is no order of the 2 axes of shape (5, 2); name each of 0 to"),
        (Scale(value=0.0), (5,), "l.value: 0.0 leaves nothing of its input; use another number"),
        (Scale(value=float("inf")), (5,), "l.value: inf leaves nothing"),
        (Conv1D(filters=3, groups=2), (5, 4), "l.groups: 2 does not divide 3 filters; choose a divisor of 3"),
    ],
)
def test_what_cannot_be_is_refused_by_field(layer, shape, message):
    with pytest.raises(ScenarioError) as error:
        layer_output(layer, [shape], field="l")
    assert str(error.value).startswith(message)


def test_groups_of_sequences_are_written_where_there_are_several():
    plain = b'{"kind":"Conv1D","filters":3,"kernel":3,"stride":1,"padding":[0,0],"dilation":1,"bias":true}'
    assert msgspec.json.encode(Conv1D(filters=3)) == plain
    assert msgspec.json.encode(Conv1D(filters=3, groups=1, kernel=3, padding=(0, 0))) == plain
    other = Conv1D(filters=4, groups=2)
    assert msgspec.json.decode(msgspec.json.encode(other), type=Conv1D) == other
    assert weight_shapes(Architecture(layers=(other, Flatten())), (5, 4))["0.kernel"] == (3, 2, 4)
