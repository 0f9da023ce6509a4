"""Gaussian noise, drawn by numpy while TensorFlow takes gradients."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from trustml.data.dataset import Floats


class NoiseAhead:
    """Standard normal vectors of one SFC64 stream, each drawn once, in a thread, before it is asked for.

    TensorFlow's own generator takes twice the time for each number, and only after the gradients are there.

    Parameters
    ----------
    seed : tuple of int
        Four 32-bit words of entropy.
    size : int
        Numbers of a vector.
    """

    def __init__(self, seed: tuple[int, int, int, int], size: int) -> None:
        self._size = size
        self._generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence(list(seed))))
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._next: Future[Floats] = self._thread.submit(self._draw)

    def take(self) -> Floats:
        """Give the next vector, shape (size,), and begin the one after it."""
        noise = self._next.result()
        self._next = self._thread.submit(self._draw)
        return noise

    def _draw(self) -> Floats:
        return self._generator.standard_normal(self._size, dtype=np.float32)
