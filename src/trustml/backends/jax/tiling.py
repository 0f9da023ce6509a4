"""How much work goes through a network at once: tiles that stay in a cache, dealt out to the cores of a processor.

XLA deals an operation on much data out to threads of its own, and what it writes leaves the cache before the next
operation reads it. Tiles of some dozen rows stay there and keep to one thread each; so every core gets a call of its
own. On an accelerator there is one call with large tiles.

*Batches of training* are tiles of a compiled loop, which takes as many small ones as a batch needs, so that a Poisson
batch of another size compiles nothing anew and filling costs less than one tile. For convolutions XLA uses a second
core badly in small tiles, so a batch is dealt out to several calls of the program at once, one from each thread. Dense
layers are fastest in one large tile of the size that batches have on average, outside a loop: XLA's matrix products use
all cores there.
"""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from trustml.attribution.passes import MOST_ROWS
from trustml.backends.settings import filled_up
from trustml.data.dataset import Floats, LabelArray
from trustml.models.layers import (
    GRU,
    LSTM,
    Architecture,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    Dense,
    Node,
)
from trustml.models.recurrence import GATES
from trustml.models.shapes import value_shapes
from trustml.models.token_layers import (
    Attention,
    Unembedding,
)

AnyRows: TypeAlias = npt.NDArray[Any]
Given = TypeVar("Given")
Result = TypeVar("Result")
Tile: TypeAlias = tuple[Array, Array, Array]
"""Inputs (m, *x), labels (m,) or (m, c), and mask (m,): 1 for an example, 0 for filling."""
Rows: TypeAlias = tuple[Floats, npt.NDArray[np.int32] | Floats]
Summed = TypeVar("Summed")

# Bytes that one call on a processor may go through. The three are of unlike things, and each was measured for its own.
_FORWARD_CACHE = 2**21
"""What a tile writes on its way through a network that is not trained."""
_TRAINING_CACHE = 2**22
"""The values of a small tile of training, which gave 16 to 64 rows of a small convolutional network."""
_MODELS_CACHE = 2**20
"""What the models of one call go through in a step. Of more than that XLA deals every operation out to threads of its
own, which was a third slower than one thread, and cores have other calls to do anyway."""
# The same on an accelerator, where memory is the limit.
_FORWARD_DEVICE, _MODELS_DEVICE = 2**30, 2**32
_FEWEST, _MOST = 8, 512
"""Rows of a tile that is not trained on, on a processor: fewer leave products too thin, more gain nothing."""
_LIGHT = 2**15
"""Bytes of one example below which large tiles of training are faster."""
_SMALLEST, _SMALL, _LOOPED, _LARGEST = 8, 32, 1024, 4096
"""Rows of tiles of training: the fewest, of those that take the rest of a batch, and of large ones in a loop and
outside."""


_asked: ContextVar[int] = ContextVar("rows", default=sys.maxsize)


def rows_at_once(architecture: Architecture, shape: tuple[int, ...]) -> int:
    """Rows that go through a network at once: a power of two.

    Parameters
    ----------
    architecture : Architecture
    shape : tuple of int
        Of one input.
    """
    shapes = value_shapes(architecture, shape)
    values = sum(math.prod(found) for found in shapes.values())
    for node in architecture.nodes:
        if isinstance(node.layer, Conv2D | Conv1D):  # its windows are gathered
            values += math.prod(shapes[node.name][:-1]) * _window(node.layer) * shapes[node.inputs[0]][-1]
        elif isinstance(node.layer, Attention):
            values += _scores(node, shapes)
    on_processor = jax.default_backend() == "cpu"
    most = _asked.get()
    fit = (_FORWARD_CACHE if on_processor else _FORWARD_DEVICE) // (4 * values)
    rows = 1 << max(0, fit.bit_length() - 1)
    return min(max(rows, _FEWEST), _MOST if on_processor else most, most)


@contextmanager
def at_most(rows: int) -> Iterator[None]:
    """Let no more rows go through a network at once, in what is compiled meanwhile; 512 or more change nothing."""
    before = _asked.set(rows if rows < MOST_ROWS else sys.maxsize)
    try:
        yield
    finally:
        _asked.reset(before)


