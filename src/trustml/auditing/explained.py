"""A few examples of somebody's model, with the gradients that explain them, within a budget of memory and time."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.auditing.findings import reason
from trustml.auditing.models import Array, Tell
from trustml.backends.contract import LiveModel
from trustml.data.dataset import Floats, Ints

EXAMPLES = 32
FEWEST = 2
MEMORY, SECONDS = 1 << 30, 600.0
_ROWS = 1024
_GROWTH = 40
"""What a network keeps of an input for its gradient, in sizes of the input: ResNet-50 on 224 x 224 about 40."""
_POINTS = 20
"""Of a path that go through the model in one call, if examples need not be explained one by one."""

_Part = TypeVar("_Part")


@dataclass(kw_only=True)
class Budget:
    """What explaining may take.

    Attributes
    ----------
    memory : int
        Bytes that one call of the model may need, about: how much a network keeps of an input is assumed.
    seconds : float
        For all checks together; what is left is shared evenly among those that are left.
    tell : callable
        Told of progress.
    interrupted : bool
        Whether the user wants no more.
    """

    memory: int = MEMORY
    seconds: float = SECONDS
    tell: Tell = field(default=lambda what, done, of: None)
    interrupted: bool = False
    _end: float = field(default=0.0, init=False)
    _share: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds

    def begin(self, checks: int) -> None:
        """Begin one of so many checks that are left."""
        now = time.monotonic()
        self._share = now + max(0.0, self._end - now) / checks

    def is_spent(self) -> bool:
        """Whether the check under way has to end."""
        return self.interrupted or time.monotonic() >= self._share

    def rows(self, row_bytes: int) -> int:
        """Inputs of this size that a model may be given at once."""
        return max(1, min(_ROWS, self.memory // (_GROWTH * max(1, row_bytes))))


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How much of a check was done.

    Attributes
    ----------
    done, of : int
    why : str
        What ended it before all was done.
    """

    done: int
    of: int
    why: str = ""

    def words(self, verb: str = "explained") -> str:
        """Say what was left out; empty where nothing was."""
        return f"{verb} {self.done} of {self.of} {self.why}" if self.done < self.of else ""


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What is explained: a model in memory, on a few examples.

    Attributes
    ----------
    live : LiveModel
    single : bool
        One output column, that speaks for class 1.
    inputs : float32 array of shape (n, *x)
    labels : int64 array of shape (n,)
        Their columns are explained.
    baseline : float32 array of shape (n, *x)
    confidence : float
    seed : int
    budget : Budget
    """

    live: LiveModel
    single: bool
    inputs: Floats
    labels: Ints
    baseline: Floats
    confidence: float
    seed: int
    budget: Budget = field(default_factory=Budget)

    @property
    def rows(self) -> int:
        """Inputs that go through the model at once."""
        return self.budget.rows(self.inputs[0].nbytes)

    def in_parts(self, what: str, compute: Callable[[Explained], _Part]) -> tuple[list[_Part], Finished]:
        """Compute something of a few examples at a time, as long as the budget lasts; what is finished is kept.

        Raises
        ------
        Exception
            Whatever the model raises before enough examples are explained.
        """
        size, of = max(1, min(len(self.inputs), self.rows // _POINTS)), len(self.inputs)
        numbers = [slice(start, start + size) for start in range(0, of, size)]

        def part(rows: slice) -> _Part:
            mine = replace(self, inputs=self.inputs[rows], labels=self.labels[rows], baseline=self.baseline[rows])
            return compute(mine)

        found, why = self.until_spent(what, (functools.partial(part, rows) for rows in numbers), of=len(numbers))
        return found, Finished(done=min(of, len(found) * size), of=of, why=why)

    def until_spent(
        self, what: str, steps: Iterator[Callable[[], _Part]], *, of: int, fewest: int = FEWEST
    ) -> tuple[list[_Part], str]:
        """Take steps until they end or the budget does; give what they came to, and why it is not all."""
        found: list[_Part] = []
        try:
            for step in steps:
                if self.budget.is_spent():
                    return found, "before it was interrupted" if self.budget.interrupted else "within the time given"
                found.append(step())
                self.budget.tell(what, len(found), of)
        except KeyboardInterrupt:
            self.budget.interrupted = True
            return found, "before it was interrupted"
        except Exception as error:  # whatever a stranger's model raises, after some time
            if len(found) < fewest:
                raise
            return found, f"before it failed ({reason(error)})"
        return found, ""

    def outputs(self, inputs: Floats, live: LiveModel | None = None) -> Floats:
        """Outputs of any number of inputs; many rows in pieces."""
        model = live or self.live
        return np.concatenate(
            [model.outputs(inputs[start : start + self.rows]) for start in range(0, len(inputs), self.rows)]
        )

    def scores(self, inputs: Floats) -> Doubles:
        """Output of each example's label, up to a constant where there is one column."""
        outputs = self.outputs(inputs).reshape(len(inputs), -1).astype(np.float64)
        if self.single:
            return outputs[:, 0] * self._signs(self.labels)
        return np.take_along_axis(outputs, self.labels[:, None], axis=1)[:, 0]

    def scores_of_changed(self, changed: Floats) -> Doubles:
        """Give the scores of the examples changed in k ways, (k, n, *x), as (k, n); many go through in one call."""
        ways = len(changed)
        whole = replace(self, labels=np.tile(self.labels, ways))
        return whole.scores(changed.reshape(-1, *changed.shape[2:])).reshape(ways, -1)

    def gradients(self, inputs: Floats, labels: Ints, live: LiveModel | None = None) -> Floats:
        """Gradient of each example's output with respect to its input; many rows in pieces."""
        model, columns = live or self.live, np.zeros_like(labels) if self.single else labels
        parts = [
            model.input_gradients(inputs[start : start + self.rows], columns[start : start + self.rows])
            for start in range(0, len(inputs), self.rows)
        ]
        found = np.concatenate(parts).astype(np.float32)
        signs = self._signs(labels) if self.single else np.ones(len(labels))
        return found * signs.reshape(-1, *[1] * (inputs.ndim - 1)).astype(np.float32)

    def integrated(self, inputs: Floats, *, steps: int) -> Floats:
        """Integrated gradients by Gauss-Legendre quadrature (Sundararajan et al., arXiv 1703.01365)."""
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        difference = inputs - self.baseline
        total = np.zeros(inputs.shape, np.float64)
        # Several points of the path in one call: a call may cross to another process.
        at_once = max(1, self.rows // len(inputs))
        for start in range(0, steps, at_once):
            shares = ((1 + nodes[start : start + at_once]) / 2).astype(np.float32)
            points = np.concatenate([self.baseline + share * difference for share in shares])
            gradients = self.gradients(points, np.tile(self.labels, len(shares)))
            total += np.tensordot(
                weights[start : start + at_once] / 2, gradients.reshape(len(shares), *inputs.shape), axes=1
            )
        return (total * difference).astype(np.float32)

    @staticmethod
    def _signs(labels: Ints) -> Doubles:
        return np.where(labels == 1, 1.0, -1.0)


def prepare(
    live: LiveModel,
    inputs: Array,
    labels: Ints,
    *,
    train: Array,
    single: bool,
    confidence: float,
    seed: int,
    budget: Budget | None = None,
) -> Explained:
    """Choose the examples that are explained and their baseline, the mean training example.

    Raises
    ------
    TypeError
        If the inputs are not numbers on a scale.
    """
    if inputs.dtype.kind != "f":
        why = "between which no path runs, and which may be tokens; give numbers on a scale as floats"
        raise TypeError(f"its inputs are of type {inputs.dtype}, {why}")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(inputs))[:EXAMPLES])
    picked = inputs[chosen].astype(np.float32)
    mean = np.broadcast_to(train.mean(axis=0, dtype=np.float64).astype(np.float32), picked.shape)
    return Explained(
        live=live,
        single=single,
        inputs=picked,
        labels=labels[chosen],
        baseline=np.ascontiguousarray(mean),
        confidence=confidence,
        seed=seed,
        budget=budget or Budget(),
    )
