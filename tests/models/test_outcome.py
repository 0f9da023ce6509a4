"""What is explained in place of an output: probabilities and losses, by their definition."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.backends.contract import Model
from trustml.backends.numpy.network import logits
from trustml.catalogue.available import why_unfit
from trustml.models.answers import probabilities
from trustml.models.losses import example_losses
from trustml.models.outcome import explained_columns, why_no_quantity, with_outcome
from trustml.models.tasks import Binary, Classes, Labels, Regression
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp
from trustml.scenario import methods as m

INPUTS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
OUTPUTS = {Classes: 3, Binary: 1, Labels: 2}
LABELS = {
    Classes: np.array([0, 2, 1, 1, 0]),
    Binary: np.array([[0], [1], [1], [0], [1]], np.float32),
}


def asked(task, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of a network, and what is explained of them."""
    architecture = mlp([6], classes=OUTPUTS[type(task)])
    weights = initial_weights(architecture, (4,), generator=np.random.default_rng(1))
    models = [
        Model(architecture=one, input_shape=(4,), weights=weights)
        for one in (architecture, with_outcome(architecture, task, quantity))
    ]
    return tuple(logits(model, INPUTS) for model in models)


@pytest.mark.parametrize("task", [Classes(), Binary(), Labels()])
def test_probabilities_are_those_of_the_task(task):
    outputs, found = asked(task, "probability")
    np.testing.assert_allclose(found, probabilities(task, outputs), rtol=1e-12)


@pytest.mark.parametrize("task", [Classes(), Binary()])
def test_the_column_of_the_true_label_is_its_loss(task):
    outputs, found = asked(task, "loss")
    labels = LABELS[type(task)]
    columns = explained_columns(task, "loss", outputs, labels, "true")
    np.testing.assert_allclose(found[np.arange(5), columns], example_losses(outputs, labels, task=task), rtol=1e-9)
    predicted = explained_columns(task, "loss", outputs, labels, "predicted")
    np.testing.assert_array_equal(predicted, found.argmin(axis=1))
    assert (explained_columns(task, "loss", outputs, labels, 1) == 1).all()


def test_what_a_task_does_not_define_is_said():
    assert "no probability" in why_no_quantity(Regression(), "probability")
    assert "all outputs together" in why_no_quantity(Labels(), "loss")
    assert not why_no_quantity(Labels(), "probability") and not why_no_quantity(Regression(), "logit")


@pytest.mark.parametrize("method", [m.DeepLift(), m.LRP(), m.TransformerLRP(), m.IntegratedGradients()])
def test_rules_end_at_the_logit(method):
    architecture = with_outcome(mlp([6], classes=3), Classes(), "loss")
    found = why_unfit(method, architecture, (4,))
    assert found == ("" if isinstance(method, m.IntegratedGradients) else
                     "has no rule for a loss (explanations.quantity): of a probability or a loss it has none; explain "
                     "the logit")  # fmt: skip
