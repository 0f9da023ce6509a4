"""Checks of a whole private training: its steps against its charges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trustml.conformance.findings import CheckResult, bounded
from trustml.conformance.noise_statistics import chi_square_errors
from trustml.data.batches import comes_in_cycles, expected_repeats, make_plan, repeats
from trustml.data.dataset import Ints
from trustml.privacy.ledger import UNAMPLIFIED, Charge

DEVIATIONS = 6.0
NOISE_SHOWN = 16
SAME_NOISE = 1e-3


@dataclass(frozen=True, kw_only=True)
class ExecutedStep:
    """One step that really ran, finished or not.

    Attributes
    ----------
    attempt : int
        1 before the first crash.
    batch : str
        Digest of what was in the batch; equal digests are equal batches.
    size : int
    noise : tuple of float
        First :data:`NOISE_SHOWN` coordinates of the noise, over its standard deviation. They come from a
        subtraction, so vectors are the same where they agree to :data:`SAME_NOISE`.
    """

    attempt: int
    batch: str
    size: int
    noise: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """Independent evidence of a training, beside what was charged for it.

    Attributes
    ----------
    steps : sequence of ExecutedStep
    charges : sequence of Charge
    batches : sequence of int64 arrays
        Members of the batches that were drawn, in order, of the first attempt; empty where they are not known.
    published_seed : int, optional
        Seed of the sampling, where the public record holds it.
    """

    steps: Sequence[ExecutedStep]
    charges: Sequence[Charge]
    batches: Sequence[Ints] = field(default=())
    published_seed: int | None = None


def check_training(record: TrainingRecord) -> list[CheckResult]:
    """Check that a training did what it was charged for.

    Parameters
    ----------
    record : TrainingRecord

    Returns
    -------
    list of CheckResult
    """
    findings = [_charged(record), *_new_noise(record), _new_batches(record), _secret(record)]
    samplings = {charge.sampling for charge in record.charges}
    if samplings == {"poisson"} and record.batches:
        findings += _poisson(record)
    if samplings == {"cyclic poisson"} and record.batches:
        findings += _cyclic(record)
    return findings


def _charged(record: TrainingRecord) -> CheckResult:
    """Check that steps executed are steps charged, attempt by attempt."""
    done = Counter(step.attempt for step in record.steps)
    paid: Counter[int] = Counter()
    for charge in record.charges:
        paid[charge.attempt] += charge.steps
    unpaid = {attempt: count - paid[attempt] for attempt, count in done.items() if count > paid[attempt]}
    diagnosis = ""
    if unpaid:
        again = max(unpaid) > 1
        diagnosis = (
            f"a re-executed step was not charged ({sum(unpaid.values())} of attempt {max(unpaid)})"
            if again
            else f"a step was not charged ({sum(unpaid.values())} more executed than charged)"
        )
    return bounded("every executed step was charged", sum(unpaid.values()), 0, diagnosis=diagnosis)


def _new_noise(record: TrainingRecord) -> list[CheckResult]:
    within = between = 0
    # Sorted by the first coordinate, a vector that was drawn again stands within a few places.
    ordered = sorted(record.steps, key=lambda step: step.noise)
    for number, step in enumerate(ordered):
        for other in ordered[number + 1 :]:
            if other.noise[0] - step.noise[0] >= SAME_NOISE:
                break
            if np.allclose(step.noise, other.noise, rtol=0, atol=SAME_NOISE):
                within += step.attempt == other.attempt
                between += step.attempt != other.attempt
    return [
        bounded("no noise vector appears twice", within, 0, diagnosis="noise reused between steps"),
        bounded("no noise vector appears again after a resume", between, 0, diagnosis="noise replayed after resume"),
    ]


def _new_batches(record: TrainingRecord) -> CheckResult:
    first: dict[str, int] = {}
    repeated = 0
    for step in record.steps:
        if step.size and first.get(step.batch, step.attempt) != step.attempt:
            repeated += 1
        first.setdefault(step.batch, step.attempt)
    return bounded("a step done again has a new batch", repeated, 0, diagnosis="batches replayed after resume")


def _secret(record: TrainingRecord) -> CheckResult:
    claimed = any(charge.secret_sampling and charge.sampling not in UNAMPLIFIED for charge in record.charges)
    broken = claimed and record.published_seed is not None
    return CheckResult(
        check="amplification is claimed for secret batches only",
        passed=not broken,
        diagnosis=f"sampling seed {record.published_seed} is published but amplification claimed" if broken else "",
    )


def _poisson(record: TrainingRecord) -> list[CheckResult]:
    """Check that the batches are those of Poisson sampling at the charged rate."""
    charge = record.charges[0]
    rate, examples = charge.sample_rate, charge.examples
    sizes = np.array([len(batch) for batch in record.batches], np.float64)
    mean, variance = examples * rate, examples * rate * (1 - rate)
    drift = abs(float(sizes.mean()) - mean) / math.sqrt(variance / len(sizes))
    # The sample variance of m near-normal sizes errs by variance * sqrt(2 / (m - 1)).
    spread = (1 - float(sizes.var(ddof=1)) / variance) / math.sqrt(2 / (len(sizes) - 1))
    again = _pair_errors(record, rate), _repeat_errors(record, groups=1, rate=rate)
    return [
        bounded(
            "batches have the charged sample rate",
            drift,
            DEVIATIONS,
            diagnosis=f"wrong sample rate: batches hold {sizes.mean():.1f} examples where {mean:.1f} were charged",
        ),
        bounded(
            "batch sizes vary as Poisson batches do",
            max(spread, -min(again), max(again)),
            DEVIATIONS,
            diagnosis="Poisson accounting over batches of the same examples again and again"
            if max(again) > max(spread, -min(again))
            else "Poisson accounting over a shuffled loader: sizes do not vary, examples come once an epoch",
        ),
    ]


def _cyclic(record: TrainingRecord) -> list[CheckResult]:
    """Check that examples are drawn in the steps of one group alone, and there as Poisson batches are."""
    charge = record.charges[0]
    groups, rate, steps = charge.groups, charge.sample_rate, len(record.batches)
    sizes = np.array([len(batch) for batch in record.batches], np.float64)
    drawn = charge.examples * rate * steps / groups
    drift = abs(float(sizes.sum()) - drawn) / math.sqrt(drawn)
    spread = 0.0
    for first in range(min(groups, steps)):  # how many are in a group is not told but by what is drawn from it
        own = sizes[first::groups]
        spread += float(((own - own.mean()) ** 2).sum()) / max(float(own.mean()) * (1 - rate), 1e-9)
    mixed = not comes_in_cycles(make_plan(record.batches), separation=groups)
    again = _repeat_errors(record, groups=groups, rate=rate)
    short = max(0, -(-steps // groups) - charge.participation)
    return [
        bounded(
            "an example is drawn in the steps of its group alone",
            int(mixed),
            0,
            diagnosis=f"groups were mixed: examples come sooner again than {groups} steps later, so columns add up",
        ),
        bounded(
            "every step of a group is charged",
            short,
            0,
            diagnosis=f"{charge.participation} steps of a group are charged, and {short} more were taken",
        ),
        bounded(
            "batches have the charged sample rate",
            drift,
            DEVIATIONS,
            diagnosis=f"wrong sample rate: batches hold {sizes.sum():.0f} examples where {drawn:.0f} were charged",
        ),
        bounded(
            "batch sizes vary as Poisson batches do",
            -chi_square_errors(spread, max(1, steps - groups)) if rate < 1 else 0.0,
            DEVIATIONS,
            diagnosis="Poisson accounting over groups that are dealt out: sizes do not vary",
        ),
        bounded(
            "examples of a group come again as Poisson batches have it",
            abs(again),
            DEVIATIONS,
            diagnosis="Poisson accounting over groups of which the same examples come again and again"
            if again > 0
            else f"examples come too seldom in their group's next batch: groups are shuffled, or more than {groups}",
        ),
    ]


def _repeat_errors(record: TrainingRecord, *, groups: int, rate: float) -> float:
    """Count standard errors by which examples come more often than by chance in the next batch of their group."""
    found = repeats(make_plan(record.batches), separation=groups)
    mean, spread = expected_repeats(
        examples=record.charges[0].examples, steps=len(record.batches), groups=groups, rate=rate
    )
    return (found - mean) / max(spread, 3.0)  # of a few that are expected, chance brings more than a normal one would


def _pair_errors(record: TrainingRecord, rate: float) -> float:
    """Count standard errors by which examples come more often than by chance within what would be an epoch."""
    first = list(record.batches[: max(1, round(1 / rate))])
    members = np.concatenate(first) if first else np.zeros(0)
    counts = np.bincount(members.astype(np.int64)) if len(members) else np.zeros(1)
    found = float((counts * (counts - 1) / 2).sum())
    # Of a binomial number c of batches: E[c (c - 1) ... (c - k + 1)] is steps (steps - 1) ... times rate**k.
    two, three, four = (math.perm(len(first), k) * rate**k for k in (2, 3, 4))
    examples, variance = record.charges[0].examples, (four + 4 * three + 2 * two) / 4 - (two / 2) ** 2
    return (found - examples * two / 2) / max(math.sqrt(max(0.0, examples * variance)), 1.0)
