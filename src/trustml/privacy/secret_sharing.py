"""Shamir's secret sharing (Communications of the ACM 22(11), 1979) over the integers modulo a prime.

The secret is a random polynomial's value at 0, and a share is its value at another point: as many shares as the
polynomial has coefficients give it back, and fewer fit every secret equally well.
"""

from __future__ import annotations

import functools
import itertools
import operator
import secrets
from collections.abc import Mapping, Sequence

from trustml.errors import PrivacyError

PRIME = 2**256 + 297  # the smallest prime above what 32 bytes hold
SECRET_BYTES, SHARE_BYTES = 32, 33


def split(secret: bytes, points: Sequence[int], *, threshold: int) -> dict[int, bytes]:
    """Split 32 bytes into a share at each point, any `threshold` of which give them back.

    Parameters
    ----------
    secret : bytes
    points : sequence of int
        Distinct, from 1.
    threshold : int
    """
    if len(secret) != SECRET_BYTES or not 0 < threshold <= len(set(points)) == len(points) or min(points) < 1:
        raise ValueError(f"cannot split {len(secret)} bytes over {len(points)} points with threshold {threshold}")
    line = [int.from_bytes(secret, "big"), *(secrets.randbelow(PRIME) for _ in range(threshold - 1))]
    return {point: _at(line, point).to_bytes(SHARE_BYTES, "big") for point in points}


def combine(shares: Mapping[int, bytes], *, threshold: int) -> bytes:
    """Give back what was split, from at least `threshold` shares by their points.

    Raises
    ------
    PrivacyError
        If there are fewer, or they are no shares of one secret.
    """
    if len(shares) < threshold:
        raise PrivacyError(f"{len(shares)} shares of a secret; {threshold} are needed")
    points = tuple(sorted(shares))
    values = {point: int.from_bytes(shares[point], "big") for point in points}
    used, rest = points[:threshold], points[threshold:]
    # The others must lie on the same polynomial: else somebody's share is another's, or made up.
    fits = all(_through(used, values, point) == values[point] for point in rest)
    secret = _through(used, values, 0)
    if not fits or secret >= 256**SECRET_BYTES:
        raise PrivacyError(f"the shares at points {', '.join(map(str, points))} are not of one secret")
    return secret.to_bytes(SECRET_BYTES, "big")


def _at(line: Sequence[int], point: int) -> int:
    return sum(map(operator.mul, line, _powers(point, len(line)))) % PRIME


@functools.lru_cache(maxsize=1024)
def _powers(point: int, count: int) -> tuple[int, ...]:
    """Powers of a point from 0 on: alike for all secrets of a round."""
    return tuple(itertools.accumulate(range(count - 1), lambda power, _: power * point % PRIME, initial=1))


def _through(used: tuple[int, ...], values: Mapping[int, int], point: int) -> int:
    weights = _weights(used, point)
    return sum(map(operator.mul, weights, map(values.__getitem__, used))) % PRIME


@functools.lru_cache(maxsize=1024)
def _weights(used: tuple[int, ...], point: int) -> tuple[int, ...]:
    """Lagrange's weights of the values at these points for the value at another: alike for all secrets of a round."""
    weights = []
    for place in used:
        above = below = 1
        for other in used:
            if other != place:
                above, below = above * (point - other) % PRIME, below * (place - other) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)
