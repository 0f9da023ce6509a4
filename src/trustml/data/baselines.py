"""Baselines, backgrounds and features of explanations, as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Floats, Ints
from trustml.data.files import read_npz
from trustml.data.streams import Stream, public_generator
from trustml.errors import UsageError
from trustml.scenario.baselines import (
    Background,
    Baseline,
    Blur,
    Constants,
    HeldOutExample,
    Mean,
    Median,
    PublicExample,
    TrainingExample,
)


def baseline_for(baseline: Baseline, *, inputs: Floats, train: Floats, heldout: Floats) -> Floats:
    """Give each input what stands for its absence.

    Parameters
    ----------
    baseline : Baseline
    inputs : float32 array of shape (n, *x)
    train, heldout : float32 arrays of shape (m, *x)

    Returns
    -------
    float32 array of shape (n, *x)

    Raises
    ------
    UsageError
        If a table is to be blurred, or public rows or constants do not fit.
    """
    found: npt.NDArray[Any]
    match baseline:
        case Mean():
            found = np.broadcast_to(train.mean(axis=0, dtype=np.float64), inputs.shape)
        case Median():
            found = np.broadcast_to(_median(_median_rows(baseline, train, heldout)), inputs.shape)
        case Constants():
            if inputs.shape[-1] != len(baseline.values):
                raise UsageError(
                    f"baseline.values: {len(baseline.values)} numbers do not go with inputs of shape "
                    f"{inputs.shape[1:]}; give {inputs.shape[-1]}"
                )
            found = np.broadcast_to(np.array(baseline.values), inputs.shape)
        case Blur():
            if inputs.ndim < 3:
                raise UsageError(
                    f"baseline: Blur is for images and series, not for inputs of shape {inputs.shape[1:]}; use a number"
                )
            from scipy.ndimage import gaussian_filter

            sigmas = (0, *[baseline.sigma] * (inputs.ndim - 2), 0)
            found = gaussian_filter(inputs, sigma=sigmas, mode="nearest")
        case TrainingExample() | HeldOutExample():
            rows = train if isinstance(baseline, TrainingExample) else heldout
            chosen = int(public_generator(baseline.seed, Stream.EXPLANATIONS).integers(len(rows)))
            found = np.broadcast_to(rows[chosen], inputs.shape)
        case PublicExample():
            rows = _public_rows(baseline.path, baseline.array, shape=inputs.shape[1:], field="baseline")
            if not 0 <= baseline.index < len(rows):
                raise UsageError(f"baseline.index: {baseline.index} is none of the {len(rows)} rows; use a smaller one")
            found = np.broadcast_to(rows[baseline.index], inputs.shape)
        case number:
            found = np.full(inputs.shape, number)
    return np.ascontiguousarray(found, np.float32)


def _median(rows: Floats) -> npt.NDArray[Any]:
    """Median of each value; of one that is there or not there, which ties, the lesser: no input is half of it."""
    if len(rows) <= 2:
        return np.asarray(np.median(rows, axis=0))  # any value has two forms
    least, most = rows.min(axis=0), rows.max(axis=0)
    found = np.median(rows, axis=0)
    tied = ((rows == least) | (rows == most)).all(axis=0) & (found != most)
    median: npt.NDArray[Any] = np.where(tied, least, found)
    return median


def _median_rows(baseline: Median, train: Floats, heldout: Floats) -> Floats:
    match baseline.rows:
        case "public":
            return _public_rows(baseline.path, baseline.array, shape=train.shape[1:], field="baseline")
        case "held-out":
            return heldout
        case "training":
            return train


def background_for(background: Background, *, train: Floats, heldout: Floats) -> Floats:
    """Draw the rows of a background, without repetition; shape (count, *x).

    Raises
    ------
    UsageError
        If there are not so many, or public rows do not fit.
    """
    generator, count = public_generator(background.seed, Stream.EXPLANATIONS), background.count
    match background.rows:
        case "uniform":
            drawn = generator.uniform(background.low, background.high, (count, *train.shape[1:]))
            return np.ascontiguousarray(drawn, np.float32)
        case "public":
            rows = _public_rows(background.path, background.array, shape=train.shape[1:], field="background")
        case "held-out":
            rows = heldout
        case "training":
            rows = train
    if count > len(rows):
        kind = "" if background.rows == "public" else f"{background.rows} "
        raise UsageError(f"background.count: {count} is more than the {len(rows)} {kind}examples; use fewer")
    return np.ascontiguousarray(rows[generator.choice(len(rows), count, replace=False)], np.float32)


def _public_rows(path: str, array: str, *, shape: tuple[int, ...], field: str) -> Floats:
    (found,) = read_npz(Path(path), names=(array,))
    if found.ndim < 1 or found.shape[1:] != shape or found.dtype.kind not in "biuf" or not np.isfinite(found).all():
        raise UsageError(
            f"{field}.path: {array!r} of {path} is {found.dtype} of shape {found.shape}; give finite rows of {shape}"
        )
    return found.astype(np.float32)


def features_of(shape: tuple[int, ...], *, patch: int = 1, groups: tuple[int, ...] = ()) -> Ints:
    """Number the feature of each value of an input, from 0 without gaps.

    Parameters
    ----------
    shape : tuple of int
        Of one input. All channels of a pixel are one feature, and all of a step of a sequence.
    patch : int
        Side of the square patches that pixels are joined to, or length of the windows that steps are.
    groups : tuple of int
        Feature of each column of a table; empty where every column is one.

    Returns
    -------
    int64 array of that shape

    Raises
    ------
    UsageError
        If the patch does not fit.
    """
    if len(shape) == 1:
        return np.array(groups or range(shape[0]), np.int64)
    if len(shape) == 2:
        steps, channels = shape
        if not 1 <= patch <= steps:
            raise UsageError(f"patch: {patch} does not fit into sequences of {steps} steps; use 1 to {steps}")
        return np.repeat((np.arange(steps) // patch)[:, None], channels, axis=1).astype(np.int64)
    height, width, channels = shape
    if not 1 <= patch <= min(height, width):
        raise UsageError(
            f"patch: {patch} does not fit into images of {height} x {width}; use 1 to {min(height, width)}"
        )
    rows, columns = np.arange(height) // patch, np.arange(width) // patch
    numbers = rows[:, None] * (columns[-1] + 1) + columns[None, :]
    return np.repeat(numbers[:, :, None], channels, axis=2).astype(np.int64)
