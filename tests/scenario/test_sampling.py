"""Settings drawn from ranges: where they may lie, how even they are, and what the scenario then says."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from tests.records import copy_of
from tests.scenario.test_sweep import TWO, titles
from trustml.errors import ScenarioError, UsageError
from trustml.record.choices import MOST_PAIRED, are_paired
from trustml.scenario.check import check_scenario
from trustml.scenario.read import from_plain, overridden, to_plain
from trustml.scenario.sampling import Range, Sample, drawn, range_of, sample_of
from trustml.scenario.sweep import grid_override

RATE = "training.*.optimizer.learning_rate=0.01..1:log"


def test_a_sobol_sequence_fills_every_part_of_a_range_once():
    found = drawn({"a": Range(low=0.01, high=1.0, log=True), "b": Range(low=-1.0, high=3.0)}, Sample(count=64))
    for place, (low, high, scale) in enumerate(((0.01, 1.0, math.log), (-1.0, 3.0, float))):
        parts = [int(64 * (scale(one[place]) - scale(low)) / (scale(high) - scale(low)) + 1e-4) for one in found]
        assert len(set(parts)) >= 62, "but for those that six digits move over an edge"
        assert all(low <= one[place] <= high for one in found)


def test_a_range_as_wide_as_numbers_go_is_filled_in_the_logarithm():
    found = [math.log10(one) for (one,) in drawn({"a": Range(low=1e-300, high=1e300, log=True)}, Sample(count=64))]
    assert len({int((one + 300) / 600 * 64 + 1e-4) for one in found}) >= 62


def test_random_draws_are_of_the_range_and_each_choice_is_as_likely():
    domains = {"a": Range(low=1, high=4), "b": Range(low=1, high=1000, log=True), "c": ("x", "y", None)}
    domains["d"] = Range(low=0.0, high=1.0)  # so that none comes out twice
    found = drawn(domains, Sample(count=4000, by="random"))
    assert all(
        type(one[0]) is int and 1 <= one[0] <= 4 and type(one[1]) is int and 1 <= one[1] <= 1000 for one in found
    )
    assert {one[0] for one in found} == {1, 2, 3, 4} and {one[2] for one in found} == {"x", "y", None}
    below = sum(one[1] < 32 for one in found) / len(found)
    assert abs(below - 0.5) < 0.06, "the middle of the logarithm"
    everyone = drawn({"a": Range(low=1, high=4)}, Sample(count=4000, by="random"))
    assert sorted(everyone) == [(1,), (2,), (3,), (4,)], "what comes out alike is there once"


@pytest.mark.parametrize("by", ["sobol", "random"])
def test_a_larger_sample_begins_with_the_smaller_one_and_a_seed_draws_another(by):
    domains = {"a": Range(low=0.0, high=1.0), "b": Range(low=0.0, high=1.0)}
    few, many = (drawn(domains, Sample(count=count, by=by)) for count in (5, 40))
    assert many[:5] == few and len(many) == 40
    assert drawn(domains, Sample(count=5, by=by, seed=1)) != few


def test_a_scenario_says_of_each_regime_what_was_drawn():
    found = overridden(TWO, [grid_override(RATE), grid_override("training.1.epsilon=1,8"), "sample=8"])
    check_scenario(found)
    assert len(found.training) == 16 == len(set(titles(found)))
    rates = {one.regime: one.value for one in found.sweep if one.field == "optimizer.learning_rate"}
    assert [rates[regime.title] for regime in found.training] == [one.optimizer.learning_rate for one in found.training]
    assert {one.of for one in found.sweep} == {"Plain", "DPSGD"}
    assert {one.value for one in found.sweep if one.field == "epsilon"} == {1, 8}
    assert from_plain(to_plain(found)) == found


def test_regimes_of_the_same_range_get_the_same_settings():
    found = overridden(TWO, [RATE, "sample=random:6:3"])
    rates = [regime.optimizer.learning_rate for regime in found.training]
    assert rates[:6] == rates[6:] and len(set(rates)) == 6


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.1.epsilon=1..8"], "is given a range"),
        (["training.1.epsilon=8..1", "sample=4"], "the smaller first"),
        (["training.1.epsilon=0..1:log", "sample=4"], "only positive"),
        (["training.1.epsilon=1..1e999", "sample=4"], "1e999 is no end of a range"),
        (["training.1.epsilon=1e-400..1:log", "sample=4"], "1e-400 is no end of a range"),
        (["training.1.epsilon=1..1" + "0" * 400, "sample=4"], "at most 15 digits"),
        (["training.1.epsilon=1..1" + "0" * 5000, "sample=4"], "at most 15 digits"),
        (["training.1.epsilon=1" + "0" * 5000], "training.1.epsilon"),
        (["training.0.epsilon=1..8", "sample=4"], "no field of Plain"),
        (["training.1.epsilon=1..8", "training.*.epsilon=1,2", "sample=4"], "two grids"),
        (["sample=4"], "nothing to draw from"),
        (["training.1.epsilon=1..8", "sample=1"], "from 2 to"),
        (["training.1.epsilon=1..8", "sample=many"], "from 2 to"),
        (["training.1.epsilon=1..8", "sample=-4"], "from 2 to"),
        (["training.1.epsilon=1.0..8", "sample=4096"], "makes 4097 regimes"),
        (["training.1.epsilon=-8..8", "sample=4"], "above 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(overrides, words):
    with pytest.raises((ScenarioError, UsageError)) as raised:
        check_scenario(overridden(TWO, overrides))
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_many_swept_regimes_are_not_compared_two_by_two(tmp_path):
    run = copy_of("study", tmp_path)
    for count, expected in ((MOST_PAIRED, True), (MOST_PAIRED + 1, False)):
        swept = [{"regime": f"r{number}", "of": "r", "field": "epsilon", "value": 1} for number in range(count)]
        manifest = replace(run.manifest, scenario={**run.manifest.scenario, "sweep": swept})
        paired = are_paired(manifest)
        assert paired("r0", "r1") is expected
        assert paired("r0", "r0") and paired("r0", "Plain") and paired("Plain", "Other")


def test_other_overrides_are_no_ranges_and_no_samples():
    for text in ("data.path=1..2", "training.1.name='a..b'", "training.1.epsilon=1.", "training.1.epsilon=1.."):
        assert range_of(text) is None
    assert sample_of("training.1.sample=3") is None
