"""Every engine in JAX does the work of its kind."""

from __future__ import annotations

import pytest

from tests.bench.expected import check, parameters
from tests.bench.workloads import cases, outcome
from trustml_bench.engines import fastest

pytestmark = [
    pytest.mark.jax,
    pytest.mark.filterwarnings("ignore:optax.global_norm is deprecated"),  # of jax-privacy 2.0
]
CASES = cases("jax")


@pytest.fixture(autouse=True)
def _one_try(monkeypatch):
    monkeypatch.setattr(fastest, "_SECONDS", 0.0)


@pytest.mark.parametrize("case", parameters(CASES))
def test_it_does_the_work_of_its_kind(case):
    check(*case, outcome(*case))
