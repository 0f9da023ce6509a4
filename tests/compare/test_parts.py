"""Which regimes differ in one part, which in epsilon alone, and what comes of models that were made to differ so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from tests.compare.test_contrast import simulated
from trustml.compare.contrast import Agreements, difference
from trustml.compare.parts import dose_series, pairs_of_parts, part_estimates
from trustml.measures.notes import note_of
from trustml.measures.row import About
from trustml.plan.job import TrainJob
from trustml.scenario.regimes import DPSGD, Ablation, Plain, Regime

EPSILONS = (8.0, 3.0, 1.0)
LIKE = DPSGD(batch_size=64, steps=20)


def regimes(**other: Regime) -> dict[str, Regime]:
    listed: list[Regime] = [
        Plain(),
        Plain(name="Schedule", ablation=Ablation(of="P8")),
        Plain(name="Clipped", ablation=Ablation(of="P8", keeps="clipping")),
    ]
    for epsilon in EPSILONS:
        title = f"P{epsilon:g}"
        listed += [
            msgspec.structs.replace(LIKE, name=title, epsilon=epsilon),
            Plain(name=f"N{epsilon:g}", ablation=Ablation(of=title, keeps="noise")),
            Plain(name=f"S{epsilon:g}", stop_at=title),
        ]
    return {one.title: one for one in listed} | other


def evidence_of(named: dict[str, Regime]) -> Any:
    jobs = [
        TrainJob(
            id=title, backend="jax", model=cast(Any, None), input_shape=(1,), execution=cast(Any, None), regime=one,
            seed=0, initial_weights="", data="", plan="", data_fingerprint="",
        )
        for title, one in named.items()
    ]  # fmt: skip
    return SimpleNamespace(trained=lambda: [(SimpleNamespace(status="ok"), job) for job in jobs])


def test_pairs_differ_in_one_part():
    found = set(pairs_of_parts(regimes()))
    assert found == {
        ("Schedule", "Clipped", "clipping"),
        *(("Schedule", f"N{e:g}", "noise") for e in EPSILONS),
        *(("Clipped", f"P{e:g}", "noise") for e in EPSILONS),
        *((f"N{e:g}", f"P{e:g}", "clipping") for e in EPSILONS),
    }


@pytest.mark.parametrize("change", [{"clipping_norm": 2.0}, {"batch_size": 32}, {"steps": 21}, {"sampling": "fixed"}])
def test_a_private_regime_of_other_steps_is_no_pair_and_no_dose(change):
    other = msgspec.structs.replace(LIKE, name="Other", epsilon=2.0, **change)
    named = regimes(Other=other)
    assert not [pair for pair in pairs_of_parts(named) if "Other" in pair]
    assert not [series for series in dose_series(named) if "Other" in series]


@pytest.mark.parametrize("change", [{"delta": 1e-6}, {"sampling_seed": 1}])
def test_a_target_that_is_another_in_more_than_epsilon_is_no_dose(change):
    named = regimes(Other=msgspec.structs.replace(LIKE, name="Other", epsilon=2.0, **change))
    assert not [series for series in dose_series(named) if "Other" in series]
    assert ("Clipped", "Other", "noise") in set(pairs_of_parts(named)), "its steps are the same"


def test_series_are_the_private_regimes_and_their_controls_by_epsilon():
    found = dose_series(regimes())
    assert found == [{f"{letter}{e:g}": e for e in sorted(EPSILONS)} for letter in "PNS"]
    assert all(list(one.values()) == sorted(one.values()) for one in found)
    few = {title: one for title, one in regimes().items() if not title.endswith("3")}
    assert dose_series(few) == []  # two doses are a difference
    assert dose_series({}) == []


def test_what_is_found_is_the_difference_of_effects_and_a_rise_with_epsilon():
    named = regimes()
    generator = np.random.default_rng(0)
    signal, moved = generator.normal(size=(2, 60))
    plain = signal + 0.5 * generator.normal(size=(5, 60))

    def agreements(shift: float) -> Agreements:
        other = signal + shift * moved + 0.5 * generator.normal(size=(5, 60))
        units = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (plain, other)]
        return Agreements(
            within_plain=units[0] @ units[0].T, within_other=units[1] @ units[1].T, cross=units[0] @ units[1].T
        )

    shifts = {"Schedule": 0.0, "Clipped": 0.3, "P8": 0.4, "P3": 0.7, "P1": 1.5, "N8": 0.0, "N3": 0.0, "N1": 0.0}
    found = {title: agreements(shift) for title, shift in shifts.items()}
    estimates = part_estimates(evidence_of(named), found)
    parts = {(one.first, one.second): one for one in estimates if one.measure == "explanation_effect_of_part"}
    assert len(parts) == 1 + 3 * 3
    noise = parts["Clipped", "P1"]
    assert noise.facts == {"part": "noise"} and noise.estimate == difference(found["P1"], found["Clipped"])
    assert noise.estimate.high < 0
    trends = {one.second: one for one in estimates if one.measure == "explanation_trend"}
    assert set(trends) == {"P8", "N8"}  # those that stop have no explanations here
    assert trends["P8"].first == "P1" and trends["P8"].facts == {"epsilons": "1, 3, 8"}
    assert trends["P8"].estimate.low > 0 and trends["P8"].estimate.p_value < 0.01
    assert trends["N8"].estimate.low < 0 < trends["N8"].estimate.high
    assert trends["N8"].facts == {"epsilons": "1, 3, 8", "controls": True}
    assert note_of(About(facts=trends["N8"].facts)) == "over epsilon 1, 3, 8 of the private regimes they belong to"
    assert note_of(About(facts=trends["P8"].facts)) == "over epsilon 1, 3, 8"


def test_regimes_of_other_seeds_are_not_set_side_by_side():
    generator = np.random.default_rng(0)
    found = {title: simulated(5, shift=0.0, generator=generator) for title in ("P8", "P3", "Clipped")}
    found["P1"] = simulated(4, shift=0.0, generator=generator)
    estimates = part_estimates(evidence_of(regimes()), found)
    assert {(one.first, one.second) for one in estimates} == {("Clipped", "P8"), ("Clipped", "P3")}
