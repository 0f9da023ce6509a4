"""tf-explain's compiled functions on examples of all classes at once, in chunks that fit the cache.

tf-explain takes one class for a whole batch and reads that column of what the model returns. Here the model it is
given returns each row's own target in column 0, so that one program serves all examples and is traced once; what it
computes of each row is what tf-explain computes of it alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

ChunkFunction: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From rows (k * r, *x) and their examples' targets (k,) to a value for each example, (k, ...)."""
PartFunction: TypeAlias = Callable[[tf.Tensor, int], tf.Tensor]
"""From the number of the first row of each example, and how many rows there are, to the mean over them, (k, ...)."""

_VALUES_IN_CACHE = 1 << 18
_FEWEST_ROWS, _MOST_ROWS = 16, 1024


class TargetColumn:
    """A model that returns the logit of each row's own target, as column 0 of one.

    Parameters
    ----------
    model : tf.keras.Model
        From rows to (k, c).
    targets : tf.Tensor
        Of the rows, shape (k,).
    """

    def __init__(self, model: tf.keras.Model, targets: tf.Tensor) -> None:
        self._model, self._targets = model, targets

    def __call__(self, rows: tf.Tensor) -> tf.Tensor:
        """Shape (k, 1)."""
        return tf.gather(self._model(rows, training=False), self._targets, axis=1, batch_dims=1)[:, None]


class TargetFirst:
    """A model whose columns are turned until each row's own target is column 0; as many columns as before.

    Attributes
    ----------
    output : tf.Tensor
        Of the model; tf-explain reads the number of classes from its shape.
    """

    def __init__(self, model: tf.keras.Model, targets: tf.Tensor) -> None:
        self._model, self._targets, self.output = model, targets, model.output

    def __call__(self, rows: tf.Tensor) -> tf.Tensor:
        """Shape (k, c)."""
        classes = self.output.shape[1]
        order = (self._targets[:, None] + tf.range(classes)) % classes
        return tf.gather(self._model(rows, training=False), order, axis=1, batch_dims=1)


def examples_at_once(shape: tuple[int, ...], rows_per_example: int, *, most: int) -> int:
    """Examples of `shape` whose rows fit the cache together, and are no more than `most`; 1 at the least."""
    rows = min(max(_VALUES_IN_CACHE // math.prod(shape), _FEWEST_ROWS), _MOST_ROWS, most)
    return max(1, rows // rows_per_example)


def mean_in_parts(of_part: PartFunction, count: int, *, most: int) -> tf.Tensor:
    """Mean over `count` rows of an example, at most `most` of them together: the mean of means of parts.

    Parameters
    ----------
    of_part : PartFunction
    count, most : int
    """
    if count <= most:
        return of_part(tf.constant(0), count)
    size = -(-count // -(-count // most))
    whole, rest = divmod(count, size)
    # a part begins when the one before it is done, and its memory is free
    total = size * tf.foldl(
        lambda total, number: total + of_part(number * size, size),
        tf.range(1, whole),
        of_part(tf.constant(0), size),
        parallel_iterations=1,
    )
    if rest:
        with tf.control_dependencies([total]):
            total += rest * of_part(tf.constant(whole * size), rest)
    return total / count


def chunked_program(
    of_chunk: ChunkFunction, shape: tuple[int, ...], *, at_once: int, rows_per_example: int = 1, padded: bool = False
) -> tf.types.experimental.GenericFunction:
    """Compile a loop over chunks that takes any number of examples without being traced again.

    Parameters
    ----------
    of_chunk : ChunkFunction
    shape : tuple of int
        Of one row.
    at_once : int
        Examples of a chunk.
    rows_per_example : int
        Rows that are given for each example.
    padded : bool
        Whether the caller fills up the last chunk; every chunk then has a known size.
    """

    @tf.function(
        input_signature=(tf.TensorSpec((None, *shape), tf.float32), tf.TensorSpec((None,), tf.int32)),
        autograph=False,
    )
    def program(rows: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        count = tf.shape(targets)[0]
        chunks = (count + at_once - 1) // at_once
        found = tf.TensorArray(tf.float32, size=chunks, infer_shape=False)

        def one(number: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            start = number * at_once
            end = start + at_once if padded else tf.minimum(start + at_once, count)
            mine = rows[start * rows_per_example : end * rows_per_example]
            labels = targets[start:end]
            if padded:
                mine = tf.ensure_shape(mine, (at_once * rows_per_example, *shape))
                labels = tf.ensure_shape(labels, (at_once,))
            return number + 1, found.write(number, of_chunk(mine, labels))

        return tf.while_loop(lambda number, _: number < chunks, one, (0, found), parallel_iterations=1)[1].concat()

    return program
