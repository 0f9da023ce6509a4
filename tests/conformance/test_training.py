"""Trainings that were not what they were charged for, each caught and named."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

from trustml.conformance import ExecutedStep, TrainingRecord, check_training
from trustml.data.batches import (
    batches_in_turn,
    comes_in_cycles,
    cyclic_poisson_batches,
    make_plan,
    poisson_batches,
    shuffled_batches,
)
from trustml.privacy.ledger import Charge

EXAMPLES, RATE, STEPS = 500, 0.1, 60


def charge(attempt=1, first_step=0, end_step=STEPS, **changes) -> Charge:
    fields = {
        "attempt": attempt,
        "first_step": first_step,
        "end_step": end_step,
        "noise_multiplier": 1.0,
        "clipping_norm": 1.0,
        "sample_rate": RATE,
        "batch_size": int(RATE * EXAMPLES),
        "examples": EXAMPLES,
        "secret_sampling": True,
        "participation": end_step - first_step,
        "largest_participation": STEPS,
        "plan": f"plan {attempt}",
        "data": "data",
    }
    return Charge(**{**fields, **changes})


def executed(batches, *, attempt=1, noise_seed=None) -> list[ExecutedStep]:
    generator = np.random.default_rng(attempt if noise_seed is None else noise_seed)
    return [
        ExecutedStep(
            attempt=attempt,
            batch=hashlib.sha256(batch.tobytes()).hexdigest(),
            size=len(batch),
            noise=tuple(generator.normal(size=16)),
        )
        for batch in batches
    ]


def poisson(seed=0, *, steps=STEPS, rate=RATE):
    return list(poisson_batches(EXAMPLES, steps=steps, sample_rate=rate, generator=np.random.default_rng(seed)))


def honest() -> TrainingRecord:
    """One attempt that was killed after 25 steps, 30 charged, and one that went on."""
    first, second = poisson(0), poisson(1)
    return TrainingRecord(
        steps=[*executed(first[:25]), *executed(second[:40], attempt=2)],
        charges=[charge(end_step=10), charge(first_step=10, end_step=30), charge(attempt=2, end_step=40)],
        batches=first,
    )


def change(record: TrainingRecord, **changes) -> TrainingRecord:
    fields = {name: getattr(record, name) for name in ("steps", "charges", "batches", "published_seed")}
    return TrainingRecord(**{**fields, **changes})


def shuffled():
    generator = np.random.default_rng(0)
    return list(shuffled_batches(np.arange(EXAMPLES), epochs=6, batch_size=50, generator=generator))


def always_the_first(*, groups=1) -> list[np.ndarray]:
    """Batches of Poisson sizes, of which only the first examples are ever in one."""
    generator = np.random.default_rng(2)
    members = [np.arange(group, EXAMPLES, groups) for group in range(groups)]
    there = [members[step % groups] for step in range(STEPS)]
    return [one[: generator.binomial(len(one), groups * RATE)] for one in there]


def shuffled_at_poisson_sizes(*, groups=1) -> list[np.ndarray]:
    """Batches of Poisson sizes, each group's from one random order of it after another."""
    generator, found = np.random.default_rng(3), []
    queues = [np.zeros(0, np.int64) for _ in range(groups)]
    for step in range(STEPS):
        group = step % groups
        own = np.arange(group, EXAMPLES, groups)
        size = generator.binomial(len(own), groups * RATE)
        while len(queues[group]) < size:
            queues[group] = np.concatenate([queues[group], generator.permutation(own)])
        found.append(np.unique(queues[group][:size]))
        queues[group] = queues[group][size:]
    return found


BROKEN = {
    "sampling seed published": (lambda r: change(r, published_seed=3), "is published but amplification claimed"),
    "a re-executed step not charged": (
        lambda r: change(r, charges=[*r.charges[:2], charge(attempt=2, end_step=30)]),
        "a re-executed step was not charged",
    ),
    "a step not charged": (
        lambda r: change(r, charges=[charge(end_step=24), charge(attempt=2, end_step=40)]),
        "a step was not charged",
    ),
    "Poisson accounting over a shuffled loader": (
        lambda r: change(r, batches=shuffled()),
        "Poisson accounting over a shuffled loader",
    ),
    "shuffled, and cut to sizes that vary": (
        lambda r: change(r, batches=shuffled_at_poisson_sizes()),
        "Poisson accounting over a shuffled loader",
    ),
    "the same examples always": (lambda r: change(r, batches=always_the_first()), "the same examples again and again"),
    "wrong sample rate": (lambda r: change(r, batches=poisson(rate=0.13)), "wrong sample rate"),
    "noise reused between steps": (
        lambda r: change(r, steps=[*r.steps[:-1], msgspec_free(r.steps[-1], noise=r.steps[-2].noise)]),
        "noise reused between steps",
    ),
    "noise replayed after resume": (
        lambda r: change(r, steps=[*r.steps[:25], *executed(poisson(1)[:40], attempt=2, noise_seed=1)]),
        "noise replayed after resume",
    ),
    "batches replayed after resume": (
        lambda r: change(r, steps=[*r.steps[:25], *executed(poisson(0)[:40], attempt=2)]),
        "batches replayed after resume",
    ),
}


