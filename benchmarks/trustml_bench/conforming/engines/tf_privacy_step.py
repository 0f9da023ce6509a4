"""TF Privacy as its documentation drives it: a compiled model and its ``train_step``, watched by what weights do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf
from tensorflow_privacy import DPKerasSGDOptimizer, DPSequential
from tensorflow_privacy.privacy.fast_gradient_clipping.layer_registry import make_default_layer_registry

from trustml.backends.contract import Model
from trustml.conformance import Step, StepFactory, StepSettings
from trustml.data.dataset import Floats, Ints
from trustml_bench.engines.keras_network import build, layers, load

_RATE = 1.0


def keras_optimizer(model: Model) -> StepFactory:
    """The optimizer in an ordinary model; left to itself it takes as many micro-batches as there are examples."""

    def compiled(settings: StepSettings) -> tf.keras.Model:
        network = build(model)
        optimizer = DPKerasSGDOptimizer(
            l2_norm_clip=settings.clipping_norm,
            noise_multiplier=settings.noise_multiplier,
            num_microbatches=None,
            learning_rate=_RATE,
        )
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=tf.keras.losses.Reduction.NONE)
        network.compile(optimizer, loss)
        return network

    return partial(_step, compiled)


def sequential(model: Model) -> StepFactory:
    """``DPSequential``, without XLA so that batches of many sizes are not compiled one by one."""
    return partial(_step, partial(_sequential, model, fast=False))


def fast_clipping(model: Model) -> StepFactory:
    """``DPSequential`` with the layer registry."""
    return partial(_step, partial(_sequential, model, fast=True))


def _sequential(model: Model, settings: StepSettings, *, fast: bool) -> tf.keras.Model:
    network = DPSequential(
        l2_norm_clip=settings.clipping_norm,
        noise_multiplier=settings.noise_multiplier,
        use_xla=False,
        layer_registry=make_default_layer_registry() if fast else None,
        layers=layers(model),
    )
    network.compile(tf.keras.optimizers.SGD(_RATE), tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return load(network, model)


def _step(compiled: Callable[[StepSettings], tf.keras.Model], settings: StepSettings) -> Step:
    tf.random.set_seed(settings.seed)  # the library's noise has no other seed
    network = compiled(settings)
    start = [value.numpy() for value in network.trainable_variables]
    inputs_of = tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)

    @tf.function(input_signature=[inputs_of, tf.TensorSpec((None,), tf.int64)])
    def train(inputs: tf.Tensor, labels: tf.Tensor) -> None:
        network.train_step((inputs, labels))

    def step(inputs: Floats, labels: Ints, micro_batch_size: int) -> list[Floats]:
        train(tf.constant(inputs), tf.constant(labels, tf.int64))
        moved = [
            (before - value.numpy()) / _RATE for before, value in zip(start, network.trainable_variables, strict=True)
        ]
        for value, before in zip(network.trainable_variables, start, strict=True):
            value.assign(before)
        return [np.asarray(part) for part in moved]

    return step
