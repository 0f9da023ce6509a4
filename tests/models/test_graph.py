"""Names and ends of graphs, what is refused of them, and that chains are what they were."""

from __future__ import annotations

import hashlib
import math

import msgspec
import numpy as np
import pytest

from tests.conformance.graphs import draw_graph
from trustml.errors import ScenarioError
from trustml.models.graph import ancestors, downstream, held_beside, is_chain, straight_until
from trustml.models.layers import (
    INPUT,
    Add,
    Architecture,
    AvgPool,
    Concatenate,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool,
    GroupNorm,
    Layer,
    LayerNorm,
    Node,
    ReLU,
)
from trustml.models.residual import residual_network, resnet18, resnet20, wrn16_4
from trustml.models.shapes import layer_shapes, value_shapes, weight_shapes
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp, mnist_cnn, small_cnn


def node(name: str, layer: Layer, *inputs: str) -> Node:
    return Node(name=name, layer=layer, inputs=inputs)


def graph(*layers: Layer | Node) -> Architecture:
    return Architecture(layers=layers)


CHAINS = {  # as they were before there were graphs
    "small_cnn": (small_cnn(), (8, 8, 1), "2c8c11a2d216d268", "f580945f718646ea"),
    "mnist_cnn": (mnist_cnn(), (28, 28, 1), "1f1946ac8298012c", "414c95b0c2122f2d"),
    "mlp": (mlp([5], classes=3), (4,), "d9eb787885cc0c98", "44d7860a41a2d271"),
    "norms": (
        Architecture(
            layers=(
                Conv2D(filters=2), GroupNorm(groups=2), AvgPool(), Flatten(), LayerNorm(), Dense(units=3),
            ),
            initialisation="glorot_uniform",
        ),
        (6, 6, 2),
        "51bccb17bdd0ece1",
        "dfc99ae2372c57b0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_written_and_begin_as_before(name):
    architecture, shape, text, start = CHAINS[name]
    assert hashlib.sha256(msgspec.json.encode(architecture)).hexdigest()[:16] == text
    weights = initial_weights(architecture, shape, generator=np.random.default_rng(0))
    assert hashlib.sha256(b"".join(array.tobytes() for array in weights.values())).hexdigest()[:16] == start
    assert is_chain(architecture) and [one.name for one in architecture.nodes] == [
        str(index) for index in range(len(architecture.layers))
    ]


BRANCHED = graph(
    node("stem", Conv2D(filters=4, padding=((1, 1), (1, 1)))),
    ReLU(),
    node("long", Conv2D(filters=4, padding=((1, 1), (1, 1)))),
    node("sum", Add(), "1", "long"),
    GlobalAvgPool(),
    Dense(units=2),
)


def test_nodes_take_what_they_name_or_what_came_before():
    assert [one.inputs for one in BRANCHED.nodes] == [(INPUT,), ("stem",), ("1",), ("1", "long"), ("sum",), ("4",)]
    assert list(value_shapes(BRANCHED, (5, 5, 3))) == [INPUT, "stem", "1", "long", "sum", "4", "5"]
    assert list(weight_shapes(BRANCHED, (5, 5, 3))) == [
        "stem.kernel", "stem.bias", "long.kernel", "long.bias", "5.kernel", "5.bias",
    ]  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(BRANCHED), type=Architecture) == BRANCHED


def test_a_way_is_straight_while_nothing_else_takes_its_values():
    assert straight_until(BRANCHED) == 1
    assert straight_until(BRANCHED, 2) == 2  # both the convolution and the sum take the output of node 1
    assert straight_until(BRANCHED, 4) == 6
    affine = graph(Flatten(), node("a", Dense(units=3)), node("b", Add(), "a", "a"), Dense(units=2))
    assert straight_until(affine) == 2


def test_what_follows_and_what_stays_beside_it():
    assert [one.name for one in downstream(BRANCHED, "long")] == ["sum", "4", "5"]
    assert held_beside(BRANCHED, "long") == ("1",)
    assert held_beside(BRANCHED, "stem") == held_beside(BRANCHED, INPUT) == ()
    assert ancestors(BRANCHED, ["long"]) == {INPUT, "stem", "1", "long"}


D, R = Dense(units=2), ReLU()
REFUSED = {
    "unknown": (graph(node("first", D), node("b", R, "frist")), "model.layers.1.inputs.0: 'frist' names no node; did"),
    "later": (graph(node("a", D, "b"), node("b", R)), "model.layers.0.inputs.0: 'a' takes the output of 'b', which"),
    "itself": (graph(D, node("b", R, "b")), "model.layers.1.inputs.0: 'b' takes the output of itself; name"),
    "twice": (graph(node("a", D), node("a", R)), "model.layers.1.name: 'a' is the name of model.layers.0, too"),
    "number": (graph(node("1", D), R), "model.layers.0.name: '1' is the name of something else; begin"),
    "input": (graph(node("input", D)), "model.layers.0.name: 'input' is the name of something else"),
    "path": (graph(node("../a", D)), "model.layers.0.name: '../a' is no plain name; use letters"),
    "dots": (graph(node("a..b", D)), "model.layers.0.name: 'a..b' is no plain name"),
    "empty name": (graph(node("", D)), "model.layers.0.name: '' is no plain name"),
    "unused": (graph(D, node("lost", R), node("end", R, "0")), "model.layers.1: no node takes the output of 'lost'"),
    "one input": (graph(D, Add()), "model.layers.1: Add takes 2 inputs or more and '1' has 1; write Node"),
    "two inputs": (graph(D, node("b", R, "0", "0")), "model.layers.1.inputs: ReLU takes one input and 'b' has 2"),
    "empty": (graph(), "model.layers: is empty"),
    "shapes": (
        graph(node("a", D), node("b", Dense(units=3)), node("c", Add(), "a", "b")),
        "model.layers.2.layer: Add takes inputs of one shape but gets (2,) and (3,)",
    ),
    "inner field": (graph(node("a", Dense(units=0))), "model.layers.0.layer.units: 0 is not positive"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_graph_is_refused_by_name(name):
    architecture, message = REFUSED[name]
    with pytest.raises(ScenarioError) as error:
        layer_shapes(architecture, (4,))
    assert str(error.value).startswith(message)


def test_channels_are_joined_and_rows_must_agree():
    joined = graph(
        node("a", Conv2D(filters=3)), node("b", Conv2D(filters=2), INPUT), node("c", Concatenate(), "a", "b")
    )
    assert layer_shapes(joined, (5, 5, 1))[-1] == (3, 3, 5)
    ragged = graph(node("a", Conv2D(filters=3)), node("c", Concatenate(), "a", INPUT))
    with pytest.raises(ScenarioError, match="differ in the last axis alone but gets"):
        layer_shapes(ragged, (5, 5, 1))


def count(architecture: Architecture, shape: tuple[int, ...]) -> int:
    return sum(math.prod(one) for one in weight_shapes(architecture, shape).values())


def test_published_networks_have_the_weights_they_are_published_with():
    assert count(resnet18(), (224, 224, 3)) == 11_689_512  # torchvision's, whose BatchNorms have as many as GroupNorms
    assert count(resnet20(), (32, 32, 3)) == 269_722 + 2_752  # option A's, and the projections of option B
    assert 2.7e6 < count(wrn16_4(), (32, 32, 3)) < 2.8e6
    small = residual_network(filters=(4, 8), blocks=1, groups=2, classes=10)
    assert layer_shapes(small, (8, 8, 1))[-1] == (10,)
    assert layer_shapes(resnet18(classes=3, small_images=True), (32, 32, 3))[-3] == (4, 4, 512)


def test_kaiming_starts_with_the_deviation_that_keeps_a_signal_through_relu():
    weights = initial_weights(resnet20(), (32, 32, 3), generator=np.random.default_rng(0))
    kernel = weights["stage3.1.1.conv.kernel"]
    assert abs(kernel.std() / math.sqrt(2 / (9 * 64)) - 1) < 0.02
    assert not weights["logits.bias"].any() and (weights["stem.norm.scale"] == 1).all()


def test_every_random_graph_gives_ten_logits():
    for seed in range(200):
        architecture = draw_graph(np.random.default_rng(seed), (6, 5, 2))
        assert layer_shapes(architecture, (6, 5, 2))[-1] == (10,)
