"""Work on many rows in pieces that stay in the cache of a core, with a share of the pieces for every core.

XLA deals an operation on much data out to threads of its own, and what it writes leaves the cache before the next
operation reads it. Pieces of some dozen rows stay there and keep to one thread each; so every core gets a call of its
own. On an accelerator there is one call with large pieces.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from trustml.models.layers import Architecture, Conv2D
from trustml.models.shapes import layer_shapes

Rows: TypeAlias = npt.NDArray[Any]
Share = TypeVar("Share")
Made = TypeVar("Made")

_CACHE = 2**21
"""Bytes that a piece may write on its way through a network, on a processor."""
_DEVICE = 2**30
"""The same on an accelerator."""
_FEWEST, _MOST = 8, 512
"""Rows of a piece on a processor: fewer leave products too thin, more gain nothing."""


def rows_at_once(architecture: Architecture, shape: tuple[int, ...]) -> int:
    """Rows that go through a network at once: a power of two.

    Parameters
    ----------
    architecture : Architecture
    shape : tuple of int
        Of one input.
    """
    shapes = layer_shapes(architecture, shape)
    values = sum(math.prod(found) for found in shapes)
    for layer, before, after in zip(architecture.layers, shapes, shapes[1:], strict=False):
        if isinstance(layer, Conv2D):  # its windows are gathered
            values += math.prod(after[:2]) * math.prod(layer.kernel) * before[-1]
    on_processor = jax.default_backend() == "cpu"
    fit = (_CACHE if on_processor else _DEVICE) // (4 * values)
    rows = 1 << max(0, fit.bit_length() - 1)
    return min(max(rows, _FEWEST), _MOST) if on_processor else max(rows, _FEWEST)


def in_pieces(one: Callable[..., Array], rows: tuple[Array, ...], *, size: int) -> Array:
    """Do `one` on pieces of at most `size` rows, one after the other in a compiled loop; for use under ``jit``.

    Parameters
    ----------
    one : callable
        Takes arrays with rows in front, and gives an array with as many. Rows do not depend on each other.
    rows : tuple of array
        Each with the same number of rows.
    size : int
    """
    count = len(rows[0])
    pieces = -(-count // size)
    if pieces <= 1:
        return one(*rows)
    size = -(-count // pieces)
    cut = tuple(
        jnp.concatenate([part, jnp.repeat(part[-1:], pieces * size - count, axis=0)]).reshape(
            pieces, size, *part.shape[1:]
        )
        for part in rows
    )
    found = lax.map(lambda piece: one(*piece), cut)
    return found.reshape(pieces * size, *found.shape[2:])[:count]


def cores() -> int:
    """Give the number of calls that run side by side: the threads of this process, or 1 on an accelerator."""
    if jax.default_backend() != "cpu":
        return 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else len(os.sched_getaffinity(0))


def on_every_core(call: Callable[..., Array], *rows: Rows) -> Rows:
    """Share rows out over the cores, a call each, and put together what comes back.

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
    """Share the numbers 0 to `count` - 1 out over the cores: ``call(begin, end)`` sums over its own, this over all."""
    size = -(-count // max(1, min(cores(), count)))
    borders = [(start, min(start + size, count)) for start in range(0, count, size)]
    parts = calls_on_every_core(lambda share: call(*share), borders)
    return jax.tree.map(lambda *each: sum(np.asarray(part) for part in each), *parts)


def calls_on_every_core(call: Callable[[Share], Made], shares: Sequence[Share]) -> list[Made]:
    """Make a call for each share, side by side; `call` is compiled, and what it returns need not be there yet."""
    first = call(shares[0])  # compiles for all, and then runs on while the others do
    if len(shares) == 1:
        return [first]
    return [first, *_threads().map(call, shares[1:])]


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, cores() - 1))
