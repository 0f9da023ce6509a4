"""Canaries of one-run audits: what they are, and how well one shows, in numpy.

Steinke, Nasr and Jagielski, NeurIPS 2023, arXiv 2305.08846, for canaries that are there or not by fair coins;
Nasr et al., USENIX Security 2023, arXiv 2302.07956, for gradients as canaries; Andrew et al., ICLR 2024, arXiv
2302.03098, for clients whose updates are random directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trustml.data.batches import BatchPlan, make_plan
from trustml.data.dataset import Examples, Floats, Ints
from trustml.errors import UsageError
from trustml.models.tasks import DEFAULT_TASK, Classes, NextToken, Regression, Task
from trustml.scenario.attacks import SEQUENCES, CanaryKind

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_KEPT = 2**25
"""Entries of all directions together up to which they stay in memory: 128 MiB."""
_AT_ONCE = 2**22
_LEAST_NOISE = 1e-3  # so that evidence stays finite where somebody switched the noise off


class Directions(Protocol):
    """Unit vectors, one for each canary.

    Attributes
    ----------
    count, size : int
        Canaries, and parameters of the model.
    """

    count: int
    size: int

    def rows(self, numbers: Ints) -> Floats:
        """Directions of some canaries; shape (k, size)."""
        ...

    def project(self, vector: Doubles) -> Doubles:
        """Dot product of a vector of shape (size,) with every direction; shape (count,)."""
        ...


class DiracDirections:
    """One coordinate for each canary; see :class:`Directions`.

    Parameters
    ----------
    coordinates : int64 array of shape (count,)
        All different.
    size : int
    """

    def __init__(self, coordinates: Ints, size: int) -> None:
        self._coordinates = coordinates
        self.count, self.size = len(coordinates), size

    def rows(self, numbers: Ints) -> Floats:
        """Directions of some canaries; shape (k, size)."""
        found = np.zeros((len(numbers), self.size), np.float32)
        found[np.arange(len(numbers)), self._coordinates[numbers]] = 1.0
        return found

    def project(self, vector: Doubles) -> Doubles:
        """Coordinates of a vector; shape (count,)."""
        return vector[self._coordinates]


class SignDirections:
    """Random signs over the root of their number; see :class:`Directions`.

    Drawn from a seed whenever they are asked for, where all together they would fill the memory.

    Parameters
    ----------
    seed : sequence of int
        Secret until the audit is over.
    count, size : int
    """

    def __init__(self, seed: tuple[int, ...], *, count: int, size: int) -> None:
        self._seed, self.count, self.size = seed, count, size
        self._kept = self.rows(np.arange(count)) if count * size <= _KEPT else None

    def rows(self, numbers: Ints) -> Floats:
        """Directions of some canaries; shape (k, size)."""
        found = np.empty((len(numbers), self.size), np.float32)
        for row, number in zip(found, numbers, strict=True):
            octets = np.random.default_rng([*self._seed, int(number)]).bytes(-(-self.size // 8))
            row[:] = np.unpackbits(np.frombuffer(octets, np.uint8), count=self.size)
        found *= 2.0
        found -= 1.0
        found /= np.float32(np.sqrt(self.size))
        return found

    def project(self, vector: Doubles) -> Doubles:
        """Dot product with every direction; shape (count,)."""
        narrow = vector.astype(np.float32)
        if self._kept is not None:
            return (self._kept @ narrow).astype(np.float64)
        parts = [self.rows(numbers) @ narrow for numbers in in_pieces(np.arange(self.count), self.size)]
        return np.concatenate(parts).astype(np.float64)


def in_pieces(numbers: Ints, size: int) -> Iterator[Ints]:
    """Give canaries in pieces whose directions take a few megabytes together."""
    most = max(1, _AT_ONCE // size)
    return (numbers[start : start + most] for start in range(0, len(numbers), most))


def step_evidence(projections: Doubles, *, rate: float, noise_multiplier: float, strength: float = 1.0) -> Doubles:
    """Log-likelihood ratio of one step: the canary is in the training, against it is not.

    Of all scores of one step this tells the two apart best (Neyman and Pearson): it takes account of that a canary
    which is in the training comes to a step with probability `rate` only.

    Parameters
    ----------
    projections : float64 array of shape (m,)
        Noisy sum, less what others added, along each canary's direction, in units of the clipping norm.
    rate : float
        Probability that a canary which is in the training joins a step.
    noise_multiplier : float
    strength : float
        Length of a clipped canary along its direction, in units of the clipping norm.

    Returns
    -------
    float64 array of shape (m,)
    """
    noise = max(noise_multiplier, _LEAST_NOISE)
    joined = (projections * strength - strength**2 / 2) / noise**2
    if rate >= 1:
        return joined
    return np.logaddexp(np.log1p(-rate), np.log(rate) + joined)


def draw_joins(
    included: Bools, *, sampling: str, rate: float, steps: int, cycle: int, generator: np.random.Generator
) -> BatchPlan:
    """Draw which canaries join which step, by the law by which examples or clients do.

    Parameters
    ----------
    included : bool array of shape (m,)
        Only these ever join.
    sampling : {"poisson", "shuffle", "all", "in turn"}
        ``"poisson"``: each step on its own with probability `rate`. ``"shuffle"``: one step of every `cycle`, chosen
        anew each time. ``"in turn"``: one step of every `cycle`, always the same. ``"all"``: every step.
    rate : float
    steps, cycle : int
    generator : Generator

    Returns
    -------
    BatchPlan
        Positions among the canaries.
    """
    there = np.flatnonzero(included)
    if sampling == "poisson":
        return make_plan([there[generator.random(len(there)) < rate] for _ in range(steps)])
    if sampling == "all":
        return make_plan([there for _ in range(steps)])
    turns = np.array([generator.integers(cycle, size=len(there)) for _ in range(-(-steps // cycle))])
    if sampling == "in turn":
        turns[:] = turns[0]
    return make_plan([there[turns[step // cycle] == step % cycle] for step in range(steps)])


def example_canaries(
    kind: CanaryKind,
    count: int,
    *,
    train: Examples,
    heldout: Examples,
    classes: int,
    generator: np.random.Generator,
    task: Task = DEFAULT_TASK,
) -> Examples:
    """Draw examples as canaries.

    Parameters
    ----------
    kind : {"natural", "mislabelled", "blank", "out-of-distribution"}
        Held-out examples; the same with a wrong label; zeros with one value lit and a random label, no two alike; or
        uniform noise over the range of the training inputs with a random label; of texts also ``"random tokens"``. A
        wrong label is another class, all labels turned over, that end of the declared range of a regression's target
        which is further away, or another token at each step of a text; a random one, any class, a coin for each label,
        or one of the two ends.
    count : int
        At most :func:`trustml.scenario.check_canaries.most_canaries`.
    train, heldout : Examples
    classes : int
    generator : Generator
    task : Task

    Returns
    -------
    canaries : Examples
        Of length `count`.
    """
    if isinstance(task, NextToken):
        return _of_texts(kind, count, heldout=heldout, classes=classes, generator=generator)
    if not isinstance(task, Classes):
        return _of_other_task(kind, count, train=train, heldout=heldout, generator=generator, task=task)
    shape = train.inputs.shape[1:]
    low, high = float(train.inputs.min()), float(train.inputs.max())
    if kind in ("natural", "mislabelled"):
        rows = generator.choice(len(heldout), count, replace=False)
        labels = heldout.labels[rows]
        if kind == "mislabelled":
            labels = (labels + generator.integers(1, classes, size=count)) % classes
        return Examples(inputs=heldout.inputs[rows], labels=labels)
    if kind == "blank":
        size = int(np.prod(shape))
        lit, labels = np.divmod(generator.choice(size * classes, count, replace=False), classes)
        inputs = np.zeros((count, size), np.float32)
        inputs[np.arange(count), lit] = high
        return Examples(inputs=inputs.reshape(count, *shape), labels=labels.astype(np.int64))
    inputs = generator.uniform(low, high, (count, *shape)).astype(np.float32)
    return Examples(inputs=inputs, labels=generator.integers(classes, size=count))


def _of_other_task(
    kind: CanaryKind, count: int, *, train: Examples, heldout: Examples, generator: np.random.Generator, task: Task
) -> Examples:
    """Canaries whose labels are 0 and 1, or numbers of which -1 and 1 are the ends of the declared range."""
    lowest = -1.0 if isinstance(task, Regression) else 0.0
    if kind in ("natural", "mislabelled"):
        rows = generator.choice(len(heldout), count, replace=False)
        labels = heldout.labels[rows]
        if kind == "mislabelled":
            labels = np.where(labels > (lowest + 1) / 2, lowest, 1.0).astype(np.float32)
        return Examples(inputs=heldout.inputs[rows], labels=labels)
    shape, outputs = train.inputs.shape[1:], train.labels.shape[1]
    low, high = float(train.inputs.min()), float(train.inputs.max())
    if kind == "blank":
        size = int(np.prod(shape))
        lit, first = np.divmod(generator.choice(size * 2, count, replace=False), 2)
        flat = np.zeros((count, size), np.float32)
        flat[np.arange(count), lit] = high
        inputs = flat.reshape(count, *shape)
        coins = generator.integers(2, size=(count, outputs))
        coins[:, 0] = first
    else:
        inputs = generator.uniform(low, high, (count, *shape)).astype(np.float32)
        coins = generator.integers(2, size=(count, outputs))
    return Examples(inputs=inputs, labels=np.where(coins, 1.0, lowest).astype(np.float32))


def random_texts(count: int, *, steps: int, tokens: int, generator: np.random.Generator) -> Examples:
    """Draw texts of tokens from 1 on, all equally likely and without padding: what no model can know by itself."""
    drawn = generator.integers(1, tokens, size=(count, steps + 1))
    return Examples(inputs=drawn[:, :-1].astype(np.float32), labels=drawn[:, 1:])


def _of_texts(
    kind: CanaryKind, count: int, *, heldout: Examples, classes: int, generator: np.random.Generator
) -> Examples:
    """Held-out texts, or with another token of those that are no padding at each step that one follows."""
    if kind == SEQUENCES:
        return random_texts(count, steps=heldout.labels.shape[1], tokens=classes, generator=generator)
    if kind not in ("natural", "mislabelled"):
        raise UsageError(f"canaries: {kind!r} makes inputs of numbers, and a text is of tokens; choose natural")
    rows = generator.choice(len(heldout), count, replace=False)
    labels = heldout.labels[rows]
    if kind == "mislabelled":
        others = 1 + (labels - 1 + generator.integers(1, classes - 1, size=labels.shape)) % (classes - 1)
        labels = np.where(labels > 0, others, 0).astype(np.int64)
    return Examples(inputs=heldout.inputs[rows], labels=labels)
