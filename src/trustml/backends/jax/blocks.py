"""A batch cut into blocks whose values in between fit the cache, and dealt out to the threads of a processor.

One compiled program loops over as many blocks as a batch needs, so that a Poisson batch of another size compiles
nothing anew and filling costs less than one block. For convolutions XLA uses a second core badly in small blocks, so
the blocks of a batch are shared out to several calls of the program at once, one from each thread. Dense layers are
fastest in large blocks, inside which XLA's matrix products use all cores.
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
from trustml.data.dataset import Floats, Ints
from trustml.models.layers import Architecture, Conv2D, Dense
from trustml.models.shapes import layer_shapes

_CACHE = 2**22
"""Bytes that the values of a small block may take: measured, 16 to 64 rows of a small convolutional network."""
_LIGHT = 2**15
"""Bytes of one example below which large blocks are faster."""
_SMALLEST, _SMALL, _LARGEST = 8, 32, 512

Block: TypeAlias = tuple[Array, Array, Array]
"""Inputs (m, *x), labels (m,) and mask (m,): 1 for an example, 0 for filling."""
Part: TypeAlias = tuple[Floats, npt.NDArray[np.int32], np.int32, np.int32]
"""Inputs and labels filled up with zeros, the number of examples, and the place of the first in its batch."""
Summed = TypeVar("Summed")


class Cut(NamedTuple):
    """How batches are cut.

    Attributes
    ----------
    small : int
        Rows of a block.
    large : int
        Rows of the blocks that come first, a multiple of `small`; 0 for none. One that is more than half full is
        taken whole.
    parts : int
        Calls at once that a batch is dealt out to.
    """

    small: int
    large: int
    parts: int

    def room(self, rows: int) -> int:
        """Rows that the blocks of so many rows take."""
        wholes = (rows + (self.large - 1) // 2) // self.large if self.large else 0
        done = wholes * self.large
        return done + -(-max(0, rows - done) // self.small) * self.small


def choose_cut(architecture: Architecture, input_shape: tuple[int, ...], *, copies: int, expected: int) -> Cut:
    """Choose by what an example's values take, for batches that hold `expected` examples of `copies` each."""
    if jax.default_backend() != "cpu" or jax.local_device_count() > 1:
        return Cut(small=_SMALL, large=-(-expected // _SMALL) * _SMALL, parts=1)
    size = 4 * copies * _example_floats(architecture, input_shape)
    if size <= _LIGHT:  # most Poisson batches are one large block and few small ones, if any
        return Cut(small=_SMALL, large=min(_LARGEST, -(-expected // _SMALL) * _SMALL), parts=1)
    small = max(_SMALLEST, min(2 * _SMALL, 1 << (_CACHE // size).bit_length() - 1))
    return Cut(small=small, large=0, parts=max(1, min(cores(), -(-expected // small))))


def deal(inputs: Floats, labels: Ints, cut: Cut, *, capacity: int) -> list[Part]:
    """Share a batch of at most `capacity` rows out, every part filled up to the same size."""
    room = cut.room(capacity) if cut.parts == 1 else -(-capacity // (cut.small * cut.parts)) * cut.small
    blocks = -(-len(labels) // cut.small)
    parts = max(1, min(cut.parts, blocks))
    rows = max(1, -(-blocks // parts)) * cut.small
    return [
        (*_filled(inputs[first : first + rows], labels[first : first + rows], room), np.int32(first))
        for first in range(0, max(1, len(labels)), rows)
    ]


def sum_blocks(
    cut: Cut, function: Callable[[Block, Array], Summed], inputs: Array, labels: Array, rows: Array
) -> Summed:
    """Sum of a function over the blocks of a part; for use in a compiled function.

    Parameters
    ----------
    cut : Cut
    function : callable
        Takes a block and the place of its first row; gives a tree of arrays.
    inputs, labels : arrays of shape (capacity, *x) and (capacity,)
    rows : int
        How many of them are examples.
    """

    def add(start: Array, total: Summed, size: int) -> Summed:
        mask = (start + jnp.arange(size) < rows).astype(jnp.float32)
        block = (
            lax.dynamic_slice_in_dim(inputs, start, size),
            lax.dynamic_slice_in_dim(labels, start, size),
            mask,
        )
        return jax.tree.map(jnp.add, total, function(block, start))

    some = (inputs[: cut.small], labels[: cut.small], jnp.zeros(cut.small))
    shapes = jax.eval_shape(function, some, jnp.int32(0))
    total: Summed = jax.tree.map(lambda part: jnp.zeros(part.shape, part.dtype), shapes)
    done: Array = jnp.int32(0)
    if 0 < cut.large <= len(labels):
        wholes = (rows + (cut.large - 1) // 2) // cut.large
        total = lax.fori_loop(0, wholes, lambda i, sums: add(i * cut.large, sums, cut.large), total)
        done = wholes * cut.large
    blocks = jnp.maximum(0, rows - done + cut.small - 1) // cut.small
    return lax.fori_loop(0, blocks, lambda i, sums: add(done + i * cut.small, sums, cut.small), total)


def _filled(inputs: Floats, labels: Ints, room: int) -> tuple[Floats, npt.NDArray[np.int32], np.int32]:
    rows = len(labels)
    if rows == room:
        return np.ascontiguousarray(inputs, np.float32), labels.astype(np.int32), np.int32(rows)
    filled, classes = np.zeros((room, *inputs.shape[1:]), np.float32), np.zeros(room, np.int32)
    filled[:rows], classes[:rows] = inputs, labels
    return filled, classes, np.int32(rows)


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
