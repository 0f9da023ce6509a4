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
from trustml.scenario.check_explanations import check_rows
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
    groups = trustml.GroupMap(path="p.npz")
    one = scenario(Explanations(methods=methods, discloses=("held-out rows",), groups=groups), PLAIN)
    assert from_plain(to_plain(one)) == one
    explanations = resolve_paths(one, folder=tmp_path).explanations
    found = explanations.methods
    assert found[0].background.path == found[1].of.baseline.path == str(tmp_path / "p.npz")
    assert explanations.groups.path == str(tmp_path / "p.npz")


@pytest.mark.parametrize(
    ("explanations", "message"),
    [
        (Explanations(quantity="loss"), ""),
        (Explanations(groups=(("a",),), probes=Probes(patch=2)), "explanations.probes.patch: 2 joins values, and so"),
        (
            with_method(m.IntegratedGradients(baseline=Median())),
            "explanations.methods.0.baseline.path: goes with rows=",
        ),
        (
            with_method(m.IntegratedGradients(baseline=Constants(values=(0.0, float("nan"))))),
            "explanations.methods.0.baseline: nan is not finite",
        ),
    ],
)
def test_what_of_explanations_makes_no_sense_is_one_line(explanations, message):
    if not message:
        check_scenario(scenario(explanations, PLAIN))
        task = msgspec.structs.replace(scenario(explanations, PLAIN), task=trustml.Regression())
        with pytest.raises(ScenarioError, match="loss: a regression gives a number"):
            check_scenario(task)
        return
    with pytest.raises(ScenarioError) as caught:
        check_scenario(scenario(explanations, PLAIN))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((3, 9), "explanations.rows.1: 9 is none of the 9 held-out"),
        ((3, 0, 3), "explanations.rows.2: 3 is named twice"),
    ],
)
def test_chosen_rows_are_there_once(rows, message):
    with pytest.raises(ScenarioError) as caught:
        check_rows(rows, heldout=9)
    assert str(caught.value).startswith(message)
    check_rows((3, 0), heldout=9)
    assert Explanations(rows=(3, 0)).chosen(9) == (3, 0) and Explanations(examples=2).chosen(9) == (0, 1)
