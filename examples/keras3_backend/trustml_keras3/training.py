"""Plain training and DP-SGD: gradients by Keras's engine, clipping, noise and steps in numpy, in 64 bits."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from keras import ops

from trustml.backends.contract import Model
from trustml.backends.settings import Clipped, EngineChoice, PrivateSettings, filled_up
from trustml.data.dataset import Floats, LabelArray
from trustml.models.weights import Weights
from trustml.scenario.optimizers import SGD, Adam, Optimizer
from trustml_keras3.network import WAY, KerasNetwork, compiled, derivative, of_each

_Vectors = dict[str, npt.NDArray[np.float64]]


class PlainTrainer:
    """See :class:`trustml.backends.contract.Trainer`."""

    def __init__(self, model: Model, optimizer: Optimizer) -> None:
        self._network, self._classes = KerasNetwork(model), model.outputs
        self._optimizer, self._trained = optimizer, list(model.trained)
        self._slopes = compiled(derivative(self._network.mean_loss))
        self._weights = {name: array.astype(np.float64) for name, array in model.weights.items()}
        names = ("momentum",) if isinstance(optimizer, SGD) else ("mean", "variance")
        self._memory: dict[str, _Vectors] = {name: self._zeros() for name in names}
        self._count = 0

    def _zeros(self) -> _Vectors:
        return {name: np.zeros_like(self._weights[name]) for name in self._trained}

    def step(self, inputs: Floats, labels: LabelArray, *, learning_rate: float) -> None:
        """Take one step on the mean loss of the batch."""
        chosen = ops.convert_to_tensor(self._network.rows_of(labels, self._classes))
        found = self._slopes(self._network.values, ops.convert_to_tensor(inputs), chosen)
        self._move(self._of_trained(found), learning_rate)

    def _of_trained(self, arrays: list[object]) -> _Vectors:
        pairs = zip(self._network.names, arrays, strict=True)
        return {n: ops.convert_to_numpy(a).astype(np.float64) for n, a in pairs if n in self._trained}

    def _move(self, gradient: _Vectors, learning_rate: float) -> None:
        self._count += 1
        for name, slope in gradient.items():
            self._weights[name] = self._weights[name] - learning_rate * self._direction(name, slope)
        self._put()

    def _direction(self, name: str, slope: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        match self._optimizer:
            case SGD(momentum=momentum):
                kept = self._memory["momentum"]
                kept[name] = momentum * kept[name] + slope
                return kept[name]
            case Adam(beta1=beta1, beta2=beta2, stabilizer=stabilizer):
                mean, variance = self._memory["mean"], self._memory["variance"]
                mean[name] = beta1 * mean[name] + (1 - beta1) * slope
                variance[name] = beta2 * variance[name] + (1 - beta2) * slope**2
                spread = np.sqrt(variance[name] / (1 - beta2**self._count)) + stabilizer
                return mean[name] / (1 - beta1**self._count) / spread
        raise NotImplementedError(f"trustml-keras3 has no {type(self._optimizer).__name__}; use SGD or Adam")

    def _put(self) -> None:
        for name, variable in zip(self._network.names, self._network.variables, strict=True):
            if name in self._trained:
                variable.assign(self._weights[name].astype(np.float32))

    def weights(self) -> Weights:
        """Present weights, canonical."""
        return _rounded(self._weights)

    def state(self) -> Weights:
        """What the optimizer remembers."""
        found = {f"{kind}/{name}": array for kind, kept in self._memory.items() for name, array in kept.items()}
        counted = {"count": np.array(self._count)} if isinstance(self._optimizer, Adam) else {}
        return _rounded(found | counted)

    def restore(self, weights: Weights, state: Weights) -> None:
        """Go back to weights and state."""
        self._weights = {name: array.astype(np.float64) for name, array in weights.items()}
        for kind, kept in self._memory.items():
            for name in kept:
                kept[name] = state.get(f"{kind}/{name}", np.zeros_like(kept[name])).astype(np.float64)
        self._count = int(state["count"]) if "count" in state else 0
        self._put()


class PrivateTrainer(PlainTrainer):
    """See :class:`trustml.backends.contract.PrivateTrainer`."""

    def __init__(self, model: Model, settings: PrivateSettings) -> None:
        if settings.noise is not None:
            raise NotImplementedError("trustml-keras3 draws independent noise alone; leave mechanism out")
        super().__init__(model, settings.optimizer)
        self._settings, self._sum, self._noisy = settings, self._zeros(), self._zeros()
        # Each example by itself, so that none is in the gradient of another; its copies make one mean loss.
        self._each = of_each(self._network.mean_loss)
        words = np.random.SeedSequence(list(settings.noise_seed))
        self._generator = np.random.Generator(np.random.SFC64(words))

    @property
    def choice(self) -> EngineChoice:
        """There is one way."""
        return EngineChoice(name=WAY, seconds={}, refused={})

    def accumulate(self, inputs: Floats, labels: LabelArray, *, clipping_norm: float) -> Clipped:
        """Clip the gradient of each example and add it, in blocks of one size."""
        block, rows = self._settings.block_rows(), self._network.rows_of(labels, self._classes)
        chosen = np.repeat(rows[:, None], inputs.shape[1], axis=1)
        added, unclipped = self._zeros(), 0
        for start in range(0, len(inputs), block):
            some, theirs = inputs[start : start + block], chosen[start : start + block]
            full, full_theirs = (ops.convert_to_tensor(filled_up(part, block)) for part in (some, theirs))
            found = self._of_trained(self._each(self._network.values, full, full_theirs))
            gradients = {name: part[: len(some)] for name, part in found.items()}
            if not all(np.isfinite(part).all() for part in gradients.values()):
                return Clipped(finite=False, unclipped=0)
            unclipped += self._add(added, gradients, clipping_norm)
        for name, part in added.items():
            self._sum[name] = self._sum[name] + part
        return Clipped(finite=True, unclipped=unclipped if self._settings.count_unclipped else 0)

    def plant(self, gradients: Weights, *, clipping_norm: float) -> None:
        """Clip gradients from elsewhere, and add them."""
        self._add(self._sum, {name: gradients[name].astype(np.float64) for name in self._sum}, clipping_norm)

    def _add(self, total: _Vectors, gradients: _Vectors, clipping_norm: float) -> int:
        """Clip rows, add them to a sum, and count those that were short enough."""
        squares = {name: (part.reshape(len(part), -1) ** 2).sum(axis=1) for name, part in gradients.items()}
        if self._settings.per_layer:
            limit, norms = clipping_norm / math.sqrt(len(squares)), {n: np.sqrt(s) for n, s in squares.items()}
        else:
            limit, whole = clipping_norm, np.sqrt(sum(squares.values()))
            norms = dict.fromkeys(squares, whole)
        for name, part in gradients.items():
            scales = np.minimum(1.0, limit / np.maximum(norms[name], 1e-300))
            total[name] = total[name] + np.tensordot(scales, part, axes=1)
        return int(np.all([norm <= limit for norm in norms.values()], axis=0).sum())

    def clipped_sum(self) -> Weights:
        """Sum so far, without noise."""
        return _rounded(self._sum)

    def update(self, *, clipping_norm: float, noise_multiplier: float, learning_rate: float) -> None:
        """Add noise once, divide by the declared batch size, take a step, begin anew."""
        deviation = self._settings.deviation(noise_multiplier=noise_multiplier, clipping_norm=clipping_norm)
        for name, total in self._sum.items():
            noise = deviation * self._generator.standard_normal(total.shape)
            self._noisy[name] = (total + noise) / self._settings.expected_batch_size
        self._move(self._noisy, learning_rate)
        self._sum = self._zeros()

    def gradient(self) -> Weights:
        """Noisy mean gradient of the last update."""
        return _rounded(self._noisy)


def _rounded(arrays: _Vectors) -> Weights:
    return {name: array.astype(np.float32) for name, array in arrays.items()}
