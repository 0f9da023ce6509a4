"""Every engine in PyTorch does the work of its kind."""

from __future__ import annotations

import pytest

from tests.bench.expected import check
from tests.bench.workloads import cases, label, outcome
from trustml.bench.engines import fastest

pytestmark = [
    pytest.mark.torch,
    pytest.mark.jax,
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
]
CASES = [case for case in cases("torch") if case[0].name != "torch.compile plain"]


@pytest.fixture(autouse=True)
def _one_try(monkeypatch):
    monkeypatch.setattr(fastest, "_SECONDS", 0.0)


@pytest.mark.parametrize("case", CASES, ids=label)
def test_it_does_the_work_of_its_kind(case):
    check(*case, outcome(*case))
