"""Vectors as whole numbers: no wrap-around, no larger norm, and within the error that is said."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.errors import UsageError
from trustml.privacy.secure_settings import SecureAggregation, protection


def settings_of(
    *, clients: int = 5, threshold: int = 3, clipping_norm: float = 1.0, bits: int = 32
) -> SecureAggregation:
    return SecureAggregation(clients=clients, threshold=threshold, clipping_norm=clipping_norm, bits=bits)  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("scale", [1e-9, 0.3, 1.0, 1e9, 1e200])
def test_the_norm_of_what_is_sent_is_the_clipping_norm_at_the_most(bits, scale):
    """In exact integers: rounding to the nearest, or of floats, would pass it."""
    generator = np.random.default_rng(5)
    settings = settings_of(bits=bits, clipping_norm=0.7)
    for size in (1, 2, 301):
        drawn = generator.normal(size=size) * scale
        whole = settings.quantised(drawn).view(f"<i{bits // 8}")
        assert sum(int(number) ** 2 for number in whole) <= settings.levels**2
        clipped = drawn * min(1.0, 0.7 / np.linalg.norm(drawn / scale) / scale)
        assert np.abs(settings.decoded(settings.quantised(drawn)) - clipped).max() <= settings.error(1)


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_largest_sum_does_not_wrap_around(bits, sign):
    settings = settings_of(clients=1000, threshold=501, bits=bits)
    total = settings.quantised([sign]) * np.array(1000, f"<u{bits // 8}")
    assert settings.decoded(total)[0] == pytest.approx(sign * 1000, abs=settings.error(1000))
    assert settings.levels * 1000 < 2 ** (bits - 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_counts_as_zero(bad):
    assert not settings_of().quantised([0.5, bad]).any()


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("threshold", {"clients": 4, "threshold": 2}),
        ("threshold", {"clients": 4, "threshold": 5}),
        ("clients", {"clients": 1, "threshold": 1}),
        ("clients", {"clients": 2**15, "threshold": 2**15, "bits": 16}),
        ("bits", {"bits": 24}),
        ("clipping_norm", {"clipping_norm": 0.0}),
        ("clipping_norm", {"clipping_norm": float("nan")}),
        ("clipping_norm", {"clipping_norm": float("inf")}),
    ],
)
def test_what_cannot_be_agreed_on_is_named(field, given):
    with pytest.raises(UsageError, match=rf"^{field}: .*; "):
        settings_of(**given)


def test_what_is_protected_is_said_with_its_numbers():
    first, second, third, fourth = protection(settings_of(clients=10, threshold=7, clipping_norm=0.5))
    assert "with 6 of the 10 clients on its side" in first
    assert (
        "of 7 clients at the least, with 3 of them on its side" in second
        and "keys of its own reads everything" in second
    )
    assert "no private release" in third and "added by the server" in third
    assert "norm 0.5" in fourth
