"""Checks of the noise of federated rounds, from the change of thousands of weights in a dozen rounds."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np

from trustml.conformance.correlated_noise import check_banded, check_sensitivity, check_tree
from trustml.conformance.findings import Finding, bounded
from trustml.conformance.noise_statistics import allowed, chi_square_errors, uncorrelated
from trustml.conformance.rounds import FederatedSubject, Matrix, NoisyRounds, RoundSettings

ADAPTING = 72
"""Rounds without clients in which an adaptive clipping norm is watched."""
_TRAINED, _SHOWN = 6, 12
_COUNT_SHARE, _CLIP_RATE = 0.1, 3.0
"""With these the norm moves by 30 % a round, and its share of clients stays between 0 and 1."""


def check_noise(subject: FederatedSubject) -> list[Finding]:
    """Check size, independence and covariance of the noise."""
    settings, declared = replace(subject.noisy, seed=1), subject.noisy.expected_clients
    crowd = declared if settings.adaptive else 4 * declared  # a share above 1 would make the norm run away
    cohorts = [0, 1, crowd, 0, 3, 0, 0, crowd, 0, 1, 0]
    if settings.adaptive:
        settings = replace(settings, clip_learning_rate=_CLIP_RATE, count_noise=_COUNT_SHARE * declared)
        cohorts += [0] * ADAPTING
    settings = replace(settings, rounds=1 + len(cohorts))
    seen = subject.watch(settings, cohorts, trained=_TRAINED)
    other = subject.watch(replace(settings, seed=2), [0])
    findings = [*_moments(seen), _fresh(seen, other)]
    if settings.noise == "independent":
        findings += _white(seen, seen.noise, declared)
    elif settings.noise == "tree aggregation":
        found, whitened = check_tree(seen)
        findings += [*found, *_white(seen, whitened, declared)]
    else:
        findings += check_banded(seen, settings)
    findings.append(check_sensitivity(seen.noise, settings))
    return findings + (_paid_quantile(seen, other, settings) if settings.adaptive else [])


def _size(check: str, noise: Matrix, *, empty: bool = False) -> Finding:
    """Compare the standard deviation with the stated one, which is 1."""
    ratio = math.sqrt(float((noise**2).mean()))
    if empty and ratio < 0.5:
        diagnosis = "a round without clients is told by its lack of noise"
    elif ratio > 1.5:
        diagnosis = f"noise is {ratio:.3g} times its stated size: added for each client, or of another norm"
    elif ratio < 0.75:
        diagnosis = f"too little noise, {ratio:.3g} of what is stated: divided twice, or of another norm"
    else:
        diagnosis = f"noise is {ratio:.3g} times its stated size"
    return bounded(check, abs(chi_square_errors(float((noise**2).sum()), noise.size)), allowed(), diagnosis=diagnosis)


def _moments(seen: NoisyRounds) -> list[Finding]:
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
    missing = Finding(
        check="every round has noise",
        passed=not silent,
        diagnosis=f"{int((deviations == 0).sum())} rounds have no noise" if silent else "",
    )
    return [missing, *findings]


def _fresh(seen: NoisyRounds, other: NoisyRounds) -> Finding:
    return uncorrelated(
        "noise is new in every run",
        [(seen.noise[0], other.noise[0])],
        "noise does not depend on the seed: it is replayed",
    )


def _white(seen: NoisyRounds, noise: Matrix, declared: int) -> list[Finding]:
    """Check noise that should be white from round to round, with standard deviation 1."""
    empty, crowded = seen.clients == 0, seen.clients >= declared
    pairs = list(itertools.combinations(noise[:_SHOWN], 2))
    return [
        _size("noise has its stated size", noise[:1]),
        _size("noise has its stated size, at the norm of its round", noise),
        _size("a round without clients has noise like any other", noise[empty], empty=True),
        _size("noise does not grow with the clients", noise[crowded]),
        uncorrelated("noise is new in every round", pairs, "noise of one round comes again in another"),
    ]


def _paid_quantile(seen: NoisyRounds, other: NoisyRounds, settings: RoundSettings) -> list[Finding]:
    """Check that adaptive clipping pays for its quantile: its norm moves with the noise that is charged."""
    share = 0.5 + seen.clients / 2 / settings.expected_clients
    moves = np.diff(np.log(seen.norms)) + settings.clip_learning_rate * (share - settings.quantile)
    stated = settings.clip_learning_rate * settings.count_noise / settings.expected_clients
    found = moves[seen.clients == 0] / stated  # the cleanest: nobody is there to be counted
    errors = chi_square_errors(float((found**2).sum()), len(found))
    ratio = math.sqrt(float((found**2).mean()))
    apart = abs(float(np.log(seen.norms[1] / other.norms[1]))) / stated
    return [
        bounded(
            "adaptive clipping pays for its quantile",
            abs(errors),
            allowed(),
            diagnosis=f"the number of unclipped clients carries {ratio:.3g} of its stated noise",
        ),
        bounded(
            "noise on the quantile has mean zero",
            abs(float(found.mean())) * math.sqrt(len(found)),
            allowed(),
            diagnosis="the clipping norm drifts in rounds without clients",
        ),
        Finding(
            check="noise on the quantile is new in every run",
            passed=apart > 1e-6,
            diagnosis="" if apart > 1e-6 else "noise on the quantile does not depend on the seed, or there is none",
        ),
    ]
