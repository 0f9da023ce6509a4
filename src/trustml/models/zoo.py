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


def mnist_cnn() -> Architecture:
    """Network of Opacus's and TF Privacy's MNIST examples: 26,010 weights, for images of 28x28x1."""
    return Architecture(
        layers=(
            Conv2D(filters=16, kernel=(8, 8), stride=(2, 2), padding=((3, 3), (3, 3))),
            ReLU(),
            MaxPool(size=(2, 2), stride=(1, 1)),
            Conv2D(filters=32, kernel=(4, 4), stride=(2, 2)),
            ReLU(),
            MaxPool(size=(2, 2), stride=(1, 1)),
            Flatten(),
            Dense(units=32),
            ReLU(),
            Dense(units=10),
        )
    )


def mlp(hidden: Sequence[int], *, classes: int) -> Architecture:
    """Dense layers with ReLU between them, for vectors."""
    layers: list[Layer] = []
    for units in hidden:
        layers += [Dense(units=units), ReLU()]
    return Architecture(layers=(*layers, Dense(units=classes)))
