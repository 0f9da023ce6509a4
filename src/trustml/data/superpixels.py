"""Superpixels: neighbouring pixels of one colour as one feature (SLIC: Achanta et al., TPAMI 2012)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Floats, Ints
from trustml.errors import ScenarioError
from trustml.scenario.groups import Superpixels

Doubles: TypeAlias = npt.NDArray[np.float64]
_ROUNDS = 10


def superpixels(inputs: Floats, asked: Superpixels) -> Ints:
    """Cut the mean of images into segments, the same for all of them; of one image, its own.

    Parameters
    ----------
    inputs : float32 array of shape (n, rows, columns, channels)
    asked : Superpixels

    Returns
    -------
    int64 array of shape (rows, columns, channels)
        Numbered from 0 without gaps; every segment is in one piece.

    Raises
    ------
    ScenarioError
        If they are no images, or there are as many segments as pixels.
    """
    if inputs.ndim != 4:
        raise ScenarioError(
            "explanations.groups",
            f"Superpixels are of images, and inputs have shape {inputs.shape[1:]}",
            fix="use names of features, or GroupMap(path=...)",
        )
    image = inputs.astype(np.float64).mean(axis=0)
    rows, columns, channels = image.shape
    if asked.segments >= rows * columns:
        raise ScenarioError(
            "explanations.groups.segments",
            f"{asked.segments} segments of {rows} x {columns} pixels join none",
            fix=f"use fewer than {rows * columns}",
        )
    spread = float(image.max() - image.min()) or 1.0
    side = (rows * columns / asked.segments) ** 0.5
    places = np.indices((rows, columns)).reshape(2, -1).T / side * asked.compactness
    points = np.concatenate([(image.reshape(-1, channels) - image.min()) / spread, places], axis=1)
    labels = _nearest(points, points[_grid(rows, columns, side)])
    for _ in range(_ROUNDS):
        used, labels = np.unique(labels, return_inverse=True)
        sums = np.zeros((len(used), points.shape[1]))
        np.add.at(sums, labels, points)
        labels = _nearest(points, sums / np.bincount(labels)[:, None])
    whole = _in_one_piece(labels.reshape(rows, columns))
    return np.repeat(whole[..., None], channels, axis=-1)


def _grid(rows: int, columns: int, side: float) -> Ints:
    """Places of the first centres, evenly apart."""
    down, across = (max(1, round(length / side)) for length in (rows, columns))
    first, second = (
        ((np.arange(count) + 0.5) * length / count).astype(np.int64)
        for count, length in ((down, rows), (across, columns))
    )
    found: Ints = (first[:, None] * columns + second).ravel()
    return found


def _nearest(points: Doubles, centres: Doubles) -> Ints:
    """Number of the centre that each point is nearest to."""
    gaps = (centres**2).sum(axis=1) - 2 * points @ centres.T
    found: Ints = gaps.argmin(axis=1).astype(np.int64)
    return found


def _in_one_piece(labels: Ints) -> Ints:
    """Keep the largest piece of each segment, and give the rest to what is nearest; numbered without gaps."""
    from scipy import ndimage

    kept = np.zeros(labels.shape, bool)
    for label in np.unique(labels):
        pieces, count = ndimage.label(labels == label)
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
        kept |= pieces == 1 + sizes.argmax()
    while not kept.all():  # from the edge of what is kept inwards, so that pieces stay whole
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            beside, there = np.roll(labels, step, axis=axis), np.roll(kept, step, axis=axis)
            edge = [slice(None)] * 2
            edge[axis] = slice(0, 1) if step == 1 else slice(-1, None)
            there[tuple(edge)] = False
            joins = there & ~kept
            labels = np.where(joins, beside, labels)
            kept = kept | joins
    _, numbered = np.unique(labels, return_inverse=True)
    return numbered.reshape(labels.shape).astype(np.int64)
