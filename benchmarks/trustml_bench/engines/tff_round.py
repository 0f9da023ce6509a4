"""TFF's federated averaging as its documentation drives it, with its fastest loop."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from trustml_bench.engine import Work
from trustml_bench.engines.keras_network import build
from trustml_bench.workloads import LEARNING_RATE, Workload, make_clients, make_model


def federated_round(workload: Workload) -> Work:
    """A functional model, data sets made once, the data set iterator."""
    model = make_model(workload)
    functional = tff.learning.models.functional_model_from_keras(
        build(model),
        loss_fn=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        input_spec=(tf.TensorSpec((None, *model.input_shape), tf.float32), tf.TensorSpec((None,), tf.int64)),
    )
    process = tff.learning.algorithms.build_weighted_fed_avg(
        functional,
        client_optimizer_fn=tff.learning.optimizers.build_sgdm(LEARNING_RATE),
        loop_implementation=tff.learning.LoopImplementation.DATASET_ITERATOR,
    )
    data = []
    for client in make_clients(workload):
        inputs, labels = (np.concatenate(part) for part in zip(*client, strict=True))
        data.append(tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(workload.batch_size))
    state = [process.initialize()]

    def unit() -> None:
        state[0] = process.next(state[0], data).state

    def weights() -> dict[str, np.ndarray]:
        values = process.get_model_weights(state[0]).trainable
        return {name: np.asarray(value) for name, value in zip(model.weights, values, strict=True)}

    return Work(unit=unit, outcome=weights)
