"""What is timed: each workload is one unit of work that every engine does on the same numbers."""

from __future__ import annotations

import functools
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from trustml.backends.contract import Client, Model
from trustml.data.dataset import Floats, Ints
from trustml.models.adapters import starting_pairs
from trustml.models.layers import Architecture
from trustml.models.residual import resnet18, resnet20
from trustml.models.shapes import weight_shapes
from trustml.models.transformers import encoder
from trustml.models.weights import Weights, initial_weights
from trustml.models.zoo import mlp, mnist_cnn, small_cnn
from trustml.scenario.trainable import Head, LoRA, Trainable
from trustml.scenario.trained_part import trained_part
from trustml_bench.layered import LAYERED, draw, start

WorkloadKind: TypeAlias = Literal[
    "plain_step",
    "noisy_step",
    "noise",
    "private_step",
    "head_epoch",
    "feature_epoch",
    "integrated_gradients",
    "smooth_grad",
    "occlusion",
    "round",
    "shadows",
]
"""A *noisy step* is a plain one beside which a normal number is drawn for every weight that moves: the least that a
private step can be. *Noise* is that draw alone. A *head epoch* trains the last layer privately on vectors, a *feature
epoch* the last layer of the network on features that were computed before."""

CLIPPING_NORM, NOISE_MULTIPLIER, LEARNING_RATE = 1.0, 1.0, 0.1
IG_STEPS, SMOOTH_GRAD_SAMPLES, SMOOTH_GRAD_STDEV, OCCLUSION_PATCH = 50, 50, 0.1, 4

NETWORKS: dict[str, tuple[Architecture, tuple[int, ...], int]] = {
    "cnn": (mnist_cnn(), (28, 28, 1), 10),
    "mlp": (mlp([256, 128], classes=10), (784,), 10),
    "small_cnn": (small_cnn(), (8, 8, 1), 10),
    "small_mlp": (mlp([64], classes=5), (20,), 5),
    "digits_mlp": (mlp([64], classes=10), (64,), 10),
    "shadow_mlp": (mlp([32], classes=10), (64,), 10),
}
"""Architecture, input shape and classes by name."""


def _encoder(vocabulary: int) -> Architecture:
    return encoder(vocabulary=vocabulary, classes=10, width=128, heads=4, blocks=4)


LARGE: dict[str, tuple[Architecture, tuple[int, ...], tuple[Trainable, ...]]] = {
    "resnet20": (resnet20(), (32, 32, 3), ()),
    "resnet20_head": (resnet20(), (32, 32, 3), (Head(),)),
    "resnet18_224": (resnet18(classes=10), (224, 224, 3), ()),
    "encoder": (_encoder(8_000), (64,), ()),
    "encoder_8k": (_encoder(8_000), (64,), ()),
    "encoder_64k": (_encoder(64_000), (64,), ()),
    "encoder_lora": (_encoder(8_000), (64,), (LoRA(rank=8), Head())),
}
"""Ours of real size, with what is trained of them: those of :data:`trustml_bench.layered.LAYERED` have as many weights,
ResNets the same ones. Of the encoder peers have norms before each part, ours behind it; `encoder_8k` is measured beside
`encoder_64k`, `encoder` beside peers."""

