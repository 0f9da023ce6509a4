"""What every backend is asked, in a process of its own: ``python cases.py BACKEND OUTPUT.npz INPUT.npz``.

Runs in every backend's environment, so it uses nothing but numpy and trustml's worker half.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np

from tests.conformance.graphs import draw_graph
from trustml.backends.contract import Backend, ExplainRequest, Model, PrivateTrainer, Trainer
from trustml.backends.settings import EngineChoice, FederatedSettings, PrivateSettings, UserPrivacy
from trustml.backends.table import load_backend
from trustml.data.batches import poisson_batches, shuffled_batches
from trustml.data.clients import FederatedPlan, federated_plan
from trustml.data.streams import Stream, public_generator
from trustml.models.adapters import starting_pairs
from trustml.models.layers import (
    GELU,
    GRU,
    LSTM,
    AdaptiveAvgPool,
    Add,
    Architecture,
    AvgPool,
    Concatenate,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    Dense,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool,
    Multiply,
    Node,
    ReLU,
    RMSNorm,
    Scale,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    Transpose,
)
from trustml.models.residual import residual_network
from trustml.models.shapes import weight_shapes
from trustml.models.token_layers import (
    Attention,
    Embedding,
    FeatureTokens,
    LearnedPositions,
    Mask,
    MaskedMean,
    Pick,
    Prepend,
    Reshape,
    SinusoidalPositions,
    Unembedding,
)
from trustml.models.transformers import decoder, encoder, ft_transformer, vision_transformer
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp, small_cnn
from trustml.scenario.federated import (
    DPFedAvg,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FederatedRegime,
    FedProx,
    FedSGD,
    FedYogi,
    IndependentNoise,
)
from trustml.scenario.methods import IntegratedGradients
from trustml.scenario.optimizers import SGD, Adam, Schedule
from trustml.scenario.partition import Everyone, FixedCohort
from trustml.scenario.regimes import Plain
from trustml.scenario.trainable import Head, LoRA, NormsAndBiases, Trainable
from trustml.scenario.trained_part import trained_part

WHOLE = os.environ.get("TRUSTML_TESTS") == "all"
RANDOM_GRAPHS = (0, 1, 2) if WHOLE else ()


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
    "smooth_cnn": _image(Tanh(), AvgPool(size=(2, 2), stride=(2, 2)), Conv2D(filters=6, kernel=(2, 2)), Tanh()),
    "glorot": Architecture(layers=(Flatten(), Dense(units=10)), initialisation="glorot_uniform"),
    "vectors": Architecture(  # what dense, norms of vectors and Glorot's start have
        layers=(Dense(units=12, bias=False), Tanh(), GroupNorm(groups=3), LayerNorm(), Dense(units=10)),
        initialisation="glorot_uniform",
    ),
    "windows": Architecture(  # places that are padded, skipped or left over
        layers=(
            Conv2D(filters=4, padding=((2, 2), (2, 2))),
            GroupNorm(groups=4, epsilon=1e-3),
            GELU(),
            AvgPool(size=(3, 2), stride=(2, 2), padding=((2, 1), (0, 1))),
            Conv2D(filters=3, kernel=(1, 2), stride=(2, 3)),
            MaxPool(size=(2, 2), stride=(2, 2)),
            Flatten(),
            Dense(units=10),
        )
    ),
    "mixed": _image(
        Conv2D(filters=6, kernel=(3, 2), stride=(2, 1), padding=((0, 1), (2, 0)), groups=2, standardised=True),
        GroupNorm(groups=2),
        MaxPool(size=(3, 3), stride=(1, 2), padding=((1, 0), (0, 2))),
        RMSNorm(),
        Conv2D(filters=3, kernel=(2, 2), dilation=(2, 1), padding=((1, 0), (0, 0)), bias=False),
        LayerNorm(),
        ConvTranspose2D(filters=4, kernel=(1, 2), stride=(2, 3), bias=False),
    ),
    "activations": Architecture(
        layers=(
            Conv2D(filters=4),
            LeakyReLU(slope=0.3),
            Conv2D(filters=6),
            SiLU(),
            Softplus(),
            Flatten(),
            Dense(units=8),
            Sigmoid(),
            Dense(units=10),
        )
    ),
    "graph": Architecture(
        layers=(
            Conv2D(filters=4),
            Node(name="a.left", layer=Conv2D(filters=6, kernel=(2, 2))),
            Node(name="a.right", layer=Conv2D(filters=2, kernel=(2, 2), bias=False), inputs=("0",)),
            Node(name="a", layer=Concatenate(), inputs=("a.left", "a.right")),
            Node(name="gate", layer=Sigmoid(), inputs=("a",)),
            Node(name="gated", layer=Multiply(), inputs=("gate", "a")),
            Node(name="twice", layer=Add(), inputs=("gated", "a", "gated")),
            GlobalAvgPool(),
            Dense(units=10),
        )
    ),
    "conv_groups": _image(Conv2D(filters=6, groups=2, stride=(2, 1)), Conv2D(filters=6, kernel=(2, 2), groups=6)),
    "conv_dilated": _image(Conv2D(filters=3, dilation=(2, 1), padding=((1, 0), (0, 0)), bias=False)),
    "conv_standardised": _image(
        Conv2D(filters=5, standardised=True),
        Conv2D(filters=5, groups=5, kernel=(2, 2), standardised=True, padding=((1, 1), (1, 1))),
    ),
    "rms_norm": _image(RMSNorm()),
    "mixed_conv": _image(
        Conv2D(filters=6, groups=2, stride=(2, 1), standardised=True),
        RMSNorm(),
        Conv2D(filters=3, kernel=(2, 2), dilation=(2, 1), padding=((1, 0), (0, 0)), bias=False),
    ),
    "sequence": Architecture(
        layers=(
            Conv1D(filters=6, dilation=2, padding=(4, 0)),
            GroupNorm(groups=2),
            Conv1D(filters=4, kernel=2, stride=2, bias=False),
            RMSNorm(),
            LayerNorm(),
            GlobalAvgPool(),
            Dense(units=10),
        )
    ),
    "sequences": Architecture(  # every layer of sequences
        layers=(
            Conv1D(filters=6, groups=2, dilation=2, padding=(4, 0)),
            GroupNorm(groups=2),
            RMSNorm(),
            GRU(units=5),
            ConvTranspose1D(filters=4, kernel=3, padding=(2, 1)),
            AdaptiveAvgPool(size=(7,)),
            LayerNorm(),
            LSTM(units=4),
            Transpose(axes=(1, 0)),
            Conv1D(filters=14, kernel=2, stride=2, groups=7, bias=False),
            GlobalMaxPool(),
            Dense(units=10),
        )
    ),
    "resized": _image(
        Scale(value=-1.5),
        ConvTranspose2D(filters=3, kernel=(3, 2), stride=(2, 1), padding=((1, 0), (0, 2))),
        AdaptiveAvgPool(size=(5, 3)),
        Transpose(axes=(1, 2, 0)),
        ConvTranspose2D(filters=4, kernel=(1, 2), stride=(2, 3), bias=False),
    ),
    "recurrent": Architecture(
        layers=(
            Conv1D(filters=6, groups=2, padding=(2, 0)),
            GRU(units=5),
            ConvTranspose1D(filters=4, kernel=3, padding=(2, 1)),
            AdaptiveAvgPool(size=(7,)),
            LSTM(units=4),
            Transpose(axes=(1, 0)),
            Conv1D(filters=14, kernel=2, groups=7, bias=False),
            GlobalMaxPool(),
            Dense(units=10),
        )
    ),
    "tokens": Architecture(  # every layer of tokens: attention within a text, and from it to the columns of a table
        layers=(
            Node(name="mask", layer=Mask(padding=1), inputs=("input",)),
            Node(name="columns", layer=FeatureTokens(width=8, columns=(1, 7, 8, 8)), inputs=("input",)),
            Node(name="first", layer=Prepend()),
            Node(name="tokens", layer=Embedding(vocabulary=17, width=8), inputs=("input",)),
            Node(name="loose", layer=Embedding(vocabulary=17, width=8), inputs=("input",)),
            Node(name="both", layer=Add(), inputs=("tokens", "loose")),
            Node(name="learned", layer=LearnedPositions()),
            Node(name="query", layer=Dense(units=4), inputs=("learned",)),
            Node(name="key", layer=Dense(units=4), inputs=("learned",)),
            Node(name="own", layer=Attention(heads=2, causal=True), inputs=("query", "key", "learned", "mask")),
            Node(name="across", layer=Attention(heads=2, rotary=True), inputs=("own", "first", "first")),
            Node(name="fixed", layer=SinusoidalPositions()),
            Node(name="logits", layer=Unembedding(of="tokens", vocabulary=17)),
            Node(name="mean", layer=MaskedMean(), inputs=("logits", "mask")),
            Node(name="shape", layer=Reshape(shape=(1, 17))),
            Node(name="last", layer=Pick(index=-1)),
            Dense(units=10),
        )
    ),
    "residual": residual_network(filters=(4, 8), blocks=1, groups=2, classes=10),
    **{f"random{seed}": draw_graph(np.random.default_rng(seed), (8, 8, 1)) for seed in RANDOM_GRAPHS},
    "small_cnn": small_cnn(),
    "mlp": mlp([32, 16], classes=10),
}
if WHOLE:
    ARCHITECTURES |= {
        "encoder": encoder(vocabulary=17, classes=10, width=8, heads=2),
        "decoder": Architecture(
            layers=(*decoder(vocabulary=17, width=8, heads=2).layers, Pick(index=-1), Dense(units=10))
        ),
        "vision": vision_transformer(size=8, patch=2, width=8, heads=2, blocks=1, classes=10),
        "ft_transformer": ft_transformer(classes=10, width=8, heads=2),
    }
NETWORKS = ARCHITECTURES
"""All that have a name; those that are asked for are ``ARCHITECTURES``."""
VECTORS = frozenset(
    {"dense", "dense_no_bias", "vector_group_norm", "vector_layer_norm", "vectors", "mlp", "ft_transformer"}
)
SEQUENCES = frozenset({"sequence", "recurrent", "sequences"})
IDS = frozenset({"tokens", "encoder", "decoder"})
ALONE = (
    "dense", "dense_no_bias", "vector_group_norm", "vector_layer_norm", "conv_same", "conv_asymmetric", "conv_column",
    "conv_stride_over", "max_pool_overlap", "max_pool_left_over", "avg_pool_padded", "relu", "gelu", "tanh",
    "group_norm", "instance_norm", "layer_norm", "glorot", "conv_groups", "conv_dilated", "conv_standardised",
    "rms_norm", "mixed_conv", "sequence", "recurrent", "smooth_cnn", "residual", "small_cnn",
)  # fmt: skip
"""In short left out, as networks of several kinds of layer have what they have: compiling is what takes the time."""
TRAINED: tuple[str, ...] = ("mlp",)
CLIPPED: tuple[str, ...] = ("mixed", "sequences", "tokens")
OTHER_WAYS: tuple[str, ...] = ("tokens",)
OTHER_SETTINGS: dict[str, dict[str, object]] = {"per_layer_of_copies": {"per_layer": True, "multiplicity": 2}}
"""What else a sum is clipped by; in short both at once, as each is compiled."""
PLANTED: tuple[str, ...] = ("mlp",)
PLANTED_WAYS: tuple[str, ...] = ("flat", "per_layer") if WHOLE else ("flat",)
RESUMED = PRIVATE = "mlp"
LOOPED = 50 if WHOLE else 20
"""Examples whose gradients are taken one at a time."""
if WHOLE:
    TRAINED = ("small_cnn", "mlp", "group_norm", "residual")
    CLIPPED = (
        "small_cnn", "conv_asymmetric", "conv_column", "group_norm", "layer_norm", "max_pool_overlap", "graph",
        "conv_groups", "conv_dilated", "conv_standardised", "rms_norm", "mixed_conv", "resized", "random1", "sequence",
        "recurrent", "mlp", "residual", *CLIPPED,
    )  # fmt: skip
    OTHER_WAYS = ("mlp", "conv_asymmetric", "group_norm", "residual", "mixed", "tokens")
    OTHER_SETTINGS |= {"per_layer": {"per_layer": True}, "copies": {"multiplicity": 2}}
    CLIPPED = (*CLIPPED, "encoder", "decoder", "vision", "ft_transformer")
    PLANTED = ("mlp", "conv_asymmetric", "group_norm")
    RESUMED = PRIVATE = "small_cnn"
else:
    ARCHITECTURES = {name: layers for name, layers in ARCHITECTURES.items() if name not in ALONE}
CLIPPING_NORM = 2.0
LOOPS_OF = ("torch", "jax", "tensorflow") if WHOLE else ("torch",)
"""Backends whose gradients are taken one at a time; in short of one, as the clipped sums of all are compared."""


def make_model(name: str) -> Model:
    """One architecture with its starting weights, those of norms moved off their trivial values."""
    architecture = NETWORKS[name]
    shape: tuple[int, ...] = (64,) if name in VECTORS else (24,) if name in IDS else (8, 8, 1)
    if name in SEQUENCES:
        shape = (8, 8)
    generator = public_generator(7, Stream.WEIGHTS)
    weights = initial_weights(architecture, shape, generator=generator)
    for part, array in weights.items():
        if part.endswith((".scale", ".bias")):
            weights[part] = (array + generator.normal(0, 0.3, array.shape)).astype(np.float32)
    return Model(architecture=architecture, input_shape=shape, weights=weights)


def make_inputs(images: np.ndarray, name: str) -> np.ndarray:
    """Real digits, as images, as vectors, as sequences of rows, or grey values as tokens, of which 0 is padding."""
    if name in SEQUENCES:
        return images[..., 0]
    if name in IDS:
        return (images * 16).round().reshape(len(images), 64)[:, 16:40]
    return images.reshape(len(images), 64) if name in VECTORS else images


def evaluate(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Everything that is asked of one backend."""
    backend = load_backend(name)
    backend.open_device("cpu", 1)
    if name == "tensorflow" and not WHOLE:
        _clip_unmeasured()
    found: dict[str, np.ndarray] = {}
    for case in ARCHITECTURES:
        model, inputs = make_model(case), make_inputs(images, case)
        network = backend.network(model)
        found[f"logits/{case}"] = network.logits(inputs[:40])
        found[f"gradients/{case}"] = network.input_gradients(inputs[:40], labels[:40])
    for case in TRAINED:
        model, inputs = make_model(case), make_inputs(images, case)
        _train(backend, model, inputs, labels, case, found)
        if not WHOLE:  # each backend's own tests hold its integrated gradients against the definition
            continue
        request = ExplainRequest(
            model=model,
            inputs=inputs[:20],
            targets=labels[:20],
            method=IntegratedGradients(n_steps=20),
            baseline=np.zeros_like(inputs[:20]),
            background=np.zeros((0, *inputs.shape[1:]), np.float32),
            features=np.arange(inputs[0].size).reshape(inputs.shape[1:]),
            layer=-1,
            seed=0,
        )
        for variant, array in backend.explain(request).items():
            found[f"{variant}/{case}"] = array
    for case in CLIPPED:
        _clip(backend, make_model(case), make_inputs(images, case), labels, case, found)
        if name in LOOPS_OF:
            _loop(backend, make_model(case), make_inputs(images, case), labels, case, found)
    private = PrivateTrainers(backend)
    for case in PLANTED:
        _plant(private, case, make_inputs(images, case), labels, found)
    if WHOLE or name != "tensorflow":  # which takes seconds to say that it does not
        _plant_round(backend, found)
    _train_private(private, images, labels, found)
    _train_federated(backend, images, labels, found)
    _resume(backend, private, images, labels, found)
    for case in TUNED:
        _tune(backend, case, images, labels, found)
    return found


