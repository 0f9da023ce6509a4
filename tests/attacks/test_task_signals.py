"""Signals of membership of every task: by hand, of one form with those of classes, and what a task has none for."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.attacks.canaries import example_canaries
from trustml.attacks.catalogue import CATALOGUE, References
from trustml.attacks.membership import attack_membership
from trustml.attacks.signals import Signals, signals_from_logits
from trustml.attacks.task_signals import task_signals, unfit_attacks
from trustml.data.dataset import Examples
from trustml.errors import UsageError
from trustml.models.tasks import Binary, Classes, Labels, NextToken, Regression

EXAMPLES, MODELS = 120, 6
GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(2, size=(EXAMPLES, 3)).astype(np.float32)
LOGITS = GENERATOR.normal(size=(EXAMPLES, 3))
MEMBERS = np.arange(EXAMPLES) < EXAMPLES // 2


def test_one_output_has_the_signals_of_two_classes():
    found = task_signals(LOGITS[:, :1], LABELS[:, :1], task=Binary())
    two = np.concatenate([np.zeros((EXAMPLES, 1)), LOGITS[:, :1]], axis=1)
    wanted = signals_from_logits(two, LABELS[:, 0].astype(int))
    for name in Signals.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_several_labels_are_one_answer_by_hand():
    """Their combinations are classes of their own, each with the product of its labels' probabilities."""
    found = task_signals(LOGITS[:, :2], LABELS[:, :2], task=Labels())
    p = 1 / (1 + np.exp(-LOGITS[:, :2]))
    joint = np.log(
        np.stack([(1 - p[:, 0]) * (1 - p[:, 1]), p[:, 0] * (1 - p[:, 1]), (1 - p[:, 0]) * p[:, 1], p.prod(1)], 1)
    )
    wanted = signals_from_logits(joint, (LABELS[:, 0] + 2 * LABELS[:, 1]).astype(int))
    for name in ("loss", "confidence", "scaled_confidence", "top_confidence", "entropy"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-9, err_msg=name)
    np.testing.assert_array_equal(found.correct, wanted.correct)


def test_sure_answers_keep_their_digits():
    far = np.array([[40.0, 45.0], [60.0, 700.0]])
    found = task_signals(far, np.ones((2, 2)), task=Labels())
    assert 0 < found.loss[1] < found.loss[0] < 1e-16
    assert np.isfinite(found.scaled_confidence).all() and found.scaled_confidence[1] > found.scaled_confidence[0] > 39


def test_a_regression_is_ranked_by_its_errors():
    found = task_signals(np.array([[1.0], [3.0]]), np.array([[1.5], [1.0]]), task=Regression(loss="absolute"))
    np.testing.assert_allclose(found.loss, [0.5, 2.0])
    np.testing.assert_allclose(found.scaled_confidence, [-0.25, -4.0])


def test_texts_are_ranked_by_their_mean_losses_and_need_no_label():
    kept = np.array([[[-1.0, -0.5], [-3.0, -0.5]], [[-0.5, -0.5], [0.0, 0.0]]])
    found = task_signals(kept, np.array([[3, 1], [2, 0]]), task=NextToken())
    np.testing.assert_allclose(found.loss, [2.0, 0.5])
    np.testing.assert_allclose(found.top_confidence, [-0.5, -0.5])
    members, labels = np.arange(40) < 20, np.repeat([[2, 0], [3, 1]], 20, axis=0)
    told = attack_membership(np.repeat(kept[::-1], 20, axis=0), labels, members, task=NextToken())
    assert {one.attack: one.auc.value for one in told} == {"loss": 1.0, "confidence": 0.5}
    with pytest.raises(UsageError, match=r"give \(texts, steps, 4\)"):
        attack_membership(kept[..., 0], np.ones((2, 2)), np.array([True, False]), task=NextToken())


def test_canaries_of_texts_have_other_tokens_where_one_follows():
    held = Examples(inputs=np.arange(80, dtype=np.float32).reshape(20, 4), labels=np.resize([[1, 2, 3, 0]], (20, 4)))
    asked = {"count": 20, "train": held, "heldout": held, "classes": 4, "task": NextToken()}
    found = example_canaries("mislabelled", generator=np.random.default_rng(0), **asked)
    assert (found.labels[:, :3] != [1, 2, 3]).all() and not found.labels[:, 3].any()
    assert set(np.unique(found.labels[:, :3])) == {1, 2, 3}
    natural = example_canaries("natural", generator=np.random.default_rng(0), **asked)
    np.testing.assert_array_equal(natural.inputs, found.inputs)
    with pytest.raises(UsageError, match="a text is of tokens"):
        example_canaries("blank", generator=np.random.default_rng(0), **asked)


