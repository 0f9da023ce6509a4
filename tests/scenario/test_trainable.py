"""What of a network is trained, by kind and by name, and what is refused with the names that there are."""

from __future__ import annotations

import msgspec
import pytest

from trustml.errors import ScenarioError
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, GroupNorm, ReLU
from trustml.models.transformers import decoder
from trustml.plan.attacking import why_no_shadows
from trustml.scenario.check import check_against_data, check_scenario
from trustml.scenario.regimes import DPSGD, Ablation, Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Scenario
from trustml.scenario.trainable import Head, LoRA, Named, NormsAndBiases
from trustml.scenario.trained_part import trained_part

NETWORK = Architecture(
    layers=(Conv2D(filters=4), GroupNorm(groups=2), ReLU(), Flatten(), Dense(units=6), Dense(units=10))
)
SHAPE = (8, 8, 1)
NORMS = ("0.bias", "1.scale", "1.bias", "4.bias", "5.bias")
HEAD = ("5.kernel", "5.bias")
PAIR = ("4.down.kernel", "4.up.kernel")


@pytest.mark.parametrize(
    ("trainable", "expected"),
    [
        ((Head(),), HEAD),
        ((NormsAndBiases(),), NORMS),
        ((Named(patterns=("4.*",)),), ("4.kernel", "4.bias")),
        ((Named(patterns=("*.kernel",)), Head()), ("0.kernel", "4.kernel", *HEAD)),
        ((LoRA(), Head()), (*PAIR, *HEAD)),
        ((LoRA(targets=("4",)), NormsAndBiases()), ("0.bias", "1.scale", "1.bias", "4.bias", *PAIR, "5.bias")),
    ],
)
def test_what_is_trained_is_what_is_named_and_nothing_else(trainable, expected):
    assert trained_part(trainable, NETWORK, SHAPE).trained == expected


def test_without_names_everything_is_trained():
    part = trained_part((), NETWORK, SHAPE)
    assert part.architecture is NETWORK and len(part.trained) == 8


@pytest.mark.parametrize(
    ("trainable", "field", "words"),
    [
        (
            Named(patterns=("5.*", "head.*")),
            "patterns.1",
            "'head.*' matches no weight of the model; choose among 0.kernel",
        ),
        (LoRA(targets=("0",)), "targets.0", "'0' matches no dense layer whose kernel is not trained as a whole"),
        (LoRA(targets=("5",)), "targets.0", "choose among 4"),
    ],
)
def test_what_matches_nothing_is_refused_with_what_there_is(trainable, field, words):
    with pytest.raises(ScenarioError) as caught:
        trained_part((Head(), trainable), NETWORK, SHAPE, field="training.0.trainable")
    assert f"training.0.trainable.1.{field}" in str(caught.value) and words in str(caught.value)


def test_the_head_of_tied_outputs_is_refused():
    with pytest.raises(ScenarioError, match="the table of"):
        trained_part((Head(),), decoder(vocabulary=9, width=4, heads=2), (5,))


def scenario(*training, **changes):
    return Scenario(name="part", data=Digits(), model=NETWORK, training=training, **changes)


def checked(made):
    check_scenario(made)
    sizes = {"input_shape": SHAPE, "classes": 10, "train_examples": 1400, "test_examples": 300}
    return check_against_data(made, **sizes)


def test_a_frozen_body_of_random_weights_is_warned_about():
    (warning,) = checked(scenario(Plain(trainable=(Head(),))))
    assert "training.0.trainable: what is not trained keeps the random values" in warning
    assert not checked(scenario(Plain()))


def test_what_a_regime_cannot_do_with_a_part_is_refused():
    private = DPSGD(epsilon=3.0, trainable=(Head(),))
    with pytest.raises(ScenarioError, match=r"training.0.trainable: .*stock"):
        check_scenario(scenario(msgspec.structs.replace(private, engine="stock"), backends=("torch",)))
    with pytest.raises(ScenarioError, match=r"training.1.trainable: is given, and ablation too"):
        check_scenario(scenario(private, Plain(ablation=Ablation(of="DPSGD"), trainable=(Head(),))))
    assert "without trainable" in why_no_shadows(private) and "without trainable" in why_no_shadows(
        Plain(trainable=(Head(),))
    )