def _clip_unmeasured() -> None:
    """Let TensorFlow clip by book-keeping where it can: to measure, it compiles each way, as its own tests do."""
    from trustml.backends.tensorflow import dp
    from trustml.backends.tensorflow.clipping import possible_modes

    def choose(model: Model, settings: PrivateSettings) -> EngineChoice:
        modes, refused = possible_modes(model)
        return EngineChoice(name="book_keeping" if "book_keeping" in modes else modes[0], seconds={}, refused=refused)

    dp.choose_mode = choose


def _train(backend: Backend, model: Model, inputs: np.ndarray, labels: np.ndarray, case: str, found: dict) -> None:
    optimizer = SGD(learning_rate=0.1, momentum=0.5)
    plan = shuffled_batches(np.arange(150), epochs=5, batch_size=32, generator=np.random.default_rng(0))
    trainer = backend.plain(model, Plain(batch_size=32, optimizer=optimizer), 0)
    for batch in list(plan)[:20]:
        trainer.step(inputs[batch], labels[batch], learning_rate=0.1)
    found[f"plain/{case}"] = flat(trainer.weights())


_CLIENT = SGD(learning_rate=0.1, momentum=0.5)
FEDERATED: dict[str, FederatedRegime] = {
    "small_cnn": FedAvg(rounds=10, client_optimizer=_CLIENT),
    "smooth_cnn": FedAvg(rounds=10, client_optimizer=_CLIENT),
    "examples": FedAvg(rounds=10, client_optimizer=_CLIENT, cohort=FixedCohort(clients=5)),
    "uniform": FedAvg(
        rounds=10, client_optimizer=_CLIENT, weighting="uniform", server_learning_rate=0.5, server_momentum=0.9
    ),
    "prox": FedProx(rounds=10, client_optimizer=_CLIENT, proximal=1.0),
    "adam": FedAdam(rounds=10, client_optimizer=_CLIENT),
    "yogi": FedYogi(rounds=10, client_optimizer=_CLIENT),
    "adagrad": FedAdagrad(rounds=10, client_optimizer=_CLIENT),
    "sgd": FedSGD(rounds=10, server_learning_rate=0.5, server_momentum=0.9),
    "clipped": DPFedAvg(rounds=10, client_optimizer=_CLIENT),
    "adaptive": DPFedAvg(rounds=10, client_optimizer=_CLIENT),
}
"""Regimes by name; all on a small dense network, but the first two."""
if not WHOLE:  # each backend's own tests hold every regime against its formula
    FEDERATED = {}
