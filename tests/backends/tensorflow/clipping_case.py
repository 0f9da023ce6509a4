"""Run in the tensorflow environment: every way to clip, against one example at a time; ``OUTPUT.npz [suite]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import tensorflow as tf
from tensorflow_privacy.privacy.fast_gradient_clipping import clip_grads, layer_registry

from trustml.backends.contract import Model
from trustml.backends.settings import EngineChoice, PrivateSettings
from trustml.backends.tensorflow import dp, layer_rules
from trustml.backends.tensorflow.clipping import MODES, Clipper, possible_modes
from trustml.backends.tensorflow.native import look_at
from trustml.backends.tensorflow.network import build_keras, variable
from trustml.backends.tensorflow.recurrent import GatedRecurrence
from trustml.models.layers import (
    Architecture,
    AvgPool,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    LayerNorm,
    MaxPool,
    NativeModule,
    ReLU,
    Tanh,
)
from trustml.models.native import trusting_code
from trustml.models.weights import initial_weights
from trustml.scenario.optimizers import SGD

EXAMPLES, COPIES = 6, 3
EVERYTHING = Architecture(
    layers=(
        Conv2D(filters=4, kernel=(3, 2), stride=(2, 1), padding=((0, 1), (2, 0)), bias=False),
        GroupNorm(groups=2),
        MaxPool(size=(2, 2), stride=(1, 1), padding=((1, 0), (0, 0))),
        Conv2D(filters=6, kernel=(2, 2)),
        Tanh(),
        LayerNorm(),
        AvgPool(),
        Flatten(),
        Dense(units=40),
        ReLU(),
        Dense(units=20, bias=False),
        ReLU(),
        Dense(units=10),
    )
)
FORGETFUL = Architecture(layers=(Dense(units=30), Dropout(rate=0.5), Dense(units=10)))
SHALLOW = Architecture(layers=(Dense(units=10),))


def draw_model(architecture: Architecture, shape: tuple[int, ...]) -> Model:
    generator = np.random.default_rng(3)
    weights = initial_weights(architecture, shape, generator=generator)
    for name, array in weights.items():
        if name.endswith((".scale", ".bias")):
            weights[name] = (array + generator.normal(0, 0.3, array.shape)).astype(np.float32)
    return Model(architecture=architecture, input_shape=shape, weights=weights)


def draw_examples(shape: tuple[int, ...], copies: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(4)
    inputs = generator.normal(size=(EXAMPLES, copies, *shape)) * np.linspace(0.1, 3, EXAMPLES).reshape(
        -1, *[1] * (len(shape) + 1)
    )
    return inputs.astype(np.float32), generator.integers(10, size=EXAMPLES)


def private(**changes: object) -> PrivateSettings:
    return PrivateSettings(**{"optimizer": SGD(), "expected_batch_size": 8, "noise_seed": (1, 2, 3, 4), **changes})


def every_way() -> dict[str, np.ndarray]:
    """Sums and counts of unclipped examples of every way, and gradients of one example's copies at a time."""
    shape = (8, 8, 1)
    model = draw_model(EVERYTHING, shape)
    gradient = gradient_of_one(model)
    found = {"sizes": np.array([array.size for array in model.weights.values()])}
    for case, settings, modes in (
        ("flat", private(), MODES),
        ("copies_per_layer", private(multiplicity=COPIES, per_layer=True), ("book_keeping",)),
    ):
        inputs, labels = draw_examples(shape, settings.multiplicity)
        rows = [gradient(copies, label) for copies, label in zip(inputs, labels, strict=True)]
        gradients = np.array([np.concatenate([part.numpy().ravel() for part in row]) for row in rows])
        clipping_norm = np.float32(np.median(np.linalg.norm(gradients, axis=1)))
        found |= {f"{case}.gradients": gradients, f"{case}.clipping_norm": clipping_norm}
        for mode in modes:
            clip = tf.function(Clipper(mode, model, settings).clip, autograph=False)
            sums, unclipped = clip(tf.constant(inputs), tf.constant(labels), tf.ones(len(labels)), clipping_norm)
            found[f"{case}.{mode}"] = np.concatenate([part.numpy().ravel() for part in sums])
            found[f"{case}.{mode}.unclipped"] = unclipped.numpy()
    return found


