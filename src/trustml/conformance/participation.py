"""Checks of a whole federated training that is private for users: who took part, against what was charged."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trustml.conformance.findings import CheckResult, bounded
from trustml.conformance.noise_statistics import ERROR, allowed, chi_square_errors
from trustml.conformance.rounds import RoundSettings
from trustml.data.clients import FederatedPlan, rounds_visited
from trustml.privacy.ledger import UNAMPLIFIED, Charge, relation_of
from trustml.privacy.noise_strategy import tree_squared_sensitivity

_SAME = 1e-9


@dataclass(frozen=True, kw_only=True)
class ExecutedRound:
    """One round that really ran, finished or not.

    Attributes
    ----------
    attempt : int
        1 before the first crash.
    number : int
        From 0, in its attempt.
    clients : int
        How many were handed to the library.
    charges_before : int
        Lines in the ledger when the round began.
    """

    attempt: int
    number: int
    clients: int
    charges_before: int


@dataclass(frozen=True, kw_only=True)
class FederatedRecord:
    """Independent evidence of a federated training, beside what was charged for it.

    Attributes
    ----------
    rounds : sequence of ExecutedRound
        In their order.
    charges : sequence of Charge
        All lines of the ledger.
    plans : sequence of FederatedPlan
        What was drawn for attempts 1, 2 and so on.
    clients : int
        How many there are.
    settings : RoundSettings
        What the mechanism was made with.
    published_seed : int, optional
        Seed of the cohorts, where the public record holds it.
    """

    rounds: Sequence[ExecutedRound]
    charges: Sequence[Charge]
    plans: Sequence[FederatedPlan]
    clients: int
    settings: RoundSettings
    published_seed: int | None = None


def check_participation(record: FederatedRecord) -> list[CheckResult]:
    """Check that a federated training did what it was charged for.

    Parameters
    ----------
    record : FederatedRecord

    Returns
    -------
    list of CheckResult
    """
    findings = [_paid_before(record), *_as_drawn(record), *_as_made(record), _new_cohorts(record), _secret(record)]
    if record.charges and record.plans:
        findings += [*_rates(record), _relation(record), _visits(record)]
    return findings


def _paid_before(record: FederatedRecord) -> CheckResult:
    """Check that every round was in the ledger before it began."""
    unpaid = [
        done
        for done in record.rounds
        if not any(_covers(charge, done) for charge in record.charges[: done.charges_before])
    ]
    later = sum(any(_covers(charge, done) for charge in record.charges) for done in unpaid)
    diagnosis = f"{later} rounds ran before they were charged" if later else f"{len(unpaid)} rounds were never charged"
    return bounded("every round was charged before it ran", len(unpaid), 0, diagnosis=diagnosis)


def _covers(charge: Charge, done: ExecutedRound) -> bool:
    return charge.attempt == done.attempt and charge.first_step <= done.number < charge.end_step


def _as_drawn(record: FederatedRecord) -> list[CheckResult]:
    """Check that the rounds are those of the plan, and that nobody is in a round twice."""
    other = sum(
        done.attempt > len(record.plans)
        or done.number >= len(record.plans[done.attempt - 1])
        or done.clients != len(record.plans[done.attempt - 1].participants(done.number))
        for done in record.rounds
    )
    twice = sum(
        len(plan.participants(number)) - len(np.unique(plan.participants(number)))
        for plan in record.plans
        for number in range(len(plan))
    )
    again = sum(count - 1 for count in Counter((done.attempt, done.number) for done in record.rounds).values())
    return [
        bounded(
            "rounds have the cohorts that were drawn", other, 0, diagnosis="a round ran with another cohort than drawn"
        ),
        bounded(
            "a client is in a round at most once", twice, 0, diagnosis="a client is twice in a round, and counts twice"
        ),
        bounded("a round runs once", again, 0, diagnosis="a round was run again on the same cohort"),
    ]


def _as_made(record: FederatedRecord) -> list[CheckResult]:
    """Check the charged numbers against those that the mechanism was made with."""
    settings, wrong = record.settings, set()
    quantile = 2 * settings.count_noise if settings.adaptive else 0.0  # over the sensitivity of 1/2
    free = False
    for charge in record.charges:
        wanted: dict[str, tuple[object, object]] = {
            "unit": (charge.unit, "user"),
            "clients": (charge.examples, record.clients),
            "noise": (charge.noise, settings.noise),
            "expected clients": (charge.batch_size, settings.expected_clients),
        }
        wrong |= {name for name, (found, made) in wanted.items() if found != made}
        numbers = {
            "noise multiplier": (charge.noise_multiplier, settings.noise_multiplier),
            "clipping norm": (charge.clipping_norm, settings.clipping_norm),
            "sample rate": (charge.sample_rate, charge.batch_size / max(1, charge.examples)),
        }
        wrong |= {
            name for name, (found, made) in numbers.items() if not math.isclose(found, made, rel_tol=_SAME, abs_tol=0)
        }
        free |= not math.isclose(charge.quantile_noise_multiplier, quantile, rel_tol=_SAME)
    return [
        bounded(
            "charges say what the mechanism was made with",
            len(wrong),
            0,
            diagnosis=f"charged is another mechanism than ran: {', '.join(sorted(wrong))}",
        ),
        bounded(
            "the quantile of adaptive clipping is charged",
            int(free),
            0,
            diagnosis="the noisy number of unclipped clients was released and not charged as it was made",
        ),
    ]


def _new_cohorts(record: FederatedRecord) -> CheckResult:
    """Check that each attempt has a plan of its own."""
    attempts: dict[str, set[int]] = {}
    plans: dict[int, set[str]] = {}
    for charge in record.charges:
        attempts.setdefault(charge.plan, set()).add(charge.attempt)
        plans.setdefault(charge.attempt, set()).add(charge.plan)
    shared = sum(len(found) - 1 for found in attempts.values()) + sum(len(found) - 1 for found in plans.values())
    return bounded(
        "each attempt has cohorts of its own", shared, 0, diagnosis="an attempt used the cohorts of an earlier one"
    )


def _secret(record: FederatedRecord) -> CheckResult:
    claimed = any(charge.secret_sampling and charge.sampling not in UNAMPLIFIED for charge in record.charges)
    broken = claimed and record.published_seed is not None
    return CheckResult(
        check="amplification is claimed for secret cohorts only",
        passed=not broken,
        diagnosis=f"cohort seed {record.published_seed} is published but amplification claimed" if broken else "",
    )


def _rates(record: FederatedRecord) -> list[CheckResult]:
    """Check who was asked against the charged way of drawing."""
    charge = record.charges[0]
    asked = np.concatenate([plan.asked for plan in record.plans])
    match charge.sampling:
        case "poisson":
            return _poisson(record, charge.sample_rate)
        case "all":
            off = int((asked != record.clients).sum())
            return [bounded("everybody is asked in every round", off, 0, diagnosis="not everybody was asked")]
        case "in turn":
            return [_in_turn(record, charge)]
        case _:
            off = int((asked != charge.batch_size).sum())
            return [
                bounded(
                    "cohorts have the charged size",
                    off,
                    0,
                    diagnosis=f"wrong participation rate: {off} cohorts are not of {charge.batch_size} clients",
                )
            ]


def _poisson(record: FederatedRecord, rate: float) -> list[CheckResult]:
    asked = np.concatenate([plan.asked for plan in record.plans])
    chances, found = len(asked) * record.clients, int(asked.sum())
    # Chernoff's bound on both tails of the binomial distribution: no more than 2 exp(-chances * divergence).
    information = chances * _divergence(found / max(1, chances), rate)
    spread = float(((asked - asked.mean()) ** 2).sum()) / (record.clients * rate * (1 - rate))
    visits = sum((rounds_visited(plan, record.clients) for plan in record.plans), np.zeros(record.clients, np.int64))
    kept = float(visits.sum()) / max(1, chances)  # less than the rate where clients drop out
    even = float(((visits - visits.mean()) ** 2).sum()) / max(len(asked) * kept * (1 - kept), 1e-12)
    too_even = max(-chi_square_errors(spread, len(asked) - 1), -chi_square_errors(even, record.clients - 1))
    return [
        bounded(
            "cohorts have the charged participation rate",
            information,
            math.log(2 / ERROR),
            diagnosis=f"wrong participation rate: {found / max(1, chances):.4g} where {rate:.4g} was charged",
        ),
        bounded(
            "cohorts vary as Poisson cohorts do",
            too_even,
            allowed(2),
            diagnosis="cohorts of fixed size, or clients in turn, are charged as Poisson cohorts",
        ),
    ]


def _divergence(found: float, rate: float) -> float:
    """Kullback-Leibler divergence between two coins."""
    parts = ((found, rate), (1 - found, 1 - rate))
    return sum(p * math.log(p / q) if q else math.inf for p, q in parts if p)


def _in_turn(record: FederatedRecord, charge: Charge) -> CheckResult:
    """Check that clients stay away for as many rounds as it takes to ask all others."""
    separation, early = math.ceil(record.clients / charge.batch_size), 0
    for plan in record.plans:
        last: dict[int, int] = {}
        for number in range(len(plan)):
            for client in map(int, plan.participants(number)):
                early += number - last.get(client, number - separation) < separation
                last[client] = number
    return bounded(
        "a client stays away until all others were asked",
        early,
        0,
        diagnosis=f"{early} visits came sooner than {separation} rounds after the last",
    )


def _relation(record: FederatedRecord) -> CheckResult:
    wrong = sum(c.relation != relation_of(c.sampling, secret=c.secret_sampling) for c in record.charges)
    return bounded(
        "charges name the relation of their sampling",
        wrong,
        0,
        diagnosis="charged under another neighbouring relation than the way of drawing has",
    )


def _visits(record: FederatedRecord) -> CheckResult:
    """Check the participation that is charged where cohorts give no amplification."""
    over = 0
    for number, plan in enumerate(record.plans, start=1):
        charges = [charge for charge in record.charges if charge.attempt == number]
        if not charges or (charges[0].secret_sampling and charges[0].sampling not in UNAMPLIFIED):
            continue
        end = min(len(plan), max(charge.end_step for charge in charges))
        paid = min(charges[0].largest_participation, sum(charge.participation for charge in charges))
        if charges[0].noise == "tree aggregation":
            separation = math.ceil(record.clients / charges[0].batch_size)
            needed = tree_squared_sensitivity(rounds=end, separation=separation)
        else:
            needed = int(rounds_visited(plan, record.clients, end=end).max(initial=0))
        over += max(0, needed - paid)
    return bounded(
        "the charged participation covers every client",
        over,
        0,
        diagnosis="a client took part more often than was charged, or its sensitivity was taken too small",
    )
