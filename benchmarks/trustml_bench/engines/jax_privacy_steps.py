"""jax-privacy as its documentation drives it: ``clipped_grad``, its Gaussian privatizer, Optax, all in one program."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import optax
from jax import Array
from jax_privacy import clipped_grad, noise_addition

from trustml.backends.jax.network import Params, to_weights
from trustml_bench.engine import Work
from trustml_bench.engines.jax_network import Form, mean_loss, own_form, standard_form, start
from trustml_bench.engines.jax_plain import batch
from trustml_bench.workloads import CLIPPING_NORM, LEARNING_RATE, Workload


def default(workload: Workload) -> Work:
    """All examples at once, on the network as users of JAX write it."""
    return _private_step(workload, standard_form(workload), None)


def microbatches(workload: Workload) -> Work:
    """Micro-batches of 32, on the same network."""
    return _private_step(workload, standard_form(workload), 32)


def default_on_ours(workload: Workload) -> Work:
    """All examples at once, on trustml's network."""
    return _private_step(workload, own_form(workload), None)


def microbatches_on_ours(workload: Workload) -> Work:
    """Micro-batches of 32, on trustml's network."""
    return _private_step(workload, own_form(workload), 32)


def _private_step(workload: Workload, form: Form, microbatch: int | None) -> Work:
    if microbatch is not None and workload.size % microbatch:
        raise NotImplementedError(f"{workload.size} examples are no multiple of a micro-batch of {microbatch}")
    inputs, labels = batch(workload)
    gradient = clipped_grad(
        partial(mean_loss, form),
        l2_clip_norm=CLIPPING_NORM,
        batch_argnums=(1, 2),
        normalize_by=workload.size,
        microbatch_size=microbatch,
    )
    optimizer = optax.chain(
        noise_addition.gaussian_privatizer(
            stddev=workload.noise_multiplier * gradient.sensitivity(), prng_key=jax.random.key(0)
        ),
        optax.sgd(LEARNING_RATE),
    )

    def step(params: Params, state: Any, inputs: Array, labels: Array) -> tuple[Params, Any]:
        updates, state = optimizer.update(gradient(params, inputs, labels), state, params)
        return optax.apply_updates(params, updates), state

    program = jax.jit(step, donate_argnums=(0, 1))
    params = start(workload)
    names = list(params)  # JAX sorts them
    held = [(params, optimizer.init(params))]

    def unit() -> None:
        held[0] = jax.block_until_ready(program(*held[0], inputs, labels))

    return Work(unit=unit, outcome=lambda: to_weights(held[0][0], names))
