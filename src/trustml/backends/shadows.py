"""What a backend is told to train many models of one regime side by side: plain values, and arrays for all models.

Shapes: ``m`` models, ``p`` examples of the pool that they all draw from, ``c`` classes, ``b`` the largest batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Floats, Ints, LabelArray
from trustml.models.layers import Architecture
from trustml.models.tasks import DEFAULT_TASK, Task
from trustml.models.weights import Weights
from trustml.plan.job import Mechanism
from trustml.scenario.regimes import Regime

Rows: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class ShadowSettings:
    """What all models share.

    Attributes
    ----------
    architecture : Architecture
    inputs : float32 array of shape (p, *x)
        The pool.
    regime : Regime
    mechanism : Mechanism, optional
        Of private regimes: noise, clipping norm and what sums are divided by.
    rates : float32 array of shape (steps,)
        Learning rate of each step; not read for federated regimes.
    threads : int
        Of the processor; 0 means all.
    task : Task
    labels : array of shape (p, steps), optional
        True labels of the pool; for the next token alone.
    """

    architecture: Architecture
    inputs: Floats
    regime: Regime
    mechanism: Mechanism | None = None
    rates: Floats
    threads: int = 0
    task: Task = DEFAULT_TASK
    labels: LabelArray | None = None


@dataclass(frozen=True, kw_only=True)
class Visits:
    """When the clients of federated models come and go. A round of a model is a row of ``slots`` batches.

    The batches of one client follow on each other; behind the last client there may be slots of filling alone.

    Attributes
    ----------
    weights : float32 array of shape (m, rounds, slots)
        Where a client's last batch is, the weight of its update in the mean; -1 anywhere else.
    clients : int32 array of shape (m, rounds)
        Clients that take part, with those that have no batch.
    """

    weights: Floats
    clients: Rows


@dataclass(frozen=True, kw_only=True)
class ShadowModels:
    """What each model starts from and goes through; every array has the models in front.

    Attributes
    ----------
    weights : dict of str to float32 array
        Canonical, behind the axis of models.
    labels : int64 array of shape (m, p) or (m, p, steps), or float32 of shape (m, p, c)
        As that model is taught them.
    rows : int32 array of shape (m, steps, b), or (m, rounds, slots, b) for federated regimes
        Positions in the pool of each batch; -1 fills up.
    visits : Visits, optional
        For federated regimes.
    dropout_seeds : int64 array of shape (m,)
    noise_seeds : uint32 array of shape (m, 4)
    """

    weights: Weights
    labels: LabelArray
    rows: Rows
    visits: Visits | None = None
    dropout_seeds: Ints
    noise_seeds: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        """Count the models."""
        return len(self.rows)


class ShadowTrainer(Protocol):
    """Many models of one regime, trained by one compiled program."""

    def compile(self, models: ShadowModels) -> None:
        """Compile for models of these shapes; nothing is trained."""
        ...

    def train(self, models: ShadowModels, *, done: Callable[[int], None]) -> Floats:
        """Train them all and give their logits over the pool, (m, p, c); `done` is told how many are through.

        Of texts it is the mean log-probability of the tokens that follow, (m, p). What a model gives depends neither
        on the other models nor on how many are trained at once.
        """
        ...
