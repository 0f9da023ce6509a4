"""A linear model, of which everything is known by heart; and perturbations that only tests draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trustml.attribution.asking import Bools
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


def gaussian_steps(inputs: Floats, *, stdev: float, samples: int, generator: np.random.Generator) -> Floats:
    """Draw normal noise, in units of the input; (n, samples, *x).

    It asks for the slope close to the input: attributions that are gradients do best.
    """
    shape = (len(inputs), samples, *inputs.shape[1:])
    return (stdev * generator.standard_normal(shape)).astype(np.float32)


def random_squares(
    shape: tuple[int, int, int], *, side: int, examples: int, samples: int, generator: np.random.Generator
) -> Bools:
    """Draw one square of pixels for each sample, all its channels, wholly inside the image and anywhere alike.

    Parameters
    ----------
    shape : tuple of int
        (h, w, c) of one image.
    side : int
        In pixels.
    examples, samples : int
    generator : numpy.random.Generator

    Returns
    -------
    bool array of shape (examples, samples, h, w, c)
    """
    height, width, channels = shape
    if not 1 <= side <= min(height, width):
        raise ValueError(f"a square of {side} pixels does not fit into {height} x {width}")
    top = generator.integers(height - side + 1, size=(examples, samples, 1, 1))
    left = generator.integers(width - side + 1, size=(examples, samples, 1, 1))
    down, across = np.arange(height)[:, None], np.arange(width)
    inside = (down >= top) & (down < top + side) & (across >= left) & (across < left + side)
    return np.repeat(inside[..., None], channels, axis=4)


def every_value(shape: Sequence[int]) -> Ints:
    """Make each value of an input of that shape a feature of its own."""
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(tuple(shape))
