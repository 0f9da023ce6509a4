"""Gaussian noise with both tails: drawn by numpy while TensorFlow takes gradients, or by Philox in TFF's graphs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from trustml.data.dataset import Floats
from trustml.privacy.noise_strategy import NoiseStrategy, NoiseStream

_AT_ONCE = 1 << 14


class NoiseAhead:
    """Standard normal vectors of one SFC64 stream, each drawn once, in a thread, before it is asked for.

    TensorFlow's own generator takes twice the time for each number, and only after the gradients are there; and it
    ends at 5.68. Numbers are drawn in float64, where numpy's ziggurat goes on to 12.2: in float32 it ends at 8.2.

    Parameters
    ----------
    seed : tuple of int
        Four 32-bit words of entropy.
    size : int
        Numbers of a vector.
    strategy : NoiseStrategy, optional
        Of what vectors each one is made that is given; left out, it is a fresh one.
    """

    def __init__(self, seed: tuple[int, int, int, int], size: int, strategy: NoiseStrategy | None = None) -> None:
        self._size = size
        self._made_of = strategy and NoiseStream(strategy, size)
        self._generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence(list(seed))))
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._next: Future[Floats] = self._thread.submit(self._draw)

    def take(self) -> Floats:
        """Give the next vector, shape (size,), and begin the one after it."""
        noise = self._next.result()
        self._next = self._thread.submit(self._draw)
        return noise

    def _draw(self) -> Floats:
        drawn = np.empty(self._size, np.float32)
        for start in range(0, self._size, _AT_ONCE):  # so that no float64 leaves the cache
            drawn[start : start + _AT_ONCE] = self._generator.standard_normal(min(_AT_ONCE, self._size - start))
        return self._made_of.take(drawn) if self._made_of else drawn


def stateless_normals(shapes: Sequence[tf.TensorShape], seed: tf.Tensor) -> list[tf.Tensor]:
    """Draw independent standard normal numbers for each of some shapes, float32.

    Parameters
    ----------
    shapes : sequence of TensorShape
        Fewer than 2**32 numbers together.
    seed : int64 tensor of shape (2,)
    """
    sizes = [shape.num_elements() for shape in shapes]
    assert sum(sizes) < 2**32
    words = tf.random.stateless_uniform([sum(sizes) + 1], seed, minval=None, maxval=None, dtype=tf.uint64)
    drawn = tf.split(normal_of_words(words[:-1], beyond=words[-1]), sizes)
    return [tf.reshape(part, shape) for part, shape in zip(drawn, shapes, strict=True)]


def normal_of_words(words: tf.Tensor, *, beyond: tf.Tensor) -> tf.Tensor:
    """Turn random words into normal numbers: a sign, and 62 bits of the probability of a number farther out.

    Parameters
    ----------
    words : uint64 tensor
        The last bit is the sign, the one before it is not used.
    beyond : uint64 tensor without a shape
        Its upper half says where in the outermost of those 2**62 parts a number lies that falls there. One is enough
        for a draw: two numbers of it are out there with probability 2**-124 a pair.
    """
    parts = tf.cast(tf.bitwise.right_shift(words, tf.constant(2, tf.uint64)), tf.float64)
    within = (tf.cast(tf.bitwise.right_shift(beyond, tf.constant(32, tf.uint64)), tf.float64) + 0.5) * 2.0**-32
    parts = tf.where(parts == 0, within, parts + 0.5)
    sign = 1 - 2 * tf.cast(tf.bitwise.bitwise_and(words, tf.constant(1, tf.uint64)), tf.float64)
    return tf.cast(-sign * tf.math.ndtri(parts * 2.0**-63), tf.float32)
