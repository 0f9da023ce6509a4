"""Small architectures that the ready scenarios use."""

from __future__ import annotations

from collections.abc import Sequence

from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, Layer, MaxPool, ReLU


def small_cnn(*, classes: int = 10) -> Architecture:
    """Two convolutions and two dense layers, for images from 8x8 up."""
    return Architecture(
        layers=(
            Conv2D(filters=16, kernel=(3, 3), padding=((1, 1), (1, 1))),
            ReLU(),
            Conv2D(filters=32, kernel=(3, 3)),
            ReLU(),
            MaxPool(size=(2, 2), stride=(2, 2)),
            Flatten(),
            Dense(units=64),
            ReLU(),
            Dense(units=classes),
        )
    )


def mlp(hidden: Sequence[int], *, classes: int) -> Architecture:
    """Dense layers with ReLU between them, for vectors."""
    layers: list[Layer] = []
    for units in hidden:
        layers += [Dense(units=units), ReLU()]
    return Architecture(layers=(*layers, Dense(units=classes)))
