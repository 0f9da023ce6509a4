"""Search by machine for an example that moves the clipped sum by more than the clipping norm.

A proof on one network is none: where an example's gradient is mostly rounding (a normalised image far from zero, a
last layer that cancels), what a compiler, a library or a batch of another size does to the last digit decides how far
the sum moves. The search draws networks, weights, batches and blocks, adds one example to a batch, and goes on from the
trials that came closest to the bound, as an evolution strategy does (Rechenberg, 1973).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np

from trustml.data.dataset import Floats, Ints
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
from trustml.models.shapes import layer_shapes
from trustml.models.weights import Weights, initial_weights
from trustml.privacy.rounding import summation_rounding

MARGIN = 1e-5
"""Beyond the clipping norm, for the rounding of the norm and of the scaled gradient themselves."""
_CLASSES = 10
_KEPT = 4
"""Trials of a network that the search goes on from."""
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
    """

    architecture: Architecture
    input_shape: tuple[int, ...]
    block: int
    per_layer: bool = False
    copies: int = 1


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


@dataclass(frozen=True, kw_only=True)
class Move:
    """How far an example moved the sum.

    Attributes
    ----------
    network : Network
    trial : Trial
    moved : float
        In clipping norms.
    allowed : float
        One, :data:`MARGIN`, and what rounding the sum may add, which the noise covers.
    """

    network: Network
    trial: Trial
    moved: float
    allowed: float

    @property
    def passes(self) -> bool:
        """Whether the example moved the sum no further than is allowed."""
        return self.moved <= self.allowed


class ClippedSum(Protocol):
    """The compiled training path of one network."""

    def __call__(self, weights: Weights, inputs: Floats, labels: Ints, *, clipping_norm: float) -> Weights:
        """Sum of clipped gradients of a batch of any size, inputs (n, k, *x) and labels (n,), without noise."""
        ...


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search came to.

    Attributes
    ----------
    worst : Move
        The one that went furthest beyond what is allowed, or stayed nearest to it.
    networks, trials : int
    """

    worst: Move
    networks: int
    trials: int


def search_sensitivity(
    make: Callable[[Network], ClippedSum],
    *,
    seconds: float,
    seed: int,
    trials: int = 40,
    networks: Iterator[Network] | None = None,
    known: Sequence[tuple[Network, Sequence[Trial]]] = (),
    tell: Callable[[Move], None] = lambda move: None,
) -> Search:
    """Search until the time is over, at least on one network.

    Parameters
    ----------
    make : callable
        From a network to its clipped sum, which may take a second to compile.
    seconds : float
    seed : int
    trials : int
        On each network.
    networks : iterator of Network, optional
        Instead of random ones.
    known : sequence of (Network, sequence of Trial)
        Tried first, before time counts.
    tell : callable
        Is given each move that is the worst so far.
    """
    generator = np.random.default_rng(seed)
    moves = _moves(make, known, networks or draw_networks(generator), trials, seconds, generator)
    worst, seen, tried = None, set[int](), 0
    for number, move in moves:
        seen.add(number)
        tried += 1
        if worst is None or _excess(move) > _excess(worst):
            worst = move
            tell(move)
    assert worst is not None
    return Search(worst=worst, networks=len(seen), trials=tried)


def _moves(
    make: Callable[[Network], ClippedSum],
    known: Sequence[tuple[Network, Sequence[Trial]]],
    networks: Iterator[Network],
    trials: int,
    seconds: float,
    generator: np.random.Generator,
) -> Iterator[tuple[int, Move]]:
    """Give the number of a network and a move on it: all that is known, then what is drawn until time is over."""
    for number, (network, of_it) in enumerate(known):
        clipped_sum = make(network)
        yield from ((number, try_one(network, trial, clipped_sum)) for trial in of_it)
    end = time.monotonic() + seconds
    for number, network in enumerate(networks, len(known)):
        clipped_sum = make(network)
        best: list[Move] = []
        for turn in range(trials):
            fresh = not best or turn < trials // 3 or generator.random() < 0.2
            trial = draw_trial(generator) if fresh else mutated(best[generator.integers(len(best))].trial, generator)
            move = try_one(network, trial, clipped_sum)
            best = sorted([*best, move], key=_excess, reverse=True)[:_KEPT]
            yield number, move
            if time.monotonic() > end:
                return


def try_one(network: Network, trial: Trial, clipped_sum: ClippedSum) -> Move:
    """Add one example to a batch, look at the sums before and after, and at the example alone."""
    generator = np.random.default_rng(trial.seed)
    weights = _weights(network, trial, generator)
    shape = network.copies, *network.input_shape
    others = _examples(trial.others, (trial.batch, *shape), generator)
    added = _examples(trial.added, (1, *shape), generator)
    labels = generator.integers(_CLASSES, size=trial.batch + 1)
    place = round(trial.place * trial.batch)
    both = np.concatenate([others[:place], added, others[place:]])
    classes = np.insert(labels[:-1], place, labels[-1])

    def total(inputs: Floats, labels: Ints) -> Weights:
        return clipped_sum(weights, inputs, labels, clipping_norm=trial.clipping_norm)

    before = total(others, labels[:-1])
    # unlike Python's, numpy's maximum of a number and of what is none is none
    moved = float(np.maximum(_distance(total(both, classes), before), _distance(total(added, labels[-1:]), {})))
    return Move(
        network=network,
        trial=trial,
        moved=moved / trial.clipping_norm,
        allowed=1 + MARGIN + summation_rounding(trial.batch + 1),
    )


def draw_networks(generator: np.random.Generator) -> Iterator[Network]:
    """Draw networks of few, extreme layers."""
    while True:
        vector = generator.random() < 0.3
        shape: tuple[int, ...] = (int(generator.choice([2, 10, 50, 300])),)
        if not vector:
            shape = (*generator.integers(3, 9, 2).tolist(), int(generator.choice([1, 3, 8, 16, 64])))
        layers = _draw_dense(generator) if vector else _draw_convolutions(generator, shape)
        block = int(2 ** generator.integers(0, 7))
        architecture = Architecture(layers=(*layers, Dense(units=_CLASSES)))
        yield Network(
            architecture=architecture,
            input_shape=shape,
            block=block,
            per_layer=bool(generator.random() < 0.2),
            copies=int(generator.choice([1, 1, 1, 3])),
        )


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


def _examples(rows: Rows, shape: tuple[int, ...], generator: np.random.Generator) -> Floats:
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


def _weights(network: Network, trial: Trial, generator: np.random.Generator) -> Weights:
    weights = initial_weights(network.architecture, network.input_shape, generator=generator)
    for name, array in weights.items():
        if name.endswith((".scale", ".bias")):
            weights[name] = (array + generator.normal(0, 0.3, array.shape)).astype(np.float32)
    kernels = [name for name in weights if name.endswith(".kernel")]
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


def _distance(one: Weights, other: Weights) -> float:
    """L2 norm of the difference, in float64; what is missing on one side is zero."""
    zero = np.zeros(())
    parts = (one.get(name, zero).astype(np.float64) - other.get(name, zero) for name in one.keys() | other.keys())
    return math.sqrt(sum(float(np.square(part).sum()) for part in parts))


def _excess(move: Move) -> float:
    return move.moved - move.allowed if math.isfinite(move.moved) else math.inf
