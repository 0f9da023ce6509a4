"""Networks for sequences: what their last step sees, their weights, and that they are graphs of ten classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from trustml.backends.contract import Model
from trustml.backends.numpy.network import logits
from trustml.errors import UsageError
from trustml.models.layers import Architecture
from trustml.models.sequences import gru_classifier, tcn, text_cnn
from trustml.models.shapes import layer_shapes, weight_shapes
from trustml.models.token_space import why_no_vectors
from trustml.models.weights import initial_weights


def count(architecture: Architecture, shape: tuple[int, ...]) -> int:
    return sum(math.prod(one) for one in weight_shapes(architecture, shape).values())


@pytest.mark.parametrize(
    ("architecture", "weights"),
    [
        # two convolutions and norms a block, one projection in the first; 8 channels throughout
        (tcn(classes=3, filters=(8, 8), kernel=3), (3 * 2 * 8 + 8) + 3 * (3 * 8 * 8 + 8) + 4 * 16 + (16 + 8) + 27),
        (gru_classifier(classes=3, units=5, layers=2), 15 * (2 + 5) + 30 + 15 * (5 + 5) + 30 + 18),
        (gru_classifier(classes=3, units=5, window=4, stride=2), 5 * 4 * 2 + 5 + 15 * (5 + 5) + 30 + 18),
        (text_cnn(classes=3, widths=(2, 3), filters=4, dropout=0.5), 4 * 2 * (2 + 3) + 8 + 27),
    ],
)
def test_published_networks_have_the_weights_they_should(architecture, weights):
    assert count(architecture, (20, 2)) == weights
    assert layer_shapes(architecture, (20, 2))[-1] == (3,)


def test_a_step_sees_those_before_it_as_far_as_is_said():
    """Without norms, which see all steps; the last step before the mean."""
    chain = [node for node in tcn(classes=2, filters=(4, 4), kernel=3).nodes[:-2] if not node.name.endswith("norm")]
    blocks = [replace(node, inputs=tuple(name.replace("norm", "conv") for name in node.inputs)) for node in chain]
    architecture = Architecture(layers=tuple(blocks), initialisation="kaiming")
    shape = (20, 1)
    weights = initial_weights(architecture, shape, generator=np.random.default_rng(0))
    model = Model(architecture=architecture, input_shape=shape, weights=weights)
    draw = np.random.default_rng(1)
    example = draw.normal(size=shape)
    before = logits(model, example[None])[0]
    seen = []
    for step in range(20):
        moved = example.copy()
        moved[step] += 10.0
        changed = np.abs(logits(model, moved[None])[0] - before).max(axis=1) > 0
        assert not changed[:step].any(), "a step sees a later one"
        seen.append(changed[-1])
    reach = 1 + 2 * (3 - 1) * (2**2 - 1)
    assert not any(seen[: 20 - reach]) and seen[20 - reach]


def test_the_largest_value_over_steps_does_not_ask_where_it_was():
    network = text_cnn(classes=2, widths=(2,), filters=3)
    weights = initial_weights(network, (12, 2), generator=np.random.default_rng(0))
    model = Model(architecture=network, input_shape=(12, 2), weights=weights)
    example = np.zeros((2, 12, 2), np.float32)
    example[0, 2:5] = example[1, 7:10] = np.random.default_rng(1).normal(size=(3, 2))
    early, late = logits(model, example)
    np.testing.assert_array_equal(early, late)


def test_networks_of_token_ids_look_them_up():
    words = gru_classifier(classes=3, units=5, vocabulary=12, width=4)
    assert count(words, (9,)) == 12 * 4 + 15 * (4 + 5) + 30 + 18
    bags = text_cnn(classes=3, widths=(2, 3), filters=4, vocabulary=12, width=4)
    assert count(bags, (9,)) == 12 * 4 + 4 * 4 * (2 + 3) + 8 + 27
    assert layer_shapes(words, (9,))[-1] == layer_shapes(bags, (9,))[-1] == (3,)
    assert not why_no_vectors(words) and not why_no_vectors(bags)  # they are explained token by token
    with pytest.raises(UsageError, match="mix tokens with padding"):
        gru_classifier(classes=3, window=4, vocabulary=12)


def test_recurrent_units_leave_padding_out_of_the_mean():
    network = gru_classifier(classes=3, units=5, vocabulary=12, width=4)
    weights = initial_weights(network, (4,), generator=np.random.default_rng(0))
    short, long = np.array([[3, 5, 0, 0]], np.float32), np.array([[3, 5, 0, 0, 0, 0, 0]], np.float32)
    found = [
        logits(Model(architecture=network, input_shape=ids.shape[1:], weights=weights), ids) for ids in (short, long)
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-12)
