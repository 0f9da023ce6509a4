"""An ablation that names no private regime with parts to leave out, or sets anything itself, is one clear line."""

from __future__ import annotations

import msgspec
import pytest

from trustml.errors import ScenarioError
from trustml.models.layers import GRU, LSTM, Architecture, Conv1D, Conv2D, ConvTranspose2D, Dense, Flatten, RMSNorm
from trustml.scenario.check import check_against_data, check_scenario
from trustml.scenario.clipping import Adaptive
from trustml.scenario.federated import BandedMatrix
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import DPSGD, Ablation, Augmentation, Plain

PRIVATE = DPSGD(name="Private", epsilon=3.0)


def check(tiny, ablation, private=PRIVATE):
    check_scenario(msgspec.structs.replace(tiny, training=(Plain(), private, ablation)))


@pytest.mark.parametrize("keeps", ["schedule", "clipping", "noise"])
def test_each_part_can_be_kept(tiny, keeps):
    check(tiny, Plain(name="Ablated", ablation=Ablation(of="Private", keeps=keeps)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": "stock"}, "more parts"),
        ({"clipping": Adaptive()}, "more parts"),
        ({"ema_decay": 0.9}, "more parts"),
        ({"augmentation": Augmentation()}, "more parts"),
        ({"mechanism": BandedMatrix(), "sampling": "in turn"}, "more parts"),
        ({"name": "Other"}, "names no DPSGD"),
    ],
)
def test_a_regime_without_parts_to_leave_out_is_refused(tiny, changes, words):
    private = msgspec.structs.replace(PRIVATE, **changes)
    with pytest.raises(ScenarioError, match=words) as caught:
        check(tiny, Plain(name="Ablated", ablation=Ablation(of="Private")), private)
    assert caught.value.field == "training.2.ablation.of" and caught.value.fix


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 3), ("batch_size", 8), ("optimizer", SGD(learning_rate=0.5)), ("stop_at", "Plain"),
        ("random_labels", True),
    ],
)  # fmt: skip
def test_what_follows_from_the_private_regime_is_not_given_again(tiny, name, value):
    regime = Plain(name="Ablated", ablation=Ablation(of="Private"))
    with pytest.raises(ScenarioError, match="leave it out") as caught:
        check(tiny, msgspec.structs.replace(regime, **{name: value}))
    assert caught.value.field == f"training.2.{name}"


def test_a_part_that_is_none_is_named_with_the_choices(tiny):
    with pytest.raises(ScenarioError, match="schedule"):
        check(tiny, Plain(name="Ablated", ablation=Ablation(of="Private", keeps="everything")))


def test_an_ablation_without_a_name_is_called_by_what_it_keeps():
    assert Plain(ablation=Ablation(of="DPSGD", keeps="clipping")).title == "DPSGD-clipping"
    assert Plain(name="own", ablation=Ablation(of="DPSGD")).title == "own" and Plain().title == "Plain"


def test_the_batch_size_of_an_ablation_is_the_private_regimes(tiny):
    regimes = (DPSGD(epsilon=3.0, batch_size=8), Plain(ablation=Ablation(of="DPSGD")))
    scenario = msgspec.structs.replace(tiny, training=regimes)
    check_against_data(scenario, input_shape=(8, 8, 1), classes=10, train_examples=20, test_examples=200)


@pytest.mark.parametrize(
    ("mode", "layer"),
    [
        ("ew", Conv2D(filters=2)),
        ("ew", Conv1D(filters=2)),
        ("ew", ConvTranspose2D(filters=2)),
        ("ew", LSTM(units=2)),
        ("ew", RMSNorm()),
        ("functorch", GRU(units=2)),
    ],
)
def test_modes_are_refused_for_layers_that_they_fail_on(tiny, mode, layer):
    scenario = msgspec.structs.replace(
        tiny,
        backends=("torch",),
        model=Architecture(layers=(layer, Flatten(), Dense(units=10))),
        training=(DPSGD(epsilon=3.0),),
        execution=msgspec.structs.replace(tiny.execution, grad_sample_mode=mode),
    )
    with pytest.raises(ScenarioError, match="book_keeping") as caught:
        check_scenario(scenario)
    assert caught.value.field == "execution.grad_sample_mode"