def gradient_of_one(model: Model) -> tf.types.experimental.GenericFunction:
    """From an example's copies (k, *x) and its label to the gradient of their mean loss, by weight."""
    keras_model = build_keras(model)
    variables = [variable(keras_model, name) for name in model.weights]
    signature = (tf.TensorSpec((None, *model.input_shape), tf.float32), tf.TensorSpec((), tf.int64))

    @tf.function(input_signature=signature)
    def gradient(copies: tf.Tensor, label: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            labels = tf.repeat(label, len(copies))
            losses = tf.keras.losses.sparse_categorical_crossentropy(labels, keras_model(copies), from_logits=True)
            loss = tf.reduce_mean(losses)
        return tape.gradient(loss, variables)

    return gradient


def under_dropout() -> dict[str, np.ndarray]:
    """Norms of one example's clipped gradient, over the clipping norm, by TF Privacy itself and by book-keeping."""
    model = draw_model(FORGETFUL, (5,))
    inputs, labels = draw_examples((5,), 1)
    inputs, labels = tf.constant(inputs[-1:]), tf.constant(labels[-1:])
    clipper = Clipper("book_keeping", model, private())
    clipper.model.compile(loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    registry = layer_registry.make_default_layer_registry()

    def norm(gradients: list[tf.Tensor]) -> float:
        return float(tf.linalg.global_norm(gradients)) / 0.1

    theirs = [
        norm(clip_grads.compute_clipped_gradients_and_outputs(clipper.model, 0.1, registry, inputs[:, 0], labels)[0])
        for _ in range(10)
    ]
    ours = [norm(clipper.clip(inputs, labels, tf.ones(1), tf.constant(0.1))[0]) for _ in range(10)]
    return {"dropout.tf_privacy": np.array(theirs), "dropout.book_keeping": np.array(ours)}


def far_from_keras() -> dict[str, float]:
    """Largest difference of our recurrent layers from Keras's own, with its order of parts, over the largest state."""
    inputs, found = tf.constant(np.random.default_rng(0).normal(size=(4, 6, 3)), tf.float32), {}
    for kind, theirs in (("GRU", tf.keras.layers.GRU), ("LSTM", tf.keras.layers.LSTM)):
        ours = GatedRecurrence(kind, 5)
        ours(inputs)
        for weight in ours.weights:
            weight.assign(np.random.default_rng(1).normal(size=weight.shape))
        kernel, recurrent_kernel, *biases = (weight.numpy() for weight in ours.weights)
        if kind == "GRU":
            layer = theirs(5, return_sequences=True, reset_after=True)
            swapped = [1, 0, 2]
            kernel, recurrent_kernel, *biases = (
                np.concatenate([np.split(part, 3, axis=-1)[i] for i in swapped], axis=-1)
                for part in (kernel, recurrent_kernel, *biases)
            )
            bias = np.stack(biases)
        else:
            layer, bias = theirs(5, return_sequences=True), sum(biases)
        layer.build(inputs.shape)
        layer.set_weights([kernel, recurrent_kernel, bias])
        states = layer(inputs)
        found[kind] = float(tf.reduce_max(tf.abs(states - ours(inputs))) / tf.reduce_max(tf.abs(states)))
    return found


@tf.function
def underflowing_norm() -> tf.Tensor:
    """Squared norm of an outer product whose one factor is so small that its squares are lost."""
    part = layer_rules._kernel(tf.fill((1, 1, 4), 1e18), tf.fill((1, 1, 3), 1e-23), tf.TensorShape((4, 3)))
    return part.squared_norms[0]


def steps_of_all_sizes() -> dict[str, object]:
    """A trainer on batches of changing size: how often it was traced, and what it chose among."""
    trainer = dp.TFPrivacyTrainer(draw_model(SHALLOW, (5,)), settings=private(), dropout_seed=0)
    inputs, labels = draw_examples((5,), 1)
    for size in (3, 6, 1, 5, 2):
        trainer.accumulate(inputs[:size], labels[:size], clipping_norm=1.0 / size)
        trainer.update(clipping_norm=1.0 / size, noise_multiplier=1.0, learning_rate=0.1 * size)
    return {"traces": trainer.traces, "measured": sorted(trainer.choice.seconds), "chosen": trainer.choice.name}


def own_code() -> dict[str, object]:
    """Networks of strangers: what the look at them says, and sums of a batch beside those of its examples alone."""
    folder = str(Path(__file__).parents[2] / "own_code")
    with trusting_code():
        layers = {
            name: NativeModule(backend="tensorflow", module=f"keras_networks:{name}", folder=folder)
            for name in ("batch_norm", "Crowded")
        }
        mixes = {name: look_at(layer, (8, 8, 1), (0,)).mixes for name, layer in layers.items()}
        found = look_at(layers["Crowded"], (8, 8, 1), (0,))
        parameters = tuple((name, array.shape) for name, array in found.weights[0].items())
        layer = msgspec.structs.replace(layers["Crowded"], parameters=parameters, outputs=found.outputs)
        model = Model(architecture=Architecture(layers=(layer,)), input_shape=(8, 8, 1), weights=found.weights[0])
        generator = np.random.default_rng(3)
        inputs = generator.normal(size=(24, 1, 8, 8, 1)).astype(np.float32)
        labels = generator.integers(10, size=24)
        sums = []
        for size in (24, 1):
            trainer = dp.TFPrivacyTrainer(model, settings=private(), dropout_seed=0)
            for first in range(0, 24, size):
                part = slice(first, first + size)
                trainer.accumulate(inputs[part], labels[part], clipping_norm=0.5)
            sums.append(np.concatenate([one.ravel() for one in trainer.clipped_sum().values()]))
        return {"mixes": mixes, "apart": float(np.abs(sums[0] - sums[1]).max()), "modes": possible_modes(model)[0]}


def suite() -> list[str]:
    """What every way fails of the conformance suite."""
    from trustml.backends.table import load_backend
    from trustml.conformance.step import check_step
    from trustml.worker import conformance

    failed = []
    for mode in MODES:
        for variant, (name, per_layer) in conformance.VARIANTS.items():
            dp.choose_mode = lambda *_, mode=mode: EngineChoice(name=mode, seconds={}, refused={})
            factory = conformance._factory(load_backend("tensorflow"), name, per_layer=per_layer)
            findings = check_step(factory, *conformance.example_data(name))
            assert len(findings) >= 14
            failed += [f"{mode}, {variant}: {finding.diagnosis}" for finding in findings if not finding.passed]
    return failed


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if "suite" in sys.argv[2:]:
        told: dict[str, object] = {"failed": suite()}
    else:
        told = {
            "refused": possible_modes(draw_model(EVERYTHING, (8, 8, 1)))[1],
            "far_from_keras": far_from_keras(),
            "underflowing": float(underflowing_norm()),
            **steps_of_all_sizes(),
            "own_code": own_code(),
        }
        np.savez(folder / "found.npz", **every_way(), **under_dropout())
    (folder / "told.json").write_text(json.dumps(told))
