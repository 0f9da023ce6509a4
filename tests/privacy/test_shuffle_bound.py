"""The lower bound for shuffled batches is never above what holds without amplification, at any delta."""

from __future__ import annotations

import dp_accounting
import pytest
from dp_accounting.pld import common

from trustml.privacy.shuffle_bound import shuffle_lower_bound

DELTAS = (1e-5, 1e-10, 1e-14, 1e-16, 1e-18, 1e-30)
SHUFFLED = (
    (1.0, 100, 1), (0.3, 1000, 1), (0.05, 50, 2), (3.0, 234, 20), (30.0, 100, 5), (0.02, 340, 1), (0.01, 1459, 15),
)  # fmt: skip
EVERY_DELTA = [
    # in short each training with one of them, so that each of them comes with a training
    pytest.param(*case, delta, marks=() if (place - number) % 6 == 0 else pytest.mark.long)
    for number, case in enumerate(SHUFFLED)
    for place, delta in enumerate(DELTAS)
]


@pytest.mark.parametrize(("noise", "batches", "epochs", "delta"), EVERY_DELTA)
def test_no_more_than_the_plain_gaussian(noise, batches, epochs, delta):
    low = shuffle_lower_bound(noise_multiplier=noise, steps_per_epoch=batches, epochs=epochs, delta=delta)
    assert 0 <= low <= dp_accounting.get_epsilon_gaussian(noise / epochs**0.5, delta)


@pytest.mark.parametrize(("noise", "batches", "epochs"), [(0.1, 100, 10**5), (1.0, 2, 10**12), (1.0, 100, 10**6)])
def test_many_epochs_stay_on_a_bounded_grid(monkeypatch, noise, batches, epochs):
    """These took gigabytes: a grid of fixed interval has as many points as epsilon is large."""
    sizes = []
    real = common.self_convolve

    def counted(numbers, times, tail=0.0):
        sizes.append(sum(abs(end) for end in common.compute_self_convolve_bounds(numbers, times, tail)))
        assert sizes[-1] <= 1 << 24
        return real(numbers, times, tail)

    monkeypatch.setattr(common, "self_convolve", counted)
    low = shuffle_lower_bound(noise_multiplier=noise, steps_per_epoch=batches, epochs=epochs, delta=1e-5)
    assert sizes and 0 <= low <= dp_accounting.get_epsilon_gaussian(noise / epochs**0.5, 1e-5)


def test_the_bound_is_close_where_noise_is_small():
    """One of the largest numbers is the example's for certain: nothing is lost."""
    low = shuffle_lower_bound(noise_multiplier=0.3, steps_per_epoch=1000, epochs=4, delta=1e-5)
    assert low >= 0.99 * dp_accounting.get_epsilon_gaussian(0.15, 1e-5)
