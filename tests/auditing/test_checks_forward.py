"""Explanations of models that can only be asked: a model that means what it says passes, one that does not is seen."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from trustml.auditing.checks_forward import check_forward
from trustml.auditing.explained import Budget, prepare
from trustml.auditing.models import AskedModel, Target

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(64, 6)).astype(np.float32)
LABELS = RANDOM.integers(0, 2, size=64)
WEIGHTS = np.array([[3.0, -2.0, 1.0, 0.5, 0.2, -0.4], [-1.0, 2.0, 0.3, -0.6, 1.0, -3.0]]).T


def findings(ask, *, batch=16, **budget):
    model = AskedModel(Target(kind="a callable", ask=ask, batch_size=batch, without_gradients="it gives none"))
    explained = prepare(
        model, INPUTS, LABELS, train=INPUTS, single=False, confidence=0.99, seed=0, budget=Budget(**budget)
    )
    return {finding.id.removeprefix("explanations."): finding for finding in check_forward(explained)}


def linear(inputs):
    assert len(inputs) <= 16
    return inputs @ WEIGHTS


def test_a_smooth_model_passes_and_its_two_explanations_agree():
    found = findings(linear)
    assert found["occlusion"].severity == found["occlusion-stability"].severity == "pass"
    assert found["occlusion"].measured[0].low > 0 and found["occlusion-stability"].measured[0].high < 0.2
    assert found["kernel-shap"].severity == "note" and found["kernel-shap"].measured[0].value > 0.999


def test_a_model_that_jumps_is_unstable():
    def jumps(inputs):
        parity = np.floor(inputs * 400).astype(np.int64) % 2
        return np.stack([parity @ np.arange(1.0, 7.0), -(parity @ np.arange(1.0, 7.0))], axis=1)

    assert findings(jumps)["occlusion-stability"].severity == "risk"


def test_a_constant_model_is_not_checked():
    found = findings(lambda inputs: np.ones((len(inputs), 2)))
    assert {finding.severity for finding in found.values()} == {"not checked"}
    assert "changes nothing" in found["occlusion"].reason


def test_rounding_is_no_explanation():
    """A model of one feature alone: the others' attributions are noise, and both explanations agree."""
    found = findings(lambda inputs: np.stack([3 * inputs[:, 0], -inputs[:, 0]], axis=1).astype(np.float32))
    assert found["kernel-shap"].measured[0].value > 0.999


def test_what_is_no_number_is_said():
    def breaks(inputs):
        outputs = inputs @ WEIGHTS
        return np.where((inputs[:, :1] == np.float32(INPUTS[:, 0].mean(dtype=np.float64))), np.nan, outputs)

    found = findings(breaks)
    assert "no number" in found["occlusion"].reason and "no number" in found["kernel-shap"].reason


class Shuffles:
    """What only its weights can be shuffled of: answers are those of other weights meanwhile, or the same."""

    def __init__(self, *, really=True):
        self.weights, self.really = WEIGHTS, really

    def ask(self, inputs):
        return inputs @ self.weights

    @contextmanager
    def randomised(self, seed):
        if self.really:
            self.weights = np.random.default_rng(seed).permutation(WEIGHTS.ravel()).reshape(WEIGHTS.shape)
        yield self
        self.weights = WEIGHTS


@pytest.mark.parametrize("really", [True, False])
def test_weights_that_can_be_shuffled_are(really):
    shuffles = Shuffles(really=really)
    model = AskedModel(Target(kind="a file", ask=shuffles.ask, shuffles=shuffles, without_gradients="it gives none"))
    explained = prepare(model, INPUTS, LABELS, train=INPUTS, single=False, confidence=0.99, seed=0, budget=Budget())
    (found,) = [one for one in check_forward(explained, shuffles=True) if one.id == "explanations.occlusion-sanity"]
    if really:
        assert found.measured[0].value < 0.5 and found.severity in ("pass", "note")
    else:
        assert found.severity == "not checked" and "nothing to shuffle" in found.reason
    assert (shuffles.ask(INPUTS) == INPUTS @ WEIGHTS).all()


def test_no_time_and_a_model_that_fails_are_one_line_each():
    assert "of 32 within the time given" in findings(linear, seconds=0.0)["occlusion"].reason

    def fails(inputs):
        raise ValueError("no more\nthan this")

    assert findings(fails)["occlusion"].reason == "ValueError: no more"


@pytest.mark.parametrize("at", [1, 7])
def test_answers_do_not_depend_on_how_many_are_asked_at_once(at):
    whole, few = findings(linear), findings(linear, batch=at)
    for name, finding in whole.items():
        assert [one.value for one in few[name].measured] == pytest.approx([one.value for one in finding.measured])
