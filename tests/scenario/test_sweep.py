"""Sweeps: from several values of a field to regimes that say in what they differ."""

from __future__ import annotations

import pytest

from trustml.errors import ScenarioError, UsageError
from trustml.models.layers import Architecture, Dense
from trustml.scenario.check import check_scenario
from trustml.scenario.federated import DPFedAvg, LocalDPFedAvg, SiloDPFedAvg
from trustml.scenario.read import from_plain, overridden, to_plain, tuning_scenarios
from trustml.scenario.regimes import DPSGD, Ablation, Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Scenario
from trustml.scenario.sweep import Swept, grid_override, several_values

SCENARIO = Scenario(
    name="s",
    data=Digits(),
    model=Architecture(layers=(Dense(units=10),)),
    training=(Plain(), DPSGD(epsilon=2.0), Plain(name="Steps", ablation=Ablation(of="DPSGD"))),
    chosen_from_data=("training.1.epsilon", "training.2.name", "model", "training"),
)
TWO = Scenario(name="s", data=Digits(), model=SCENARIO.model, training=SCENARIO.training[:2])


def titles(scenario: Scenario) -> list[str]:
    return [regime.title for regime in scenario.training]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("training.1.epsilon=1,3,8", (1, 3, 8)),
        ("training.1.epsilon = 1.5, 2e1", (1.5, 20.0)),
        ("training.1.sampling='poisson','shuffle'", ("poisson", "shuffle")),
        ("training.1.epsilon=3", None),
        ("training.1.name=a,b", None),  # bare words are text
        ("training.1.clipping=[1, 2]", None),  # one value, which is a list
        ("training.1.optimizer={kind='SGD', momentum=0.9}", None),
        ("data.separator=,", None),
        ("seeds=1,2", None),
    ],
)
def test_several_values_are_told_from_one(text, values):
    found = several_values(text)
    assert (found and found[1]) == values


def test_a_sweep_trains_what_does_not_change_once():
    found = overridden(TWO, ["training.1.epsilon=1,3,8"])
    assert titles(found) == ["Plain", "DPSGD-epsilon-1", "DPSGD-epsilon-3", "DPSGD-epsilon-8"]
    assert found.training[0] == TWO.training[0]
    assert [regime.epsilon for regime in found.training[1:]] == [1.0, 3.0, 8.0]
    assert found.sweep[0] == Swept(regime="DPSGD-epsilon-1", of="DPSGD", field="epsilon", value=1)
    check_scenario(found)
    assert from_plain(to_plain(found)) == found
    assert "sweep" not in to_plain(TWO), "records of scenarios without a sweep would no longer be what they were"


def test_a_grid_makes_every_combination_of_each_regime_by_itself():
    grids = ["training.1.epsilon=1,8", "training.*.optimizer.learning_rate=0.05,0.5"]
    found = overridden(TWO, ["training.1.batch_size=32", *grids])
    assert titles(found) == [
        "Plain-learning_rate-0_05",
        "Plain-learning_rate-0_5",
        *(f"DPSGD-epsilon-{epsilon}-learning_rate-{rate}" for epsilon in (1, 8) for rate in ("0_05", "0_5")),
    ]
    assert {regime.batch_size for regime in found.training[2:]} == {32}
    settings = {(one.regime, one.field): one.value for one in found.sweep}
    for regime in found.training[2:]:
        assert settings[regime.title, "epsilon"] == regime.epsilon
        assert settings[regime.title, "optimizer.learning_rate"] == regime.optimizer.learning_rate
    check_scenario(found)


@pytest.mark.parametrize(
    ("regime", "words"),
    [
        (Plain(), "is not private, so nothing is paid"),
        (SiloDPFedAvg(epsilon=2.0), "what choosing among trainings by SiloDPFedAvg costs is not accounted for"),
        (LocalDPFedAvg(epsilon=2.0), "what choosing among trainings by LocalDPFedAvg costs is not accounted for"),
        (DPFedAvg(epsilon=2.0), "what choosing among trainings by DPFedAvg costs is not accounted for"),
    ],
)
def test_no_choice_among_private_models_is_called_free(regime, words):
    one = Scenario(name="s", data=Digits(), model=SCENARIO.model, training=(regime,), backends=("jax",))
    with pytest.raises(ScenarioError, match=words):
        tuning_scenarios(one, ["training.0.batch_size=8,9"], mean_runs=2.0)


