"""Epsilon for several examples of one person together (group privacy), from what single examples were charged.

On secret Poisson batches each of k examples comes on its own, so a step is a Gaussian mechanism whose sensitivity is
binomial: a mixture of Gaussians (Ganesh, 2024, arXiv 2401.10294), whose privacy loss distribution dp-accounting has,
rounded against us. Without amplification the sum moves by k clipping norms at the most. That is taken of banded noise
over several groups, too: k > 1 examples of several of them meet columns that overlap. Batches of fixed size have
neither: there k steps from neighbour to neighbour are added up (Vadhan, 2017, lemma 2.2).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trustml.privacy.accounting import gaussian_epsilon, package_version, without_replacement
from trustml.privacy.bound_kinds import CLOSED_FORM
from trustml.privacy.events import NoiseEvent, mechanisms_of
from trustml.privacy.ledger import ADD_OR_REMOVE, REPLACE, ZERO_OUT, Charge, NeighboringRelation
from trustml.privacy.tails import epsilon_with_tails, total_variation

_POINTS = 500
"""Of the grid, between 0 and about where epsilon is."""
_MOST_IN_A_GROUP = 1000
"""Examples beyond which no mixture is accounted for: its binomial has too many terms."""
_SMALLEST_DELTAS = 60


@dataclass(frozen=True, kw_only=True)
class GroupEpsilon:
    """Epsilon for so many examples together.

    Attributes
    ----------
    value : float
        Upper bound; infinite where none is found.
    relation : NeighboringRelation
        In which one is the whole group.
    accountant : str
        Which bound it is, with a version.
    """

    value: float
    relation: NeighboringRelation
    accountant: str


def epsilon_of_group(charges: Sequence[Charge], *, size: int, delta: float) -> GroupEpsilon:
    """Bound epsilon for `size` examples that come or go together.

    Parameters
    ----------
    charges : sequence of Charge
        Of one model, for single examples.
    size : int
    delta : float
    """
    mechanisms = mechanisms_of([charges])
    if size > 1 and any(charge.groups > 1 for charge in charges):  # of one group noise is independent
        mechanisms = [replace(mechanism, kind="gaussian") for mechanism in mechanisms]
    variation = total_variation((c.noise_source, c.steps * c.coordinates) for c in charges)
    found = [_tailed(bound, variation, delta) for bound in _bounds(mechanisms, size)]
    return min(found, key=lambda one: one.value)


def _tailed(bound: Callable[[float], GroupEpsilon], variation: float, delta: float) -> GroupEpsilon:
    seen: list[GroupEpsilon] = []

    def at(left: float) -> float:
        seen.append(bound(left))
        return seen[-1].value

    value = epsilon_with_tails(at, variation=variation, delta=delta)
    return replace(seen[-1], value=value)


def _bounds(mechanisms: Sequence[NoiseEvent], size: int) -> list[Callable[[float], GroupEpsilon]]:
    """Give what bounds epsilon at each delta."""
    kinds = {one.kind for one in mechanisms}
    fixed = "without replacement" in kinds
    relation = REPLACE if kinds == {"without replacement"} else ADD_OR_REMOVE if kinds == {"poisson"} else ZERO_OUT
    twice = 4 if relation == REPLACE else 1
    precision = size**2 * twice * math.fsum(one.count / one.noise_multiplier**2 for one in mechanisms)

    def plain(delta: float) -> GroupEpsilon:
        value = gaussian_epsilon(precision, delta=delta)
        return GroupEpsilon(value=value, relation=relation, accountant=f"{CLOSED_FORM}, of {size} clipping norms")

    found: list[Callable[[float], GroupEpsilon]] = [plain]
    if kinds == {"without replacement"}:
        found.append(lambda delta: _step_by_step(mechanisms, size, delta))
    elif "poisson" in kinds and not fixed and size <= _MOST_IN_A_GROUP:
        losses = functools.cache(lambda: _mixture(mechanisms, size))
        name = f"PLD of a mixture of Gaussians, dp-accounting {package_version('dp-accounting')}"
        found.append(
            lambda delta: GroupEpsilon(
                value=float(losses().get_epsilon_for_delta(delta)), relation=relation, accountant=name
            )
        )
    return found


def _mixture(mechanisms: Sequence[NoiseEvent], size: int) -> Any:
    """Privacy losses of all steps, of which each lets a binomial number of the group in."""
    from dp_accounting.pld.privacy_loss_distribution import from_mixture_gaussian_mechanism
    from scipy.stats import binom

    spacing = max(1e-4, _scale(mechanisms, size) / _POINTS)
    total = None
    for one in mechanisms:
        rate = one.sample_rate if one.kind == "poisson" else 1.0
        numbers = np.arange(size + 1) if rate < 1 else np.array([size])
        weights = binom.pmf(numbers, size, rate)
        there = weights > 0
        losses = from_mixture_gaussian_mechanism(
            one.noise_multiplier,
            numbers[there].astype(float).tolist(),
            (weights[there] / weights[there].sum()).tolist(),
            value_discretization_interval=spacing,
        ).self_compose(one.count)
        total = losses if total is None else total.compose(losses)
    return total


def _scale(mechanisms: Sequence[NoiseEvent], size: int) -> float:
    """About how large epsilon is: were as many of the group in every batch as are expected."""
    precision = math.fsum(
        one.count * (size * (one.sample_rate if one.kind == "poisson" else 1.0) / one.noise_multiplier) ** 2
        for one in mechanisms
    )
    return gaussian_epsilon(precision, delta=1e-5)


def _step_by_step(mechanisms: Sequence[NoiseEvent], size: int, delta: float) -> GroupEpsilon:
    """Add up neighbours: epsilon e of one at a smaller delta d is ``size * e`` at the sum of all ``d exp(i e)``."""
    accountant, best = without_replacement(mechanisms), math.inf
    for power in range(_SMALLEST_DELTAS):
        smaller = delta * 10.0**-power / size
        one = float(accountant.get_epsilon(smaller)) if smaller > 0 else 0.0
        if one <= 0:
            break
        log_sum = (size - 1) * one + math.log(math.expm1(-size * one) / math.expm1(-one))
        if math.log(smaller) + log_sum <= math.log(delta):
            best = min(best, size * one)
    name = f"RDP, dp-accounting {package_version('dp-accounting')}, {size} neighbours added up"
    return GroupEpsilon(value=best, relation=REPLACE, accountant=name)
