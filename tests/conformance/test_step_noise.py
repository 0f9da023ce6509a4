"""Cheats on noise and memory between calls, at every size of model: each is caught, and an honest step is not."""

from __future__ import annotations

import time
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from tests.conformance.cheats import CHEATS, COORDINATES, SHRUNK, SIZE, data, factory, honest, reseeded, times
from trustml.conformance import CheckResult, StepSettings, check_step
from trustml.conformance.noise_statistics import CONFIDENCE, MARGIN, PRECISION, ratio_of, surprises, surprising

pytestmark = pytest.mark.timeout(900)


def of_check(findings: list[CheckResult], check: str) -> CheckResult:
    return next(finding for finding in findings if finding.check.startswith(check))


def assert_caught(name: str, coordinates: int) -> None:
    cheat, check = CHEATS[name]
    found = of_check(check_step(factory(cheat), *data(coordinates)), check)
    print(f"{coordinates} coordinates, {name}: {found.check}: {found.diagnosis}")
    assert found.verdict == "failed", (name, found)
    assert found.diagnosis


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_caught_and_named(name):
    assert_caught(name, 1000)


@pytest.mark.long
@pytest.mark.parametrize("coordinates", [13, 30, 100])
@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_caught_and_named_in_a_small_model(name, coordinates):
    assert_caught(name, coordinates)


@pytest.mark.parametrize(
    ("shrunk", "coordinates"),
    [  # in short the hardest alone, in a model that takes many steps
        pytest.param(shrunk, coordinates, marks=() if coordinates in some else pytest.mark.long)
        for shrunk in SHRUNK
        for some in [COORDINATES[1:2] if shrunk == max(SHRUNK) else ()]
        for coordinates in COORDINATES
    ],
)
def test_too_little_noise_is_caught_whatever_the_size_of_the_model(shrunk, coordinates):
    found = of_check(check_step(factory(times(shrunk)), *data(coordinates)), SIZE)
    assert found.verdict == "failed" and found.confidence == CONFIDENCE
    assert found.low < shrunk < found.high < 1 - MARGIN
    assert (found.high - found.low) / 2 < 3.5 * PRECISION * found.value


@pytest.mark.parametrize(
    "coordinates",
    [COORDINATES[1], *(pytest.param(one, marks=pytest.mark.long) for one in COORDINATES[:-1] if one != COORDINATES[1])],
)
def test_honest_noise_passes_with_a_ratio_that_is_known_to_a_third_of_a_percent(coordinates):
    findings = check_step(factory(), *data(coordinates))
    assert [finding for finding in findings if not finding.passed] == []
    ratios = [finding for finding in findings if finding.confidence is not None]
    assert len(ratios) == 10
    for finding in ratios:
        assert finding.low < finding.value < finding.high
    ordinary = of_check(findings, SIZE)
    assert (ordinary.high - ordinary.low) / 2 < 3.5 * PRECISION


@pytest.mark.long  # fewer runs would say nothing
@pytest.mark.parametrize(("coordinates", "runs"), [(200, 60), (13, 200), (3000, 1000)])
def test_honest_runs_are_hardly_ever_flagged(coordinates, runs):
    flagged, values = 0, []
    for seed in range(runs):
        findings = check_step(reseeded(factory(), seed), *data(coordinates))
        flagged += any(not finding.passed for finding in findings)
        values.append(of_check(findings, SIZE).value)
    print(f"{coordinates} coordinates: {flagged} of {runs} honest runs flagged, ratio {np.mean(values):.4f}")
    assert flagged <= runs // 100
    # The stated standard error is the one that is found, within what so many runs tell of it.
    assert np.std(values) < PRECISION * (1 + 4 / np.sqrt(2 * runs))


def test_a_time_limit_leaves_it_open():
    def slow(settings: StepSettings):
        step = factory()(settings)

        def wait(*batch):
            if settings.noise_multiplier:
                time.sleep(0.002)
            return step(*batch)

        return wait

    told = []
    findings = check_step(slow, *data(13), time_limit=1.0, tell=lambda *counts: told.append(counts))
    found = of_check(findings, SIZE)
    assert found.verdict == "not decided" and not found.passed
    assert found.low < 1 < found.high and "time limit of 1 s" in found.diagnosis
    assert told and all(done <= total for done, total in told)


def test_what_is_plainly_off_is_decided_before_the_time_limit_allows_more():
    found = of_check(check_step(factory(times(0.3)), *data(13), time_limit=0.05), SIZE)
    assert found.verdict == "failed"


def test_a_time_limit_of_nothing_is_refused():
    with pytest.raises(ValueError, match="time_limit: 0 seconds"):
        check_step(factory(), *data(13), time_limit=0)


def test_correlated_coordinates_have_a_wider_interval():
    """One number for all: what 4300 calls tell is what 4300 numbers tell, not 4300 times 13."""
    found = of_check(check_step(factory(CHEATS["one number for all coordinates"][0]), *data(100)), SIZE)
    assert found.verdict == "not decided" and "coordinates hang together" in found.diagnosis
    assert (found.high - found.low) / 2 > 3.5 * PRECISION


def test_findings_are_fields():
    for finding in check_step(factory(times(0.9)), *data(200)):
        assert msgspec.json.decode(msgspec.json.encode(finding), type=CheckResult) == finding


@pytest.mark.parametrize("multiplier", [0.3, 1.0, 12.0])
def test_other_settings_pass(multiplier):
    settings = StepSettings(noise_multiplier=multiplier, clipping_norm=0.2, expected_batch_size=5, seed=3)
    findings = check_step(factory(honest), *data(300), settings=replace(settings))
    assert [finding for finding in findings if not finding.passed] == []


@pytest.mark.parametrize("numbers", [5, 500])
def test_an_interval_covers_as_often_as_it_says(numbers):
    squares = np.random.default_rng(0).chisquare(numbers, 40_000) / numbers
    missed = sum(not (ratio.low <= 1 <= ratio.high) for ratio in (ratio_of(value, numbers) for value in squares))
    assert 0.4 * (1 - CONFIDENCE) * len(squares) < missed < 1.7 * (1 - CONFIDENCE) * len(squares)


@pytest.mark.parametrize("degrees", [1, 13, 400])
def test_surprises_are_no_larger_than_they_may_be(degrees):
    found = np.abs(surprises(np.random.default_rng(1).chisquare(degrees, 10**6), degrees))
    assert found.max() < surprising(10**6)
    assert surprises(0.0, degrees) < -surprising(10**6)
