"""JAX without privacy or explanations: the floors. Every form that might be the fastest is tried."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from trustml.backends.jax.network import Params, to_weights
from trustml.backends.jax.noise import standard_noise
from trustml.models.weights import Weights
from trustml_bench.engine import Unit, Work
from trustml_bench.engines.fastest import fastest
from trustml_bench.engines.jax_network import Form, chosen_sum, forms, mean_loss, standard_form, start
from trustml_bench.workloads import (
    IG_STEPS,
    LEARNING_RATE,
    Workload,
    make_batch,
    make_clients,
    patch_count,
)


def plain_step(workload: Workload) -> Work:
    """A compiled step of SGD with donated weights."""
    return fastest({name: partial(_plain_step, workload, form) for name, form in forms(workload).items()})


def noisy_step(workload: Workload) -> Work:
    """A plain step, and a normal number for every weight by JAX's own draw: the least of a private step."""
    step, params = plain_step(workload), start(workload)
    count = sum(part.size for part in params.values())
    draw = jax.jit(lambda key: jax.random.normal(key, (count,)))
    keys = _keys()

    def unit() -> None:
        step()
        draw(next(keys)).block_until_ready()

    return Work(unit=unit, outcome=step.outcome, note=step.note)


def own_noise(weights: Weights) -> Unit:
    """As many numbers as there are weights, drawn as trustml's private trainer draws them."""
    shapes = {name: jax.ShapeDtypeStruct(array.shape, np.float32) for name, array in weights.items()}
    draw, keys = jax.jit(lambda key: standard_noise(key, like=shapes)), _keys()
    return lambda: jax.block_until_ready(draw(next(keys)))


def _keys() -> Iterator[Array]:
    for number in itertools.count():
        yield jax.random.key(number)


def standard_step(workload: Workload) -> Work:
    """The same with the network as users of JAX write it."""
    return _plain_step(workload, standard_form(workload))


def input_gradients(workload: Workload) -> Work:
    """As many forward and backward passes as integrated gradients have steps: call by call, or in one program."""
    return fastest(
        {
            f"{name}, {'one program' if looped else 'call by call'}": partial(_gradients, workload, form, looped=looped)
            for name, form in forms(workload).items()
            for looped in (False, True)
        }
    )


def forward_passes(workload: Workload) -> Work:
    """As many forward passes of the whole batch as occlusion has patches, and one."""
    count = patch_count(workload) + 1
    return fastest({name: partial(_forwards, workload, form, count) for name, form in forms(workload).items()})


def epoch(workload: Workload) -> Work:
    """One centralised epoch over the examples of all clients of a round, in the same batches, as one program."""
    return fastest({name: partial(_epoch, workload, form) for name, form in forms(workload).items()})


def batch(workload: Workload) -> tuple[Array, Array]:
    """Inputs and labels on the device."""
    inputs, labels = make_batch(workload)
    return jnp.asarray(inputs), jnp.asarray(labels, jnp.int32)


def sgd(params: Params, gradient: Params) -> Params:
    """Take a step."""
    return jax.tree.map(lambda weight, part: weight - LEARNING_RATE * part, params, gradient)


def stepping(step: Callable[[Params], Params], params: Params) -> Work:
    """Units that go from weights to weights."""
    held = [params]

    def unit() -> None:
        held[0] = jax.block_until_ready(step(held[0]))

    return Work(unit=unit, outcome=lambda: to_weights(held[0], list(params)))


def _plain_step(workload: Workload, form: Form) -> Work:
    inputs, labels = batch(workload)
    gradient = jax.grad(partial(mean_loss, form))
    step = jax.jit(lambda params, x, y: sgd(params, gradient(params, x, y)), donate_argnums=0)
    return stepping(lambda params: step(params, inputs, labels), start(workload))


def _gradients(workload: Workload, form: Form, *, looped: bool) -> Work:
    params, (inputs, labels) = start(workload), batch(workload)

    def gradient(params: Params, inputs: Array, labels: Array) -> Array:
        return jax.grad(lambda x: chosen_sum(form, params, x, labels))(inputs)

    def loop(params: Params, inputs: Array, labels: Array) -> Array:
        # Inputs of every pass are others, lest the compiler computes one of them once.
        scales = jnp.linspace(0.0, 1.0, IG_STEPS)
        zeros = jnp.zeros_like(inputs)
        return lax.scan(lambda _, scale: (gradient(params, scale * inputs, labels), None), zeros, scales)[0]

    program, calls = (jax.jit(loop), 1) if looped else (jax.jit(gradient), IG_STEPS)
    found: list[Array] = []

    def unit() -> None:
        for _ in range(calls):
            found[:] = [jax.block_until_ready(program(params, inputs, labels))]

    return Work(unit=unit, outcome=lambda: {"gradients": np.asarray(found[0])})


def _forwards(workload: Workload, form: Form, count: int) -> Work:
    inputs, _ = batch(workload)
    program, params = jax.jit(form), start(workload)
    found: list[Array] = []

    def unit() -> None:
        for _ in range(count):
            found[:] = [jax.block_until_ready(program(params, inputs))]

    return Work(unit=unit, outcome=lambda: {"logits": np.asarray(found[0])})


def _epoch(workload: Workload, form: Form) -> Work:
    batches = [batch for client in make_clients(workload) for batch in client]
    if len({len(labels) for _, labels in batches}) > 1:
        raise NotImplementedError("clients whose last batch is smaller")
    inputs = jnp.asarray(np.stack([inputs for inputs, _ in batches]))
    labels = jnp.asarray(np.stack([labels for _, labels in batches]), jnp.int32)
    gradient = jax.grad(partial(mean_loss, form))

    def through(params: Params, inputs: Array, labels: Array) -> Params:
        return lax.scan(lambda held, given: (sgd(held, gradient(held, *given)), None), params, (inputs, labels))[0]

    program = jax.jit(through, donate_argnums=0)
    return stepping(lambda params: program(params, inputs, labels), start(workload))