def models_at_once(count: int, *, working_set: int, cores: int) -> int:
    """Models of one call, so that all `count` of them are trained soonest.

    Parameters
    ----------
    count : int
    working_set : int
        Bytes that a step of one model goes through.
    cores : int
        Calls that run side by side.
    """
    room = _MODELS_CACHE if jax.default_backend() == "cpu" else _MODELS_DEVICE
    fit = min(count, max(1, room // working_set))

    def turns(size: int) -> int:
        """Models that the busiest core goes through, if calls hold so many."""
        return math.ceil(math.ceil(count / size) / cores) * size

    return min(range(max(1, fit // 2), fit + 1), key=lambda size: (turns(size), -size))


def in_tiles(one: Callable[..., Array], rows: tuple[Array, ...], *, size: int) -> Array:
    """Do `one` on tiles of at most `size` rows, one after the other in a compiled loop; for use under ``jit``.

    Parameters
    ----------
    one : callable
        Takes arrays with rows in front, and gives an array with as many. Rows do not depend on each other.
    rows : tuple of array
        Each with the same number of rows.
    size : int
    """
    count = len(rows[0])
    tiles = -(-count // size)
    if tiles <= 1:
        return one(*rows)
    size = -(-count // tiles)  # as even as it goes, so that little is filled up
    cut = tuple(
        jnp.concatenate([part, jnp.repeat(part[-1:], tiles * size - count, axis=0)]).reshape(
            tiles, size, *part.shape[1:]
        )
        for part in rows
    )
    found = lax.map(lambda tile: one(*tile), cut)
    return found.reshape(tiles * size, *found.shape[2:])[:count]


def cores() -> int:
    """Give the number of calls that run side by side: the threads of this process, or 1 on an accelerator."""
    if jax.default_backend() != "cpu":
        return 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else len(os.sched_getaffinity(0))


def on_every_core(call: Callable[..., Array], *rows: AnyRows) -> AnyRows:
    """Call rows out over the cores, a call each, and put together what comes back.

    Parameters
    ----------
    call : callable
        Compiled. Takes arrays with rows in front, and gives an array with as many.
    rows : arrays
        Each with the same number of rows. All shares are equally long, the last one filled up by its last row.
    """
    count = len(rows[0])
    size = -(-count // max(1, min(cores(), count)))
    shares = []
    for start in range(0, count, max(1, size)):
        chosen = np.minimum(np.arange(start, start + size), count - 1)
        shares.append(tuple(part[chosen] for part in rows))
    if len(shares) <= 1:
        return np.asarray(call(*rows))
    found = calls_on_every_core(lambda share: call(*share), shares)
    return np.concatenate([np.asarray(part) for part in found])[:count]


def sums_on_every_core(call: Callable[[int, int], Any], count: int) -> Any:
    """Call the numbers 0 to `count` - 1 out over the cores: ``call(begin, end)`` sums over its own, this over all."""
    size = -(-count // max(1, min(cores(), count)))
    borders = [(start, min(start + size, count)) for start in range(0, count, size)]
    parts = calls_on_every_core(lambda share: call(*share), borders)
    return jax.tree.map(lambda *each: sum(np.asarray(part) for part in each), *parts)


def calls_on_every_core(call: Callable[[Given], Result], shares: Sequence[Given]) -> list[Result]:
    """Make a call for each share, side by side; `call` is compiled, and what it returns need not be there yet."""
    first = call(shares[0])  # compiles for all, and then runs on while the others do
    if len(shares) == 1:
        return [first]
    return [first, *_threads().map(call, shares[1:])]


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, cores() - 1))


class Share(NamedTuple):
    """What one call gets of a batch.

    Attributes
    ----------
    head : (inputs, labels)
        One large tile, filled up with zeros if it has to be; of no rows if there is none, or too little for it.
    tail : (inputs, labels)
        The rest, filled up to whole tiles.
    rows : int
        How many of them all are examples.
    first : int
        Place of the first of them in its batch.
    """

    head: Rows
    tail: Rows
    rows: np.int32
    first: np.int32


class Tiling(NamedTuple):
    """How batches are cut.

    Attributes
    ----------
    small : int
        Rows of a tile of the loop.
    large : int
        Rows of the tile before it; 0 for none.
    shares : int
        Calls at once that a batch is dealt out to.
    uniform : bool
        Whether rows go through large tiles alone, if there are any: see
        :meth:`trustml.backends.settings.PrivateSettings.block_rows`.
    """

    small: int
    large: int
    shares: int
    uniform: bool = False


def choose_tiling(architecture: Architecture, input_shape: tuple[int, ...], *, copies: int, expected: int) -> Tiling:
    """Choose by what an example's values take, for batches that hold `expected` examples of `copies` each."""
    if jax.default_backend() != "cpu" or jax.local_device_count() > 1:
        return Tiling(small=_SMALL, large=expected, shares=1)
    size = 4 * copies * _example_floats(architecture, input_shape)
    if size <= _LIGHT:
        return Tiling(_SMALL, large=expected, shares=1) if expected <= _LARGEST else Tiling(_LOOPED, large=0, shares=1)
    small = max(_SMALLEST, min(2 * _SMALL, 1 << max(0, (_TRAINING_CACHE // size).bit_length() - 1)))
    return Tiling(small=small, large=0, shares=max(1, min(cores(), -(-expected // small))))


def deal(inputs: Floats, labels: LabelArray, tiling: Tiling, *, capacity: int) -> list[Share]:
    """Deal a batch of at most `capacity` rows out to shares of the same shapes.

    What would leave half of the large tile empty goes into small ones: there are two programs at most.
    """
    if tiling.uniform and tiling.large:
        return [
            _whole_tile(inputs, labels, tiling.large, start) for start in range(0, max(1, len(labels)), tiling.large)
        ]
    used = max(1, min(tiling.shares, -(-len(labels) // tiling.small)))
    rows = max(1, _whole_tiles(len(labels), tiling, used) if used > 1 else len(labels))
    most = _whole_tiles(capacity, tiling, tiling.shares) if tiling.shares > 1 else capacity
    large = tiling.large if rows > tiling.large // 2 else 0
    # rows of small tiles: what the large one leaves of the fullest share; without it, up to half a large one
    room = -(-(max(0, most - large) if large else tiling.large // 2 or most) // tiling.small) * tiling.small
    ranges = [(inputs[i : i + rows], labels[i : i + rows], i) for i in range(0, max(1, len(labels)), rows)]
    return [
        Share(
            head=_filled(own[:large], classes[:large], large),
            tail=_filled(own[large:], classes[large:], room),
            rows=np.int32(len(classes)),
            first=np.int32(first),
        )
        for own, classes, first in ranges
    ]


def sum_tiles(tiling: Tiling, function: Callable[[Tile, Array], Summed], share: Share) -> Summed:
    """Sum of a function over the tiles of a share; for use in a compiled function.

    Parameters
    ----------
    tiling : Tiling
    function : callable
        Takes a tile and the place of its first row in the share; gives a tree of arrays.
    share : Share
    """
    total: Summed
    (inputs, labels), large = share.tail, len(share.head[1])
    if large:
        mask = (jnp.arange(large) < share.rows).astype(jnp.float32)
        total = function((*share.head, mask), jnp.int32(0))
    else:
        some = (inputs[: tiling.small], labels[: tiling.small], jnp.zeros(tiling.small))
        total = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), jax.eval_shape(function, some, jnp.int32(0)))
    if not len(labels):
        return total

    def add(number: Array, total: Summed) -> Summed:
        start = number * tiling.small
        mask = (large + start + jnp.arange(tiling.small) < share.rows).astype(jnp.float32)
        tile = (
            lax.dynamic_slice_in_dim(inputs, start, tiling.small),
            lax.dynamic_slice_in_dim(labels, start, tiling.small),
            mask,
        )
        return jax.tree.map(jnp.add, total, function(tile, large + start))

    tiles = jnp.maximum(0, share.rows - large + tiling.small - 1) // tiling.small
    return lax.fori_loop(0, tiles, add, total)


def _whole_tile(inputs: Floats, labels: LabelArray, rows: int, start: int) -> Share:
    """One large tile, filled up."""
    own, classes = inputs[start : start + rows], labels[start : start + rows]
    return Share(
        head=_filled(own, classes, rows),
        tail=_filled(own[:0], classes[:0], 0),
        rows=np.int32(len(classes)),
        first=np.int32(start),
    )


def _whole_tiles(rows: int, tiling: Tiling, shares: int) -> int:
    """Rows of one of so many shares."""
    return -(-rows // (shares * tiling.small)) * tiling.small


def _filled(inputs: Floats, labels: LabelArray, room: int) -> Rows:
    whole = np.ascontiguousarray(inputs, np.float32)
    return filled_up(whole, room), filled_up(device_labels(labels), room)


def device_labels(labels: LabelArray) -> npt.NDArray[np.int32] | Floats:
    """Labels in the type in which they go to the device: whole numbers take 32 bits."""
    if labels.dtype.kind == "f":
        return labels.astype(np.float32, copy=False)
    return labels.astype(np.int32, copy=False)


def _example_floats(architecture: Architecture, input_shape: tuple[int, ...]) -> int:
    """Values that one example puts into weighted layers and gets out of them, and its small gradients."""
    shapes = value_shapes(architecture, input_shape)
    total = 0
    for node in architecture.nodes:
        layer, before, outputs = node.layer, shapes[node.inputs[0]], math.prod(shapes[node.name])
        if isinstance(layer, Conv2D | Conv1D):
            window = _window(layer) * before[-1]
            total += outputs // layer.filters * window + window // layer.groups * layer.filters
        elif isinstance(layer, ConvTranspose2D | ConvTranspose1D):  # what values lay down, and what comes back to them
            laid = _window(layer) * layer.filters
            total += math.prod(before) + 2 * math.prod(before[:-1]) * laid + laid * before[-1]
        elif isinstance(layer, Dense):
            total += math.prod(before) + (before[-1] * layer.units if len(before) > 1 else 0)
        elif isinstance(layer, GRU | LSTM):  # both products and their gradients at each step, and both kernels'
            wide = GATES[type(layer)] * layer.units
            total += math.prod(before) + wide * (4 * before[0] + before[-1] + layer.units)
        elif isinstance(layer, Attention):
            total += _scores(node, shapes)
        elif isinstance(layer, Unembedding):
            total += before[-1] * layer.vocabulary
        total += outputs
    return total


def _scores(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Scores of all heads of an attention node."""
    assert isinstance(node.layer, Attention)
    return node.layer.heads * shapes[node.inputs[0]][0] * shapes[node.inputs[1]][0]


def _window(layer: Conv2D | Conv1D | ConvTranspose2D | ConvTranspose1D) -> int:
    """Places of a window."""
    return layer.kernel if isinstance(layer, Conv1D | ConvTranspose1D) else math.prod(layer.kernel)
