"""Attention rollout against its definition in loops, and where it has none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.attribution.relevance import values_of
from trustml.attribution.rollout import rollout, token_way, why_no_rollout
from trustml.backends.contract import Model
from trustml.models.layers import Add, Architecture, Dense, Flatten, Node
from trustml.models.token_layers import Attention, FeatureTokens, Pick, Prepend
from trustml.models.transformers import decoder, encoder, ft_transformer, vision_transformer
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp, small_cnn

TEXT = encoder(vocabulary=9, width=6, heads=2, blocks=2, classes=3)
IMAGE = vision_transformer(size=6, patch=3, width=4, heads=2, blocks=2, classes=3)
TABLE = ft_transformer(columns=(1, 2, 3), width=4, heads=2, blocks=1, classes=3)


def asked(architecture: Architecture, inputs: np.ndarray) -> tuple[Model, np.ndarray]:
    """A network of large weights, whose attention is not even, and the rollout of one input."""
    generator = np.random.default_rng(3)
    shapes = initial_weights(architecture, inputs.shape, generator=generator)
    weights = {
        key: (array + generator.standard_normal(array.shape)).astype(np.float32) for key, array in shapes.items()
    }
    model = Model(architecture=architecture, input_shape=inputs.shape, weights=weights)
    values = values_of(model, inputs)
    found = rollout(architecture, inputs[None], lambda _, names: {name: values[name][None] for name in names}, rows=1)
    return model, found[0]


def shares_by_hand(layer: Attention, values: dict[str, np.ndarray], node: Node) -> np.ndarray:
    """Mean over heads of each query's shares of the keys, one number after the other."""
    queries, keys = values[node.inputs[0]], values[node.inputs[1]]
    there = values[node.inputs[3]] if len(node.inputs) > 3 else np.ones(len(keys))
    width = queries.shape[1] // layer.heads
    found = np.zeros((len(queries), len(keys)))
    for head in range(layer.heads):
        part = slice(head * width, (head + 1) * width)
        for query in range(len(queries)):
            own = [
                math.exp(queries[query, part] @ keys[key, part] / math.sqrt(width)) if there[key] else 0.0
                for key in range(len(keys))
            ]
            found[query] += np.array(own) / sum(own) / layer.heads
    return found


def by_hand(model: Model, inputs: np.ndarray) -> np.ndarray:
    """Product of (shares + identity) / 2 over the layers, last first."""
    values, whole = values_of(model, inputs), None
    for node in model.architecture.nodes:
        if isinstance(node.layer, Attention):
            shares = shares_by_hand(node.layer, values, node)
            half = (shares + np.eye(len(shares))) / 2
            whole = half if whole is None else half @ whole
    return whole


def test_of_a_text_it_is_the_mean_of_what_is_no_padding():
    ids = np.array([3, 5, 1, 0, 0], np.float32)
    model, found = asked(TEXT, ids)
    expected = by_hand(model, ids)[:3].mean(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.sum() == pytest.approx(1, rel=1e-5) and not found[3:].any() and np.ptp(found[:3]) > 0.05


def test_of_an_image_it_is_what_the_class_token_sees_of_each_patch():
    image = np.random.default_rng(1).normal(size=(6, 6, 2)).astype(np.float32)
    model, found = asked(IMAGE, image)
    row = by_hand(model, image)[0]
    assert found[0, 5, 1] == pytest.approx(row[2], rel=1e-5) and found[5, 0, 0] == pytest.approx(row[3], rel=1e-5)
    assert (found[:3, :3] == found[0, 0, 0]).all()
    assert row[0] + found[::3, ::3, 0].sum() == pytest.approx(1, rel=1e-5)


def test_of_a_table_every_column_has_what_its_feature_has():
    row = np.random.default_rng(1).normal(size=6).astype(np.float32)
    model, found = asked(TABLE, row)
    np.testing.assert_allclose(found, by_hand(model, row)[0, 1:][[0, 1, 1, 2, 2, 2]], rtol=1e-5)


def sums(*nodes: Node) -> Architecture:
    return Architecture(layers=(*nodes, Dense(units=3)))


PROJECTED = (
    Node(name="features", layer=FeatureTokens(width=4), inputs=("input",)),
    Node(name="heads", layer=Attention(), inputs=("features", "features", "features")),
)


def test_without_a_shortcut_a_step_keeps_nothing_of_itself():
    bare = sums(*PROJECTED, Node(name="first", layer=Pick(index=1)))
    assert token_way(bare, (5,)).past == (False,)
    row = np.random.default_rng(1).normal(size=5).astype(np.float32)
    model, found = asked(bare, row)
    values = values_of(model, row)
    np.testing.assert_allclose(found, shares_by_hand(Attention(), values, bare.nodes[1])[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "shape", "reason"),
    [
        (mlp([4], classes=2), (5,), "needs attention, and the model has none"),
        (small_cnn(), (8, 8, 1), "needs attention, and the model has none"),
        (decoder(vocabulary=9, width=4, heads=2, blocks=1), (5,), "needs one place where tokens are read out, and the"),
        (sums(*PROJECTED, Node(name="flat", layer=Flatten())), (5,), "follows tokens step by step, and flat (Flatten)"),
        (
            sums(
                *PROJECTED,
                Node(name="class", layer=Prepend()),
                Node(name="again", layer=Attention(), inputs=("class", "class", "class")),
                Node(name="add", layer=Add(), inputs=("again", "class")),
                Node(name="first", layer=Pick()),
            ),
            (5,),
            "needs the same tokens in every attention",
        ),
        (
            sums(
                *PROJECTED,
                Node(name="beside", layer=Attention(), inputs=("features", "features", "features")),
                Node(name="add", layer=Add(), inputs=("heads", "beside")),
                Node(name="first", layer=Pick()),
            ),
            (5,),
            "multiplies attention up, and heads (Attention) and beside (Attention) stand side by side",
        ),
    ],
    ids=["mlp", "cnn", "decoder", "flatten", "prepended", "beside"],
)
def test_where_it_has_no_definition_it_says_why(architecture, shape, reason):
    assert why_no_rollout(architecture, shape).startswith(reason)
