"""The common lane: one formula over input gradients, the same for every framework.

What a library returns differs by its definition as well as by its framework. Here only the gradients come
from the framework; points, weights and sums are numpy.
"""

from __future__ import annotations

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.attribution.paths import Integrated, integrate
from trustml.backends.contract import ExplainRequest, Network
from trustml.data.dataset import Floats, Ints
from trustml.scenario.methods import IntegratedGradients
from trustml.worker.predicting import predict

_ROWS_AT_ONCE = 1024
_FEWEST_ROWS = 32
_NUMBERS_AT_ONCE = 2**25


def common_lane(
    network: Network, request: ExplainRequest, method: IntegratedGradients, changes: Doubles | None
) -> tuple[Floats, Ints]:
    """Integrated gradients as asked for, and how many passes each example took.

    Parameters
    ----------
    network : Network
    request : ExplainRequest
        Inputs, targets and baseline.
    method : IntegratedGradients
    changes : float64 array of shape (n,), optional
        See :func:`logit_changes`; needed where the method asks for a completeness error.
    """
    inputs, targets, baseline = request.inputs, request.targets, request.baseline
    if changes is None:
        found = integrated_gradients(network, inputs, targets, baseline=baseline, n_steps=method.n_steps)
        return found, np.full(len(inputs), method.n_steps)
    done = integrated_gradients_to_error(
        network,
        inputs,
        targets,
        baseline=baseline,
        changes=changes,
        max_completeness_error=method.max_completeness_error,
        n_steps=method.n_steps,
    )
    return done.attributions, done.passes


def logit_changes(network: Network, request: ExplainRequest) -> Doubles:
    """Target logit of each input minus that of its baseline, float64: two forward passes an example."""
    rows = np.arange(len(request.targets))
    logits = predict(network, request.inputs).astype(np.float64)
    return logits[rows, request.targets] - predict(network, request.baseline)[rows, request.targets]


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


def integrated_gradients_to_error(
    network: Network,
    inputs: Floats,
    targets: Ints,
    *,
    baseline: Floats,
    changes: Doubles,
    max_completeness_error: float,
    n_steps: int,
) -> Integrated:
    """Integrated gradients with as few passes as each example needs; see :mod:`trustml.attribution.paths`.

    Parameters
    ----------
    network, inputs, targets, baseline
        As for :func:`integrated_gradients`.
    changes : float64 array of shape (n,)
        Target logit of the input minus that of the baseline.
    max_completeness_error : float
        Share of the change at which an example is good enough.
    n_steps : int
        Most passes of one example.

    Returns
    -------
    Integrated
    """
    differences = inputs - baseline
    examples_at_once = max(1, _NUMBERS_AT_ONCE // (n_steps * max(1, differences[0].size)))
    parts = []
    for start in range(0, len(inputs), examples_at_once):
        block = slice(start, start + examples_at_once)

        def look(rows: Ints, points: Doubles, start: int = start) -> Floats:
            at = points.astype(np.float32).reshape(-1, *[1] * (inputs.ndim - 1))
            return _gradients(network, baseline[start + rows] + at * differences[start + rows], targets[start + rows])

        parts.append(
            integrate(
                look,
                differences=differences[block],
                changes=changes[block],
                tolerance=max_completeness_error,
                budget=n_steps,
            )
        )
    return Integrated(
        attributions=np.concatenate([part.attributions for part in parts]),
        errors=np.concatenate([part.errors for part in parts]),
        passes=np.concatenate([part.passes for part in parts]),
    )


def _gradients(network: Network, inputs: Floats, targets: Ints) -> Floats:
    """Gradients of any number of rows, asked in batches of few different sizes: a compiler sees each size anew."""
    parts = []
    for start in range(0, len(inputs), _ROWS_AT_ONCE):
        count = min(_ROWS_AT_ONCE, len(inputs) - start)
        size = max(_FEWEST_ROWS, 1 << (count - 1).bit_length())
        rows = start + np.minimum(np.arange(size), count - 1)  # the last row again, until the batch is full
        parts.append(network.input_gradients(inputs[rows], targets[rows])[:count])
    return np.concatenate(parts)