CONVOLUTIONS = ("small_cnn", "smooth_cnn")
ROUNDS = 10


def federated_rounds(regime: FederatedRegime) -> FederatedPlan:
    """Seven clients of 4 to 45 examples, in batches of 8 with a remainder."""
    ends = np.cumsum([4, 9, 14, 20, 25, 33, 45])
    members = np.split(np.random.default_rng(3).permutation(150), ends[:-1])
    return federated_plan(
        [np.sort(member) for member in members],
        cohort=regime.cohort if isinstance(regime.cohort, FixedCohort) else Everyone(),
        rounds=ROUNDS,
        local_epochs=1 if isinstance(regime, FedSGD) else 2,
        batch_size=None if isinstance(regime, FedSGD) else 8,
        cohorts=np.random.default_rng(1),
        batches=lambda number, client: np.random.default_rng([2, number, client]),
    )


def _train_federated(backend: Backend, images: np.ndarray, labels: np.ndarray, found: dict) -> None:
    for name, regime in FEDERATED.items():
        case = name if name in CONVOLUTIONS else "mlp"
        model, inputs = make_model(case), make_inputs(images, case)
        privacy = None
        if isinstance(regime, DPFedAvg):  # noise off
            moving = 0.2 if name == "adaptive" else 0.0
            privacy = UserPrivacy(
                mechanism=IndependentNoise(),
                noise_multiplier=0.0,
                clipping_norm=0.2,
                clip_learning_rate=moving,
                expected_clients=6,
            )
        plan = federated_rounds(regime)
        settings = FederatedSettings(
            regime=regime, privacy=privacy, noise_seed=(1, 2, 3, 4), batch_size=plan.batches.largest
        )
        federation = backend.federated(model, settings)
        for number in range(ROUNDS):
            federation.round([[(inputs[b], labels[b]) for b in batches] for batches in plan.round(number)])
            if number + 1 in (1, ROUNDS):
                found[f"round{number + 1}/{name}"] = flat(federation.weights())
        found[f"norm/{name}"] = np.array([federation.clipping_norm()])


