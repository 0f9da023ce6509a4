"""A step under test, and how the suite looks at it: as sums of clipped gradients, and as noise."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Floats, Ints

Vector: TypeAlias = npt.NDArray[np.float64]
Gradient: TypeAlias = Any
"""An array, or mappings, sequences and other trees of arrays, of numpy or of a framework."""

OUTLIER = 1e6
_SAME = 1e-3
"""Relative difference below which two sums are the same, where that tells two mistakes apart."""
_TREES = "jax.tree_util"


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """What a step under test is to be made with.

    Attributes
    ----------
    clipping_norm : float
    noise_multiplier : float
        0 for no noise.
    expected_batch_size : int
        What the noisy sum is divided by, however many examples come.
    seed : int
        Another seed must give other noise. The starting weights must not depend on it.
    """

    clipping_norm: float = 1.0
    noise_multiplier: float = 0.0
    expected_batch_size: int = 16
    seed: int = 0


class GivenBatch(Protocol):
    """What a step is called with."""

    @property
    def inputs(self) -> Floats:
        """Array of shape (n, *x)."""
        ...

    @property
    def labels(self) -> Ints:
        """Array of shape (n,)."""
        ...

    @property
    def micro(self) -> int:
        """Size of micro-batches; 0 leaves it open."""
        ...


class Step(Protocol):
    """One step under test; each call is another step from the *same* weights."""

    def __call__(self, inputs: Floats, labels: Ints, micro_batch_size: int, /) -> Gradient:
        """Private mean gradient of a batch of any size, zero included.

        `micro_batch_size` examples may be in memory at once; 0 leaves it open, and a step without
        micro-batches may pass over it.
        """
        ...


class StepFactory(Protocol):
    """Makes a step; always with the same weights."""

    def __call__(self, settings: StepSettings, /) -> Step:
        """Make a step with these settings."""
        ...


class Subject:
    """A step factory with data, seen as sums of clipped gradients.

    Attributes
    ----------
    averaged : bool
        Whether what it gives is taken for a mean over the batch at hand, and the sum behind it is looked at: one
        mistake then does not hide all else.
    """

    def __init__(self, make_step: StepFactory, inputs: Floats, labels: Ints, settings: StepSettings) -> None:
        self.make_step, self.inputs, self.labels = make_step, inputs, labels
        self.settings = replace(settings, noise_multiplier=0.0)
        self.noisy = replace(settings, noise_multiplier=settings.noise_multiplier or 2.0)
        self._quiet = make_step(self.settings)
        self._parts: list[tuple[str, int]] = []
        self.coordinates = 0
        self.averaged = False

    @property
    def stated(self) -> float:
        """Stated standard deviation of the noise on the mean gradient."""
        return self.noisy.noise_multiplier * self.noisy.clipping_norm / self.noisy.expected_batch_size

    def noisy_step(self, run: int) -> Step:
        """Make a noisy step; another run has another seed."""
        return self.make_step(replace(self.noisy, seed=self.noisy.seed + 1 + run))

    def quiet_step(self) -> Step:
        """Make a step without noise."""
        return self.make_step(self.settings)

    def gradient(self, step: Step, batch: GivenBatch) -> Vector:
        """Call a step."""
        found = step(batch.inputs, batch.labels, batch.micro)
        if not self._parts:
            sizes = {name: part.size for name, part in _arrays_of(found)}
            self._parts = list(zip(sizes, np.cumsum(list(sizes.values())).tolist(), strict=True))
            self.coordinates = self._parts[-1][1]
        return flat(found) * self._share(len(batch.labels))

    def averages(self) -> bool:
        """Whether a batch gives the mean of what its examples give one by one: a mean over the batch at hand."""
        rows = list(range(4))
        apart = np.mean([self.sum([row]) for row in rows], axis=0)
        return norm_of(self.sum(rows) - apart) < _SAME * norm_of(apart)

    def _share(self, examples: int) -> float:
        """Factor from what is given to what a sum over the declared size would be; nobody counts as one."""
        return max(examples, 1) / self.settings.expected_batch_size if self.averaged else 1.0

    def quiet_gradient(self, batch: GivenBatch) -> Vector:
        """Un-noised mean gradient of a batch."""
        return self.gradient(self._call, batch)

    def _call(self, inputs: Floats, labels: Ints, micro_batch_size: int, /) -> Gradient:
        """Call the step without noise; one that raises an exception may be left broken, and is made anew."""
        try:
            return self._quiet(inputs, labels, micro_batch_size)
        except Exception:
            self._quiet = self.make_step(self.settings)
            raise

    def part_at(self, coordinate: int) -> str:
        """Name of the array in which a coordinate is; empty where the gradient is one array."""
        return next((name for name, end in self._parts if coordinate < end), "")

    def sum(self, rows: list[int], *, scale: float = 1.0, wrong: bool = False, micro: int = 0) -> Vector:
        """Un-noised sum over some examples, times which the inputs are scaled, perhaps with other labels."""
        inputs = self.inputs[rows] * np.float32(scale)
        labels = self.other_labels(rows) if wrong else self.labels[rows]
        return self.total(inputs, labels, micro=micro)

    def total(self, inputs: Floats, labels: Ints, *, micro: int = 0) -> Vector:
        """Un-noised sum over a batch."""
        return flat(self._call(inputs, labels, micro)) * self.settings.expected_batch_size * self._share(len(labels))

    def other_labels(self, rows: list[int]) -> Ints:
        """Labels of other classes, so that an outlier is far from being learned."""
        classes = np.unique(self.labels)
        return np.array([classes[(np.searchsorted(classes, self.labels[row]) + 1) % len(classes)] for row in rows])

    def alone(self, row: int) -> Vector:
        """Un-noised sum over an outlier of huge gradient."""
        candidates = [self.sum([row], scale=OUTLIER, wrong=wrong) for wrong in (False, True)]
        return max(candidates, key=lambda vector: norm_of(vector))


def flat(gradient: Gradient) -> Vector:
    """Every coordinate of a gradient as one vector."""
    return np.concatenate([part for _, part in _arrays_of(gradient)])


def _arrays_of(gradient: Any, name: str = "") -> Iterator[tuple[str, Vector]]:
    """Give every array by where it is, whatever library's mappings, sequences and modules hold it."""
    below: Iterable[tuple[Any, Any]] = ()
    if isinstance(gradient, Mapping):
        below = gradient.items()
    elif isinstance(gradient, list | tuple):
        below = enumerate(gradient)
    elif gradient is not None and not hasattr(gradient, "__array__") and _TREES in sys.modules:
        tree = sys.modules[_TREES]  # such as a module of Equinox
        below = [(tree.keystr(path), leaf) for path, leaf in tree.tree_flatten_with_path(gradient)[0]]
    elif gradient is not None:
        array = gradient.detach().cpu() if hasattr(gradient, "detach") else gradient
        yield name, np.asarray(array, np.float64).ravel()
    for key, part in below:
        yield from _arrays_of(part, f"{name}/{key}" if name else str(key))


def norm_of(vector: Vector) -> float:
    """Euclidean norm."""
    return float(np.linalg.norm(vector))
