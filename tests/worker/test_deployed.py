"""How a file is explained that can only be asked."""

from __future__ import annotations

import numpy as np

from trustml.worker.deployed import MOVED, _by_forward_passes, _moved_gradients


def test_of_a_linear_model_both_ways_give_what_each_group_adds():
    random = np.random.default_rng(0)
    inputs, weights = random.normal(size=(5, 6)).astype(np.float32), random.normal(size=(6, 3)).astype(np.float32)
    targets = np.array([0, 1, 2, 0, 1])
    found = _by_forward_passes(lambda rows: rows @ weights, "file", inputs, targets)
    assert found.keys() == {"file.occlusion", "file.kernel_shap"}
    for values in found.values():
        np.testing.assert_allclose(values, inputs * weights.T[targets], atol=1e-5)


def test_file_and_model_are_asked_the_same_coalitions():
    """Else rounding and the draw could not be told apart: 49 groups have more coalitions than are asked."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(2, 8, 8, 1)).astype(np.float32)
    weights = random.normal(size=(64, 3)).astype(np.float32)

    def ask(images):
        return np.tanh(images.reshape(len(images), -1) @ weights)

    file, model = (_by_forward_passes(ask, who, inputs, np.array([0, 2])) for who in ("file", "model"))
    np.testing.assert_array_equal(file["file.kernel_shap"], model["model.kernel_shap"])
    assert file["file.kernel_shap"].shape == (2, 49)


def test_answers_that_are_no_numbers_are_kept_as_such():
    inputs = np.ones((2, 4), np.float32)
    found = _by_forward_passes(
        lambda rows: np.full((len(rows), 2), np.nan, np.float32), "file", inputs, np.zeros(2, int)
    )
    assert all(np.isnan(values).all() for values in found.values())


def test_the_models_own_gradients_are_asked_where_rounding_would_move_its_inputs():
    """Of two examples one lies at the kink of a rectifier, and its gradient is sometimes that of the other side."""
    asked = []

    class Rectified:
        def input_gradients(self, inputs, targets):
            asked.append(inputs)
            return (inputs > 1).astype(np.float32)

    inputs = np.array([[1.0, 2.0, 2.0], [-1.0, 2.0, 0.0]], np.float32)
    targets = np.zeros(2, np.int64)
    own = Rectified().input_gradients(inputs, targets)
    moved = _moved_gradients(Rectified(), inputs, targets, own)
    np.testing.assert_array_equal(moved, [[1, 1, 1], [0, 1, 0]])
    assert own[0, 0] == 0 and moved.dtype == np.float32
    for one in asked[1:]:
        assert 0 < np.abs(one - inputs).max() <= 2 * MOVED + 2e-7  # and a rounding
        assert one[0, 1] == one[0, 2] == one[1, 1] and one[1, 2] == 0  # so windows that are equal remain so