TUNED: dict[str, tuple[Trainable, ...]] = {"mlp": (LoRA(rank=2, alpha=3.0), Head())}
"""Networks of which a part is trained."""
if WHOLE:
    TUNED |= {"residual": (NormsAndBiases(),), "tokens": (LoRA(rank=2, targets=("query", "key")), Head())}


def tuned_model(case: str) -> tuple[Model, tuple[str, ...]]:
    """A model with what is not trained frozen, and the names of what is."""
    model = make_model(case)
    part = trained_part(TUNED[case], model.architecture, model.input_shape)
    generator = np.random.default_rng(2)
    pairs = starting_pairs(part.architecture, model.input_shape, part.beside, generator=generator)
    weights = {**model.weights, **pairs}
    ordered = {name: weights[name] for name in weight_shapes(part.architecture, model.input_shape)}
    frozen = frozenset(ordered) - set(part.trained)
    return dataclasses.replace(model, architecture=part.architecture, weights=ordered, frozen=frozen), part.trained


def _tune(backend: Backend, case: str, images: np.ndarray, labels: np.ndarray, found: dict) -> None:
    """Clipped sums of the part that is trained, by the trainer of the part and by a loop that trains everything."""
    model, trained = tuned_model(case)
    inputs = make_inputs(images, case)
    trainer = backend.private(model, private_settings(optimizer=Adam()), 0)
    for _ in range(2):  # a pair's first matrix has a gradient once the second has moved
        trainer.accumulate(inputs[:LOOPED, None], labels[:LOOPED], clipping_norm=CLIPPING_NORM)
        sums, before = trainer.clipped_sum(), trainer.weights()
        trainer.update(clipping_norm=CLIPPING_NORM, noise_multiplier=0.0, learning_rate=0.01)
    assert tuple(sums) == trained
    found[f"tuned/{case}"] = flat(sums)
    found[f"tuned/moved/private/{case}"] = _moved(model, trainer)
    found[f"tuned/remembered/{case}"] = np.array(sorted({name.partition("/")[2] for name in trainer.state()} - {""}))
    whole = dataclasses.replace(model, weights=before, frozen=frozenset())
    borders = np.cumsum([array.size for array in before.values()])[:-1]
    parts = np.split(_gradients(backend, whole, inputs[:LOOPED], labels[:LOOPED]), borders, axis=1)
    rows = np.concatenate([part for name, part in zip(before, parts, strict=True) if name in trained], axis=1)
    scales = np.minimum(1, CLIPPING_NORM / np.linalg.norm(rows, axis=1))
    found[f"tuned/loop/{case}"] = (rows * scales[:, None]).sum(axis=0)
    plain = backend.plain(model, Plain(batch_size=LOOPED), 0)
    for _ in range(2):
        plain.step(inputs[:LOOPED], labels[:LOOPED], learning_rate=0.1)
    found[f"tuned/moved/plain/{case}"] = _moved(model, plain)


