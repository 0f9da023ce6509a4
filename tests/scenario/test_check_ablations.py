"""An ablation that names no private regime with parts to leave out, or sets anything itself, is one clear line."""

from __future__ import annotations

import msgspec
import pytest

from trustml.errors import ScenarioError
from trustml.scenario.check import check_scenario
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
