"""Inputs whose gradient is like a given one (Zhu et al., NeurIPS 2019; Geiping et al., NeurIPS 2020)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from trustml.backends.contract import Model
from trustml.backends.jax.losses import example_losses
from trustml.backends.jax.network import Params, apply, to_params
from trustml.backends.jax.tiling import device_labels
from trustml.backends.settings import InversionSettings
from trustml.data.dataset import Floats
from trustml.models.layers import Architecture
from trustml.models.tasks import Task

_RATE = 0.05
"""First step of Adam, of the range of each value; it falls to nothing by a cosine."""
_AT_ONCE = 16


def invert(model: Model, settings: InversionSettings) -> Floats:
    """Make inputs of shape (k, r, *x); labels are taken as known."""
    labels = device_labels(settings.labels)
    found = _invert(
        model.architecture,
        model.task,
        settings.steps,
        to_params(model.weights),
        (to_params(settings.gradients), labels, settings.start),
        (settings.low, settings.high, np.float32(settings.total_variation)),
    )
    return np.asarray(found, np.float32)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _invert(
    architecture: Architecture,
    task: Task,
    steps: int,
    params: Params,
    batches: tuple[Params, Array, Array],
    bounds: tuple[Array, Array, Array],
) -> Array:
    low, high, smoothness = bounds

    def of_batch(batch: tuple[Params, Array, Array]) -> Array:
        wanted, labels, start = batch

        def objective(inputs: Array) -> Array:
            def loss(params: Params) -> Array:
                return example_losses(task, apply(architecture, params, inputs), labels).mean()

            return 1 - _cosine(jax.grad(loss)(params), wanted) + smoothness * _variation(inputs)

        def step(state: tuple[Array, Array, Array], number: Array) -> tuple[tuple[Array, Array, Array], None]:
            inputs, mean, variance = state
            slope = jnp.sign(jax.grad(objective)(inputs))
            mean, variance = 0.9 * mean + 0.1 * slope, 0.999 * variance + 0.001 * slope**2
            rate = _RATE * (high - low) * (1 + jnp.cos(jnp.pi * number / steps)) / 2
            move = mean / (1 - 0.9 ** (number + 1)) / (jnp.sqrt(variance / (1 - 0.999 ** (number + 1))) + 1e-8)
            return (jnp.clip(inputs - rate * move, low, high), mean, variance), None

        state = (start, jnp.zeros_like(start), jnp.zeros_like(start))
        (inputs, _, _), _ = jax.lax.scan(step, state, jnp.arange(steps, dtype=jnp.float32))
        return inputs

    return jax.lax.map(of_batch, batches, batch_size=_AT_ONCE)


def _cosine(found: Params, wanted: Params) -> Array:
    """Cosine of the angle between two gradients; the small number keeps its slope finite where one is zero."""
    dot = sum(jnp.vdot(found[name], wanted[name]) for name in wanted)
    lengths = [jnp.sqrt(sum(jnp.vdot(one[name], one[name]) for name in wanted) + 1e-24) for one in (found, wanted)]
    return dot / (lengths[0] * lengths[1])


def _variation(inputs: Array) -> Array:
    """Mean difference of neighbouring pixels of pictures (n, rows, columns, channels); 0 of all else."""
    if inputs.ndim != 4:
        return jnp.zeros(())
    return jnp.abs(jnp.diff(inputs, axis=1)).mean() + jnp.abs(jnp.diff(inputs, axis=2)).mean()
