"""ROAD: accuracy after pixels are removed and filled in from their neighbours (Rong et al., arXiv 2202.00449).

A removed pixel becomes the weighted mean of its up to eight neighbours, 1/6 for direct and 1/12 for diagonal ones,
shared out among those that lie inside the image. Removed neighbours count with their own unknown value, so all
removed pixels of an image are one system of linear equations. A little noise keeps what was filled in from being
told apart by its smoothness. For images only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trustml.attribution.asking import ROWS_AT_ONCE, Bools, Doubles, Predict, predict_all
from trustml.attribution.removal import counts_of
from trustml.data.dataset import Floats, Ints

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
NOISE = 0.01
"""Standard deviation of the noise, in units of the input, as in the authors' code."""

Order = Literal["most_relevant_first", "least_relevant_first"]

_DIRECT, _DIAGONAL = 1 / 6, 1 / 12
_EXAMPLES_AT_ONCE = 64
_FILLED_AT_ONCE = 2**24  # values of filled images: 64 MiB
_VALUES_AT_ONCE = 2**24  # elimination holds a matrix (w, w) for each row of pixels: 90 MiB an image at 224 x 224


@dataclass(frozen=True, kw_only=True)
class Filled:
    """Whether the model is still right when pixels are filled in.

    Attributes
    ----------
    fractions : float64 array of shape (p,)
        Pixels removed, as a share of all.
    correct : bool array of shape (n, p)
        Whether the highest logit is that of the label.
    """

    fractions: Doubles
    correct: Bools


def imputation_noise(inputs: Floats, *, generator: np.random.Generator, stdev: float = NOISE) -> Floats:
    """Draw the noise for all examples, (n, h, w, c); one draw serves every method, order and fraction."""
    return (stdev * generator.standard_normal(inputs.shape)).astype(np.float32)