ALIKE = {"encoder_8k": "encoder", "encoder_lora": "encoder", "resnet20_head": "resnet20"}
"""Networks to those whose inputs they take."""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of work.

    Attributes
    ----------
    kind : str
    network : str
        Key of :data:`NETWORKS`, or of :data:`trustml_bench.layered.LAYERED`.
    size : int
        Examples of a step or an epoch, images that are explained, clients of a round, or shadow models.
    examples : int
        Of each client or shadow model; 0 elsewhere.
    batch_size : int
        Of local training in rounds and shadow models, and of epochs; 0 elsewhere.
    noise_multiplier : float
        Of private steps; 0 for checks that engines come to the same weights.
    """

    kind: WorkloadKind
    network: str
    size: int
    examples: int = 0
    batch_size: int = 0
    noise_multiplier: float = NOISE_MULTIPLIER

    @property
    def name(self) -> str:
        """Short and unique: ``private_step/cnn/256``."""
        parts = [self.kind, self.network, self.size, self.examples, self.batch_size]
        return "/".join(str(part) for part in parts if part)


def make_model(workload: Workload) -> Model:
    """The same starting weights for every engine.

    Raises
    ------
    NotImplementedError
        If the network is only measured as others write it.
    """
    if workload.network in LARGE:
        return _large_model(workload.network)
    if workload.network in LAYERED:
        raise NotImplementedError(f"trustml's form of {workload.network} is not measured here")
    architecture, shape, _ = NETWORKS[workload.network]
    weights = initial_weights(architecture, shape, generator=np.random.default_rng(1))
    return Model(architecture=architecture, input_shape=shape, weights=weights)


def _large_model(name: str) -> Model:
    """A network of real size: all its weights move, or pairs beside frozen ones."""
    architecture, shape, trainable = LARGE[name]
    weights = _starting_weights(name)
    if not trainable:
        return Model(architecture=architecture, input_shape=shape, weights=weights)
    part = trained_part(trainable, architecture, shape)
    if part.beside:
        generator = np.random.default_rng(2)
        weights = weights | starting_pairs(part.architecture, shape, part.beside, generator=generator)
    frozen = frozenset(weights) - set(part.trained)
    return Model(architecture=part.architecture, input_shape=shape, weights=weights, frozen=frozen)


def _starting_weights(name: str) -> Weights:
    """Those that peers start from, where the network is the same; else drawn."""
    architecture, shape, _ = LARGE[name]
    theirs = ALIKE.get(name, name)
    if not theirs.startswith("resnet"):
        return initial_weights(architecture, shape, generator=np.random.default_rng(1))
    pairs = zip(weight_shapes(architecture, shape).items(), start(theirs).values(), strict=True)
    return {own: _canonical(array, size) for (own, size), array in pairs}


def _canonical(array: Floats, shape: tuple[int, ...]) -> Floats:
    """A weight of PyTorch's as ours lies: what goes in before what comes out, places first."""
    turned = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    assert turned.shape == shape
    return np.ascontiguousarray(turned)


@functools.cache
def trained_numbers(workload: Workload) -> int:
    """Count the numbers that a step moves."""
    model = make_model(workload)
    return sum(model.weights[name].size for name in model.trained)


def make_own_batch(workload: Workload) -> tuple[Floats, Ints]:
    """The same numbers as trustml takes them: channels last, and words as float32, of which 0 would be padding."""
    if workload.network not in LARGE:
        return make_batch(workload)
    found = LAYERED[ALIKE.get(workload.network, workload.network)]
    inputs, labels = draw(found, workload.size)
    inputs = np.maximum(inputs, 1) if found.words else inputs.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(inputs, np.float32), labels


def make_batch(workload: Workload) -> tuple[Floats, Ints]:
    """Inputs (size, *x) and labels (size,), the same for every engine."""
    if workload.network in LAYERED:
        return draw(LAYERED[workload.network], workload.size)
    if workload.network not in NETWORKS:
        raise NotImplementedError(f"{workload.network} is only measured in trustml's form")
    _, shape, classes = NETWORKS[workload.network]
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(workload.size, *shape)).astype(np.float32)
    return inputs, generator.integers(0, classes, workload.size)


def make_clients(workload: Workload) -> list[Client]:
    """Batches of every client of a round, the same for every engine."""
    _, shape, classes = NETWORKS[workload.network]
    generator = np.random.default_rng(0)
    made: list[Client] = []
    for _ in range(workload.size):
        inputs = generator.random((workload.examples, *shape), np.float32)
        labels = generator.integers(0, classes, workload.examples)
        starts = range(0, workload.examples, workload.batch_size)
        step = workload.batch_size
        made.append([(inputs[s : s + step], labels[s : s + step]) for s in starts])
    return made


def patch_count(workload: Workload) -> int:
    """Count the patches that occlusion switches off one after another.

    Raises
    ------
    NotImplementedError
        If the network takes no images.
    """
    shape = NETWORKS[workload.network][1]
    if len(shape) != 3:
        raise NotImplementedError("occlusion by patches is for images")
    return -(-shape[0] // OCCLUSION_PATCH) * -(-shape[1] // OCCLUSION_PATCH)
