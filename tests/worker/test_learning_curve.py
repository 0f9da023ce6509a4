"""Scores in training: on held-out examples, of few steps, asked and published when the training has ended."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from trustml.backends.contract import Model
from trustml.data.dataset import Examples
from trustml.models.answers import recorded_losses
from trustml.models.layers import Architecture, Dense
from trustml.models.tasks import DEFAULT_TASK
from trustml.record.files import read_arrays
from trustml.worker.learning_curve import LearningCurve

HELD_OUT = Examples(inputs=np.eye(4, dtype=np.float32)[:, :2], labels=np.array([0, 1, 1, 1]))
ROOM = 10 * 8 * len(HELD_OUT)
"""Examples trained on, of which a tenth is room for eight looks."""


class Linear:
    """Logits are inputs times the weights."""

    def __init__(self, model) -> None:
        self._weights = model.weights["w"]

    def logits(self, inputs):
        return inputs @ self._weights


def curve(folder) -> LearningCurve:
    layers = Architecture(layers=(Dense(units=2),))
    model = Model(architecture=layers, input_shape=(2,), weights=weights(0), task=DEFAULT_TASK)
    return LearningCurve(SimpleNamespace(network=Linear), model, HELD_OUT, folder=folder)


def weights(step: int):
    return {"w": np.float32(step) * np.eye(2, dtype=np.float32)}


def train(one: LearningCurve, *, steps: int, begin: int = 0) -> list[int]:
    looked = []

    def now(step: int):
        looked.append(step)
        return weights(step)

    for step in range(begin, steps + 1):
        one.look(step, lambda step=step: now(step))
    return looked


def test_it_looks_a_few_times_and_more_often_at_the_beginning(tmp_path):
    one = curve(tmp_path)
    one.plan(steps=100, rows=ROOM)
    assert train(one, steps=100) == [0, 1, 6, 14, 25, 39, 56, 76]
    assert not list(tmp_path.iterdir())  # weights in training are in no file
    last = Linear(SimpleNamespace(weights=weights(100))).logits(HELD_OUT.inputs)
    one.end(last)
    found = read_arrays(tmp_path / "history.npz")
    assert found["steps"].tolist() == [0, 1, 6, 14, 25, 39, 56, 76, 100]
    assert found["accuracy"][-1] == 0.5  # ties are answered with the first class
    assert found["loss"][-1] == pytest.approx(recorded_losses(DEFAULT_TASK, last, HELD_OUT.labels).mean())


@pytest.mark.parametrize("rows", [0, ROOM / 8])
def test_where_looking_would_cost_much_there_is_no_curve(tmp_path, rows):
    one = curve(tmp_path)
    one.plan(steps=100, rows=rows)
    assert train(one, steps=100) == []
    one.end(np.zeros((4, 2), np.float32))
    assert not list(tmp_path.rglob("*.npz"))


def test_after_an_interruption_the_curve_begins_where_the_training_goes_on(tmp_path):
    one = curve(tmp_path)
    one.plan(steps=100, rows=ROOM, start=20)
    assert train(one, steps=100, begin=20) == [20, 25, 39, 56, 76]
    one.end(np.zeros((4, 2), np.float32))
    assert read_arrays(tmp_path / "history.npz")["steps"].tolist() == [20, 25, 39, 56, 76, 100]


def test_weights_are_put_aside_as_they_were_and_few_of_large_models(tmp_path, monkeypatch):
    one, now = curve(tmp_path), weights(1)
    one.plan(steps=2, rows=ROOM)
    one.look(0, lambda: now)
    now["w"] *= -7  # as a framework does that trains in place
    one.look(2, lambda: now)
    one.end(np.zeros((4, 2), np.float32))
    first = Linear(SimpleNamespace(weights=weights(1))).logits(HELD_OUT.inputs)
    loss = recorded_losses(DEFAULT_TASK, first, HELD_OUT.labels).mean()
    assert read_arrays(tmp_path / "history.npz")["loss"][0] == pytest.approx(loss)
    monkeypatch.setattr("trustml.worker.learning_curve._MOST_BYTES", 3 * now["w"].nbytes)
    large = curve(tmp_path)
    large.plan(steps=90, rows=ROOM)
    assert train(large, steps=90) == [0, 10, 40]


def test_of_a_part_that_is_trained_the_whole_model_is_looked_at(tmp_path):
    one = curve(tmp_path)
    one.plan(steps=4, rows=ROOM)
    one.whole = lambda part: {"w": -part["w"]}
    train(one, steps=4)
    one.end(np.zeros((4, 2), np.float32))
    losses = read_arrays(tmp_path / "history.npz")["loss"]
    seen = Linear(SimpleNamespace(weights=weights(-1))).logits(HELD_OUT.inputs)
    assert losses[1] == pytest.approx(recorded_losses(DEFAULT_TASK, seen, HELD_OUT.labels).mean())
