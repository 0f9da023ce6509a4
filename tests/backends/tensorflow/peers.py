"""Run in the tensorflow environment: what TensorFlow and Keras do, as JSON."""

from __future__ import annotations

import json
import sys

import numpy as np
import tensorflow as tf


def vectorised_padding() -> list[float]:
    """Values that ``tf.pad`` and ``tf.vectorized_map`` of it put at the border."""
    values = tf.ones((2, 3))

    def pad(row: tf.Tensor) -> tf.Tensor:
        return tf.pad(row[None], [[0, 0], [1, 0]], constant_values=-7.0)[0]

    mapped = tf.function(lambda rows: tf.vectorized_map(pad, rows))(values)
    return [float(pad(values[0])[0]), float(mapped[0, 0])]


def keras_steps(optimizer: tf.keras.optimizers.Optimizer, rates: list[float]) -> float:
    """Weight after steps of gradient 1 from 0."""
    weight = tf.Variable(0.0)
    optimizer.build([weight])
    for rate in rates:
        optimizer.learning_rate.assign(rate)
        optimizer.apply_gradients([(tf.constant(1.0), weight)])
    return float(weight)


def our_steps(kind: str, rates: list[float]) -> float:
    from trustml.backends.tensorflow.optimizers import OptimizerSteps
    from trustml.scenario.optimizers import SGD, Adam

    weight = tf.Variable(0.0)
    steps = OptimizerSteps(SGD(momentum=0.5) if kind == "sgd" else Adam(stabilizer=0.1), {"w": weight})
    for rate in rates:
        steps.apply({"w": tf.constant(1.0)}, tf.constant(rate))
    return float(weight)


def precision() -> dict[str, list[str]]:
    """What the backend says of switches to fewer bits, and of a GPU that is not there."""
    from trustml.backends.tensorflow.device import open_device
    from trustml.errors import UsageError

    device = open_device("cpu", threads=1)
    found = {"nothing": list(device.reduced_precision())}
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    found["policy"] = list(device.reduced_precision())
    tf.keras.mixed_precision.set_global_policy("float32")
    tf.keras.backend.set_floatx("float16")
    found["floatx"] = list(device.reduced_precision())
    tf.keras.backend.set_floatx("float32")
    for on in (True, False):
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": on})
        found[f"rewriting {on}"] = list(device.reduced_precision())
    try:
        open_device("cuda", threads=1)
    except UsageError as error:
        found["cuda"] = [str(error)]
    return found


if __name__ == "__main__":
    constant, changing = [0.1] * 4, [0.4, 0.2, 0.1, 0.05]
    content = {"precision": precision()}  # first, while the device can still be chosen
    content |= {"padding": vectorised_padding(), "numpy": np.__version__}
    for name, rates in (("constant", constant), ("changing", changing)):
        content[name] = {
            "keras_sgd": keras_steps(tf.keras.optimizers.SGD(0.1, momentum=0.5), rates),
            "our_sgd": our_steps("sgd", rates),
            "keras_adam": keras_steps(tf.keras.optimizers.Adam(0.1, epsilon=0.1), rates),
            "our_adam": our_steps("adam", rates),
        }
    json.dump(content, open(sys.argv[1], "w"))
