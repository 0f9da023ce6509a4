"""Integrated gradients to a completeness error that was asked for, with few passes, for many examples at once.

Every example has a path of its own from its baseline to its input. What a path asks for next is asked for together
with what all others ask for, so that a network sees large batches; a path that is good enough asks no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.attribution.subdivision import Subdivision, relative_errors
from trustml.data.dataset import Floats, Ints

Look: TypeAlias = Callable[[Ints, Doubles], Floats]
"""Examples (k,) and points (k,) in [0, 1] of their paths, 0 the baseline, to the gradients there, (k, *x)."""


@dataclass(frozen=True, kw_only=True)
class Integrated:
    """Integrated gradients and what they took.

    Attributes
    ----------
    attributions : float32 array of shape (n, *x)
    errors : float64 array of shape (n,)
        ``|sum of attributions - change| / |change|`` of what is returned; infinite where nothing changes but the
        attributions do not add up to nothing.
    passes : int64 array of shape (n,)
        Forward and backward passes of each example: one for each point that was looked at. The two forward passes
        behind its change are not in it.
    """

    attributions: Floats
    errors: Doubles
    passes: Ints


def integrate(look: Look, *, differences: Floats, changes: Doubles, tolerance: float, budget: int) -> Integrated:
    """Integrate every example's gradient until it is good enough or was looked at `budget` times.

    Parameters
    ----------
    look : callable
    differences : float array of shape (n, *x)
        Input minus baseline.
    changes : float64 array of shape (n,)
        Target logit of the input minus that of the baseline.
    tolerance : float
        Completeness error asked for, as a share of the change.
    budget : int
        Most passes of one example, at least 1.

    Returns
    -------
    Integrated
    """
    flat = differences.reshape(len(differences), -1)
    paths = [Subdivision(change=float(change), tolerance=tolerance) for change in changes]
    passes = np.zeros(len(paths), np.int64)
    active = list(range(len(paths)))
    while active:
        asked = {number: paths[number].wanted(budget - int(passes[number])) for number in active}
        active = [number for number in active if len(asked[number])]
        if not active:
            break
        counts = [len(asked[number]) for number in active]
        rows = np.repeat(np.array(active, np.int64), counts)
        gradients = look(rows, np.concatenate([asked[number] for number in active]))
        contributions = gradients.reshape(len(rows), -1) * flat[rows]
        ends = np.cumsum(counts)
        for number, start, end in zip(active, ends - counts, ends, strict=True):
            paths[number].take(asked[number], contributions[start:end])
            passes[number] += end - start
    found = np.array([path.attributions() for path in paths], np.float32).reshape(flat.shape)
    return Integrated(
        attributions=found.reshape(differences.shape), errors=relative_errors(found, changes), passes=passes
    )
