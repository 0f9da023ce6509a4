"""A batch cut into blocks whose values in between fit the cache, and dealt out to the threads of a processor.

A compiled loop takes as many small blocks as a batch needs, so that a Poisson batch of another size compiles nothing
anew and filling costs less than one block. For convolutions XLA uses a second core badly in small blocks, so the
blocks of a batch are shared out to several calls of the program at once, one from each thread. Dense layers are fastest
in one large block of the size that batches have on average, outside a loop: XLA's matrix products use all cores there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from trustml.backends.jax.pieces import cores
from trustml.backends.settings import filled_up
from trustml.data.dataset import Floats, Ints
from trustml.models.layers import Architecture, Conv2D, Dense
from trustml.models.shapes import layer_shapes

_CACHE = 2**22
"""Bytes that the values of a small block may take: measured, 16 to 64 rows of a small convolutional network."""
_LIGHT = 2**15
"""Bytes of one example below which large blocks are faster."""
_SMALLEST, _SMALL, _LOOPED, _LARGEST = 8, 32, 1024, 4096
"""Rows of blocks: the fewest, of those that take the rest of a batch, and of large ones in a loop and outside."""

Block: TypeAlias = tuple[Array, Array, Array]
"""Inputs (m, *x), labels (m,) and mask (m,): 1 for an example, 0 for filling."""
Rows: TypeAlias = tuple[Floats, npt.NDArray[np.int32]]
Summed = TypeVar("Summed")


class Part(NamedTuple):
    """What one call gets of a batch.

    Attributes
    ----------
    head : (inputs, labels)
        One large block, filled up with zeros if it has to be; of no rows if there is none, or too little for it.
    tail : (inputs, labels)
        The rest, filled up to whole blocks.
    rows : int
        How many of them all are examples.
    first : int
        Place of the first of them in its batch.
    """

    head: Rows
    tail: Rows
    rows: np.int32
    first: np.int32


class Cut(NamedTuple):
    """How batches are cut.

    Attributes
    ----------
    small : int
        Rows of a block of the loop.
    large : int
        Rows of the block before it; 0 for none.
    parts : int
        Calls at once that a batch is dealt out to.
    uniform : bool
        Whether rows go through large blocks alone, if there are any: see
        :meth:`trustml.backends.settings.PrivateSettings.block_rows`.
    """

    small: int
    large: int
    parts: int
    uniform: bool = False


def choose_cut(architecture: Architecture, input_shape: tuple[int, ...], *, copies: int, expected: int) -> Cut:
    """Choose by what an example's values take, for batches that hold `expected` examples of `copies` each."""
    if jax.default_backend() != "cpu" or jax.local_device_count() > 1:
        return Cut(small=_SMALL, large=expected, parts=1)
    size = 4 * copies * _example_floats(architecture, input_shape)
    if size <= _LIGHT:
        return Cut(_SMALL, large=expected, parts=1) if expected <= _LARGEST else Cut(_LOOPED, large=0, parts=1)
    small = max(_SMALLEST, min(2 * _SMALL, 1 << (_CACHE // size).bit_length() - 1))
    return Cut(small=small, large=0, parts=max(1, min(cores(), -(-expected // small))))


def deal(inputs: Floats, labels: Ints, cut: Cut, *, capacity: int) -> list[Part]:
    """Share a batch of at most `capacity` rows out to parts of the same shapes.

    What would leave half of the large block empty goes into small ones: there are two programs at most.
    """
    if cut.uniform and cut.large:
        return [_whole_block(inputs, labels, cut.large, start) for start in range(0, max(1, len(labels)), cut.large)]
    parts = max(1, min(cut.parts, -(-len(labels) // cut.small)))
    rows = max(1, _whole_blocks(len(labels), cut, parts) if parts > 1 else len(labels))
    most = _whole_blocks(capacity, cut, cut.parts) if cut.parts > 1 else capacity
    large = cut.large if rows > cut.large // 2 else 0
    room = -(-(max(0, most - large) if large else cut.large // 2 or most) // cut.small) * cut.small
    shares = [(inputs[i : i + rows], labels[i : i + rows], i) for i in range(0, max(1, len(labels)), rows)]
    return [
        Part(
            head=_filled(own[:large], classes[:large], large),
            tail=_filled(own[large:], classes[large:], room),
            rows=np.int32(len(classes)),
            first=np.int32(first),
        )
        for own, classes, first in shares
    ]


def sum_blocks(cut: Cut, function: Callable[[Block, Array], Summed], part: Part) -> Summed:
    """Sum of a function over the blocks of a part; for use in a compiled function.

    Parameters
    ----------
    cut : Cut
    function : callable
        Takes a block and the place of its first row in the part; gives a tree of arrays.
    part : Part
    """
    total: Summed
    (inputs, labels), large = part.tail, len(part.head[1])
    if large:
        mask = (jnp.arange(large) < part.rows).astype(jnp.float32)
        total = function((*part.head, mask), jnp.int32(0))
    else:
        some = (inputs[: cut.small], labels[: cut.small], jnp.zeros(cut.small))
        total = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), jax.eval_shape(function, some, jnp.int32(0)))
    if not len(labels):
        return total

    def add(number: Array, total: Summed) -> Summed:
        start = number * cut.small
        mask = (large + start + jnp.arange(cut.small) < part.rows).astype(jnp.float32)
        block = (
            lax.dynamic_slice_in_dim(inputs, start, cut.small),
            lax.dynamic_slice_in_dim(labels, start, cut.small),
            mask,
        )
        return jax.tree.map(jnp.add, total, function(block, large + start))

    blocks = jnp.maximum(0, part.rows - large + cut.small - 1) // cut.small
    return lax.fori_loop(0, blocks, add, total)


def _whole_block(inputs: Floats, labels: Ints, rows: int, start: int) -> Part:
    """One large block, filled up."""
    own, classes = inputs[start : start + rows], labels[start : start + rows]
    return Part(
        head=_filled(own, classes, rows),
        tail=_filled(own[:0], classes[:0], 0),
        rows=np.int32(len(classes)),
        first=np.int32(start),
    )


def _whole_blocks(rows: int, cut: Cut, parts: int) -> int:
    """Rows of one of so many parts."""
    return -(-rows // (parts * cut.small)) * cut.small


def _filled(inputs: Floats, labels: Ints, room: int) -> Rows:
    whole = np.ascontiguousarray(inputs, np.float32)
    return filled_up(whole, room), filled_up(labels.astype(np.int32), room)


def _example_floats(architecture: Architecture, input_shape: tuple[int, ...]) -> int:
    """Values that one example puts into weighted layers and gets out of them, and its small gradients."""
    shapes = layer_shapes(architecture, input_shape)
    total = 0
    for index, layer in enumerate(architecture.layers):
        outputs = int(np.prod(shapes[index + 1]))
        if isinstance(layer, Conv2D):
            window = layer.kernel[0] * layer.kernel[1] * shapes[index][-1]
            total += outputs // layer.filters * window + window * layer.filters
        elif isinstance(layer, Dense):
            total += int(np.prod(shapes[index]))
        total += outputs
    return total
