"""Where a way through a network stops being straight."""

from __future__ import annotations

from trustml.models.graph import straight_until
from trustml.models.layers import (
    Architecture,
    AvgPool,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    MaxPool,
    ReLU,
)
from trustml.models.zoo import mnist_cnn

CONVOLUTION = Conv2D(filters=3, kernel=(3, 3))


def test_a_way_is_straight_up_to_the_first_layer_that_bends_it():
    for front, bend in (
        ((CONVOLUTION, AvgPool(size=(2, 2), stride=(2, 2)), Flatten(), Dropout(rate=0.5), Dense(units=2)), ReLU()),
        ((), ReLU()),
        ((CONVOLUTION,), MaxPool(size=(2, 2), stride=(2, 2))),
        ((CONVOLUTION,), GroupNorm(groups=3)),
    ):
        assert straight_until(Architecture(layers=(*front, bend, Flatten(), Dense(units=4)))) == len(front)


def test_a_way_through_affine_layers_alone_is_straight_to_the_end():
    assert straight_until(Architecture(layers=(Flatten(), Dense(units=5), Dense(units=4)))) == 3


def test_it_may_be_asked_from_the_middle():
    assert straight_until(mnist_cnn(), 3) == 4  # convolution and ReLU behind the first pool
