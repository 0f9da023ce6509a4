"""Every engine in PyTorch does the work of its kind."""

from __future__ import annotations

import time

import pytest

from tests.bench.expected import check, parameters
from tests.bench.workloads import TINY, cases, outcome
from trustml_bench.catalogue import ENGINES
from trustml_bench.engine import Work
from trustml_bench.engines import fastest, torch_network

pytestmark = [
    pytest.mark.torch,
    pytest.mark.jax,
    pytest.mark.filterwarnings("ignore:Full backward hook is firing"),
]
CASES = [case for case in cases("torch") if case[0].name != "torch.compile plain"]


@pytest.fixture(autouse=True)
def _one_try(monkeypatch):
    monkeypatch.setattr(fastest, "_SECONDS", 0.0)


@pytest.mark.parametrize("case", parameters(CASES))
def test_it_does_the_work_of_its_kind(case):
    check(*case, outcome(*case))


def test_opacus_sees_images_as_torch_users_have_them():
    """With numpy's strides of a single channel, PyTorch goes on channels-last, where Opacus 1.6.0 is wrong."""
    (workload,) = [one for one in TINY["private_step"] if one.network == "small_cnn"]
    inputs, _ = torch_network.batch(workload)
    assert inputs.stride() == (64, 64, 8, 1)
    (hooks,) = [engine for engine in ENGINES if engine.name == "Opacus hooks"]
    check(hooks, workload, outcome(hooks, workload))


def test_every_way_is_tried_and_the_shortest_kept(monkeypatch):
    monkeypatch.setattr(fastest, "_SECONDS", 0.02)
    tried: list[str] = []

    def way(name: str, seconds: float):
        def unit() -> None:
            tried.append(name)
            time.sleep(seconds)

        return lambda: Work(unit=unit, outcome=dict)

    best = fastest.fastest({"slow": way("slow", 0.02), "fast": way("fast", 0.0)})
    assert best.note == "fast" and set(tried) == {"slow", "fast"}
