"""Somebody's model in memory; see :class:`trustml.backends.contract.LiveModel`."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from trustml.record.files import arrays_digest


class Dense:
    """One layer of a stranger's, with weights (n, c)."""

    def __init__(self, kernel):
        self.kernel = kernel


class LiveDense:
    def __init__(self, model):
        self._model = model

    def outputs(self, inputs):
        return (inputs @ self._model.kernel).astype(np.float32)

    def input_gradients(self, inputs, columns):
        return self._model.kernel.T[columns].astype(np.float32)

    @contextmanager
    def randomised(self, seed):
        kernel = self._model.kernel
        yield LiveDense(Dense(np.random.default_rng(seed).permutation(kernel.ravel()).reshape(kernel.shape)))

    def digest(self):
        return arrays_digest([("kernel", self._model.kernel)])

    def library_attributions(self, inputs, columns, *, baseline, n_steps, rows=256):
        return {"trustml-numpy": (inputs - baseline) * self.input_gradients(inputs, columns)}


def live_model(model):
    return LiveDense(model)