def overfitted(task):
    """Outputs of a target and of reference models that are nearer to the labels of their members."""
    truth = LABELS[:, :1] if isinstance(task, Binary) else LABELS
    if isinstance(task, Regression):
        truth = GENERATOR.normal(size=(EXAMPLES, 1))
    inside = np.random.default_rng(5).random((MODELS, EXAMPLES)) < 0.5
    generator = np.random.default_rng(6)

    def answers(members):
        spread = np.where(members, 0.2, 1.0)[:, None]
        noise = generator.normal(size=truth.shape) * spread
        return truth + noise if isinstance(task, Regression) else 3 * (2 * truth - 1) * (1.5 - spread) + noise

    references = References(logits=np.stack([answers(one) for one in inside]), members=inside)
    return answers(MEMBERS), truth, references


@pytest.mark.parametrize("task", [Binary(), Labels(), Regression(), Regression(loss="huber")], ids=repr)
def test_attacks_find_members_of_models_of_every_task(task):
    outputs, truth, references = overfitted(task)
    found = {one.attack: one for one in attack_membership(outputs, truth, MEMBERS, references, task=task)}
    assert found.keys() == {one.name for one in CATALOGUE if not one.texts} - unfit_attacks(task).keys()
    assert found["loss"].auc.value > 0.75 and found["lira-offline-fixed"].auc.value > 0.7
    assert all(np.isfinite(one.scores).all() for one in found.values())
    mirrored = {one.attack: one for one in attack_membership(outputs, truth, ~MEMBERS, references, task=task)}
    assert mirrored["loss"].auc.value == pytest.approx(1 - found["loss"].auc.value)
    assert bool(found["loss"].class_aucs) == isinstance(task, Binary)


def test_an_attack_without_signals_is_refused_by_name():
    outputs, truth, references = overfitted(Regression())
    with pytest.raises(UsageError, match="rmia-1 compares probabilities of the label"):
        attack_membership(outputs, truth, MEMBERS, references, attacks=("rmia-1",), task=Regression())
    assert not unfit_attacks(Classes())


@pytest.mark.parametrize(
    ("outputs", "labels", "told"),
    [
        (LOGITS, LABELS[:, :1], "do not fit"),
        (np.full((2, 1), np.nan), np.zeros((2, 1)), "not finite"),
    ],
)
def test_outputs_that_are_none_are_told(outputs, labels, told):
    with pytest.raises(UsageError, match=told):
        task_signals(outputs, labels, task=Regression())


def canaries(kind, task, labels):
    examples = Examples(inputs=np.linspace(-1, 1, 8 * len(labels)).reshape(-1, 8).astype(np.float32), labels=labels)
    return examples, example_canaries(
        kind, 10, train=examples, heldout=examples, classes=2, generator=np.random.default_rng(0), task=task
    )


def test_a_wrong_label_is_turned_over_and_a_wrong_target_is_at_the_far_end():
    examples, found = canaries("mislabelled", Labels(), LABELS)
    rows = [int(np.flatnonzero((examples.inputs == one).all(axis=1))[0]) for one in found.inputs]
    np.testing.assert_array_equal(found.labels, 1 - LABELS[rows])
    targets = np.linspace(-0.9, 0.9, EXAMPLES, dtype=np.float32)[:, None]
    examples, found = canaries("mislabelled", Regression(target_range=(0.0, 1.0)), targets)
    rows = [int(np.flatnonzero((examples.inputs == one).all(axis=1))[0]) for one in found.inputs]
    assert set(found.labels.ravel()) == {-1.0, 1.0}
    assert (np.abs(found.labels - targets[rows]) >= 1).all()


@pytest.mark.parametrize("kind", ["natural", "blank", "out-of-distribution"])
def test_canaries_have_labels_of_the_task(kind):
    _, found = canaries(kind, Labels(), LABELS)
    assert found.labels.shape == (10, 3) and found.labels.dtype == np.float32
    assert set(np.unique(found.labels)) <= {0.0, 1.0}
    if kind == "blank":
        pairs = {
            (tuple(row), tuple(label)) for row, label in zip(found.inputs.tolist(), found.labels.tolist(), strict=True)
        }
        assert len(pairs) == 10
