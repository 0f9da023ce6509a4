"""Augmented copies of images, drawn by the core so that every backend gets the same."""

from __future__ import annotations

import numpy as np

from trustml.data.dataset import Floats


def augmented(images: Floats, *, multiplicity: int, shift: int, flip: bool, generator: np.random.Generator) -> Floats:
    """Make copies of each image, the first as it is, the others shifted and perhaps mirrored.

    Parameters
    ----------
    images : float32 array of shape (b, h, w, c)
    multiplicity : int
    shift : int
        Largest shift in pixels; the border is filled with zeros.
    flip : bool
    generator : numpy Generator

    Returns
    -------
    float32 array of shape (b, multiplicity, h, w, c)
    """
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    copies = np.repeat(images[:, None], multiplicity, axis=1)
    tops, lefts = generator.integers(0, 2 * shift + 1, (2, count, multiplicity))
    mirrored = generator.random((count, multiplicity)) < 0.5
    for example in range(count):
        for copy in range(1, multiplicity):
            top, left = tops[example, copy], lefts[example, copy]
            view = padded[example, top : top + height, left : left + width]
            copies[example, copy] = view[:, ::-1] if flip and mirrored[example, copy] else view
    return np.ascontiguousarray(copies, np.float32)
