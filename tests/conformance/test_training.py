"""Trainings that were not what they were charged for, each caught and named."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest

from trustml.conformance import ExecutedStep, TrainingRecord, check_training
from trustml.data.batches import poisson_batches, shuffled_batches
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


def test_noise_that_was_drawn_again_is_found_through_rounding():
    record = honest()
    again = tuple(value + 3e-5 for value in record.steps[3].noise)
    spoiled = change(record, steps=[*record.steps[:-1], msgspec_free(record.steps[-1], noise=again)])
    assert any("replayed" in f.diagnosis for f in check_training(spoiled) if not f.passed)


def test_a_shuffled_training_claims_no_amplification_and_passes():
    charges = [msgspec.structs.replace(entry, sampling="shuffle", participation=1) for entry in honest().charges]
    record = change(honest(), charges=charges, batches=shuffled())
    assert all(finding.passed for finding in check_training(record))
