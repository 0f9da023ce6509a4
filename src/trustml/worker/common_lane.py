"""The common lane: one formula over input gradients, the same for every framework.

What a library returns differs by its definition as well as by its framework. Here only the gradients come
from the framework; points, weights and sums are numpy.
"""

from __future__ import annotations

import numpy as np

from trustml.backends.contract import Network
from trustml.data.dataset import Floats, Ints

_ROWS_AT_ONCE = 1024


def integrated_gradients(network: Network, inputs: Floats, targets: Ints, *, baseline: Floats, n_steps: int) -> Floats:
    """Integrated gradients by Gauss-Legendre quadrature (Sundararajan et al., ICML 2017, equation 1).

    Parameters
    ----------
    network : Network
        Gives the gradients.
    inputs : float32 array of shape (n, *x)
    targets : int64 array of shape (n,)
    baseline : float32 array of shape (n, *x)
    n_steps : int

    Returns
    -------
    float32 array of shape (n, *x), signed, in logits
    """
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    difference = inputs - baseline
    total = np.zeros(inputs.shape, np.float64)
    examples_at_once = max(1, _ROWS_AT_ONCE // n_steps)
    for start in range(0, len(inputs), examples_at_once):
        rows = slice(start, start + examples_at_once)
        points = np.stack([baseline[rows] + np.float32((1 + node) / 2) * difference[rows] for node in nodes])
        gradients = network.input_gradients(
            points.reshape(-1, *inputs.shape[1:]), np.tile(targets[rows], n_steps)
        ).reshape(points.shape)
        total[rows] = np.tensordot(weights / 2, gradients.astype(np.float64), axes=1)
    return (total * difference).astype(np.float32)
