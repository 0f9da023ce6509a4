"""Shifted and mirrored copies of images, drawn by the core: all backends train on the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from trustml.data.dataset import Floats, Ints
from trustml.scenario.regimes import Augmentation

_BITS = 21  # of each of three numbers that one draw of 64 bits gives


def augmented(
    images: Floats, rows: Ints, augmentation: Augmentation, *, examples: int, entropy: Sequence[int]
) -> Floats:
    """Copy the images of a batch.

    What becomes of an image follows from the entropy of the step and from its place in the training set, never from
    who else is in the batch: with public entropy too, one example more or less then changes its own copies alone.

    Parameters
    ----------
    images : float32 array of shape (b, h, w, c)
    rows : int64 array of shape (b,)
        Their places in the training set.
    augmentation : Augmentation
    examples : int
        Size of the training set.
    entropy : sequence of int
        Of this step.

    Returns
    -------
    float32 array of shape (b, multiplicity, h, w, c)
        Of several copies the first is the image itself.
    """
    count, height, width, channels = images.shape
    copies, shift = augmentation.multiplicity, augmentation.shift
    whole = np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(examples * copies)
    drawn = whole.reshape(examples, copies)[rows]
    tops, lefts = (((drawn >> (_BITS * part)) % 2**_BITS % (2 * shift + 1)).astype(np.intp) for part in (0, 1))
    mirrored = (drawn >> (2 * _BITS)) % 2 == 1 if augmentation.flip else np.zeros(drawn.shape, bool)
    if copies > 1:
        tops[:, 0], lefts[:, 0], mirrored[:, 0] = shift, shift, False
    mode: Literal["constant", "reflect"] = "constant" if augmentation.border == "zeros" else "reflect"
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode=mode)
    across = np.where(mirrored[..., None], np.arange(width)[::-1], np.arange(width))
    down, across = tops[..., None] + np.arange(height), lefts[..., None] + across
    found = np.empty((count, copies, height, width, channels), np.float32)
    for copy in range(copies):
        found[:, copy] = padded[np.arange(count)[:, None, None], down[:, copy, :, None], across[:, copy, None, :]]
    return found