def _moved(model: Model, trainer: Trainer | PrivateTrainer) -> np.ndarray:
    weights = trainer.weights()
    return np.array([name for name, array in model.weights.items() if not np.array_equal(weights[name], array)])


def private_settings(**changes: object) -> PrivateSettings:
    settings = {"optimizer": SGD(), "expected_batch_size": 32, "noise_seed": (1, 2, 3, 4)}
    return PrivateSettings(**{**settings, **changes})


class PrivateTrainers:
    """Private trainers of one backend, each made once: compiling takes longer than what they are asked.

    Parameters
    ----------
    backend : Backend
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._made: dict[tuple[str, PrivateSettings], PrivateTrainer] = {}

    def fresh(self, case: str, settings: PrivateSettings) -> PrivateTrainer:
        """Give a trainer at its start: whatever it did before, it remembers nothing."""
        model = make_model(case)
        if (case, settings) not in self._made:
            self._made[case, settings] = self._backend.private(model, settings, 0)
        trainer = self._made[case, settings]
        trainer.restore(model.weights, {})
        return trainer


def _clip(backend: Backend, model: Model, inputs: np.ndarray, labels: np.ndarray, case: str, found: dict) -> None:
    def total(**changes: object) -> tuple[np.ndarray, int]:
        trainer = backend.private(model, private_settings(count_unclipped=True, **changes), 0)
        copies = inputs[:LOOPED, None]
        if changes.get("multiplicity"):
            copies = np.stack([inputs[:LOOPED], inputs[LOOPED : 2 * LOOPED]], axis=1)
        clipped = trainer.accumulate(copies, labels[:LOOPED], clipping_norm=CLIPPING_NORM)
        assert clipped.finite
        return flat(trainer.clipped_sum()), clipped.unclipped

    found[f"clipped/{case}"], count = total()
    found[f"unclipped/{case}"] = np.array(count)
    if case in OTHER_WAYS:
        for way, changes in OTHER_SETTINGS.items():
            found[f"{way}/{case}"], _ = total(**changes)


def _loop(backend: Backend, model: Model, inputs: np.ndarray, labels: np.ndarray, case: str, found: dict) -> None:
    """What the clipped sums must be, from gradients of one example at a time."""
    others = case in OTHER_WAYS
    times = 2 if others else 1
    both = _gradients(backend, model, inputs[: times * LOOPED], np.tile(labels[:LOOPED], times))
    gradients = both[:LOOPED]
    norms = np.linalg.norm(gradients, axis=1)
    found[f"loop_clipped/{case}"] = (gradients * np.minimum(1, CLIPPING_NORM / norms)[:, None]).sum(axis=0)
    found[f"loop_unclipped/{case}"] = np.array((norms <= CLIPPING_NORM).sum())
    if others:
        found[f"loop_per_layer/{case}"] = _per_layer(gradients, model)
        mean = (gradients + both[LOOPED:]) / 2
        norms = np.linalg.norm(mean, axis=1)
        found[f"loop_copies/{case}"] = (mean * np.minimum(1, CLIPPING_NORM / norms)[:, None]).sum(axis=0)
        found[f"loop_per_layer_of_copies/{case}"] = _per_layer(mean, model)


def planted_rows(model: Model, *, count: int = 5) -> np.ndarray:
    """Gradients from nowhere, from a third of the clipping norm to three times as long; shape (count, weights)."""
    rows = np.random.default_rng(5).normal(size=(count, flat(model.weights).size))
    lengths = CLIPPING_NORM * np.linspace(0.3, 3, count) / np.linalg.norm(rows, axis=1)
    return (rows * lengths[:, None]).astype(np.float32)


def _as_weights(rows: np.ndarray, model: Model) -> dict[str, np.ndarray]:
    parts = np.split(rows, np.cumsum([array.size for array in model.weights.values()])[:-1], axis=1)
    return {
        name: part.reshape(-1, *array.shape) for part, (name, array) in zip(parts, model.weights.items(), strict=True)
    }


def _plant(private: PrivateTrainers, case: str, inputs: np.ndarray, labels: np.ndarray, found: dict) -> None:
    """What planted gradients add to the sum of some examples, clipped flat and per layer."""
    model = make_model(case)
    rows = planted_rows(model)
    for way in PLANTED_WAYS:
        settings = private_settings(per_layer=way == "per_layer", optimizer=OPTIMIZERS["sgd"])
        trainer = private.fresh(case, settings)
        trainer.accumulate(inputs[:8, None], labels[:8], clipping_norm=CLIPPING_NORM)
        before = flat(trainer.clipped_sum())
        trainer.plant(_as_weights(rows, model), clipping_norm=CLIPPING_NORM)
        found[f"planted/{way}/{case}"] = flat(trainer.clipped_sum()) - before
        trainer.update(clipping_norm=CLIPPING_NORM, noise_multiplier=0.0, learning_rate=0.1)
        found[f"planted/{way}/{case}/gradient"] = flat(trainer.gradient()) * 32 - before
        found[f"planted/{way}/{case}/left"] = flat(trainer.clipped_sum())
    norms = np.linalg.norm(rows, axis=1)
    found[f"planted/flat/{case}/expected"] = (rows * np.minimum(1, CLIPPING_NORM / norms)[:, None]).sum(axis=0)
    found[f"planted/per_layer/{case}/expected"] = _per_layer(rows, model)


def _plant_round(backend: Backend, found: dict) -> None:
    """What planted updates change in one round without noise and without clients; nothing where they are refused."""
    model = make_model("mlp")
    privacy = UserPrivacy(
        mechanism=IndependentNoise(), noise_multiplier=0.0, clipping_norm=CLIPPING_NORM, expected_clients=4
    )
    settings = FederatedSettings(regime=DPFedAvg(rounds=1), privacy=privacy, noise_seed=(1, 2, 3, 4), batch_size=8)
    federation = backend.federated(model, settings)
    try:
        federation.plant(_as_weights(planted_rows(model), model))
    except NotImplementedError:
        found["planted_round"] = np.zeros(0)
        return
    federation.round([])
    found["planted_round"] = (flat(federation.weights()) - flat(model.weights)) * 4


def _gradients(backend: Backend, model: Model, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One plain step on one example with learning rate 1 gives its gradient, by code that knows no clipping."""
    rows = []
    plain = backend.plain(model, Plain(batch_size=1), 0)
    start = flat(model.weights).astype(np.float64)
    for number in range(len(labels)):
        plain.restore(model.weights, {})
        plain.step(inputs[number : number + 1], labels[number : number + 1], learning_rate=1.0)
        rows.append(start - flat(plain.weights()))
    return np.array(rows)