def msgspec_free(step: ExecutedStep, **changes) -> ExecutedStep:
    return ExecutedStep(**{**step.__dict__, **changes})


def test_an_honest_training_passes():
    assert [finding.diagnosis for finding in check_training(honest()) if not finding.passed] == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_training_is_caught_and_named(name):
    spoil, diagnosis = BROKEN[name]
    failed = [finding.diagnosis for finding in check_training(spoil(honest())) if not finding.passed]
    assert any(diagnosis in found for found in failed), failed


GROUPS = 4


def cyclic(seed=0, *, groups=GROUPS, rate=GROUPS * RATE) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return list(cyclic_poisson_batches(EXAMPLES, groups=groups, steps=STEPS, sample_rate=rate, generator=generator))


def amplified(**changes) -> TrainingRecord:
    """Banded noise over four groups, charged whole."""
    visits = STEPS // GROUPS
    paid = charge(
        sampling="cyclic poisson", noise="banded matrix factorisation", sample_rate=GROUPS * RATE,
        participation=visits, largest_participation=visits,
    )  # fmt: skip
    batches = cyclic()
    return change(TrainingRecord(steps=executed(batches), charges=[paid], batches=batches), **changes)


def groups_mixed_in_each_cycle() -> list[np.ndarray]:
    whole = [cyclic(seed)[:GROUPS] for seed in range(STEPS // GROUPS)]
    return [batch for cycle in whole for batch in cycle]


AMPLIFIED = {
    "groups mixed": (lambda: amplified(batches=groups_mixed_in_each_cycle()), "groups were mixed"),
    "plain Poisson batches": (lambda: amplified(batches=poisson()), "groups were mixed"),
    "fewer groups than bands": (lambda: amplified(batches=cyclic(groups=2, rate=2 * RATE)), "groups were mixed"),
    "twice the groups at twice the rate": (
        lambda: amplified(batches=cyclic(groups=2 * GROUPS, rate=2 * GROUPS * RATE)),
        "groups are shuffled, or more than 4",
    ),
    "groups shuffled": (
        lambda: amplified(batches=shuffled_at_poisson_sizes(groups=GROUPS)),
        "groups are shuffled, or more than 4",
    ),
    "the same of each group always": (
        lambda: amplified(batches=always_the_first(groups=GROUPS)),
        "of which the same examples come again and again",
    ),
    "a rate of all": (lambda: amplified(batches=cyclic(rate=RATE)), "wrong sample rate"),
    "groups dealt out": (
        lambda: amplified(
            batches=list(batches_in_turn(EXAMPLES, steps=STEPS, batch_size=50, generator=np.random.default_rng(1)))
        ),
        "groups were mixed",
    ),
    "half of each group, in turn": (
        lambda: amplified(batches=[np.arange(50) + 50 * (step % GROUPS) for step in range(STEPS)]),
        "sizes do not vary",
    ),
    "a step of a group uncharged": (
        lambda: amplified(charges=[msgspec.structs.replace(amplified().charges[0], participation=14)]),
        "1 more were taken",
    ),
    "sampling seed published": (lambda: amplified(published_seed=3), "is published but amplification claimed"),
}


def test_an_honest_training_on_cyclic_batches_passes():
    assert comes_in_cycles(make_plan(cyclic()), separation=GROUPS)
    assert [finding.diagnosis for finding in check_training(amplified()) if not finding.passed] == []


def test_honest_batches_are_hardly_ever_called_broken():
    for seed in range(25):
        batches = cyclic(seed)
        found = check_training(amplified(batches=batches, steps=executed(batches)))
        drawn = poisson(seed)
        found += check_training(TrainingRecord(steps=executed(drawn), charges=[charge()], batches=drawn))
        assert [one.diagnosis for one in found if not one.passed] == []


@pytest.mark.parametrize("name", AMPLIFIED)
def test_broken_amplification_is_caught_and_named(name):
    spoil, diagnosis = AMPLIFIED[name]
    failed = [finding.diagnosis for finding in check_training(spoil()) if not finding.passed]
    assert any(diagnosis in found for found in failed), failed


def test_noise_that_was_drawn_again_is_found_through_rounding():
    record = honest()
    again = tuple(value + 3e-5 for value in record.steps[3].noise)
    spoiled = change(record, steps=[*record.steps[:-1], msgspec_free(record.steps[-1], noise=again)])
    assert any("replayed" in f.diagnosis for f in check_training(spoiled) if not f.passed)


def test_a_shuffled_training_claims_no_amplification_and_passes():
    charges = [msgspec.structs.replace(entry, sampling="shuffle", participation=1) for entry in honest().charges]
    record = change(honest(), charges=charges, batches=shuffled())
    assert all(finding.passed for finding in check_training(record))
