"""Networks, batches and examples for :mod:`tests.conformance.sensitivity`, over all orders of magnitude."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from tests.conformance.token_networks import draw_tokens
from trustml.data.dataset import Floats, Ints, LabelArray
from trustml.models.layers import (
    GELU,
    GRU,
    LSTM,
    Architecture,
    AvgPool,
    Conv2D,
    ConvTranspose1D,
    Dense,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    Layer,
    LayerNorm,
    MaxPool,
    ReLU,
    Tanh,
)
from trustml.models.residual import residual_network
from trustml.models.shapes import layer_shapes
from trustml.models.tasks import DEFAULT_TASK, Binary, Classes, Labels, NextToken, Regression, Task
from trustml.models.token_layers import Reshape
from trustml.models.weights import Weights, initial_weights

CLASSES = 10
STEPS = 2  # of texts
Pattern: TypeAlias = Literal["normal", "constant", "pixel", "signs", "ramp", "near one"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


@dataclass(frozen=True, kw_only=True)
class Network:
    """What has to be compiled once.

    Attributes
    ----------
    architecture : Architecture
    input_shape : tuple of int
    block : int
        Rows that go through the network at once.
    per_layer : bool
        Whether each array is clipped by itself.
    copies : int
        Rows that make one example, whose gradients are averaged before clipping.
    task : Task
    """

    architecture: Architecture
    input_shape: tuple[int, ...]
    block: int
    per_layer: bool = False
    copies: int = 1
    task: Task = DEFAULT_TASK


@dataclass(frozen=True, kw_only=True)
class Rows:
    """How examples are drawn.

    Attributes
    ----------
    pattern : str
    offset, spread : float
        Of the values.
    """

    pattern: Pattern
    offset: float
    spread: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One example and the batch that it is added to.

    Attributes
    ----------
    seed : int
        Of all that is drawn.
    batch : int
        Examples before the one is added.
    others, added : Rows
    place : float
        Where it comes among the others: 0 before them, 1 after them.
    first_layer, last_layer : float
        What these layers' kernels are multiplied by.
    alike : float
        How far the columns of the last kernel are apart, in their own deviations; 1 leaves them.
    clipping_norm : float
    """

    seed: int
    batch: int
    others: Rows
    added: Rows
    place: float
    first_layer: float
    last_layer: float
    alike: float
    clipping_norm: float


def draw_networks(generator: np.random.Generator) -> Iterator[Network]:
    """Draw networks of few, extreme layers; of sequences and of tokens in between, by numbers of their own."""
    sequences, tokens = generator.spawn(2)
    for number in itertools.count():
        if number % 5 == 4:
            yield _draw_sequence_network(sequences)
        if number % 5 == 2:
            architecture, shape = draw_tokens(tokens, classes=CLASSES)
            block, copies = int(2 ** tokens.integers(0, 7)), int(tokens.choice([1, 1, 1, 3]))
            yield Network(architecture=architecture, input_shape=shape, block=block, copies=copies)
        vector = generator.random() < 0.3
        shape = (int(generator.choice([2, 10, 50, 300])),)
        if not vector:
            shape = (*generator.integers(3, 9, 2).tolist(), int(generator.choice([1, 3, 8, 16, 64])))
        layers = _draw_dense(generator) if vector else _draw_convolutions(generator, shape)
        block = int(2 ** generator.integers(0, 7))
        architecture = Architecture(layers=(*layers, Dense(units=CLASSES)))
        if not vector and generator.random() < 0.3:
            architecture = _draw_residual(generator)
        yield Network(
            architecture=architecture,
            input_shape=shape,
            block=block,
            per_layer=bool(generator.random() < 0.2),
            copies=int(generator.choice([1, 1, 1, 3])),
        )


