"""Parts of a private step in TensorFlow, by a clock: ``python -m trustml_bench.engines.tensorflow_parts TURNS``."""

from __future__ import annotations

import sys
import time
from collections import defaultdict

import msgspec
import tensorflow as tf

from trustml.backends.settings import PrivateSettings
from trustml.backends.table import load_backend
from trustml.backends.tensorflow.losses import keras_loss
from trustml.backends.tensorflow.network import build_keras, trained_variables
from trustml.scenario.optimizers import SGD
from trustml_bench.engine import Unit
from trustml_bench.engines import own
from trustml_bench.parts import Part
from trustml_bench.workloads import (
    CLIPPING_NORM,
    LEARNING_RATE,
    NOISE_MULTIPLIER,
    Workload,
    make_model,
    make_own_batch,
)

NETWORK, SIZE = "resnet20", 64


def main(arguments: list[str]) -> None:
    """Print the parts as JSON."""
    (turns,) = map(int, arguments)
    load_backend("tensorflow").open_device("cpu", 0)
    units, chosen = steps()
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for turn in range(turns + 1):
        for place, unit in units.items():
            start = time.perf_counter()
            unit()
            if turn:  # the first traces
                found[place].append(1e3 * (time.perf_counter() - start))
    parts = [
        Part(network=NETWORK, work=work, name=name, unit="ms", values=tuple(values))
        for (work, name), values in found.items()
    ]
    parts += [
        Part(network=NETWORK, work="clipped sum, as its engine was chosen", name=mode, unit="ms", values=(1e3 * each,))
        for mode, each in chosen.items()
    ]
    sys.stdout.buffer.write(msgspec.json.encode(parts))


def steps() -> tuple[dict[tuple[str, str], Unit], dict[str, float]]:
    """Passes of the network, plain and private steps; and seconds of each way to clip when the engine was chosen."""
    plain = Workload(kind="plain_step", network=NETWORK, size=SIZE)
    model, (inputs, labels) = make_model(plain), make_own_batch(plain)
    network, loss = build_keras(model), keras_loss(model.task)
    variables = trained_variables(network, model)
    rows, classes, copies = tf.constant(inputs), tf.constant(labels), inputs[:, None]

    @tf.function(autograph=False)
    def forward() -> tf.Tensor:
        return loss(classes, network(rows, training=True))

    @tf.function(autograph=False)
    def both() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = loss(classes, network(rows, training=True))
        return list(tape.gradient(value, variables).values())

    units: dict[tuple[str, str], Unit] = {
        ("network", "forward pass"): lambda: forward().numpy(),
        ("network", "forward and backward pass"): lambda: [part.numpy() for part in both()],
        ("plain step", "whole"): own.plain_step("tensorflow", plain),
    }
    settings = PrivateSettings(
        optimizer=SGD(learning_rate=LEARNING_RATE), expected_batch_size=SIZE, noise_seed=own.NOISE_SEED
    )
    trainer = load_backend("tensorflow").private(model, settings, 0)
    work = f"private step by {trainer.choice.name}"
    units |= {
        (work, "clipped sum"): lambda: trainer.accumulate(copies, labels, clipping_norm=CLIPPING_NORM),
        (work, "noise, division and step"): lambda: trainer.update(
            clipping_norm=CLIPPING_NORM, noise_multiplier=NOISE_MULTIPLIER, learning_rate=LEARNING_RATE
        ),
    }
    return units, trainer.choice.seconds


if __name__ == "__main__":
    main(sys.argv[1:])
