"""Noise on inputs, whose size may follow from each input."""

from __future__ import annotations

import numpy as np

from trustml.data.dataset import Floats


def noise_sizes(inputs: Floats, *, stdev: float, relative: bool) -> Floats:
    """Standard deviation of the noise on each input, (n,).

    Parameters
    ----------
    inputs : float32 array of shape (n, *x)
    stdev : float
    relative : bool
        Whether `stdev` is a share of the range of an input, from its smallest to its largest value (Smilkov et al.,
        arXiv 1706.03825, section 3); an input of one value gets none.
    """
    if not relative:
        return np.full(len(inputs), stdev, np.float32)
    flat = inputs.reshape(len(inputs), -1)
    return (stdev * (flat.max(axis=1) - flat.min(axis=1))).astype(np.float32)