def _draw_sequence_network(generator: np.random.Generator) -> Network:
    """Recurrent layers, whose gradients are sums over steps that may cancel, or explode; and longer or shorter ways."""
    shape = int(generator.choice([1, 2, 5, 20])), int(generator.choice([1, 3, 16]))
    layers: list[Layer] = []
    for _ in range(generator.integers(1, 3)):
        size = int(generator.choice([1, 4, 20]))
        longer = ConvTranspose1D(filters=size, kernel=int(generator.integers(2, 5)), padding=(0, 1))
        layers.append((GRU(units=size), LSTM(units=size), longer)[generator.integers(3)])
    end = (Flatten(), GlobalAvgPool(), GlobalMaxPool())[generator.integers(3)]
    return Network(
        architecture=Architecture(layers=(*layers, end, Dense(units=CLASSES))),
        input_shape=shape,
        block=int(2 ** generator.integers(0, 7)),
        per_layer=bool(generator.random() < 0.2),
        copies=int(generator.choice([1, 1, 1, 3])),
    )


def of_task(network: Network, task: Task) -> Network:
    """Ask a network for something else than classes."""
    if isinstance(task, Classes):
        return network
    *layers, _ = network.architecture.layers
    if isinstance(task, NextToken):
        ends = Dense(units=STEPS * CLASSES), Reshape(shape=(STEPS, CLASSES))
        return replace(network, architecture=Architecture(layers=(*layers, *ends)), task=task)
    last = Dense(units=CLASSES if isinstance(task, Labels) else 1)
    return replace(network, architecture=Architecture(layers=(*layers, last)), task=task)


def labels_of(task: Task, classes: Ints) -> LabelArray:
    """Labels of a task, by numbers of classes; those of a regression are far away, where its loss is steep."""
    match task:
        case Classes():
            return classes
        case Binary():
            return (classes[:, None] % 2).astype(np.float32)
        case Labels():
            return (classes[:, None] >> np.arange(CLASSES) & 1).astype(np.float32)
        case Regression():
            return ((classes[:, None] - CLASSES / 2) * 1e4).astype(np.float32)
        case NextToken():  # 0, where no token follows, is among them
            return (classes[:, None] + np.arange(STEPS)) % CLASSES


def draw_trial(generator: np.random.Generator) -> Trial:
    """Draw a trial over all orders of magnitude."""
    alike = float(generator.choice([1.0, 1.0, 1e-3, 1e-6]))
    return Trial(
        seed=int(generator.integers(2**31)),
        batch=int(generator.choice([0, 1, 2, 3, 7, 15, 31, 63, 100])),
        others=_draw_rows(generator),
        added=_draw_rows(generator),
        place=float(generator.choice([0.0, 1.0, generator.random()])),
        first_layer=float(10 ** generator.uniform(-2, 2)) if generator.random() < 0.5 else 1.0,
        last_layer=float(10 ** generator.uniform(-2, 3)) if generator.random() < 0.5 else 1.0,
        alike=alike,
        clipping_norm=float(10 ** generator.uniform(-2, 1)),
    )


def mutated(trial: Trial, generator: np.random.Generator) -> Trial:
    """Change some of a trial, each number by about a factor of two."""

    def near(value: float) -> float:
        return value * float(2 ** generator.normal()) if generator.random() < 0.4 else value

    def rows(one: Rows) -> Rows:
        pattern = PATTERNS[generator.integers(len(PATTERNS))] if generator.random() < 0.1 else one.pattern
        return Rows(pattern=pattern, offset=near(one.offset), spread=near(one.spread))

    return replace(
        trial,
        seed=int(generator.integers(2**31)) if generator.random() < 0.5 else trial.seed,
        batch=max(0, trial.batch + int(generator.integers(-3, 4))),
        others=rows(trial.others),
        added=rows(trial.added),
        place=trial.place if generator.random() < 0.8 else float(generator.random()),
        first_layer=near(trial.first_layer),
        last_layer=near(trial.last_layer),
        alike=min(1.0, near(trial.alike)),
        clipping_norm=near(trial.clipping_norm),
    )


def _draw_rows(generator: np.random.Generator) -> Rows:
    ordinary = generator.random() < 0.3
    return Rows(
        pattern="normal" if ordinary else PATTERNS[generator.integers(len(PATTERNS))],
        offset=0.0 if ordinary else float(10 ** generator.uniform(-3, 7)),
        spread=1.0 if ordinary else float(10 ** generator.uniform(-6, 1)),
    )


