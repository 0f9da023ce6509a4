"""Plain training, DP-SGD and federated rounds, one example after the other, with the gradients of trustml's oracle."""

from __future__ import annotations

import math

import numpy as np

from trustml.backends.numpy.federated import NumpyFederation, mean_gradient, norm_of
from trustml.backends.settings import Clipped, EngineChoice
from trustml.scenario.optimizers import SGD


class PlainTrainer:
    """SGD with momentum; see :class:`trustml.backends.contract.Trainer`."""

    def __init__(self, model, optimizer):
        if not isinstance(optimizer, SGD):
            raise NotImplementedError(f"trustml-numpy has no {type(optimizer).__name__}; use SGD")
        self.architecture, self._task, self._momentum = model.architecture, model.task, optimizer.momentum
        self.values = {name: array.astype(np.float64) for name, array in model.weights.items()}
        self._velocity = self.zeros()

    def zeros(self):
        return {name: np.zeros_like(array) for name, array in self.values.items()}

    def gradient_of(self, inputs, labels):
        return mean_gradient(self.architecture, self.values, inputs.astype(np.float64), labels, task=self._task)

    def step(self, inputs, labels, *, learning_rate):
        self.move(self.gradient_of(inputs, labels), learning_rate)

    def move(self, gradient, learning_rate):
        for name, slope in gradient.items():
            self._velocity[name] = self._momentum * self._velocity[name] + slope
            self.values[name] = self.values[name] - learning_rate * self._velocity[name]

    def weights(self):
        return canonical(self.values)

    def state(self):
        return {f"momentum/{name}": array for name, array in canonical(self._velocity).items()}

    def restore(self, weights, state):
        self.values = {name: array.astype(np.float64) for name, array in weights.items()}
        self._velocity = {name: state[f"momentum/{name}"].astype(np.float64) for name in weights}


class PrivateTrainer(PlainTrainer):
    """DP-SGD; see :class:`trustml.backends.contract.PrivateTrainer`."""

    def __init__(self, model, settings):
        super().__init__(model, settings.optimizer)
        self._settings, self._sum, self._noisy = settings, self.zeros(), self.zeros()
        seed = np.random.SeedSequence(list(settings.noise_seed))
        self._generator = np.random.Generator(np.random.SFC64(seed))

    @property
    def choice(self):
        return EngineChoice(name="one by one", seconds={}, refused={})

    def accumulate(self, inputs, labels, *, clipping_norm):
        with np.errstate(all="ignore"):
            rows = [
                self.gradient_of(copies, np.repeat(label, len(copies)))
                for copies, label in zip(inputs, labels, strict=True)
            ]
        if not all(np.isfinite(part).all() for row in rows for part in row.values()):
            return Clipped(finite=False, unclipped=0)
        short = [self._add(row, clipping_norm) for row in rows]
        return Clipped(finite=True, unclipped=sum(short) if self._settings.count_unclipped else 0)

    def plant(self, gradients, *, clipping_norm):
        for row in range(len(next(iter(gradients.values())))):
            self._add({name: part[row].astype(np.float64) for name, part in gradients.items()}, clipping_norm)

    def _add(self, row, clipping_norm):
        """Clip one gradient, add it, and say whether it was short enough."""
        if self._settings.per_layer:
            limit, norms = clipping_norm / math.sqrt(len(row)), {name: norm_of({name: row[name]}) for name in row}
        else:
            limit, norms = clipping_norm, dict.fromkeys(row, norm_of(row))
        for name, part in row.items():
            self._sum[name] = self._sum[name] + part * min(1.0, limit / norms[name] if norms[name] else 1.0)
        return all(norm <= limit for norm in norms.values())

    def clipped_sum(self):
        return canonical(self._sum)

    def update(self, *, clipping_norm, noise_multiplier, learning_rate):
        deviation = self._settings.deviation(noise_multiplier=noise_multiplier, clipping_norm=clipping_norm)
        for name, total in self._sum.items():
            noise = deviation * self._generator.standard_normal(total.shape)
            self._noisy[name] = (total + noise) / self._settings.expected_batch_size
        self.move(self._noisy, learning_rate)
        self._sum = self.zeros()

    def gradient(self):
        return canonical(self._noisy)


def federation(model, settings):
    """Rounds of the oracle; noise from the generator that the entry names."""
    found = NumpyFederation(model, settings)
    found.generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence(list(settings.noise_seed))))
    return found


def canonical(parts):
    return {name: part.astype(np.float32) for name, part in parts.items()}
