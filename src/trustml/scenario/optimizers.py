"""Optimizers and learning-rate schedules, as data. One formula each, which every backend follows."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

from trustml.ranges import BelowOne, CountOrNone, Positive, Share


class OptimizerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all optimizers share: the field ``kind`` names them in files."""


class SGD(OptimizerSpec, frozen=True, kw_only=True, tag="SGD"):
    """Stochastic gradient descent.

    Parameters
    ----------
    learning_rate : float
    momentum : float
        In [0, 1): ``v = momentum * v + g`` and ``w = w - learning_rate * v``. Keras puts the learning rate
        into ``v`` instead, which differs as soon as it is scheduled; here all backends follow this formula.
    """

    learning_rate: Positive = 0.1
    momentum: BelowOne = 0.0


class Adam(OptimizerSpec, frozen=True, kw_only=True, tag="Adam"):
    """Adam with bias correction (Kingma and Ba, ICLR 2015, arXiv 1412.6980, algorithm 1).

    Parameters
    ----------
    learning_rate, beta1, beta2 : float
    stabilizer : float
        Added to the square root of the *corrected* second moment, as in the paper and in PyTorch (Keras adds
        it to the uncorrected one). PyTorch calls it ``eps``; that word is taken here.
    """

    learning_rate: Positive = 0.001
    beta1: BelowOne = 0.9
    beta2: BelowOne = 0.999
    stabilizer: Positive = 1e-8


Optimizer: TypeAlias = SGD | Adam


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What multiplies the learning rate, step by step.

    Parameters
    ----------
    decay : {"constant", "linear", "cosine"}
    warmup : int
        Steps in which the factor grows linearly to 1; the first step takes ``1 / (warmup + 1)``.
    final : float
        Factor at the last step of a linear or cosine decay.
    """

    decay: Literal["constant", "linear", "cosine"] = "constant"
    warmup: CountOrNone = 0
    final: Share = 0.0

    def factor(self, step: int, steps: int) -> float:
        """Factor of step number `step` (from 0) out of `steps`."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        if self.decay == "constant":
            return 1.0
        done = min(1.0, (step - self.warmup) / max(1, steps - self.warmup - 1))
        left = 1.0 - done if self.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        return self.final + (1.0 - self.final) * left
