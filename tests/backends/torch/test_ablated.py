"""The steps of an ablation, against plain steps and against gradients clipped one by one."""

from __future__ import annotations

import pytest

from tests.backends import ablated_case

pytestmark = pytest.mark.torch


def test_an_ablation_takes_the_private_steps_without_what_it_leaves_out(tmp_path):
    from trustml.backends.table import load_backend

    ablated_case.check(ablated_case.findings(load_backend("torch"), tmp_path))