def _per_layer(gradients: np.ndarray, model: Model) -> np.ndarray:
    each = CLIPPING_NORM / np.sqrt(len(model.weights))
    borders = np.cumsum([array.size for array in model.weights.values()])[:-1]
    parts = np.split(gradients, borders, axis=1)
    norms = [np.maximum(np.linalg.norm(part, axis=1), 1e-12) for part in parts]
    return np.concatenate(
        [(part * np.minimum(1, each / norm)[:, None]).sum(axis=0) for part, norm in zip(parts, norms, strict=True)]
    )


OPTIMIZERS = {"sgd": SGD(momentum=0.5), "adam": Adam(stabilizer=1e-2)}
RESUMED_KINDS = dict.fromkeys(OPTIMIZERS, ("plain", "private")) if WHOLE else {"sgd": (), "adam": ("private",)}
RATES = {"sgd": 0.5, "adam": 0.01}


def _train_private(private: PrivateTrainers, images: np.ndarray, labels: np.ndarray, found: dict) -> None:
    """20 un-noised steps on the same Poisson batches, with a learning rate that changes."""
    plan = poisson_batches(150, steps=20, sample_rate=0.2, generator=np.random.default_rng(0))
    inputs = make_inputs(images, PRIVATE)
    for name, optimizer in OPTIMIZERS.items():
        trainer = private.fresh(PRIVATE, private_settings(optimizer=optimizer))
        schedule = Schedule(decay="cosine", warmup=3)
        for number, batch in enumerate(plan):
            trainer.accumulate(inputs[batch][:, None], labels[batch], clipping_norm=CLIPPING_NORM)
            rate = RATES[name] * schedule.factor(number, 20)
            trainer.update(clipping_norm=CLIPPING_NORM, noise_multiplier=0.0, learning_rate=rate)
        found[f"private/{name}"] = flat(trainer.weights())


