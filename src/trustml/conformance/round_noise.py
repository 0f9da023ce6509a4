"""Checks of the noise of federated rounds, from the change of thousands of weights in a dozen rounds."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import partial

import numpy as np

from trustml.conformance.correlated_noise import check_correlated, check_sensitivity
from trustml.conformance.findings import CheckResult, bounded, raised
from trustml.conformance.noise_statistics import (
    PRECISION,
    allowed,
    chi_square_errors,
    numbers_needed,
    quietest,
    ratio_of,
    sized,
    surprises,
    surprising,
    uncorrelated,
)
from trustml.conformance.rounds import (
    OUTLIERS,
    FederatedSubject,
    Matrix,
    NoisyRounds,
    RoundSettings,
    scaled,
    spoiled,
)

NOBODY = "a round without clients has noise like any other"
_TOLD = "a round without clients is told by its lack of noise"
ADAPTING = 220
"""Rounds without clients in which an adaptive clipping norm is watched, of one training."""
QUANTILE = 0.05
"""Standard error of the noise on the number of unclipped clients: it is one number a round."""
FIRST = 0.02
"""Standard error of the noise of a first round with unusual clients."""
_TRAINED, _SHOWN = 6, 12
_INDEPENDENT, _CORRELATED = 60, 20
_COUNT_SHARE, _CLIP_RATE = 0.1, 1.5
"""With these the norm moves by 15 % a round, and its share of clients stays between 0 and 1."""
_SHIFTS = 4


def check_noise(subject: FederatedSubject) -> list[CheckResult]:
    """Check size, independence and covariance of the noise."""
    settings, declared = replace(subject.noisy, seed=subject.noisy.seed + 1), subject.noisy.expected_clients
    weights, needed = subject.size(), math.ceil(1.05 * numbers_needed(PRECISION))
    crowd = declared if settings.adaptive else 4 * declared  # a share above 1 would make the norm run away
    cohorts = [0, 1, crowd, 0, 3, 0, 0, crowd, 0, 1, 0]
    if settings.adaptive:
        settings = replace(settings, clip_learning_rate=_CLIP_RATE, count_noise=_COUNT_SHARE * declared)
        cohorts += [0] * ADAPTING
    elif settings.noise == "independent":
        cohorts += [0] * (_INDEPENDENT - len(cohorts))
    else:
        cohorts += [0] * (min(_CORRELATED, -(-needed // weights)) - 1 - len(cohorts))
    settings = replace(settings, rounds=1 + len(cohorts))
    # A norm that adapts is followed through empty rounds, which cannot be replaced.
    silent = [] if settings.adaptive else _silent_without_clients(subject, settings)
    shifts = [0] * _SHIFTS
    if silent:  # what is told of other rounds shall not suffer from it
        cohorts, shifts = [count or 1 for count in cohorts], [1] * _SHIFTS
    # Where rounds are correlated their covariance is estimated, so runs must be wider than there are rounds.
    wide = max(needed / settings.rounds, 40 * settings.rounds)
    runs = math.ceil(wide / weights)
    seen = subject.watch(settings, cohorts, first=subject.clients[:_TRAINED], runs=runs)
    other = subject.watch(replace(settings, seed=settings.seed + runs), shifts, runs=runs)
    why = f"the time limit of {subject.time_limit:g} s came after {seen.runs} of {runs} trainings"
    findings = [*silent, *_moments(seen), _fresh(seen, other)]
    if settings.noise == "independent":
        found = [check_sensitivity(seen.noise, separation=settings.separation, charged=None)]
        white = seen.noise
    else:
        found, white = check_correlated(seen.noise, settings.noise, separation=settings.separation, why=why)
    if settings.noise in ("independent", "tree aggregation"):
        findings += _white(seen, white, declared, why)
    findings += [*found, _every_weight(seen, white)]
    findings.append(_unusual_clients(subject, replace(settings, seed=settings.seed + 2 * runs), seen))
    return findings + (_paid_quantile(seen, other, settings) if settings.adaptive else [])


def _silent_without_clients(subject: FederatedSubject, settings: RoundSettings) -> list[CheckResult]:
    """Look whether a round without clients has no noise at all, or cannot be."""
    try:
        moved = subject.move(subject.start(settings), [], settings)
    except Exception as error:  # whatever a stranger's training does, the other checks go on
        return [raised(NOBODY, error)]
    return [] if moved.any() else [CheckResult(check=NOBODY, passed=False, diagnosis=_TOLD)]


def _size(check: str, noise: Matrix, *, averages: bool, empty: bool = False) -> CheckResult:
    """Compare the standard deviation with the stated one, which is 1."""
    errors = abs(chi_square_errors(float((noise**2).sum()), noise.size))
    return bounded(check, errors, allowed(), diagnosis=_diagnosis(noise, averages=averages, empty=empty))


def _diagnosis(noise: Matrix, *, averages: bool, empty: bool = False) -> str:
    ratio = math.sqrt(float((noise**2).mean()))
    if not math.isfinite(ratio):
        return "the noisy sum is not finite"
    if empty and ratio < 0.5:
        return _TOLD
    if averages:
        return f"noise is {ratio:.3g} times its stated size: the noisy sum is divided by the clients that came"
    if ratio > 1.5:
        return f"noise is {ratio:.3g} times its stated size: added for each client, or of another norm"
    if ratio < 0.75:
        return f"too little noise, {ratio:.3g} of what is stated: divided twice, or of another norm"
    return f"noise is {ratio:.3g} times its stated size"


def _every_weight(seen: NoisyRounds, white: Matrix) -> CheckResult:
    """Look for weights, and runs of neighbours, with too little noise."""
    rounds = len(white)
    worst, at, width = quietest((white.reshape(rounds, seen.runs, -1) ** 2).sum(axis=(0, 1)), rounds * seen.runs)
    return bounded(
        "every weight has its noise",
        worst,
        surprising(2 * seen.weights),
        diagnosis=f"too little noise in weights {at} to {at + width - 1}",
    )


def _unusual_clients(subject: FederatedSubject, settings: RoundSettings, ordinary: NoisyRounds) -> CheckResult:
    """Compare the noise of a first round with unusual clients with that of ordinary ones."""
    runs = -(-math.ceil(2.1 * numbers_needed(FIRST)) // ordinary.weights)
    # A mechanism that correlates rounds may begin with more noise than that of one round.
    as_usual = settings.noise in ("independent", "tree aggregation")
    usual = 1.0 if as_usual else float((ordinary.noise[0] ** 2).mean())
    few = subject.clients[:3]
    large = [scaled(subject.clients[3], factor) for factor in OUTLIERS]
    # All in one round, as making a training may compile.
    cohort = [*few, *large, spoiled(subject.clients[4], math.nan)]
    seen = subject.watch(settings, [], first=cohort, runs=runs)
    numbers = seen.noise.size if usual == 1.0 else 1 / (1 / seen.noise.size + 1 / ordinary.noise.shape[1])
    ratio = ratio_of(float((seen.noise**2).mean()) / max(usual, 1e-30), numbers)
    why = f"the time limit of {subject.time_limit:g} s came after {seen.runs} of {runs} trainings"
    check = "noise does not depend on outliers and what is not finite"
    return sized(check, ratio, diagnosis=_diagnosis(seen.noise, averages=seen.averages), precision=FIRST, why=why)


def _moments(seen: NoisyRounds) -> list[CheckResult]:
    """Look at mean, fourth moment and neighbouring coordinates, round by round and whatever the size."""
    rows = seen.noise
    deviations = rows.std(axis=1, keepdims=True)
    silent = not bool((deviations > 0).all())
    scaled = (rows - rows.mean(axis=1, keepdims=True)) / np.maximum(deviations, 1e-30)
    count, columns = rows.shape
    bias = np.abs(rows.mean(axis=1) / np.maximum(deviations[:, 0], 1e-30)) * math.sqrt(columns)
    # The fourth moment is skewed to the right, so rounds are pooled for it.
    fourth = abs(float((scaled**4).mean()) - 3) / math.sqrt(24 / rows.size)
    neighbours = np.abs((scaled[:, 1:] * scaled[:, :-1]).mean(axis=1)) * math.sqrt(columns)
    findings = [
        bounded("noise has mean zero", float(bias.max()), allowed(count), diagnosis="the noise is biased"),
        bounded("noise is Gaussian in its fourth moment", fourth, allowed(), diagnosis="the noise is not Gaussian"),
        bounded(
            "noise is independent between coordinates",
            float(neighbours.max()),
            allowed(count),
            diagnosis="noise repeats between coordinates",
        ),
    ]
    missing = CheckResult(
        check="every round has noise",
        passed=not silent,
        diagnosis=f"{int((deviations == 0).sum())} rounds have no noise" if silent else "",
    )
    return [missing, *findings]


def _fresh(seen: NoisyRounds, other: NoisyRounds) -> CheckResult:
    """Compare runs of other seeds, round by round and shifted by some rounds."""
    columns = min(seen.noise.shape[1], other.noise.shape[1])
    pairs = [(seen.noise[0, :columns], other.noise[shift, :columns]) for shift in range(_SHIFTS)]
    pairs += [(seen.noise[shift, :columns], other.noise[0, :columns]) for shift in range(1, _SHIFTS)]
    return uncorrelated("noise is new in every run", pairs, "noise does not depend on the seed: it is replayed")


def _white(seen: NoisyRounds, noise: Matrix, declared: int, why: str) -> list[CheckResult]:
    """Check noise that should be white from round to round, with standard deviation 1."""
    empty, crowded = seen.clients == 0, seen.clients >= declared
    pairs = list(itertools.combinations(noise[:_SHOWN], 2))
    overall = ratio_of(float((noise**2).mean()), noise.size)
    rounds = np.abs(surprises((noise**2).sum(axis=1), noise.shape[1]))
    worst = int(rounds.argmax())
    told = partial(_diagnosis, averages=seen.averages)
    return [
        _size("noise has its stated size", noise[:1], averages=seen.averages),
        sized("noise has its stated size, at the norm of its round", overall, diagnosis=told(noise), why=why),
        bounded(
            "no round has another noise",
            float(rounds[worst]),
            surprising(len(rounds)),
            diagnosis=f"in round {worst + 1} {told(noise[worst : worst + 1])}",
        ),
        *([_size(NOBODY, noise[empty], averages=seen.averages, empty=True)] if empty.any() else []),
        _size("noise does not grow with the clients", noise[crowded], averages=seen.averages),
        uncorrelated("noise is new in every round", pairs, "noise of one round comes again in another"),
    ]


def _paid_quantile(seen: NoisyRounds, other: NoisyRounds, settings: RoundSettings) -> list[CheckResult]:
    """Check that adaptive clipping pays for its quantile: its norm moves with the noise that is charged."""
    share = 0.5 + seen.clients / 2 / settings.expected_clients
    moves = np.diff(np.log(seen.norms), axis=1) + settings.clip_learning_rate * (share - settings.quantile)
    stated = settings.clip_learning_rate * settings.count_noise / settings.expected_clients
    found = moves[:, seen.clients == 0].ravel() / stated  # the cleanest: nobody is there to be counted
    ratio = ratio_of(float((found**2).mean()), len(found))
    apart = abs(float(np.log(seen.norms[0, 1] / other.norms[0, 1]))) / stated
    return [
        sized(
            "adaptive clipping pays for its quantile",
            ratio,
            diagnosis=f"the number of unclipped clients carries {ratio.value:.3g} of its stated noise",
            precision=QUANTILE,
        ),
        bounded(
            "noise on the quantile has mean zero",
            abs(float(found.mean())) * math.sqrt(len(found)),
            allowed(),
            diagnosis="the clipping norm drifts in rounds without clients",
        ),
        CheckResult(
            check="noise on the quantile is new in every run",
            passed=apart > 1e-6,
            diagnosis="" if apart > 1e-6 else "noise on the quantile does not depend on the seed, or there is none",
        ),
    ]
