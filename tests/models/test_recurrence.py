"""Recurrent layers: what they give and take, and how they begin."""

from __future__ import annotations

import hashlib
import math

import msgspec
import numpy as np
import pytest

from trustml.catalogue.available import why_unfit
from trustml.errors import ScenarioError
from trustml.models.layers import GRU, LSTM, Architecture, Dense, Flatten
from trustml.models.shapes import layer_output, layer_shapes, weight_shapes
from trustml.models.weights import initial_weights
from trustml.scenario import methods as m

NETWORK = Architecture(layers=(GRU(units=5), LSTM(units=4), Flatten(), Dense(units=2)))


def test_states_of_all_steps_are_given_and_weights_have_an_order():
    assert layer_shapes(NETWORK, (7, 3)) == [(7, 3), (7, 5), (7, 4), (28,), (2,)]
    shapes = weight_shapes(NETWORK, (7, 3))
    assert list(shapes.items())[:4] == [
        ("0.kernel", (3, 15)), ("0.recurrent_kernel", (5, 15)), ("0.bias", (15,)), ("0.recurrent_bias", (15,)),
    ]  # fmt: skip
    assert shapes["1.kernel"] == (5, 16) and shapes["1.recurrent_kernel"] == (4, 16)


def test_recurrent_layers_are_written_and_begin_as_ever():
    text = b"".join(
        array.tobytes() for array in initial_weights(NETWORK, (7, 3), generator=np.random.default_rng(0)).values()
    )
    assert msgspec.json.encode(NETWORK).startswith(b'{"layers":[{"kind":"GRU","units":5},{"kind":"LSTM","units":4},')
    assert hashlib.sha256(text).hexdigest()[:16] == "2b5961067f430d69"


@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_what_is_no_sequence_is_refused_by_field(kind):
    for shape in ((5,), (5, 5, 1)):
        with pytest.raises(ScenarioError) as error:
            layer_output(kind(units=3), [shape], field="l")
        assert str(error.value).startswith(
            f"l: {kind.__name__} takes sequences (steps, channels) but gets shape {shape}; put it before"
        )
    with pytest.raises(ScenarioError, match=r"l\.units: 0 is not positive"):
        layer_output(kind(units=0), [(5, 2)], field="l")


@pytest.mark.parametrize("law", ["torch", "glorot_uniform", "kaiming"])
def test_starting_weights_follow_their_law(law):
    architecture = Architecture(layers=(LSTM(units=30), Flatten(), Dense(units=3)), initialisation=law)
    weights = initial_weights(architecture, (4, 50), generator=np.random.default_rng(0))
    assert list(weights) == list(weight_shapes(architecture, (4, 50)))
    biases = [weights["0.bias"], weights["0.recurrent_bias"]]
    if law == "torch":
        for part in [weights["0.kernel"], weights["0.recurrent_kernel"], *biases]:
            assert 0.9 / math.sqrt(30) < np.abs(part).max() <= 1 / math.sqrt(30)
        return
    bound = math.sqrt(6 / (50 + 120))
    assert 0.98 * bound < np.abs(weights["0.kernel"]).max() <= bound
    rows = weights["0.recurrent_kernel"].astype(np.float64)
    np.testing.assert_allclose(rows @ rows.T, np.eye(30), atol=1e-6)
    np.testing.assert_array_equal(biases[0], np.repeat([0, 1, 0, 0], 30))  # remembers
    assert not biases[1].any()


def test_layers_without_a_law_of_their_own_begin_as_they_did():
    """Beside a recurrent layer, whose numbers are drawn in its place."""
    alone = Architecture(layers=(Dense(units=4), Dense(units=2)))
    weights = initial_weights(alone, (3,), generator=np.random.default_rng(1))
    expected = np.random.default_rng(1).uniform(-1 / math.sqrt(3), 1 / math.sqrt(3), (3, 4)).astype(np.float32)
    np.testing.assert_array_equal(weights["0.kernel"], expected)


GATES = "it multiplies inputs, and the paper has rules for sums and functions of one value"


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (m.LRP(), f"has no rule for GRU (model.layers.0): {GATES}"),
        (m.DeepLift(), f"has no rule for GRU (model.layers.0): {GATES}; use IntegratedGradients"),
        (m.IntegratedGradients(), ""),
        (m.FeatureAblation(), ""),
        (m.FeatureAblation(patch=7), ""),
        (m.KernelShap(patch=8), "patch 8 does not fit into sequences of 7 steps"),
        (
            m.Occlusion(),
            "slides a window over images, but inputs have shape (7, 3); use FeatureAblation(patch=...)",
        ),
    ],
)
def test_methods_that_cannot_explain_a_sequence_say_so_by_name(method, reason):
    assert why_unfit(method, NETWORK, (7, 3)) == reason
