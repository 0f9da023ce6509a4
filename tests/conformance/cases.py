"""What every backend is asked, in a process of its own: ``python cases.py BACKEND OUTPUT.npz INPUT.npz``.

Runs in every backend's environment, so it uses nothing but numpy and trustml's worker half.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from trustml.backends.contract import Backend, DPStep, ExplainRequest, Model
from trustml.backends.table import load_backend
from trustml.data.batches import poisson_batches, shuffled_batches
from trustml.data.clients import federated_plan
from trustml.data.streams import Stream, public_generator
from trustml.models.layers import (
    GELU,
    Architecture,
    AvgPool,
    Conv2D,
    Dense,
    Flatten,
    GroupNorm,
    Layer,
    LayerNorm,
    MaxPool,
    ReLU,
    Tanh,
)
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp, small_cnn
from trustml.scenario.regimes import SGD, FedAvg, Plain
from trustml.scenario.spec import IntegratedGradients


def _image(*layers: Layer) -> Architecture:
    return Architecture(layers=(Conv2D(filters=4), *layers, Flatten(), Dense(units=10)))


ARCHITECTURES: dict[str, Architecture] = {
    "dense": Architecture(layers=(Dense(units=10),)),
    "dense_no_bias": Architecture(layers=(Dense(units=7, bias=False), Tanh(), Dense(units=10))),
    "vector_group_norm": Architecture(layers=(Dense(units=12), GroupNorm(groups=3), Dense(units=10))),
    "vector_layer_norm": Architecture(layers=(LayerNorm(), Dense(units=10))),
    "conv_same": _image(Conv2D(filters=5, padding=((1, 1), (1, 1)))),
    "conv_asymmetric": _image(Conv2D(filters=5, kernel=(3, 2), stride=(2, 1), padding=((0, 1), (2, 0)))),
    "conv_column": _image(Conv2D(filters=3, kernel=(3, 1), stride=(1, 2), padding=((1, 0), (0, 0)), bias=False)),
    "conv_stride_over": _image(Conv2D(filters=3, kernel=(2, 2), stride=(3, 3))),
    "max_pool_overlap": _image(MaxPool(size=(3, 3), stride=(1, 2), padding=((1, 0), (0, 2)))),
    "max_pool_left_over": _image(MaxPool(size=(4, 4), stride=(4, 4))),
    "avg_pool_padded": _image(AvgPool(size=(3, 2), stride=(2, 2), padding=((2, 1), (0, 1)))),
    "relu": _image(ReLU()),
    "gelu": _image(GELU()),
    "tanh": _image(Tanh()),
    "group_norm": _image(GroupNorm(groups=2)),
    "instance_norm": _image(GroupNorm(groups=4, epsilon=1e-3)),
    "layer_norm": _image(LayerNorm()),
    "glorot": Architecture(layers=(Flatten(), Dense(units=10)), initialisation="glorot_uniform"),
    "small_cnn": small_cnn(),
    "mlp": mlp([32, 16], classes=10),
}
VECTORS = frozenset({"dense", "dense_no_bias", "vector_group_norm", "vector_layer_norm", "mlp"})
TRAINED = ("small_cnn", "mlp", "group_norm")
CLIPPED = ("small_cnn", "mlp", "conv_asymmetric", "conv_column", "group_norm", "layer_norm", "max_pool_overlap")
CLIPPING_NORM = 0.5


def make_model(name: str) -> Model:
    """One architecture with its starting weights, those of norms moved off their trivial values."""
    architecture = ARCHITECTURES[name]
    shape = (64,) if name in VECTORS else (8, 8, 1)
    generator = public_generator(7, Stream.WEIGHTS)
    weights = initial_weights(architecture, shape, generator=generator)
    for part, array in weights.items():
        if part.endswith((".scale", ".bias")):
            weights[part] = (array + generator.normal(0, 0.3, array.shape)).astype(np.float32)
    return Model(architecture=architecture, input_shape=shape, weights=weights)


def make_inputs(images: np.ndarray, name: str) -> np.ndarray:
    """Real digits, as images or as vectors."""
    return images.reshape(len(images), 64) if name in VECTORS else images


def evaluate(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Everything that is asked of one backend."""
    backend = load_backend(name)
    backend.open_device("cpu", 1)
    found: dict[str, np.ndarray] = {}
    for case in ARCHITECTURES:
        model, inputs = make_model(case), make_inputs(images, case)
        network = backend.network(model)
        found[f"logits/{case}"] = network.logits(inputs[:40])
        found[f"gradients/{case}"] = network.input_gradients(inputs[:40], labels[:40])
    for case in TRAINED:
        model, inputs = make_model(case), make_inputs(images, case)
        _train(backend, model, inputs, labels, case, found)
        request = ExplainRequest(
            model=model, inputs=inputs[:20], targets=labels[:20], method=IntegratedGradients(n_steps=20)
        )
        for variant, array in backend.explain(request).items():
            found[f"{variant}/{case}"] = array
    if backend.private is not None:
        for case in CLIPPED:
            _clip(backend, make_model(case), make_inputs(images, case), labels, case, found)
        _noise(backend, found)
        _train_private(backend, images, labels, found)
    return found


