"""TF Privacy as its documentation drives it, its models' and optimizers' ``train_step`` compiled as ``fit`` does."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from tensorflow_privacy import DPKerasSGDOptimizer, DPSequential
from tensorflow_privacy.privacy.fast_gradient_clipping.layer_registry import make_default_layer_registry

from trustml.backends.contract import Model
from trustml.models.layers import Conv2D
from trustml_bench.engine import Work
from trustml_bench.engines.keras_network import build, canonical, layers, load
from trustml_bench.engines.tensorflow_plain import batch
from trustml_bench.workloads import CLIPPING_NORM, LEARNING_RATE, NETWORKS, Workload, make_model


def default(workload: Workload) -> Work:
    """``DPSequential`` as it comes: its step goes through XLA."""
    return _stepping(workload, _sequential(workload, use_xla=True, fast=False))


def vectorised(workload: Workload) -> Work:
    """``DPSequential`` without XLA."""
    return _stepping(workload, _sequential(workload, use_xla=False, fast=False))


def fast_clipping(workload: Workload) -> Work:
    """``DPSequential`` with the layer registry, which has no convolution."""
    if any(isinstance(layer, Conv2D) for layer in NETWORKS[workload.network][0].layers):
        raise NotImplementedError("TF Privacy's layer registry has no convolution")
    return _stepping(workload, _sequential(workload, use_xla=False, fast=True))


def keras_optimizer(workload: Workload) -> Work:
    """``DPKerasSGDOptimizer`` in an ordinary model, one micro-batch an example."""

    def compiled(model: Model) -> tf.keras.Model:
        network = build(model)
        optimizer = DPKerasSGDOptimizer(
            l2_norm_clip=CLIPPING_NORM,
            noise_multiplier=workload.noise_multiplier,
            num_microbatches=workload.size,
            learning_rate=LEARNING_RATE,
        )
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=tf.keras.losses.Reduction.NONE)
        network.compile(optimizer, loss)
        return network

    return _stepping(workload, compiled)


def _sequential(workload: Workload, *, use_xla: bool, fast: bool) -> Callable[[Model], tf.keras.Model]:
    def compiled(model: Model) -> tf.keras.Model:
        network = DPSequential(
            l2_norm_clip=CLIPPING_NORM,
            noise_multiplier=workload.noise_multiplier,
            use_xla=use_xla,
            layer_registry=make_default_layer_registry() if fast else None,
            layers=layers(model),
        )
        network.compile(
            tf.keras.optimizers.SGD(LEARNING_RATE), tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        return load(network, model)

    return compiled


def _stepping(workload: Workload, compiled: Callable[[Model], tf.keras.Model]) -> Work:
    model, (inputs, labels) = make_model(workload), batch(workload)
    network = compiled(model)
    step = tf.function(lambda x, y: network.train_step((x, y)))

    def unit() -> None:
        step(inputs, labels)["loss"].numpy()

    return Work(unit=unit, outcome=lambda: canonical(network, model))
