"""TensorFlow without privacy or explanations: the floors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

from trustml_bench.engine import Work
from trustml_bench.engines.fastest import fastest
from trustml_bench.engines.keras_network import build, canonical
from trustml_bench.workloads import (
    IG_STEPS,
    LEARNING_RATE,
    Workload,
    make_batch,
    make_clients,
    make_model,
    patch_count,
)


def plain_step(workload: Workload) -> Work:
    """A step of SGD in a ``tf.function``."""
    return _plain_step(workload, xla=False)


def compiled_step(workload: Workload) -> Work:
    """The same with ``jit_compile=True``."""
    return _plain_step(workload, xla=True)


def input_gradients(workload: Workload) -> Work:
    """As many forward and backward passes as integrated gradients have steps: call by call, or in one function."""
    return fastest(
        {
            "call by call": partial(_gradients, workload, looped=False),
            "one function": partial(_gradients, workload, looped=True),
        }
    )


def forward_passes(workload: Workload) -> Work:
    """As many forward passes of the whole batch as occlusion has patches, and one."""
    count = patch_count(workload) + 1
    network, (inputs, _) = build(make_model(workload)), batch(workload)
    forward = tf.function(lambda x: network(x, training=False))
    found: list[tf.Tensor] = []

    def unit() -> None:
        for _ in range(count):
            found[:] = [forward(inputs)]
            found[0].numpy()

    return Work(unit=unit, outcome=lambda: {"logits": found[0].numpy()})


def epoch(workload: Workload) -> Work:
    """One centralised epoch over the examples of all clients of a round: step by step, or in one function."""
    return fastest(
        {
            "step by step": partial(_epoch, workload, looped=False),
            "one function": partial(_epoch, workload, looped=True),
        }
    )


def batch(workload: Workload) -> tuple[tf.Tensor, tf.Tensor]:
    """Inputs and labels as tensors."""
    inputs, labels = make_batch(workload)
    return tf.constant(inputs), tf.constant(labels)


def _trained_step(network: tf.keras.Model) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    variables = network.trainable_variables

    def step(inputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, network(inputs, training=True))
            loss = tf.reduce_mean(losses)
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(LEARNING_RATE * gradient)
        return loss

    return step


def _plain_step(workload: Workload, *, xla: bool) -> Work:
    model, (inputs, labels) = make_model(workload), batch(workload)
    network = build(model)
    step = tf.function(_trained_step(network), jit_compile=xla)
    return Work(unit=lambda: step(inputs, labels).numpy(), outcome=lambda: canonical(network, model))


def _gradients(workload: Workload, *, looped: bool) -> Work:
    network, (inputs, labels) = build(make_model(workload)), batch(workload)

    def gradient(inputs: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            chosen = tf.reduce_sum(tf.gather(network(inputs, training=False), labels, axis=1, batch_dims=1))
        return tape.gradient(chosen, inputs)

    def loop(inputs: tf.Tensor) -> tf.Tensor:
        found = tf.zeros_like(inputs)
        for number in tf.range(IG_STEPS):
            # Inputs of every pass are others, lest the compiler computes one of them once.
            found = gradient(inputs * tf.cast(number, tf.float32) / (IG_STEPS - 1))
        return found

    program, calls = (tf.function(loop), 1) if looped else (tf.function(gradient), IG_STEPS)
    found: list[tf.Tensor] = []

    def unit() -> None:
        for _ in range(calls):
            found[:] = [program(inputs)]
        found[0].numpy()

    return Work(unit=unit, outcome=lambda: {"gradients": found[0].numpy()})


def _epoch(workload: Workload, *, looped: bool) -> Work:
    model = make_model(workload)
    network = build(model)
    batches = [batch for client in make_clients(workload) for batch in client]
    if len({len(labels) for _, labels in batches}) > 1:
        raise NotImplementedError("clients whose last batch is smaller")
    inputs = tf.constant(np.stack([inputs for inputs, _ in batches]))
    labels = tf.constant(np.stack([labels for _, labels in batches]))
    step = _trained_step(network)

    @tf.function
    def through(inputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        loss = 0.0
        for number in tf.range(len(batches)):
            loss = step(inputs[number], labels[number])
        return loss

    one, given = tf.function(step), list(zip(inputs, labels, strict=True))

    def unit() -> None:
        loss = through(inputs, labels) if looped else [one(*batch) for batch in given][-1]
        loss.numpy()

    return Work(unit=unit, outcome=lambda: canonical(network, model))
