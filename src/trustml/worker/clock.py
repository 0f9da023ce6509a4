"""Times of single steps, the device synchronised, the first apart: it holds tracing and compiling.

Beside wall time stands the processor time of all threads of this process: what a busy machine stretches is the former.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass
class Timed:
    """Wall time of one piece of work, in seconds."""

    seconds: float = 0.0


class Clock:
    """Collects the wall time of each step, and of the stages of a worker.

    Parameters
    ----------
    synchronize : callable
        Waits until the device has finished its work; called before each reading.
    """

    def __init__(self, synchronize: Callable[[], None]) -> None:
        self._synchronize = synchronize
        self._steps: list[float] = []
        self._processor: list[float] = []
        self._examples: list[int] = []
        self.stages: dict[str, float] = {}

    @contextmanager
    def step(self, *, examples: int) -> Iterator[None]:
        """Time one step over that many examples."""
        self._synchronize()
        start, used = time.perf_counter(), time.process_time()
        yield
        self._synchronize()
        self._steps.append(time.perf_counter() - start)
        self._processor.append(time.process_time() - used)
        self._examples.append(examples)

    def epoch(self, seconds: float, sizes: list[int], *, processor: float) -> None:
        """Note an epoch that a library ran on its own: its steps get equal shares of wall and processor time."""
        self._steps += [seconds / max(1, len(sizes))] * len(sizes)
        self._processor += [processor / max(1, len(sizes))] * len(sizes)
        self._examples += sizes

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage; stages of one name add up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._synchronize()
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def timed(self) -> Iterator[Timed]:
        """Time what is inside; its seconds are there when it has ended."""
        self._synchronize()
        timed, start = Timed(), time.perf_counter()
        yield timed
        self._synchronize()
        timed.seconds = time.perf_counter() - start

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Seconds, seconds of processors and examples of every step, in order."""
        return {
            "seconds": np.array(self._steps),
            "cpu_seconds": np.array(self._processor),
            "examples": np.array(self._examples, np.int64),
        }