def draw_examples(rows: Rows, shape: tuple[int, ...], generator: np.random.Generator) -> Floats:
    """Draw examples, along the first axis of `shape`."""
    noise = rows.spread * generator.normal(size=shape)
    places = np.arange(math.prod(shape[1:])).reshape(shape[1:])
    match rows.pattern:
        case "normal":
            values = rows.offset + noise
        case "constant":
            values = np.full(shape, rows.offset)
        case "pixel":
            values = noise + rows.offset * (places == places.size // 2)
        case "signs":
            values = noise + rows.offset * (1 - 2.0 * (places % 2))
        case "ramp":
            values = noise + rows.offset * places / places.size
        case "near one":
            values = 1 + 1e-4 * noise
    return values.astype(np.float32)


def draw_weights(network: Network, trial: Trial, generator: np.random.Generator) -> Weights:
    """Draw the weights of a network as a trial wants them."""
    weights = initial_weights(network.architecture, network.input_shape, generator=generator)
    for name, array in weights.items():
        if name.endswith((".scale", ".bias")):
            weights[name] = (array + generator.normal(0, 0.3, array.shape)).astype(np.float32)
    kernels = [name for name in weights if name.endswith(".kernel")]
    for name in weights:
        if name.endswith((".table", ".vectors")):
            weights[name] = weights[name] * np.float32(trial.first_layer)
    weights[kernels[0]] = weights[kernels[0]] * np.float32(trial.first_layer)
    last = weights[kernels[-1]]
    mean = last.mean(axis=-1, keepdims=True)
    weights[kernels[-1]] = ((mean + trial.alike * (last - mean)) * trial.last_layer).astype(np.float32)
    return weights


def _draw_dense(generator: np.random.Generator) -> list[Layer]:
    layers: list[Layer] = []
    for _ in range(generator.integers(0, 3)):
        units = int(generator.choice([1, 8, 60, 256]))
        # As many groups as units would leave zeros alone, which torch refuses for a single row.
        norm = [one for one in _draw_norm(generator, units) if one != GroupNorm(groups=units)]
        layers += [Dense(units=units, bias=bool(generator.random() < 0.8)), *norm]
        layers.append(_draw_activation(generator))
    return layers


def _draw_convolutions(generator: np.random.Generator, shape: tuple[int, ...]) -> list[Layer]:
    layers: list[Layer] = []
    for _ in range(generator.integers(1, 3)):
        rows, columns = layer_shapes(Architecture(layers=tuple(layers)), shape)[-1][:2] if layers else shape[:2]
        filters = int(generator.choice([1, 4, 16, 64]))
        kernel = tuple(int(generator.integers(1, min(3, size) + 1)) for size in (rows, columns))
        layers.append(Conv2D(filters=filters, kernel=(kernel[0], kernel[1]), bias=bool(generator.random() < 0.8)))
        layers += [*_draw_norm(generator, filters), _draw_activation(generator)]
        rows, columns = layer_shapes(Architecture(layers=tuple(layers)), shape)[-1][:2]
        if min(rows, columns) >= 2 and generator.random() < 0.4:
            pool = MaxPool if generator.random() < 0.5 else AvgPool
            layers.append(pool(size=(2, 2), stride=(1, 1) if generator.random() < 0.3 else (2, 2)))
    return [*layers, Flatten()]


def _draw_residual(generator: np.random.Generator) -> Architecture:
    """One block or two: values that several nodes take, on ways of different lengths."""
    filters = generator.choice([2, 4, 16], size=generator.integers(1, 3)).tolist()
    return residual_network(filters=filters, blocks=1, groups=int(generator.choice([1, 2])), classes=CLASSES)


def _draw_norm(generator: np.random.Generator, channels: int) -> list[Layer]:
    choice = generator.integers(4)
    if choice == 0:
        return []
    if choice == 1:
        return [LayerNorm()]
    divisors = [size for size in range(1, channels + 1) if channels % size == 0]
    return [GroupNorm(groups=channels if choice == 2 else int(generator.choice(divisors)))]


def _draw_activation(generator: np.random.Generator) -> Layer:
    return (ReLU(), ReLU(), Tanh(), GELU())[generator.integers(4)]
