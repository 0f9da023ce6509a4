"""Shares give a secret back at the threshold, and below it say nothing."""

from __future__ import annotations

import contextlib
import itertools
import secrets

import pytest

from trustml.errors import PrivacyError
from trustml.privacy.secret_sharing import PRIME, SHARE_BYTES, combine, split


def test_any_shares_at_the_threshold_give_the_secret_back():
    secret = secrets.token_bytes(32)
    shares = split(secret, [1, 2, 5, 7, 11], threshold=3)
    assert all(len(share) == SHARE_BYTES for share in shares.values())
    for count in (3, 4, 5):
        for chosen in itertools.combinations(shares, count):
            assert combine({point: shares[point] for point in chosen}, threshold=3) == secret
    for chosen in itertools.combinations(shares, 2):
        with pytest.raises(PrivacyError, match="2 shares of a secret; 3 are needed"):
            combine({point: shares[point] for point in chosen}, threshold=3)


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, bytes(31) + b"\x01"])
def test_the_ends_of_the_range(secret):
    assert combine(split(secret, [1, 2], threshold=2), threshold=2) == secret


def test_fewer_shares_fit_every_secret():
    """One share fewer than the threshold and any other secret lie on a polynomial, so they rule no secret out."""
    secret = secrets.token_bytes(32)
    shares = split(secret, [1, 2, 3], threshold=3)
    known = {1: shares[1], 2: shares[2]}
    with contextlib.suppress(PrivacyError):  # no line goes through them and the secret
        assert combine(known, threshold=2) != secret
    other = secrets.token_bytes(32)
    first, second, value = (*(int.from_bytes(share, "big") for share in known.values()), int.from_bytes(other, "big"))
    third = (value - 3 * first + 3 * second) % PRIME  # the parabola through (0, value), (1, first), (2, second)
    assert combine({**known, 3: third.to_bytes(SHARE_BYTES, "big")}, threshold=3) == other


def test_a_share_of_another_secret_is_found():
    shares = split(secrets.token_bytes(32), [1, 2, 3], threshold=2)
    shares[3] = split(secrets.token_bytes(32), [1, 2, 3], threshold=2)[3]
    with pytest.raises(PrivacyError, match="the shares at points 1, 2, 3 are not of one secret"):
        combine(shares, threshold=2)


def test_the_prime_is_one():
    """Fermat's test in some bases."""
    assert PRIME > 2**256
    assert all(pow(base, PRIME - 1, PRIME) == 1 for base in (2, 3, 5, 7, 11, 13))


@pytest.mark.parametrize(
    ("points", "threshold"), [([0, 1], 2), ([1, 1], 2), ([1, 2], 3), ([1, 2], 0)], ids=["zero", "twice", "few", "none"]
)
def test_what_cannot_be_split(points, threshold):
    with pytest.raises(ValueError, match="cannot split 32 bytes"):
        split(bytes(32), points, threshold=threshold)
