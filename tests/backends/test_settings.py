"""How many rows go through a network at once in private training."""

from __future__ import annotations

import pytest

from trustml.backends.settings import PrivateSettings
from trustml.scenario.optimizers import SGD


@pytest.mark.parametrize(
    ("most", "multiple", "rows"),
    [
        (None, 1, 80),  # what 98 of 100 Poisson batches do not pass
        (500, 1, 80),
        (32, 1, 32),  # two blocks of an expected batch, without filling
        (40, 1, 32),
        (24, 1, 22),
        (6, 1, 6),
        (1, 1, 1),
        (24, 8, 24),
    ],
)
def test_blocks_of_an_expected_batch_are_even(most, multiple, rows):
    settings = PrivateSettings(optimizer=SGD(), expected_batch_size=64, noise_seed=(1, 2, 3, 4))
    assert settings.block_rows(most=most, multiple=multiple) == rows


def test_microbatches_are_cut_evenly():
    settings = PrivateSettings(optimizer=SGD(), expected_batch_size=1000, noise_seed=(1, 2, 3, 4), micro_batch_size=100)
    assert [settings.block_rows(), settings.block_rows(most=60), settings.block_rows(most=30)] == [100, 50, 25]
