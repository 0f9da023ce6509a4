"""The steps of an ablation, against plain steps and against gradients clipped one by one."""

from __future__ import annotations

import pytest

from tests.backends import ablated_case

pytestmark = [pytest.mark.jax, pytest.mark.long]  # in short of PyTorch: what is left out is left out by the core


def test_an_ablation_takes_the_private_steps_without_what_it_leaves_out(tmp_path):
    from trustml.backends.table import load_backend

    ablated_case.check(ablated_case.findings(load_backend("jax"), tmp_path))
