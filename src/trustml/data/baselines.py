"""Baselines, backgrounds and features of explanations, as arrays."""

from __future__ import annotations

import numpy as np

from trustml.data.dataset import Floats, Ints
from trustml.data.streams import Stream, public_generator
from trustml.errors import UsageError
from trustml.scenario.baselines import Background, Baseline, Blur, Mean, TrainingExample


def baseline_for(baseline: Baseline, *, inputs: Floats, train: Floats) -> Floats:
    """Give each input what stands for its absence.

    Parameters
    ----------
    baseline : float, Mean, Blur or TrainingExample
    inputs : float32 array of shape (n, *x)
    train : float32 array of shape (m, *x)

    Returns
    -------
    float32 array of shape (n, *x)

    Raises
    ------
    UsageError
        If a table is to be blurred.
    """
    match baseline:
        case Mean():
            found = np.broadcast_to(train.mean(axis=0, dtype=np.float64), inputs.shape)
        case Blur():
            if inputs.ndim != 4:
                raise UsageError(f"baseline: Blur is for images, not for inputs of shape {inputs.shape[1:]}; use Mean")
            from scipy.ndimage import gaussian_filter

            found = gaussian_filter(inputs, sigma=(0, baseline.sigma, baseline.sigma, 0), mode="nearest")
        case TrainingExample():
            chosen = int(public_generator(baseline.seed, Stream.EXPLANATIONS).integers(len(train)))
            found = np.broadcast_to(train[chosen], inputs.shape)
        case number:
            found = np.full(inputs.shape, number)
    return np.ascontiguousarray(found, np.float32)


def background_for(background: Background, *, train: Floats) -> Floats:
    """Draw the training inputs of a background, without repetition; shape (count, *x).

    Raises
    ------
    UsageError
        If there are not so many.
    """
    if background.count > len(train):
        raise UsageError(
            f"background.count: {background.count} is more than the {len(train)} training examples; use fewer"
        )
    generator = public_generator(background.seed, Stream.EXPLANATIONS)
    return np.ascontiguousarray(train[generator.choice(len(train), background.count, replace=False)], np.float32)


def features_of(shape: tuple[int, ...], *, patch: int = 1, groups: tuple[int, ...] = ()) -> Ints:
    """Number the feature of each value of an input, from 0 without gaps.

    Parameters
    ----------
    shape : tuple of int
        Of one input. All channels of a pixel are one feature.
    patch : int
        Side of the square patches that pixels are joined to.
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
    height, width, channels = shape
    if not 1 <= patch <= min(height, width):
        raise UsageError(
            f"patch: {patch} does not fit into images of {height} x {width}; use 1 to {min(height, width)}"
        )
    rows, columns = np.arange(height) // patch, np.arange(width) // patch
    numbers = rows[:, None] * (columns[-1] + 1) + columns[None, :]
    return np.repeat(numbers[:, :, None], channels, axis=2).astype(np.int64)