def _resume(backend: Backend, private: PrivateTrainers, images: np.ndarray, labels: np.ndarray, found: dict) -> None:
    """Carry weights and state to a new trainer after 6 of 12 steps, and go on with both: they end the same."""
    plan = list(shuffled_batches(np.arange(150), epochs=3, batch_size=32, generator=np.random.default_rng(0)))[:12]
    model, inputs = make_model(RESUMED), make_inputs(images, RESUMED)
    for name, optimizer in OPTIMIZERS.items():
        settings = private_settings(optimizer=optimizer)
        for kind in RESUMED_KINDS[name]:
            make = {
                "plain": lambda: backend.plain(model, Plain(batch_size=32, optimizer=optimizer), 0),  # noqa: B023
                "private": lambda: backend.private(model, settings, 0),  # noqa: B023
            }[kind]
            whole, resumed = private.fresh(RESUMED, settings) if kind == "private" else make(), make()
            for number, batch in enumerate(plan):
                for trainer in (whole,) if number < 6 else (whole, resumed):
                    _any_step(trainer, inputs[batch], labels[batch], rate=RATES[name])
                if number == 5:
                    resumed.restore(whole.weights(), whole.state())
            found[f"resumed/{kind}/{name}"] = flat(resumed.weights()) - flat(whole.weights())
            found[f"state/{kind}/{name}"] = np.concatenate([a.ravel() for _, a in sorted(whole.state().items())])


def _any_step(trainer: Trainer | PrivateTrainer, inputs: np.ndarray, labels: np.ndarray, *, rate: float) -> None:
    if hasattr(trainer, "accumulate"):
        trainer.accumulate(inputs[:, None], labels, clipping_norm=CLIPPING_NORM)
        trainer.update(clipping_norm=CLIPPING_NORM, noise_multiplier=0.0, learning_rate=rate)
    else:
        trainer.step(inputs, labels, learning_rate=rate)


def flat(weights: dict[str, np.ndarray]) -> np.ndarray:
    """All weights as one vector, in canonical order."""
    return np.concatenate([array.ravel() for array in weights.values()])


if __name__ == "__main__":
    given = np.load(sys.argv[3], allow_pickle=False)
    np.savez(Path(sys.argv[2]), **evaluate(sys.argv[1], given["images"], given["labels"]))
