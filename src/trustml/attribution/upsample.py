"""Maps of a layer, enlarged to the size of the input, so that they can be judged by pixels."""

from __future__ import annotations

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.data.dataset import Floats


def upsample(maps: Floats, *, shape: tuple[int, int, int]) -> Floats:
    """Enlarge maps bilinearly and share each pixel equally among its channels.

    Pixels are squares and values sit at their centres, as in ``torch.nn.functional.interpolate(mode="bilinear",
    align_corners=False)``; beyond the outermost centres the nearest value holds. Interpolation does not keep the
    sum of a map; what it keeps is range and order of magnitude.

    Parameters
    ----------
    maps : float32 array of shape (n, rows, columns)
    shape : tuple of int
        (h, w, c) of one input.

    Returns
    -------
    float32 array of shape (n, h, w, c)
        The channels of a pixel add up to the interpolated map.
    """
    height, width, channels = shape
    down = _interpolation(maps.shape[1], height)
    across = _interpolation(maps.shape[2], width)
    large = down @ maps.astype(np.float64) @ across.T / channels
    return np.repeat(large[..., None], channels, axis=3).astype(np.float32)


def _interpolation(before: int, after: int) -> Doubles:
    """Matrix (after, before) that interpolates along one axis; its rows add up to 1."""
    places = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    lower = np.minimum(places.astype(np.int64), before - 1)
    upper = np.minimum(lower + 1, before - 1)
    share = places - lower
    matrix = np.zeros((after, before))
    np.add.at(matrix, (np.arange(after), lower), 1 - share)
    np.add.at(matrix, (np.arange(after), upper), share)
    return matrix