def test_what_was_chosen_from_the_data_still_names_its_fields():
    found = overridden(SCENARIO, ["training.0.epochs=1,2"])
    assert found.chosen_from_data == ("training.2.epsilon", "training.3.name", "model", "training")
    found = overridden(SCENARIO, ["training.1.batch_size=8,9"])
    assert found.chosen_from_data[:2] == ("training.1.epsilon", "training.2.epsilon")


def test_controls_are_not_swept_over_with_all_others():
    found = overridden(SCENARIO, ["training.*.batch_size=8,9"])
    assert "Steps" in titles(found) and len(found.training) == 5
    with pytest.raises(ScenarioError, match="DPSGD-batch_size-8"):
        check_scenario(found)  # its private regime is several now, and the line names them


def test_values_that_are_nearly_the_same_have_names_of_their_own():
    found = overridden(TWO, ["training.0.optimizer.learning_rate=0.1234567,0.1234568,1.0"])
    assert titles(found)[0] == "Plain-learning_rate-0_1234567" and titles(found)[2] == "Plain-learning_rate-1"
    check_scenario(found)


def test_a_long_name_is_cut_to_what_a_regime_may_be_called():
    long = Scenario(name="s", data=Digits(), model=TWO.model, training=(Plain(name="x" * 60),))
    found = overridden(long, ["training.0.optimizer.learning_rate=0.1,0.2"])
    check_scenario(found)
    assert len(set(titles(found))) == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.1.epsilo=1,2", ("training.1.epsilo", "did you mean epsilon?")),
        ("training.0.epsilon=1,2", ("training.0.epsilon", "no field of Plain")),
        ("training.7.epsilon=1,2", ("no item 7", "use 0 to 1")),
        ("training.1=1,2", ("training.1", "names no field")),
        ("training.1.name='a','b'", ("training.1.name", "no field")),
        ("training.1.epsilon=2,2", ("repeats a value",)),
        ("training.1.epsilon=[1],[2]", ("is no single value",)),
        ("training.1.epsilon=1,-2", ("training.2.epsilon", "above 0")),
        ("training.1.steps=" + ",".join(map(str, range(1, 4100))), ("makes 4100 regimes", "4096 at the most")),
    ],
)
def test_what_is_no_sweep_is_refused_in_one_line(override, words):
    with pytest.raises(ScenarioError) as raised:
        check_scenario(overridden(TWO, [override]))
    for word in words:
        assert word in str(raised.value)


def test_a_grid_takes_bare_words_and_at_least_two():
    assert grid_override("training.1.sampling=poisson, shuffle") == 'training.1.sampling="poisson","shuffle"'
    assert several_values(grid_override("training.1.epsilon=1,3")) == ("training.1.epsilon", (1, 3))
    for wrong in ("training.1.epsilon=1", "training.1.epsilon", "seeds=1,2", "=1,2"):
        with pytest.raises(UsageError, match="at least two values"):
            grid_override(wrong)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"regime": "Nobody"}, "names no regime"),
        ({"value": 9.0}, "has 2.0 there, not 9.0"),
        ({"field": "optimizer.rate"}, "has no such field"),
    ],
)
def test_a_scenario_cannot_say_of_a_sweep_what_is_not_so(entry, words):
    told = {"regime": "DPSGD", "of": "DPSGD", "field": "epsilon", "value": 2.0} | entry
    data = to_plain(TWO) | {"sweep": [told]}
    with pytest.raises(ScenarioError, match=words):
        check_scenario(from_plain(data))


@pytest.mark.parametrize("first", ["training.*.epochs=1,2", "training.0.epochs=1,2"])
def test_two_grids_over_one_field_are_refused(first):
    with pytest.raises(
        ScenarioError, match=r"training\.0\.epochs: is named by two grids, with \[1, 2\] and with \[3, 4\]"
    ):
        overridden(TWO, [first, "training.0.epochs=3,4"])
    assert len(overridden(TWO, ["training.0.epochs=1,2", "training.1.epochs=3,4"]).training) == 4
