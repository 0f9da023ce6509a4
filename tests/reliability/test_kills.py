"""Runs that are disturbed at random instants, twenty times; ``python -m tests.reliability.kills`` does it 200 times."""

from __future__ import annotations

import os
import random

import pytest

from tests.reliability.kills import Figures, disturb_all, full_disk, small_disk
from tests.reliability.launched import fourth_backend, imported

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]


def test_twenty_disturbances_lose_nothing(tmp_path):
    figures = Figures()
    imported()
    with fourth_backend():
        disturb_all(tmp_path, figures, count=20, seed=int.from_bytes(os.urandom(4)), told=lambda: None)
    assert figures.count == 20 and figures.runs >= 2


def test_a_disk_that_is_full_is_one_line_and_loses_nothing(tmp_path):
    figures = Figures()
    imported()
    with fourth_backend(), small_disk(tmp_path / "disk") as place:
        if place is None:
            pytest.skip("this user may not mount a disk of its own")
        full_disk(place, generator=random.Random(0), figures=figures)
    assert figures.runs == 1
