"""Tasks: losses against scikit-learn and finite differences, answers, and records that stay what they were."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn import metrics

from tests.models.task_cases import TASKS_TRIED, draw_labels, draw_outputs
from trustml.attacks.catalogue import ATTACKS
from trustml.measures.measure import MEASURES
from trustml.models.answers import (
    answers,
    explained_labels,
    explained_outputs,
    in_unit,
    label_words,
    probabilities,
    recorded,
    recorded_losses,
    right,
    score,
)
from trustml.models.losses import example_losses, output_slopes
from trustml.models.tasks import TASKS, Binary, Classes, Labels, NextToken, Regression, Task
from trustml.models.zoo import mlp
from trustml.plan.job import CanaryJob, ExplainJob, Job, ShadowJob, TrainJob, decode_job, digest, encode_job
from trustml.report.tasks_page import tasks_markdown
from trustml.scenario.attacks import Canaries
from trustml.scenario.methods import IntegratedGradients
from trustml.scenario.read import from_plain, to_plain
from trustml.scenario.regimes import DPSGD, Augmentation, Plain
from trustml.scenario.sources import Csv
from trustml.scenario.spec import Execution, Probes, Scenario

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tasks.md"
SHARED = {"backend": "jax", "model": mlp([4], classes=3), "input_shape": (2,), "execution": Execution()}


def jobs() -> tuple[Job, ...]:
    train = TrainJob(
        id="train.jax.Plain.s0",
        regime=Plain(),
        seed=0,
        initial_weights="w",
        data="d",
        plan="p",
        data_fingerprint="f",
        **SHARED,
    )
    explain = ExplainJob(
        id="e",
        subject=train.id,
        weights="w",
        examples="x",
        baselines="b",
        methods=(IntegratedGradients(),),
        target="true",
        probes=Probes(),
        **SHARED,
    )
    shadow = ShadowJob(id="s", regime=Plain(), seed=1, data="d", members="m", output="o", **SHARED)
    canary = CanaryJob(id="c", training=train, canaries=Canaries(), chosen="c", output="o", **SHARED)
    return train, explain, shadow, canary


EXPLAIN_BEFORE = "03c998f38eec66b1b62e0f3e958564ebd3828278213599e76285229f5bde87cf"
TRAIN_BEFORE = {
    Plain(): "5bd4e62168cf58f2ee7db7ed1dbb63a1185caded0bc9d75efce503b95635d32e",
    DPSGD(epsilon=1.0): "defbc37515923359568c5a31404f6827eac93aeddfefd2fad1695f977a3b5936",
    DPSGD(epsilon=1.0, augmentation=Augmentation()): "25b69b66a8cb0fcd40f51d7f89dd22658b8afdac4668daa4d6ea899dfde0e66e",
}
"""Of the revision before there were tasks and ablations, and, for the last, plain training was augmented too."""


def without_tasks(data):
    """Plain data of a struct as it was before any had a task or an ablation, and Plain no augmentation."""
    if isinstance(data, list | tuple):
        return [without_tasks(value) for value in data]
    if not isinstance(data, dict):
        return data
    later = {
        "task",
        "ablation",
        "ablated",
        "chosen_from_data",
        "start",
        "sweep",
        "explanation_rows",
        "groups",
        "quantity",
        "rows",
        "extraction",
        "extracted",
        "devices",
        "place",
        "warm_workers",
        "resources",
        "relation",
        "attributes",
        "attribute_values",
        "attributed",
        "gradient_inversion",
        "model_inversion",
        "property_inference",
        "trainable",
        "from_seed",
    }
    if data.get("kind") == "Plain":
        later.add("augmentation")
    if data.get("kind") == "DPSGD":
        later |= {"unit", "key", "rows_per_user"}
    if data.get("kind") == "FedAvg":
        later.add("clipping_norm")
    if "scope" in data:  # of explanations, not of a background
        later.add("rows")
    return {name: without_tasks(value) for name, value in data.items() if name not in later}


def test_jobs_and_scenarios_of_the_default_task_are_byte_for_byte_what_they_were():
    assert digest(jobs()[1]) == EXPLAIN_BEFORE
    for regime, digested in TRAIN_BEFORE.items():
        train = TrainJob(
            id="train", regime=regime, seed=0, initial_weights="w", data="d", plan="p", data_fingerprint="f", **SHARED
        )
        assert digest(train) == digested
    for job in jobs():
        before = msgspec.json.encode(without_tasks(msgspec.to_builtins(job)))
        assert digest(job) == hashlib.sha256(before).hexdigest(), job.id
        assert encode_job(job) == msgspec.json.format(before, indent=2) + b"\n"
        assert decode_job(encode_job(job)) == job
    scenario = Scenario(
        name="old",
        data=Csv(path="t.csv", label="y"),
        model=mlp([4], classes=3),
        training=(Plain(), DPSGD(epsilon=3.0)),
    )
    plain = to_plain(scenario)
    assert plain == without_tasks(msgspec.json.decode(msgspec.json.encode(scenario)))
    assert from_plain(plain) == scenario


@pytest.mark.parametrize("task", TASKS_TRIED[1:], ids=repr)
def test_another_task_is_in_records_and_digests(task):
    job = msgspec.structs.replace(jobs()[3], task=task)
    own = msgspec.structs.replace(job, training=msgspec.structs.replace(job.training, task=task))
    assert len({digest(jobs()[3]), digest(job), digest(own)}) == 3
    assert decode_job(encode_job(own)) == own


@pytest.mark.parametrize("task", TASKS_TRIED, ids=repr)
def test_slopes_are_the_differences_of_losses(task):
    outputs = draw_outputs(task)
    labels = draw_labels(task)
    found, step = output_slopes(outputs, labels, task=task), 1e-5
    for place in np.ndindex(outputs.shape[1:]):
        ends = []
        for sign in (1, -1):
            moved = outputs.astype(np.float64)
            moved[:, *place] += sign * step
            ends.append(example_losses(moved, labels, task=task))
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), found[:, *place], rtol=1e-5, atol=1e-8)


def test_mean_losses_are_those_of_scikit_learn():
    for task in (Classes(), Binary(), Labels()):
        outputs, labels = draw_outputs(task), draw_labels(task)
        shares = probabilities(task, outputs)
        if isinstance(task, Classes):
            wanted = metrics.log_loss(labels, shares, labels=range(outputs.shape[1]))
        else:
            wanted = np.mean([metrics.log_loss(y, p, labels=[0, 1]) for y, p in zip(labels.T, shares.T, strict=True)])
        assert example_losses(outputs, labels, task=task).mean() == pytest.approx(wanted)
    outputs, labels = draw_outputs(Regression()), draw_labels(Regression())
    for loss, wanted in (("squared", metrics.mean_squared_error), ("absolute", metrics.mean_absolute_error)):
        task = Regression(loss=loss)
        assert example_losses(outputs, labels, task=task).mean() == pytest.approx(wanted(labels, outputs))


def test_huber_is_squared_near_and_absolute_far():
    task = Regression(loss="huber", huber_delta=0.5)
    found = example_losses(np.array([[0.1], [-3.0]]), np.zeros((2, 1)), task=task)
    np.testing.assert_allclose(found, [0.005, 0.5 * (3 - 0.25)])


def test_weights_multiply_the_loss_of_their_class():
    for task in (Classes(class_weights=(0.5, 2.0, 3.0)), Binary(class_weights=(0.5, 2.0))):
        outputs, labels = draw_outputs(task), draw_labels(task)
        plain = example_losses(outputs, labels, task=type(task)())
        weights = np.array(task.class_weights)[labels.reshape(-1).astype(int)]
        np.testing.assert_allclose(example_losses(outputs, labels, task=task), weights * plain)
    labels = draw_labels(Labels())
    outputs = draw_outputs(Labels())
    alone = example_losses(outputs[:, :1], labels[:, :1], task=Labels())
    almost = Labels(class_weights=(3.0, 1e-12, 1e-12))
    np.testing.assert_allclose(example_losses(outputs, labels, task=almost), alone, rtol=1e-9)


def test_losses_do_not_overflow_and_are_not_cut_off():
    far = np.array([[800.0], [-800.0]])
    np.testing.assert_allclose(example_losses(far, np.array([[0.0], [1.0]]), task=Binary()), [800, 800])
    assert np.isfinite(output_slopes(far, np.array([[0.0], [1.0]]), task=Binary())).all()


def test_labels_that_would_be_broadcast_are_refused():
    with pytest.raises(ValueError, match="beside outputs of shape"):
        example_losses(np.zeros((3, 1)), np.zeros(3), task=Regression())


def test_predictions_are_in_the_unit_of_the_data_again():
    task = Regression(target_range=(100.0, 300.0))
    np.testing.assert_allclose(in_unit(task, np.array([-1.0, 0.0, 1.0, 2.0])), [100, 200, 300, 400])
    assert label_words(task, np.array([[0.5]], np.float32), ("price",)) == ["250"]


def test_r2_is_that_of_scikit_learn_and_accuracy_counts_labels():
    outputs, labels = draw_outputs(Regression()), draw_labels(Regression())
    assert score(Regression(), outputs, labels) == pytest.approx(metrics.r2_score(labels, outputs))
    outputs, labels = np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    assert score(Labels(), outputs, labels) == 0.75
    assert score(Binary(), outputs[:, :1], labels[:, :1]) == 0.5
    np.testing.assert_array_equal(answers(Binary(), np.array([[0.1], [-0.1]])), [[1], [0]])


def test_texts_count_each_by_the_mean_over_the_steps_that_a_token_follows():
    task = NextToken()
    outputs, labels = draw_outputs(task), draw_labels(task)
    shares, losses = probabilities(task, outputs), example_losses(outputs, labels, task=task)
    wanted = [
        [-np.log(shares[row, t, labels[row, t]]) for t in range(2) if labels[row, t]] for row in range(len(labels))
    ]
    np.testing.assert_allclose(losses, [np.mean(each) if each else 0.0 for each in wanted])
    kept = recorded(task, outputs, labels)
    assert kept.shape == (*labels.shape, 4) and not kept[labels == 0].any()
    np.testing.assert_allclose(recorded_losses(task, kept, labels), losses, rtol=1e-6)
    follows = labels > 0
    hits = (outputs.argmax(axis=2) == labels) & follows
    assert 0 < hits.sum() < follows.sum(), "all right or all wrong shows nothing"
    assert score(task, kept, labels) == pytest.approx(hits.sum() / follows.sum())
    np.testing.assert_allclose(right(task, kept, labels), hits.sum(axis=1) / np.maximum(follows.sum(axis=1), 1))


def test_of_equally_likely_tokens_the_first_is_the_answer():
    """A model that says the same of all tokens is right only where the first is what follows."""
    task, labels = NextToken(), np.array([[1, 2, 0], [3, 1, 2]])
    kept = recorded(task, np.zeros((2, 3, 4), np.float32), labels)
    assert score(task, kept, labels) == 0.0
    outputs = np.zeros((2, 3, 4), np.float32)
    outputs[..., 0] = -1.0  # no token of a text
    kept = recorded(task, outputs, labels)
    assert kept.dtype == np.float32 and score(task, kept, labels) == 2 / 5
    np.testing.assert_allclose(kept[labels > 0][:, :2], np.log(1 / (3 + np.exp(-1.0))), rtol=1e-6)
    wide = outputs.astype(np.float64)
    wide[0, 0] = (0, 1.0, 1.0 + 1e-9, 0)  # the same log-probability in 32 bits
    assert score(task, recorded(task, wide, labels), labels) == 1 / 5


def test_of_a_text_one_step_is_explained():
    task, labels = NextToken(step=-2), np.array([[2, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(explained_labels(task, labels), [1, 0])
    outputs = np.array([[0.0, 1.0, 3.0], [0.0, 5.0, 1.0]])
    assert explained_outputs(task, outputs, np.array([1, 0]), target="true").tolist() == [1, 1]
    assert explained_outputs(task, outputs, np.array([1, 0]), target="predicted").tolist() == [2, 1]
    assert label_words(task, labels, ("pad", "a", "b")) == ["ba", "a"]


def test_what_is_explained_is_an_output_that_there_is():
    outputs = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    holds = np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert explained_outputs(Labels(), outputs, holds, target="true").tolist() == [2, 1]
    assert explained_outputs(Labels(), outputs, holds, target="predicted").tolist() == [0, 1]
    assert explained_outputs(Classes(), outputs, np.array([2, 0]), target="true").tolist() == [2, 0]
    assert explained_outputs(Regression(), outputs[:, :1], holds[:, :1], target="true").tolist() == [0, 0]
    assert explained_outputs(Binary(), outputs[:, :1], holds[:, :1], target="predicted").tolist() == [0, 0]


def test_the_table_has_a_row_for_every_task():
    assert set(TASKS) == set(Task.__args__)


def test_the_page_of_tasks_is_current():
    assert PAGE.read_text(encoding="utf-8") == tasks_markdown(), "python -m trustml.report.tasks_page"


def test_attacks_and_measures_that_the_table_names_are_there():
    for facts in TASKS.values():
        assert facts.not_attacked_by.keys() <= ATTACKS.keys()
        assert facts.score in MEASURES
