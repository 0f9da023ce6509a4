"""Checks of the noise of federated rounds, from the change of thousands of weights in a dozen rounds.

Every statistic is turned into standard errors of a normal distribution; a right mechanism passes a check but once in
1 / :data:`ERROR` times.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from trustml.conformance.findings import Finding, bounded
from trustml.conformance.rounds import FederatedSubject, Matrix, NoisyRounds, RoundSettings
from trustml.conformance.subject import Vector
from trustml.privacy.tree import tree_squared_sensitivity

ERROR = 1e-6
"""Probability with which a right mechanism fails a check."""
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
        findings += _tree(seen, declared)
    else:
        findings += _banded(seen, settings)
    findings.append(_sensitivity(seen.noise, settings))
    return findings + (_paid_quantile(seen, other, settings) if settings.adaptive else [])


def allowed(statistics: int = 1) -> float:
    """Standard errors that pass where the largest of so many statistics is looked at."""
    return NormalDist().inv_cdf(1 - ERROR / (2 * statistics))


def chi_square_errors(squares: float, degrees: float) -> float:
    """Standard errors by which a sum of squares of standard normal numbers is off (Wilson and Hilferty 1931)."""
    if degrees <= 0 or not math.isfinite(squares):
        return math.inf
    spread = 2 / (9 * degrees)
    return ((max(squares, 0.0) / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)


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
    return _uncorrelated(
        "noise is new in every run",
        [(seen.noise[0], other.noise[0])],
        "noise does not depend on the seed: it is replayed",
    )


def _uncorrelated(check: str, pairs: Sequence[tuple[Vector, Vector]], diagnosis: str) -> Finding:
    worst = 0.0
    for one, two in pairs:
        length = float(np.linalg.norm(one) * np.linalg.norm(two))
        worst = max(worst, abs(float(one @ two)) / length * math.sqrt(len(one)) if length else math.inf)
    return bounded(check, worst, allowed(len(pairs)), diagnosis=diagnosis)


def _white(seen: NoisyRounds, noise: Matrix, declared: int) -> list[Finding]:
    """Check noise that should be white from round to round, with standard deviation 1."""
    empty, crowded = seen.clients == 0, seen.clients >= declared
    pairs = list(itertools.combinations(noise[:_SHOWN], 2))
    return [
        _size("noise has its stated size", noise[:1]),
        _size("noise has its stated size, at the norm of its round", noise),
        _size("a round without clients has noise like any other", noise[empty], empty=True),
        _size("noise does not grow with the clients", noise[crowded]),
        _uncorrelated("noise is new in every round", pairs, "noise of one round comes again in another"),
    ]


def _tree(seen: NoisyRounds, declared: int) -> list[Finding]:
    """Check that running sums carry the noise of a binary tree, as it is or efficiently combined.

    Both are known: the plain running sum of n rounds rests on one node for each 1 in the binary form of n; Honaker's
    estimator takes each node together with its descendants, which makes its variance ``2**l / (2**(l+1) - 1)`` at
    height l. What stands between the two passes the first check, which is about size alone.
    """
    sums = np.cumsum(seen.noise, axis=0)
    rounds, columns = sums.shape
    plain, efficient = (tree_covariance(rounds, efficient=known) for known in (False, True))
    squares = (sums**2).sum(axis=1)
    above = max(chi_square_errors(s / v, columns) for s, v in zip(squares, np.diag(plain), strict=True))
    below = max(-chi_square_errors(s / v, columns) for s, v in zip(squares, np.diag(efficient), strict=True))
    whitened = [np.linalg.solve(np.linalg.cholesky(known), sums) for known in (plain, efficient)]
    nearest = min(whitened, key=lambda noise: float(np.abs(noise @ noise.T / columns - np.eye(rounds)).max()))
    diagnosis = "running sums are noisier than a tree's: noise is independent, or added for each client"
    return [
        bounded("running sums are no noisier than a tree's", above, allowed(rounds), diagnosis=diagnosis),
        bounded(
            "running sums are as noisy as a tree's",
            below,
            allowed(rounds),
            diagnosis="noise of nodes of the tree is left out, or too small",
        ),
        *_white(seen, nearest, declared),
    ]


def tree_covariance(rounds: int, *, efficient: bool) -> Matrix:
    """Covariance of the noise of the running sums, over the variance of one node.

    Parameters
    ----------
    rounds : int
    efficient : bool
        Whether each node's sum is estimated from its descendants as well (Honaker 2015, the way up).
    """
    height = rounds.bit_length()
    places = {(level, node): 0 for level in range(height) for node in range(rounds >> level)}
    places = {key: number for number, key in enumerate(places)}

    def estimate(level: int, node: int) -> Vector:
        own = np.zeros(len(places))
        own[places[level, node]] = 1.0
        if level == 0 or not efficient:
            return own
        weight = 2**level / (2 ** (level + 1) - 1)
        return weight * own + (1 - weight) * (estimate(level - 1, 2 * node) + estimate(level - 1, 2 * node + 1))

    rows = []
    for number in range(1, rounds + 1):
        row, first = np.zeros(len(places)), 0
        for level in reversed(range(height)):
            if number >> level & 1:
                row += estimate(level, first >> level)
                first += 1 << level
        rows.append(row)
    factor = np.array(rows)
    return factor @ factor.T


def _banded(seen: NoisyRounds, settings: RoundSettings) -> list[Finding]:
    """Check noise ``inverse(C) @ Z``, Z white, by the inverse of its covariance between rounds, ``C.T @ C``.

    That holds the products of the columns of C: 1 for each with itself, 0 for two that one client meets.
    """
    rounds, columns = seen.noise.shape
    gram = _precision(seen.noise)
    degrees = columns - rounds + 1
    squares = [columns / gram[one, one] for one in range(rounds)]
    lengths = [chi_square_errors(value, degrees) for value in squares]
    met = [
        abs(gram[one, two]) / math.sqrt(gram[one, one] * gram[two, two]) * math.sqrt(columns - rounds)
        for one, two in itertools.combinations(range(rounds), 2)
        if two - one >= settings.separation
    ]
    total = float((seen.noise.sum(axis=0) ** 2).sum()) / rounds
    return [
        bounded(
            "columns of the matrix are no longer than 1",
            -min(lengths),
            allowed(rounds),
            diagnosis="too little noise: a column of the matrix is too long, or a round has none of its own",
        ),
        bounded(
            "columns of the matrix are no shorter than 1",
            max(lengths),
            allowed(rounds),
            diagnosis="too much noise: added for each client, or of another norm",
        ),
        bounded(
            "rounds that one client can meet are orthogonal",
            max(met, default=0.0),
            allowed(max(1, len(met))),
            diagnosis="columns overlap that a client meets: the band is wider than its rounds of absence",
        ),
        bounded(
            "later noise takes back some of the earlier",
            chi_square_errors(total, columns),
            -allowed(),
            diagnosis="the noise of the rounds is independent, so no banded matrix",
        ),
    ]


def _sensitivity(noise: Matrix, settings: RoundSettings) -> Finding:
    """Check that all rounds of one client together tell no more than is charged for.

    With covariance S between rounds, a client that adds vectors of norm 1 in the rounds of a pattern ``a`` of signs
    moves what is released by ``a @ inverse(S) @ a`` squared, in units of the noise.
    """
    rounds, columns = noise.shape
    tree = settings.noise == "tree aggregation"
    of_tree = tree_squared_sensitivity(rounds=rounds, separation=settings.separation) if tree else 0
    gram = _precision(noise)
    worst, patterns = -math.inf, 0
    for first in range(min(settings.separation, rounds)):
        places = list(range(first, rounds, settings.separation))
        # With many visits only the patterns of one sign and of changing sign.
        signs = itertools.product((1.0, -1.0), repeat=len(places) - 1) if len(places) <= 5 else _few(len(places) - 1)
        for pattern in signs:
            towards = np.zeros(rounds)
            towards[places] = (1.0, *pattern)
            told = float(towards @ gram @ towards)
            patterns += 1
            charged = of_tree if tree else len(places)
            worst = max(worst, -chi_square_errors(columns * charged / told, columns - rounds + 1))
    return bounded(
        "all rounds of a client tell no more than is charged",
        worst,
        allowed(max(1, patterns)),
        diagnosis="the noise of the rounds together is too small for what a client adds over its visits",
    )


def _few(length: int) -> list[tuple[float, ...]]:
    return [(1.0,) * length, tuple((-1.0) ** (place + 1) for place in range(length))]


def _precision(noise: Matrix) -> Matrix:
    """Inverse of the covariance between rounds; where a round has no noise of its own, entries are huge."""
    covariance = noise @ noise.T / noise.shape[1]
    return np.asarray(np.linalg.inv(covariance + 1e-12 * np.eye(len(noise))))


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
