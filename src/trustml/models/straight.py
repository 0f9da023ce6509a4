"""Layers that keep a straight way straight, because they are affine."""

from __future__ import annotations

from trustml.models.layers import Architecture, AvgPool, Conv2D, Dense, Dropout, Flatten

_AFFINE = (Dense, Conv2D, AvgPool, Flatten, Dropout)  # dropout does nothing to a trained network


def straight_until(architecture: Architecture, first: int = 0) -> int:
    """Give the first layer, from `first` on, that bends a straight way; the number of layers if none does."""
    for index in range(first, len(architecture.layers)):
        if not isinstance(architecture.layers[index], _AFFINE):
            return index
    return len(architecture.layers)
