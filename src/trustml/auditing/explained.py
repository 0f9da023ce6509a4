"""A few examples of somebody's model, with the gradients that explain them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.auditing.models import Array
from trustml.backends.contract import LiveModel
from trustml.data.dataset import Floats, Ints

EXAMPLES = 32
_ROWS, _BYTES = 1024, 64 << 20


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What is explained: a model in memory, on a few examples.

    Attributes
    ----------
    live : LiveModel
    single : bool
        One output column, that speaks for class 1.
    inputs : float32 array of shape (n, *x)
    labels : int64 array of shape (n,)
        Their columns are explained.
    baseline : float32 array of shape (n, *x)
    confidence : float
    seed : int
    """

    live: LiveModel
    single: bool
    inputs: Floats
    labels: Ints
    baseline: Floats
    confidence: float
    seed: int

    def scores(self, inputs: Floats) -> Doubles:
        """Output of each example's label, up to a constant where there is one column."""
        outputs = self.live.outputs(inputs).reshape(len(inputs), -1).astype(np.float64)
        if self.single:
            return outputs[:, 0] * self._signs(self.labels)
        return np.take_along_axis(outputs, self.labels[:, None], axis=1)[:, 0]

    def gradients(self, inputs: Floats, labels: Ints, live: LiveModel | None = None) -> Floats:
        """Gradient of each example's output with respect to its input; many rows in pieces."""
        model, columns = live or self.live, np.zeros_like(labels) if self.single else labels
        parts = [
            model.input_gradients(inputs[start : start + _ROWS], columns[start : start + _ROWS])
            for start in range(0, len(inputs), _ROWS)
        ]
        found = np.concatenate(parts).astype(np.float32)
        signs = self._signs(labels) if self.single else np.ones(len(labels))
        return found * signs.reshape(-1, *[1] * (inputs.ndim - 1)).astype(np.float32)

    def integrated(self, inputs: Floats, *, steps: int) -> Floats:
        """Integrated gradients by Gauss-Legendre quadrature (Sundararajan et al., arXiv 1703.01365)."""
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        difference = inputs - self.baseline
        total = np.zeros(inputs.shape, np.float64)
        # Several points of the path in one call: a call may cross to another process.
        at_once = max(1, min(_ROWS // len(inputs), _BYTES // inputs.nbytes))
        for start in range(0, steps, at_once):
            shares = ((1 + nodes[start : start + at_once]) / 2).astype(np.float32)
            points = np.concatenate([self.baseline + share * difference for share in shares])
            gradients = self.gradients(points, np.tile(self.labels, len(shares)))
            total += np.tensordot(
                weights[start : start + at_once] / 2, gradients.reshape(len(shares), *inputs.shape), axes=1
            )
        return (total * difference).astype(np.float32)

    @staticmethod
    def _signs(labels: Ints) -> Doubles:
        return np.where(labels == 1, 1.0, -1.0)


def prepare(
    live: LiveModel, inputs: Array, labels: Ints, *, train: Array, single: bool, confidence: float, seed: int
) -> Explained:
    """Choose the examples that are explained and their baseline, the mean training example.

    Raises
    ------
    TypeError
        If the inputs are not numbers on a scale.
    """
    if inputs.dtype.kind != "f":
        raise TypeError(f"its inputs are of type {inputs.dtype}, between which no path runs")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(inputs))[:EXAMPLES])
    picked = inputs[chosen].astype(np.float32)
    mean = np.broadcast_to(train.mean(axis=0, dtype=np.float64).astype(np.float32), picked.shape)
    return Explained(
        live=live,
        single=single,
        inputs=picked,
        labels=labels[chosen],
        baseline=np.ascontiguousarray(mean),
        confidence=confidence,
        seed=seed,
    )
