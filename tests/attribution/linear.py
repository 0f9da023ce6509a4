"""A linear model, of which everything is known by heart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustml.data.dataset import Floats, Ints


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Logits are ``weights . x + biases``; weights have shape (c, *x)."""

    weights: Floats
    biases: Floats

    def predict(self, inputs: Floats) -> Floats:
        flat = inputs.reshape(len(inputs), -1) @ self.weights.reshape(len(self.weights), -1).T
        return (flat + self.biases).astype(np.float32)

    def gradients(self, targets: Ints) -> Floats:
        return self.weights[targets].astype(np.float32)

    def contributions(self, inputs: Floats, targets: Ints, *, baseline: Floats) -> Floats:
        return self.gradients(targets) * (inputs - baseline)

    def target_logits(self, inputs: Floats, targets: Ints) -> Floats:
        return self.predict(inputs)[np.arange(len(targets)), targets]


def random_linear(shape: tuple[int, ...], *, classes: int, seed: int) -> Linear:
    generator = np.random.default_rng(seed)
    return Linear(
        weights=generator.standard_normal((classes, *shape)).astype(np.float32),
        biases=generator.standard_normal(classes).astype(np.float32),
    )


def random_inputs(count: int, shape: tuple[int, ...], *, seed: int) -> Floats:
    return np.random.default_rng([seed, 1]).standard_normal((count, *shape)).astype(np.float32)
