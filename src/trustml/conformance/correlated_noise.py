"""Checks of noise that is correlated over rounds, by its covariance between rounds."""

from __future__ import annotations

import itertools
import math

import numpy as np

from trustml.conformance.findings import CheckResult, bounded
from trustml.conformance.noise_statistics import allowed, chi_square_errors, ratio_of, sized
from trustml.conformance.rounds import Matrix
from trustml.conformance.subject import Vector
from trustml.privacy.ledger import NoiseKind
from trustml.privacy.noise_strategy import noise_matrix, noise_strategy, tree_squared_sensitivity
from trustml.scenario.federated import BufferedToeplitz


def check_correlated(
    noise: Matrix, kind: NoiseKind, *, separation: int, every_node: bool = True, why: str = ""
) -> tuple[list[CheckResult], Matrix]:
    """Check noise of one training that hangs together over its steps or rounds.

    Parameters
    ----------
    noise : float64 array of shape (rounds, weights)
        Over its stated standard deviation.
    kind : NoiseKind
        As it is charged; not "independent".
    separation : int
        Rounds from one in which somebody takes part to the next.
    every_node : bool
        Of a tree, what is charged; see :func:`trustml.privacy.noise_strategy.tree_squared_sensitivity`.
    why : str
        Why there is no more noise to look at, if there is too little.

    Returns
    -------
    findings : list of CheckResult
    white : float64 array of shape (rounds, weights)
        Noise that is white from round to round if it has the covariance that was found.
    """
    rounds, charged = len(noise), None
    if kind == "tree aggregation":
        found, white = check_tree(noise)
        charged = tree_squared_sensitivity(rounds=rounds, separation=separation, every_node=every_node)
    else:
        white = np.asarray(np.linalg.solve(np.linalg.cholesky(noise @ noise.T / noise.shape[1]), noise), np.float64)
        if kind == "banded matrix factorisation":
            found = check_banded(noise, separation=separation, why=why)
        else:
            charged = -(-rounds // separation)
            found = check_buffered(noise, separation=separation, why=why)
    return [*found, check_sensitivity(noise, separation=separation, charged=charged)], white


def check_tree(noise: Matrix) -> tuple[list[CheckResult], Matrix]:
    """Check that running sums carry the noise of a binary tree, as it is or efficiently combined.

    Both are known: the plain running sum of n rounds rests on one node for each 1 in the binary form of n; Honaker's
    estimator takes each node together with its descendants, which makes its variance ``2**l / (2**(l+1) - 1)`` at
    height l. What stands between the two passes the first check, which is about size alone.

    Returns
    -------
    findings : list of CheckResult
    whitened : float64 array of shape (rounds, weights)
        Noise that is white if the running sums have the nearer of the two covariances.
    """
    sums = np.cumsum(noise, axis=0)
    rounds, columns = sums.shape
    plain, efficient = (tree_covariance(rounds, efficient=known) for known in (False, True))
    squares = (sums**2).sum(axis=1)
    above = max(chi_square_errors(s / v, columns) for s, v in zip(squares, np.diag(plain), strict=True))
    below = max(-chi_square_errors(s / v, columns) for s, v in zip(squares, np.diag(efficient), strict=True))
    whitened = [np.linalg.solve(np.linalg.cholesky(known), sums) for known in (plain, efficient)]
    nearest = min(whitened, key=lambda white: float(np.abs(white @ white.T / columns - np.eye(rounds)).max()))
    diagnosis = "running sums are noisier than a tree's: noise is independent, or added for each client"
    findings = [
        bounded("running sums are no noisier than a tree's", above, allowed(rounds), diagnosis=diagnosis),
        bounded(
            "running sums are as noisy as a tree's",
            below,
            allowed(rounds),
            diagnosis="noise of nodes of the tree is left out, or too small",
        ),
    ]
    return findings, nearest


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


def check_banded(noise: Matrix, *, separation: int, why: str) -> list[CheckResult]:
    """Check noise ``inverse(C) @ Z``, Z white, by the inverse of its covariance between rounds, ``C.T @ C``.

    That holds the products of the columns of C: 1 for each with itself, 0 for two that one client meets.
    """
    rounds, columns = noise.shape
    gram = _precision(noise)
    degrees = columns - rounds + 1
    squares = [columns / gram[one, one] for one in range(rounds)]
    lengths = [chi_square_errors(value, degrees) for value in squares]
    met = [
        abs(float(gram[one, two])) / math.sqrt(gram[one, one] * gram[two, two]) * math.sqrt(columns - rounds)
        for one, two in itertools.combinations(range(rounds), 2)
        if two - one >= separation
    ]
    length = ratio_of(float(np.mean(squares)) / degrees, rounds * degrees)
    return [
        sized(
            "noise has its stated size, whatever the round",
            length,
            diagnosis=f"columns of the matrix with noise of {length.value:.3g} of what is stated",
            why=why,
        ),
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
        _takes_back(noise),
    ]


def check_buffered(noise: Matrix, *, separation: int, why: str) -> list[CheckResult]:
    """Check noise ``inverse(C) @ Z`` whose C is scaled so that the worst pattern of visits tells what is charged.

    Its size is that of what is white by the core's tables for as many buffers as there are by default.
    """
    columns, rounds = noise.shape[1], len(noise)
    gram = _precision(noise)
    most = max(float(gram[first::separation, first::separation].sum()) for first in range(min(separation, rounds)))
    errors = (
        chi_square_errors(columns * -(-rounds // separation) / most, columns - rounds + 1) if most > 0 else math.inf
    )
    spare = "too much noise: added for each client, or more than is charged for"
    tables = noise_matrix(noise_strategy(BufferedToeplitz(), steps=rounds, separation=separation))
    length = ratio_of(float((np.linalg.solve(tables, noise) ** 2).mean()), noise.size)
    return [
        sized(
            "noise has its stated size, whatever the round",
            length,
            diagnosis=f"noise of {length.value:.3g} of what is stated, or of other buffers",
            why=why,
        ),
        bounded("noise is no larger than its charge needs", errors, allowed(), diagnosis=spare),
        _takes_back(noise),
    ]


def _takes_back(noise: Matrix) -> CheckResult:
    rounds, columns = noise.shape
    return bounded(
        "later noise takes back some of the earlier",
        chi_square_errors(float((noise.sum(axis=0) ** 2).sum()) / rounds, columns),
        -allowed(),
        diagnosis="the noise of the rounds is independent, so of no such matrix",
    )


def check_sensitivity(noise: Matrix, *, separation: int, charged: float | None) -> CheckResult:
    """Check that all rounds of one client together tell no more than is charged for.

    With covariance S between rounds, a client that adds vectors of norm 1 in the rounds of a pattern ``a`` of signs
    moves what is released by ``a @ inverse(S) @ a`` squared, in units of the noise. Where nothing else is charged for
    all patterns, it is the number of visits.
    """
    rounds, columns = noise.shape
    gram = _precision(noise)
    worst, patterns = -math.inf, 0
    for first in range(min(separation, rounds)):
        places = list(range(first, rounds, separation))
        # With many visits only the patterns of one sign and of changing sign.
        signs = itertools.product((1.0, -1.0), repeat=len(places) - 1) if len(places) <= 5 else _few(len(places) - 1)
        for pattern in signs:
            towards = np.zeros(rounds)
            towards[places] = (1.0, *pattern)
            told = float(towards @ gram @ towards)
            patterns += 1
            paid = len(places) if charged is None else charged
            worst = max(worst, -chi_square_errors(columns * paid / told, columns - rounds + 1))
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
