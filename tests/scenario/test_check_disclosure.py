"""A run that promises privacy shows nobody's rows through its explanations, unless it is told to."""

from __future__ import annotations

import msgspec
import pytest

import trustml
from trustml.errors import ScenarioError
from trustml.models.zoo import mlp
from trustml.scenario import methods as m
from trustml.scenario.baselines import (
    Background,
    Blur,
    Constants,
    HeldOutExample,
    Mean,
    Median,
    PublicExample,
    TrainingExample,
)
from trustml.scenario.check import check_scenario
from trustml.scenario.read import from_plain, resolve_paths, to_plain
from trustml.scenario.spec import Explanations, Probes, Scenario

PLAIN = trustml.Plain(epochs=1)
PRIVATE = trustml.DPSGD(noise_multiplier=1.0)
USERS = trustml.DPFedAvg(partition=trustml.IID(clients=20), noise_multiplier=1.0, rounds=2)


def scenario(explanations: Explanations, *training) -> Scenario:
    return Scenario(
        name="s", data=trustml.Digits(), model=mlp([4], classes=10), training=training, explanations=explanations
    )


def with_method(method, **fields) -> Explanations:
    return Explanations(methods=(method,), **fields)


TRAINING = {
    "explanations.methods.0.baseline": [
        with_method(kind(baseline=rows))
        for kind in (m.IntegratedGradients, m.DeepLift, m.FeatureAblation, m.Occlusion, m.KernelShap, m.Lime)
        for rows in (TrainingExample(), Mean(), Median(rows="training"))
    ],
    "explanations.methods.0.of.baseline": [with_method(m.SmoothGrad(of=m.IntegratedGradients(baseline=Mean())))],
    "explanations.methods.0.background": [with_method(m.GradientShap()), with_method(m.DeepLiftShap())],
    "explanations.probes.baseline": [Explanations(probes=Probes(baseline=Mean()))],
}
CASES = [(field, one) for field, many in TRAINING.items() for one in many]


@pytest.mark.parametrize("regime", [PRIVATE, USERS], ids=["DPSGD", "DPFedAvg"])
@pytest.mark.parametrize(("field", "explanations"), CASES)
def test_training_rows_are_refused_beside_a_private_model(field, explanations, regime):
    with pytest.raises(ScenarioError) as caught:
        check_scenario(scenario(explanations, PLAIN, regime))
    assert caught.value.field == field
    assert "explanations.discloses" in str(caught.value) and "no epsilon" in str(caught.value)
    check_scenario(scenario(explanations, PLAIN))
    told = msgspec.structs.replace(explanations, discloses=("training rows",))
    check_scenario(scenario(told, PLAIN, regime))
    with pytest.raises(ScenarioError, match="training rows"):
        check_scenario(scenario(msgspec.structs.replace(explanations, discloses=("held-out rows",)), regime))


@pytest.mark.parametrize(
    "method",
    [
        m.IntegratedGradients(baseline=HeldOutExample()),
        m.IntegratedGradients(baseline=Median(rows="held-out")),
        m.GradientShap(background=Background(rows="held-out")),
    ],
)
def test_held_out_rows_are_people_too(method):
    with pytest.raises(ScenarioError, match="held-out rows"):
        check_scenario(scenario(with_method(method), PRIVATE))
    check_scenario(scenario(with_method(method, discloses=("held-out rows",)), PRIVATE))


@pytest.mark.parametrize(
    "method",
    [
        m.IntegratedGradients(),
        m.IntegratedGradients(baseline=Blur()),
        m.IntegratedGradients(baseline=PublicExample(path="p.npz")),
        m.IntegratedGradients(baseline=Median(path="p.npz")),
        m.IntegratedGradients(baseline=Constants(values=(0.5,))),
        m.GradientShap(background=Background(rows="uniform")),
        m.DeepLiftShap(background=Background(rows="public", path="p.npz")),
    ],
)
def test_constants_and_public_rows_are_free(method):
    check_scenario(scenario(with_method(method), PRIVATE))


def test_every_method_that_has_rows_is_looked_at():
    """A method with a baseline or a background under another name would be let through."""
    names = {field.name for kind in m.Method.__args__ for field in msgspec.structs.fields(kind)}
    assert {name for name in names if "base" in name or "back" in name or "refer" in name} == {"baseline", "background"}


@pytest.mark.parametrize(
    ("background", "words"),
    [
        (Background(rows="uniform", low=1.0, high=1.0), "not below"),
        (Background(rows="public"), "public rows need it"),
        (Background(rows="training", path="p.npz"), "goes with rows='public'"),
    ],
)
def test_a_background_that_makes_no_sense(background, words):
    with pytest.raises(ScenarioError, match=words):
        check_scenario(scenario(with_method(m.GradientShap(background=background)), PLAIN))


def test_public_rows_are_looked_for_beside_the_scenario_and_survive_the_round_trip(tmp_path):
    methods = (
        m.GradientShap(background=Background(rows="public", path="p.npz")),
        m.SmoothGrad(of=m.IntegratedGradients(baseline=PublicExample(path="p.npz"))),
    )
    one = scenario(Explanations(methods=methods, discloses=("held-out rows",)), PLAIN)
    assert from_plain(to_plain(one)) == one
    found = resolve_paths(one, folder=tmp_path).explanations.methods
    assert found[0].background.path == found[1].of.baseline.path == str(tmp_path / "p.npz")
