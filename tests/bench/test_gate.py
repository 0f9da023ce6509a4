"""The gate: what counts as worse, and what is named."""

from __future__ import annotations

import pytest

from tests.bench.fakes import absent, measured, result
from trustml_bench.gate import compare_results, passes
from trustml_bench.workloads import Workload

PRIVATE = Workload(kind="private_step", network="mlp", size=256)
PLAIN = Workload(kind="plain_step", network="mlp", size=256)


def some(private: float, opacus: float = 0.1, **fields):
    return result(
        measured(PLAIN, "jax plain", 0.002, role="floor"),
        measured(PRIVATE, "trustml jax", private, role="ours", **fields),
        measured(PRIVATE, "Opacus hooks", opacus, environment="torch"),
        measured(PRIVATE, "trustml jax", private, role="ours", allocator="default"),
        measured(PRIVATE, "Opacus hooks", opacus, environment="torch", allocator="default"),
    )


def changes(compared):
    return {one.name: one.change for one in compared}


def test_equal_results_pass():
    compared = compare_results(some(0.002), some(0.002))
    assert set(changes(compared).values()) == {"within"} and passes(compared)
    assert any(not one.lower_is_better for one in compared) and any(one.lower_is_better for one in compared)


@pytest.mark.parametrize(("factor", "change"), [(1.1, "within"), (1.5, "worse"), (0.6, "better")])
def test_both_directions(factor, change):
    compared = compare_results(some(0.002), some(0.002 * factor))
    assert set(changes(compared).values()) == {change}
    assert passes(compared) == (change != "worse")


def test_times_alone_do_not_count():
    slower = result(*(_slowed(one) for one in some(0.002).measured))
    assert passes(compare_results(some(0.002), slower))


def test_noise_that_reaches_the_allowance_passes():
    wide = tuple(0.002 * factor for factor in (0.5, 0.6, 2, 2, 2, 3, 3))
    noisy = some(0.002)
    noisy = result(*(one if one.role != "ours" else _with_turns(one, wide) for one in noisy.measured))
    compared = compare_results(some(0.002), noisy)
    assert passes(compared)
    assert any(one.now.value > 1.5 * one.before.value for one in compared if one.lower_is_better)


def test_what_broke_fails_and_what_was_not_run_is_named():
    compared = compare_results(some(0.002), some(0.002, status="failed", reason="broke"))
    named = {one.name: one for one in compared if one.change != "within"}
    assert named and all(one.change == "broken" and "broke" in one.reason for one in named.values())
    assert not passes(compared)
    compared = compare_results(some(0.002), result())
    assert set(changes(compared).values()) == {"not run"} and passes(compared)
    here = [absent(PRIVATE, "trustml jax", status="missing", reason="run X", role="ours")]
    compared = compare_results(some(0.002), result(*here))
    assert any("run X" in one.reason for one in compared) and passes(compared)


def test_the_allowance_can_be_chosen():
    assert passes(compare_results(some(0.002), some(0.003), allowance=0.6))
    assert not passes(compare_results(some(0.002), some(0.00215), allowance=0.02))


def _slowed(one):
    return _with_turns(one, tuple(3 * turn for turn in one.turns))


def _with_turns(one, turns):
    import msgspec

    return msgspec.structs.replace(one, turns=turns)
