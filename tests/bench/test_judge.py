"""Ratios, their intervals, and verdicts."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.fakes import absent, measured, result
from trustml_bench.bars import BARS, Bar, Side
from trustml_bench.catalogue import ENGINES
from trustml_bench.judge import (
    Ratio,
    difference_ratio,
    fastest,
    judge,
    judge_all,
    median_interval,
    paired_ratio,
    verdict_of,
)
from trustml_bench.selection import FULL
from trustml_bench.workloads import Workload, trained_numbers

PRIVATE = Workload(kind="private_step", network="mlp", size=256)
PLAIN = Workload(kind="plain_step", network="mlp", size=256)
BAR = Bar(
    what="x",
    above=Side(workload=PRIVATE, engines=("a", "b")),
    below=Side(workload=PLAIN, engines=("c",)),
    at_most=2.0,
)
seconds = st.floats(1e-6, 1e3)
turns = st.lists(seconds, min_size=1, max_size=12)


@given(turns, st.data())
@settings(deadline=None)
def test_the_interval_holds_the_ratio_and_lies_within_the_pairs(above, data):
    below = data.draw(st.lists(seconds, min_size=len(above), max_size=len(above)))
    ratio = paired_ratio(above, below)
    pairs = np.array(above) / np.array(below)
    slack = 1 + 1e-9
    assert ratio.turns == len(above)
    assert pairs.min() / slack <= ratio.low <= ratio.value * slack
    assert ratio.value / slack <= ratio.high <= pairs.max() * slack


@given(turns, st.data(), st.floats(1e-3, 1e3))
@settings(deadline=None)
def test_turned_around_and_slowed_down(above, data, factor):
    below = data.draw(st.lists(seconds, min_size=len(above), max_size=len(above)))
    ratio, turned = paired_ratio(above, below), paired_ratio(below, above)
    assert [turned.value, turned.low, turned.high] == pytest.approx([1 / ratio.value, 1 / ratio.high, 1 / ratio.low])
    slowed = paired_ratio([factor * value for value in above], [factor * value for value in below])
    assert [slowed.value, slowed.low, slowed.high] == pytest.approx([ratio.value, ratio.low, ratio.high])


@given(st.lists(st.floats(0, 1e6), min_size=5, max_size=40), st.floats(0.5, 0.98))
@settings(deadline=None)
def test_a_higher_level_has_a_wider_interval(values, level):
    low, high = median_interval(values, level)
    wide_low, wide_high = median_interval(values, level + 0.01)
    assert wide_low <= low + 1e-6 and high - 1e-6 <= wide_high


def test_seven_turns_lie_between_the_extreme_and_the_next():
    low, high = median_interval(np.arange(1.0, 8.0))
    assert 1 < low < 2 and 6 < high < 7
    assert low + high == pytest.approx(8)
    assert median_interval([3.0, 1.0, 2.0]) == (1, 3)  # too few for 90 %: the range
    assert median_interval([5.0]) == (5, 5)


@pytest.mark.parametrize("law", ["normal", "skewed", "drifting"])
@pytest.mark.parametrize("count", [7, pytest.param(12, marks=pytest.mark.long)])
def test_the_interval_holds_the_true_ratio_about_nine_times_in_ten(law, count):
    generator = np.random.default_rng(count)
    trials, true, held = 2000, 1.3, 0
    for _ in range(trials):
        noise = np.exp(0.1 * generator.standard_normal((2, count)))
        if law == "skewed":  # a median of 1, as the true ratio is one of medians
            noise[0] = np.exp(generator.exponential(0.2, count) - 0.2 * np.log(2))
            noise[1] = 1
        if law == "drifting":  # the machine gets slower, for both
            noise *= np.linspace(1, 1.5, count)
        ratio = paired_ratio((true * noise[0]).tolist(), noise[1].tolist())
        held += ratio.low <= true <= ratio.high
    assert 0.85 <= held / trials <= 0.95


@given(st.floats(0.1, 10), st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 10), st.booleans())
def test_verdicts(value, down, up, bound, over):
    ratio = Ratio(value=value, low=value * (1 - down), high=value * (1 + up), turns=7)
    bar = msgspec.structs.replace(BAR, at_most=bound if over else None, at_least=None if over else bound)
    right = value <= bound if over else value >= bound
    inside = ratio.low <= bound <= ratio.high
    assert verdict_of(ratio, bar) == ("met" if right else "met within noise" if inside else "not met")


def test_turns_that_one_engine_sat_out_are_left_out():
    ratio = paired_ratio([2.0, None, 4.0, None], [1.0, 1.0, 1.0, None])
    assert ratio.turns == 2 and ratio.low == pytest.approx(2) and ratio.high == pytest.approx(4)
    assert paired_ratio([None, 1.0], [1.0, None]) is None


def test_the_fastest_of_a_side_is_taken_and_failures_are_named():
    found = result(measured(PRIVATE, "a", 3.0), measured(PRIVATE, "b", 2.0), measured(PLAIN, "c", 1.6))
    judged = judge(BAR, found)
    assert (judged.above, judged.below, judged.verdict) == ("b", "c", "met")
    assert judged.ratio.value == pytest.approx(1.25)
    broken = result(measured(PRIVATE, "a", 9.0), absent(PRIVATE, "b"), measured(PLAIN, "c", 1.0))
    assert judge(BAR, broken).verdict == "not met"
    assert "without b, which failed" in judge(BAR, broken).reason


def test_what_is_not_there_says_why():
    found = judge(BAR, result(measured(PRIVATE, "a", 1.0)))
    assert found.verdict == "not measured" and found.reason == "plain_step/mlp/256 was not run (tuned allocator)"
    found = judge(BAR, result(measured(PRIVATE, "a", 1.0), measured(PLAIN, "d", 1.0)))
    assert found.verdict == "not measured" and "c was not run on plain_step/mlp/256" in found.reason
    found = judge(BAR, result(absent(PRIVATE, "a", status="missing", reason="make it by X"), measured(PLAIN, "c", 1.0)))
    assert found.verdict == "not measured" and "make it by X" in found.reason
    assert isinstance(fastest(BAR.above, result(), "tuned"), str)


def test_fewer_than_seven_turns_are_said():
    short = measured(PRIVATE, "a", 1.0, turns=(1.0, 1.0, 1.0))
    assert "3 turns only" in judge(BAR, result(short, measured(PLAIN, "c", 1.0))).reason


def test_memory_is_compared_without_an_interval():
    bar = msgspec.structs.replace(BAR, quantity="memory", at_most=1.3)
    found = result(
        measured(PRIVATE, "a", 1.0, memory_peak=3 * 2**28, memory_before=2**28),
        measured(PLAIN, "c", 9.0, memory_peak=2**29, memory_before=2**28),
    )
    judged = judge(bar, found)
    assert judged.ratio == Ratio(value=1.5, low=1.5, high=1.5, turns=0)
    assert judged.verdict == "not met"
    assert "512 and 256 MiB" in judged.reason


def test_what_a_side_leaves_out_is_taken_off_turn_by_turn():
    noise = msgspec.structs.replace(PRIVATE, kind="noise")
    above = Side(workload=PRIVATE, engines=("a",), without=(noise, "a"))
    bar = msgspec.structs.replace(BAR, above=above)
    assert (noise, "a") in bar.engines
    timings = (measured(PRIVATE, "a", 3.0), measured(PLAIN, "c", 1.0))
    assert judge(bar, result(*timings, measured(noise, "a", 1.0))).ratio.value == pytest.approx(2)
    assert judge(bar, result(*timings)).verdict == "not measured"  # and not 3


def test_a_difference_of_nothing_is_not_made_positive_by_noise():
    """As many turns above as below: nothing is left, and neither side of a bar is met or missed by that."""
    noise = msgspec.structs.replace(PRIVATE, kind="noise")
    bar = msgspec.structs.replace(BAR, above=Side(workload=PRIVATE, engines=("a",), without=(noise, "a")))
    nothing = [measured(PRIVATE, "a", 1.0, turns=(0.8, 1.0, 1.2) * 3), measured(noise, "a", 1.0, turns=(1.0,) * 9)]
    plain = measured(PLAIN, "c", 0.2, turns=(0.2,) * 9)
    found = judge(bar, result(*nothing, plain))
    assert found.verdict == "not measured" and found.reason == "what is left cannot be told from nothing: 0 and 200 ms"
    turned = judge(msgspec.structs.replace(bar, above=bar.below, below=bar.above), result(*nothing, plain))
    assert turned.verdict == "not measured" and turned.ratio is None


@pytest.mark.parametrize(("over", "value"), [(0.3, 1.5), (0.1, 0.5)])
def test_the_interval_of_a_difference_holds_it_nine_times_in_ten(over, value):
    """The mean and deviation of one pair of engines are (over, 0.05), of the other (0.2, 0.02)."""
    generator, held = np.random.default_rng(0), 0
    for _ in range(400):
        off = generator.lognormal(0, 0.1, (2, 9))
        left = np.array([[over], [0.2]]) + generator.normal(size=(2, 9)) * [[0.05], [0.02]]
        ratio = difference_ratio([(off[0] + left[0], off[0]), (off[1] + left[1], off[1])])
        held += isinstance(ratio, Ratio) and ratio.low <= value <= ratio.high
    assert held >= 0.9 * 400


def test_only_what_was_run_together_is_compared():
    """Else what the machine did in between would be in the ratio."""
    apart = result(measured(PRIVATE, "a", 1.0, begun="1"), measured(PLAIN, "c", 1.0, role="floor", begun="2"))
    assert judge(BAR, apart).reason == "the engines were not run together, but at other times"
    assert not [row for row in apart.rows if row.measure.startswith("bench_ratio")]
    together = result(measured(PRIVATE, "a", 1.0, begun="1"), measured(PLAIN, "c", 1.0, role="floor", begun="1"))
    assert judge(BAR, together).verdict == "met"
    assert [row for row in together.rows if row.measure.startswith("bench_ratio")]


def test_memory_of_the_work_is_without_what_was_there_before_and_what_must_be_there():
    given = {"memory_before": 100 * 2**20}
    large, small = (
        Workload(kind="private_step", network=network, size=64) for network in ("encoder_64k", "encoder_8k")
    )
    numbers = [2 * 4 * trained_numbers(one) for one in (large, small)]
    found = result(
        measured(large, "a", 3.0, memory_peak=200 * 2**20 + numbers[0], **given),
        measured(small, "a", 3.0, memory_peak=180 * 2**20 + numbers[1], **given),
    )
    sides = [Side(workload=one, engines=("a",)) for one in (large, small)]
    bar = Bar(what="x", above=sides[0], below=sides[1], at_most=1.2, quantity="memory_beyond_weights")
    assert judge(bar, found).ratio.value == pytest.approx(100 / 80) and judge(bar, found).verdict == "not met"
    given |= {"memory_peak": 100 * 2**20 + numbers[1]}  # no more than weights: a peak that was not seen
    for engine in (large, small):
        unseen = [one if one.workload != engine else measured(engine, "a", 3.0, **given) for one in found.measured]
        blind = judge(bar, result(*unseen))
        assert blind.verdict == "not measured" and "beyond weights" in blind.reason
    alone = msgspec.structs.replace(bar, above=sides[1], quantity="work_mebibytes", at_most=400)
    assert judge(alone, found).ratio.value == pytest.approx(80 + numbers[1] / 2**20)
    still = measured(small, "a", 3.0, memory_peak=2**20, memory_before=2**20)
    assert judge(alone, result(still, found.measured[0])).verdict == "not measured"


def test_networks_of_real_size_are_judged_where_they_were_run():
    large = Workload(kind="plain_step", network="resnet20", size=64)
    assert all(one.bar.large for one in judge_all(result(measured(large, "torch plain", 1.0))))
    assert not any(one.bar.large for one in judge_all(result(measured(PLAIN, "jax plain", 1.0))))


def test_the_other_setting_is_shown_beside():
    both = result(
        measured(PRIVATE, "a", 3.0),
        measured(PLAIN, "c", 1.0),
        measured(PRIVATE, "a", 1.0, allocator="default"),
        measured(PLAIN, "c", 1.0, allocator="default"),
    )
    judged = judge(BAR, both)
    assert judged.ratio.value == pytest.approx(3) and judged.other.value == pytest.approx(1)


def test_every_bar_names_engines_and_workloads_that_are_there():
    run = {workload for group in FULL for workload in group}
    known = {(kind, engine.name) for engine in ENGINES for kind in engine.kinds}
    for bar in BARS:
        if bar.quantity == "passes":
            continue
        assert (bar.at_most is None) != (bar.at_least is None)
        for side in (bar.above, bar.below):
            assert side.workload in run, bar.name
            assert {(side.workload.kind, name) for name in side.engines} <= known, bar.name
    assert len({bar.name for bar in BARS}) == len(BARS)
    assert len(judge_all(result())) == len(BARS)
