"""Which examples make which batch, drawn once by the core and handed to every backend.

A plan is two flat arrays, so it can travel as ``npz`` and be checked by eye: batch ``t`` is
``indices[offsets[t]:offsets[t + 1]]``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trustml.data.dataset import Ints


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """Batches of varying, possibly zero, size.

    Attributes
    ----------
    indices : int64 array of shape (total,)
        Positions in the training set.
    offsets : int64 array of shape (steps + 1,)
    """

    indices: Ints
    offsets: Ints

    def __len__(self) -> int:
        """Count the batches."""
        return len(self.offsets) - 1

    def __getitem__(self, step: int) -> Ints:
        """Give the examples of one batch."""
        return self.indices[self.offsets[step] : self.offsets[step + 1]]

    def __iter__(self) -> Iterator[Ints]:
        """Give every batch in turn."""
        return (self[step] for step in range(len(self)))

    @property
    def largest(self) -> int:
        """Size of the largest batch."""
        return int(np.diff(self.offsets).max(initial=0))


def make_plan(batches: Sequence[Ints]) -> BatchPlan:
    """Join single batches to a plan."""
    sizes = [len(batch) for batch in batches]
    indices = np.concatenate(batches) if batches else np.zeros(0)
    return BatchPlan(indices=indices.astype(np.int64), offsets=np.cumsum([0, *sizes]).astype(np.int64))


def shuffled_batches(examples: Ints, *, epochs: int, batch_size: int, generator: np.random.Generator) -> BatchPlan:
    """Every example once an epoch in a fresh order; the last batch of an epoch may be smaller."""
    batches: list[Ints] = []
    for _ in range(epochs):
        order = generator.permutation(examples)
        batches += [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return make_plan(batches)


def poisson_batches(examples: int, *, steps: int, sample_rate: float, generator: np.random.Generator) -> BatchPlan:
    """Every example joins every batch on its own with probability `sample_rate`; batches may be empty."""
    return make_plan([np.flatnonzero(generator.random(examples) < sample_rate) for _ in range(steps)])


def fixed_batches(examples: int, *, steps: int, batch_size: int, generator: np.random.Generator) -> BatchPlan:
    """Every batch is a fresh uniform subset of `batch_size` examples."""
    return make_plan([np.sort(generator.choice(examples, batch_size, replace=False)) for _ in range(steps)])


def cyclic_poisson_batches(
    examples: int, *, groups: int, steps: int, sample_rate: float, generator: np.random.Generator
) -> BatchPlan:
    """Poisson batches of one group after another; of one group they are those of :func:`poisson_batches`.

    Every example is put in a group by a die of its own, which no other example moves, and stays there: it is drawn, on
    its own with probability `sample_rate`, in every step whose number is that of its group modulo `groups`.
    """
    group = generator.integers(groups, size=examples)
    members = [np.flatnonzero(group == number) for number in range(groups)]
    there = [members[step % groups] for step in range(steps)]
    return make_plan([one[generator.random(len(one)) < sample_rate] for one in there])


def batches_in_turn(examples: int, *, steps: int, batch_size: int, generator: np.random.Generator) -> BatchPlan:
    """One random order, cut once into batches that come again and again: an example is in every so-manieth of them."""
    order = generator.permutation(examples)
    blocks = [np.sort(order[start : start + batch_size]) for start in range(0, examples, batch_size)]
    return make_plan([blocks[step % len(blocks)] for step in range(steps)])


def comes_in_turn(plan: BatchPlan, *, separation: int) -> bool:
    """Whether every batch is the one of `separation` steps before, and those in between share no example with it."""
    steps = len(plan)
    again = all(np.array_equal(plan[step], plan[step - separation]) for step in range(separation, steps))
    once = plan.indices[: plan.offsets[min(separation, steps)]]
    return again and len(np.unique(once)) == len(once)


def comes_in_cycles(plan: BatchPlan, *, separation: int) -> bool:
    """Whether all batches of an example lie a multiple of `separation` steps apart, and none holds it twice."""
    steps = np.repeat(np.arange(len(plan)), np.diff(plan.offsets))
    of_example = np.zeros(plan.indices.max(initial=-1) + 1, np.int64)
    of_example[plan.indices] = steps % separation
    once = len(np.unique(plan.indices * len(plan) + steps)) == len(steps)
    return once and bool((of_example[plan.indices] == steps % separation).all())


def drawn_in_cycles(plan: BatchPlan, *, separation: int, examples: int, rate: float) -> bool:
    """Whether batches may be those of :func:`cyclic_poisson_batches`, which are refused hardly ever.

    Of twice as many groups at twice the rate, batches are of the same sizes and come in the same cycles, but no example
    comes again in the next one.
    """
    found = repeats(plan, separation=separation)
    mean, spread = expected_repeats(examples=examples, steps=len(plan), groups=separation, rate=rate)
    return comes_in_cycles(plan, separation=separation) and abs(found - mean) <= 8 * spread + 32


def repeats(plan: BatchPlan, *, separation: int) -> int:
    """Count the examples of a batch that are in the one of `separation` steps later, too, over all batches."""
    steps = np.repeat(np.arange(len(plan)), np.diff(plan.offsets))
    places = plan.indices * len(plan) + steps
    earlier = places[steps < len(plan) - separation]
    return int(np.isin(earlier + separation, places).sum())


def expected_repeats(*, examples: int, steps: int, groups: int, rate: float) -> tuple[float, float]:
    """Mean and standard deviation of :func:`repeats` for :func:`cyclic_poisson_batches`, each example on its own."""
    mean = square = 0.0
    for first in range(groups):  # an example of the group is drawn by one coin a visit, and counts runs of two
        pairs = max(0, len(range(first, steps, groups)) - 1)
        own = pairs * rate**2
        spread = pairs * (rate**2 - rate**4) + 2 * max(0, pairs - 1) * (rate**3 - rate**4)
        mean, square = mean + own / groups, square + (spread + own**2) / groups
    return examples * mean, math.sqrt(max(0.0, examples * (square - mean**2)))


def first_batches(plan: BatchPlan, steps: int) -> BatchPlan:
    """Give the first `steps` batches of a plan as a plan."""
    return BatchPlan(indices=plan.indices[: plan.offsets[steps]], offsets=plan.offsets[: steps + 1])


def participation(plan: BatchPlan, examples: int, *, first: int = 0, end: int | None = None) -> Ints:
    """Count the batches that each example is in, from batch `first` up to `end`; shape (examples,)."""
    end = len(plan) if end is None else end
    return np.bincount(plan.indices[plan.offsets[first] : plan.offsets[end]], minlength=examples)