def road(
    predict: Predict,
    *,
    inputs: Floats,
    labels: Ints,
    attributions: Floats,
    order: Order,
    noise: Floats,
    fractions: Sequence[float] = FRACTIONS,
) -> Filled:
    """Remove pixels by rank, fill them in, and ask whether the model is still right.

    Parameters
    ----------
    predict : callable
    inputs, attributions : float32 arrays of shape (n, h, w, c)
        A pixel is ranked by the sum of its channels' signed attributions; equal pixels keep their order row by
        row in both orders.
    labels : int64 array of shape (n,)
        True classes, or the model's own on the whole input if what counts is that it does not change.
    order : {"most_relevant_first", "least_relevant_first"}
        MoRF, in which a faithful explanation lets the accuracy fall early (lower is better), or LeRF, in which it
        stays up (higher is better).
    noise : float32 array of shape (n, h, w, c)
        From :func:`imputation_noise`.
    fractions : sequence of float
        Shares of the pixels, rounded up; below 1, because something must be left to fill in from.

    Returns
    -------
    Filled
        The accuracy at a fraction is the mean of a column.
    """
    height, width = inputs.shape[1:3]
    counts = np.unique(counts_of(fractions, features=height * width))
    if counts[-1] == height * width:
        raise ValueError(f"fractions {tuple(fractions)} remove a whole image of {height * width} pixels")
    scores = attributions.sum(axis=3, dtype=np.float64).reshape(len(inputs), -1)
    places = np.argsort(-scores if order == "most_relevant_first" else scores, axis=1, kind="stable")
    correct = np.empty((len(inputs), len(counts)), np.bool_)
    # A network is asked for all fractions together.
    rows_at_once = min(ROWS_AT_ONCE, _FILLED_AT_ONCE // math.prod(inputs.shape[1:]))
    examples_at_once = max(1, rows_at_once // len(counts))
    for start in range(0, len(inputs), examples_at_once):
        rows = slice(start, start + examples_at_once)
        filled = np.empty((len(places[rows]), len(counts), *inputs.shape[1:]), np.float32)
        for column, count in enumerate(counts):
            removed = _first(places[rows], count).reshape(-1, height, width)
            filled[:, column] = impute(inputs[rows], removed=removed, noise=noise[rows])
        found = predict_all(predict, filled.reshape(-1, *inputs.shape[1:])).argmax(axis=1)
        correct[rows] = found.reshape(-1, len(counts)) == labels[rows, None]
    return Filled(fractions=counts / (height * width), correct=correct)


def _first(places: Ints, count: int) -> Bools:
    """Mark the first `count` places of each row, (n, pixels)."""
    marked = np.zeros(places.shape, np.bool_)
    np.put_along_axis(marked, places[:, :count], True, axis=1)
    return marked


def impute(inputs: Floats, *, removed: Bools, noise: Floats) -> Floats:
    """Fill removed pixels in from their neighbours.

    Parameters
    ----------
    inputs, noise : float32 arrays of shape (n, h, w, c)
    removed : bool array of shape (n, h, w)
        In every image at least one pixel must be left.

    Returns
    -------
    float32 array of shape (n, h, w, c)
    """
    parts = []
    height, width = inputs.shape[1:3]
    at_once = min(_EXAMPLES_AT_ONCE, max(1, _VALUES_AT_ONCE // (height * width * width)))
    for start in range(0, len(inputs), at_once):
        rows = slice(start, start + at_once)
        smooth = _solve(inputs[rows].astype(np.float64), removed[rows])
        parts.append(np.where(removed[rows, ..., None], smooth + noise[rows], inputs[rows]))
    return np.concatenate(parts).astype(np.float32)


def _solve(images: Doubles, removed: Bools) -> Doubles:
    """Solve the equations of all images at once, by elimination from row to row of pixels.

    A pixel touches only its own row and the two next to it, so the matrix is block tridiagonal with one block of
    (w, w) a row: h small systems instead of one with up to h * w unknowns. Pixels that are left have the equation
    x = value. The matrix is symmetric and positive definite, so elimination needs no exchange of rows.
    """
    examples, height, width, _ = images.shape
    known = np.where(removed[..., None], 0.0, images)
    weights = _weight_of_neighbours(height, width)
    right = np.where(removed[..., None], _sum_of_neighbours(known), images)
    beside = _DIRECT * (np.eye(width, k=1) + np.eye(width, k=-1))
    above = _DIRECT * np.eye(width) + _DIAGONAL * (np.eye(width, k=1) + np.eye(width, k=-1))
    carried = np.zeros((examples, height, width, width))
    solved = np.empty_like(images)
    for row in range(height):
        lost = removed[:, row]
        pair = lost[:, :, None] & lost[:, None, :]
        block = np.where(pair, -beside, 0.0)
        block[:, range(width), range(width)] = np.where(lost, weights[row], 1.0)
        side = right[:, row]
        if row:
            link = np.where(lost[:, :, None] & removed[:, row - 1, None, :], -above, 0.0)
            block = block - link @ carried[:, row - 1]
            side = side - link @ solved[:, row - 1]
        if row + 1 < height:
            next_link = np.where(lost[:, :, None] & removed[:, row + 1, None, :], -above, 0.0)
            both = np.linalg.solve(block, np.concatenate([next_link, side], axis=2))
            carried[:, row], solved[:, row] = both[:, :, :width], both[:, :, width:]
        else:
            solved[:, row] = np.linalg.solve(block, side)
    for row in range(height - 2, -1, -1):
        solved[:, row] -= carried[:, row] @ solved[:, row + 1]
    return solved


def _sum_of_neighbours(images: Doubles) -> Doubles:
    """Weighted sum over the neighbours inside the image; (n, h, w, c)."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = images.shape[1:3]
    total = np.zeros_like(images)
    for down in range(3):
        for right in range(3):
            if (down, right) != (1, 1):
                weight = _DIRECT if 1 in (down, right) else _DIAGONAL
                total += weight * padded[:, down : down + height, right : right + width]
    return total


def _weight_of_neighbours(height: int, width: int) -> Doubles:
    """Sum of the weights of the neighbours that lie inside the image; (h, w)."""
    return _sum_of_neighbours(np.ones((1, height, width, 1)))[0, :, :, 0]
