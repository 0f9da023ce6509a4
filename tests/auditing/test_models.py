"""Adapters: every kind of model gives the outputs and gradients that its owner would get, and is left as it was."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.auditing.examples import columns_of, given
from trustml.auditing.models import JaxModel, aligned, ask_all, target_of
from trustml.errors import DataError, UsageError

INPUTS = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
COLUMNS = np.array([0, 1, 2, 0, 1, 2, 0])


def quiet(what, done, of):
    pass


def numeric_gradients(outputs, inputs, columns, step=1e-2):
    found = np.zeros(inputs.shape)
    for place in range(inputs.shape[1]):
        move = np.zeros_like(inputs)
        move[:, place] = step
        change = outputs(inputs + move) - outputs(inputs - move)
        found[:, place] = np.take_along_axis(change, columns[:, None], axis=1)[:, 0] / (2 * step)
    return found


@pytest.mark.torch
def test_a_torch_module_is_asked_in_evaluation_mode_and_left_in_its_own():
    import torch
    from torch import nn

    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 3))
    module.train()
    module[3].eval()
    modes, state = [part.training for part in module.modules()], {k: v.clone() for k, v in module.state_dict().items()}
    target = target_of(module)
    first, second = target.ask(INPUTS), target.ask(INPUTS)
    np.testing.assert_array_equal(first, second)  # neither dropout nor a running mean
    gradients = target.live.input_gradients(INPUTS, COLUMNS)
    np.testing.assert_allclose(gradients, numeric_gradients(target.ask, INPUTS, COLUMNS), atol=2e-3)
    with target.live.randomised(0) as other:
        assert np.abs(other.outputs(INPUTS) - first).max() > 0.01
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.torch
def test_a_torch_module_that_cannot_be_copied_has_its_weights_back_after_shuffling():
    from torch import nn

    class Alone(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("no")

    module = Alone(4, 3)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    target = target_of(module)
    first = target.ask(INPUTS)
    with pytest.raises(KeyboardInterrupt), target.live.randomised(0) as other:
        assert np.abs(other.outputs(INPUTS) - first).max() > 0.01
        raise KeyboardInterrupt
    assert all((value == before[name]).all() for name, value in module.state_dict().items())
    np.testing.assert_array_equal(target.ask(INPUTS), first)


@pytest.mark.torch
def test_a_torch_modules_captum_attributions_add_up():
    from torch import nn

    target = target_of(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)))
    zeros = np.zeros_like(INPUTS)
    found = target.live.library_attributions(INPUTS, COLUMNS, baseline=zeros, n_steps=50)["Captum"]
    change = np.take_along_axis(target.ask(INPUTS) - target.ask(zeros), COLUMNS[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(found.sum(axis=1), change, atol=1e-4)


@pytest.mark.torch
def test_doubles_and_integers_go_in_as_the_module_takes_them():
    from torch import nn

    linear = target_of(nn.Linear(4, 3))
    np.testing.assert_allclose(linear.ask(INPUTS.astype(np.float64)), linear.ask(INPUTS))
    embedding = target_of(nn.Sequential(nn.Embedding(5, 3), nn.Flatten()))
    assert embedding.ask(np.array([[1, 2], [3, 4]])).shape == (2, 6)
    with pytest.raises(TypeError, match="integers"):
        embedding.live.input_gradients(np.array([[1, 2]]), np.array([0]))


@pytest.mark.jax
@pytest.mark.parametrize("pair", [False, True])
def test_a_jax_function_with_parameters(pair):
    import jax.numpy as jnp

    def function(params, inputs):
        return jnp.tanh(inputs @ params["w"])

    params = {"w": np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)}
    target = target_of((function, params) if pair else JaxModel(function, params))
    np.testing.assert_allclose(target.ask(INPUTS), np.tanh(INPUTS @ params["w"]), atol=1e-5)
    gradients = target.live.input_gradients(INPUTS, COLUMNS)
    np.testing.assert_allclose(gradients, numeric_gradients(target.ask, INPUTS, COLUMNS), atol=2e-3)
    with target.live.randomised(0) as other:
        assert np.abs(other.outputs(INPUTS) - target.ask(INPUTS)).max() > 0.01


def test_an_estimator_brings_its_classes_and_an_image_is_laid_flat():
    from sklearn.linear_model import LogisticRegression

    labels = np.array(["cat", "dog"])[(INPUTS[:, 0] > 0).astype(int)]
    model = LogisticRegression().fit(INPUTS, labels)
    target = target_of(model)
    assert target.classes.tolist() == ["cat", "dog"]
    np.testing.assert_array_equal(target.ask(INPUTS.reshape(7, 2, 2)), model.predict_proba(INPUTS))
    assert columns_of(labels, classes=target.classes, count=2).tolist() == (labels == "dog").astype(int).tolist()
    with pytest.raises(DataError, match="does not know the class 'cow'"):
        columns_of(np.array(["cow"]), classes=target.classes, count=2)


def test_a_callable_is_asked_in_batches_and_must_answer_row_by_row():
    sizes = []
    target = target_of(lambda inputs: (sizes.append(len(inputs)), inputs[:, :3])[1])
    many = np.zeros((600, 4), np.float32)
    assert ask_all(target, many, tell=quiet, what="").shape == (600, 3)
    assert sizes == [256, 256, 88]
    with pytest.raises(DataError, match="one row an example"):
        ask_all(target_of(lambda inputs: inputs.mean()), many, tell=quiet, what="")


def test_classes_that_an_estimator_has_not_seen_are_given_zero():
    found = aligned(np.array([[0.4, 0.6]]), classes=np.array([1, 5]), to=np.array([0, 1, 5]))
    assert found.tolist() == [[0.0, 0.4, 0.6]]


class WithModes:
    """Normalises by the batch while it is trained, and by its running mean afterwards, as NNX modules do."""

    def __init__(self):
        self.training, self.mean = True, 0.0

    def train(self):
        self.training = True

    def eval(self):
        self.training = False

    def __call__(self, inputs):
        if self.training:
            self.mean += 0.1 * float(inputs.mean())
            return inputs - inputs.mean()
        return inputs - self.mean


def test_a_network_in_training_mode_is_asked_in_evaluation_mode_and_left_as_found():
    model, inputs = WithModes(), np.arange(6.0).reshape(3, 2) + 5
    found = target_of(model).ask(inputs)
    np.testing.assert_array_equal(found, inputs)  # by the running mean of 0, not by that of the batch
    assert (model.training, model.mean) == (True, 0.0)


def test_a_network_whose_mode_cannot_be_changed_is_refused():
    class Stuck(WithModes):
        def eval(self):
            raise RuntimeError("no")

    with pytest.raises(UsageError, match="Stuck could not be copied into evaluation mode"):
        target_of(Stuck())


def test_what_is_no_model_is_refused():
    with pytest.raises(UsageError, match="int is no model that can be asked"):
        target_of(3)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (np.zeros((2, 3)), "must be a pair"),
        ((np.zeros((3, 2)), np.zeros(2)), "3 inputs and 2 labels"),
        ((np.zeros(3), np.zeros(3)), "shape"),
        ((np.zeros((0, 2)), np.zeros(0)), "holds no example"),
        ((np.zeros((3, 2)), np.zeros((3, 4))), "one class an example"),
        ((np.array([[object()]]), np.zeros(1)), "type object"),
    ],
)
def test_examples_that_do_not_belong_together_are_refused(pair, words):
    with pytest.raises(DataError, match=words):
        given(pair, field="train")


def test_labels_may_be_a_column_or_one_column_a_class():
    inputs = np.zeros((3, 2))
    assert given((inputs, np.array([[2], [0], [1]])), field="train").labels.tolist() == [2, 0, 1]
    assert given((inputs, np.eye(3)[[2, 0, 1]]), field="train").labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("labels", "words"),
    [(np.array([0, 3]), "from 0 to 3"), (np.array([0.5]), "no number"), (np.array(["a"]), "no num")],
)
def test_labels_must_be_columns_of_the_model(labels, words):
    with pytest.raises(DataError, match=words):
        columns_of(labels, classes=None, count=3)