def _train(backend: Backend, model: Model, inputs: np.ndarray, labels: np.ndarray, case: str, found: dict) -> None:
    optimizer = SGD(learning_rate=0.1, momentum=0.5)
    plan = shuffled_batches(np.arange(150), epochs=5, batch_size=32, generator=np.random.default_rng(0))
    trainer = backend.plain(model, Plain(batch_size=32, optimizer=optimizer), 0)
    for batch in list(plan)[:20]:
        trainer.step(inputs[batch], labels[batch])
    found[f"plain/{case}"] = flat(trainer.weights())
    if backend.federated is None:
        return
    federated = federated_plan(150, clients=7, rounds=2, local_epochs=2, batch_size=8, seed=0)
    regime = FedAvg(clients=7, rounds=2, local_epochs=2, batch_size=8, client_optimizer=optimizer)
    federation = backend.federated(model, regime)
    for number in range(2):
        clients = [[(inputs[b], labels[b]) for b in batches] for batches in federated.round(number)]
        federation.round(clients)
        found[f"round{number + 1}/{case}"] = flat(federation.weights())


def _dp_step(**changes: object) -> DPStep:
    settings = {
        "learning_rate": 1.0,
        "momentum": 0.0,
        "clipping_norm": CLIPPING_NORM,
        "noise_multiplier": 0.0,
        "expected_batch_size": 32,
        "noise_seed": (1, 2, 3, 4),
    }
    return DPStep(**{**settings, **changes})


def _clip(backend: Backend, model: Model, inputs: np.ndarray, labels: np.ndarray, case: str, found: dict) -> None:
    trainer = backend.private(model, _dp_step(), 0)
    found[f"clipped/{case}"] = flat(trainer.clipped_sum(inputs[:50], labels[:50]))
    found[f"few/{case}"] = flat(trainer.clipped_sum(inputs[:6], labels[:6]))
    # One plain step on one example with learning rate 1 gives its gradient, by code that knows no clipping.
    total = np.zeros_like(found[f"few/{case}"], dtype=np.float64)
    for number in range(6):
        plain = backend.plain(model, Plain(batch_size=1, optimizer=SGD(learning_rate=1.0)), 0)
        plain.step(inputs[number : number + 1], labels[number : number + 1])
        gradient = flat(model.weights).astype(np.float64) - flat(plain.weights())
        total += gradient * min(1.0, CLIPPING_NORM / np.linalg.norm(gradient))
    found[f"loop/{case}"] = total
    outlier, wrong = inputs[:51].copy(), labels[:51].copy()
    outlier[50] *= 1e6
    wrong[50] = backend.network(model).logits(outlier[50:])[0].argmin()
    moved = flat(trainer.clipped_sum(outlier, wrong)) - found[f"clipped/{case}"]
    found[f"influence/{case}"] = np.array(np.linalg.norm(moved.astype(np.float64)))


def _noise(backend: Backend, found: dict) -> None:
    """Steps on empty batches move the weights by noise alone."""
    model = make_model("small_cnn")
    nothing = np.zeros((0, 8, 8, 1), np.float32), np.zeros(0, np.int64)
    for run, seed in enumerate([(1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 5)]):
        trainer = backend.private(model, _dp_step(noise_multiplier=2.0, noise_seed=seed), 0)
        before = flat(trainer.weights())
        for step in range(2):
            trainer.step(*nothing)
            after = flat(trainer.weights())
            found[f"noise/run{run}step{step}"] = after - before
            before = after


def _train_private(backend: Backend, images: np.ndarray, labels: np.ndarray, found: dict) -> None:
    trainer = backend.private(make_model("small_cnn"), _dp_step(learning_rate=0.5, momentum=0.5), 0)
    for batch in poisson_batches(150, steps=20, sample_rate=0.2, generator=np.random.default_rng(0)):
        trainer.step(images[batch], labels[batch])
    found["private/small_cnn"] = flat(trainer.weights())


def flat(weights: dict[str, np.ndarray]) -> np.ndarray:
    """All weights as one vector, in canonical order."""
    return np.concatenate([array.ravel() for array in weights.values()])


if __name__ == "__main__":
    given = np.load(sys.argv[3], allow_pickle=False)
    np.savez(Path(sys.argv[2]), **evaluate(sys.argv[1], given["images"], given["labels"]))
