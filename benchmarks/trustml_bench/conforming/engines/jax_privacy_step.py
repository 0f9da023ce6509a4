"""jax-privacy as its documentation drives it: padded batches, ``clipped_grad``, its Gaussian privatizer."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_privacy import clipped_grad, noise_addition
from jax_privacy.batch_selection import pad_to_multiple_of

from trustml.backends.contract import Model
from trustml.conformance import Step, StepFactory, StepSettings
from trustml.data.dataset import Floats, Ints
from trustml_bench.engines.jax_network import Form, apply, mean_loss

_MULTIPLE = 16


def make(model: Model) -> StepFactory:
    """One program for all batches of one padded size."""
    form: Form = partial(apply, model.architecture)
    params = {name: jnp.asarray(value) for name, value in model.weights.items()}

    @cache
    def clipping(norm: float, expected: int) -> tuple[Any, float]:
        clipped = clipped_grad(
            partial(mean_loss, form),
            l2_clip_norm=norm,
            batch_argnums=(1, 2),
            normalize_by=expected,
            microbatch_size=_MULTIPLE,
        )
        return jax.jit(clipped), clipped.sensitivity()

    def factory(settings: StepSettings) -> Step:
        gradient, sensitivity = clipping(settings.clipping_norm, settings.expected_batch_size)
        privatizer = noise_addition.gaussian_privatizer(
            stddev=settings.noise_multiplier * sensitivity, prng_key=jax.random.key(settings.seed)
        )
        update = jax.jit(privatizer.update)
        state: Any = privatizer.init(params)

        def step(inputs: Floats, labels: Ints, micro_batch_size: int) -> Any:
            nonlocal state
            rows = pad_to_multiple_of(np.arange(len(labels)), _MULTIPLE)
            if not len(rows):
                rows = np.full(_MULTIPLE, -1)
            real = rows >= 0
            x, y = np.zeros((len(rows), *inputs.shape[1:]), np.float32), np.zeros(len(rows), np.int64)
            x[real], y[real] = inputs, labels
            found = gradient(params, x, y, is_padding_example=jnp.asarray(~real))
            noisy, state = update(found, state)
            return jax.device_get(noisy)

        return step

    return factory
