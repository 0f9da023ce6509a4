"""Layers of tokens: shapes that cannot be, starting laws, and what the oracle's attention must not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trustml.backends.contract import Model
from trustml.backends.numpy.network import logits
from trustml.backends.settings import written_numbers
from trustml.errors import ScenarioError, UsageError
from trustml.models.layers import Add, Architecture, Dense, Flatten, LayerNorm, Node
from trustml.models.shapes import layer_output, layer_shapes, weight_shapes
from trustml.models.token_layers import (
    Attention,
    Embedding,
    FeatureTokens,
    LearnedPositions,
    Mask,
    MaskedMean,
    Pick,
    Prepend,
    Reshape,
    SinusoidalPositions,
    Unembedding,
)
from trustml.models.transformers import decoder, encoder, ft_transformer, vision_transformer, vit_tiny
from trustml.models.weights import initial_weights

S = (5, 8)
REFUSED = [
    (Embedding(vocabulary=9, width=4), [(5, 3)], "l: Embedding takes token ids (steps,) but gets shape (5, 3); let it"),
    (Mask(), [(2, 2, 1)], "l: Mask takes token ids (steps,) but gets shape (2, 2, 1)"),
    (FeatureTokens(width=4), [S], "l: FeatureTokens takes the columns of a table but gets shape (5, 8)"),
    (FeatureTokens(width=4, columns=(1, 2)), [(4,)], "l.columns: the features take 3 columns, but there are 4; name"),
    (LearnedPositions(), [(5,)], "l: LearnedPositions takes sequences (steps, channels) but gets shape (5,); put an"),
    (SinusoidalPositions(), [(5, 5, 1)], "l: SinusoidalPositions takes sequences"),
    (Prepend(), [(5,)], "l: Prepend takes sequences"),
    (Attention(heads=3), [S, S, S], "l.heads: 3 does not divide 8 channels of queries; choose a divisor of 8"),
    (Attention(heads=4), [S, S, (5, 6)], "l.heads: 4 does not divide 6 channels of values; choose a divisor of 6"),
    (Attention(), [S, (5, 4), (5, 4)], "l: queries (5, 8) and keys (5, 4) must have as many channels, keys and"),
    (Attention(), [S, (6, 8), (7, 8)], "l: queries (5, 8) and keys (6, 8) must have as many channels, keys and"),
    (Attention(heads=8, rotary=True), [S, S, S], "l.rotary: turns pairs of channels, and each of 8 heads has 1; use"),
    (Attention(causal=True), [S, (6, 8), (6, 8)], "l.causal: 5 queries cannot be told from 6 keys by their order"),
    (Attention(), [S, S, S, (4,)], "l: a mask of shape (4,) does not go with 5 steps; name a Mask node of the same"),
    (MaskedMean(), [S, S], "l: a mask of shape (5, 8) does not go with 5 steps"),
    (Pick(index=5), [S], "l.index: 5 is none of 5 steps; choose from -5 to 4"),
    (Reshape(shape=(6, 7)), [S], "l.shape: (6, 7) does not hold the 40 values of (5, 8)"),
    (Reshape(shape=(5, 2, 2, 2)), [S], "l.shape: (5, 2, 2, 2) does not hold"),
    (Dense(units=2), [(5, 5, 1)], "l: Dense takes a vector but gets shape (5, 5, 1); put a Flatten before it"),
]


@pytest.mark.parametrize(("layer", "shapes", "message"), REFUSED, ids=[message[3:40] for _, _, message in REFUSED])
def test_what_does_not_fit_is_refused_by_field(layer, shapes, message):
    with pytest.raises(ScenarioError) as error:
        layer_output(layer, shapes, field="l")
    assert str(error.value).startswith(message)


def tied(*, of: str = "tokens", vocabulary: int = 9, width: int = 4, again: bool = False) -> Architecture:
    nodes = [
        Node(name="tokens", layer=Embedding(vocabulary=9, width=4)),
        Node(name="wide", layer=Dense(units=width)),
        Node(name="logits", layer=Unembedding(of=of, vocabulary=vocabulary)),
    ]
    if again:
        nodes += [
            Node(name="more", layer=Unembedding(of=of, vocabulary=vocabulary), inputs=("wide",)),
            Node(name="sum", layer=Add(), inputs=("logits", "more")),
        ]
    return Architecture(layers=tuple(nodes))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (tied(of="wide"), "model.layers.2.layer.of: 'wide' names no earlier Embedding; choose one of tokens"),
        (tied(vocabulary=8), "model.layers.2.layer.vocabulary: 8 is another than the 9 of 'tokens'; use 9"),
        (tied(width=3), "model.layers.2.layer: gets 3 channels, but rows of 'tokens' have 4; bring them to one width"),
        (tied(again=True), "model.layers.3.layer.of: the table of 'tokens' is tied to another node already; let one"),
    ],
)
def test_ties_that_cannot_be_are_refused(architecture, message):
    assert weight_shapes(tied(), (5,)) == {"tokens.table": (9, 4), "wide.kernel": (4, 4), "wide.bias": (4,)}
    with pytest.raises(ScenarioError) as error:
        layer_shapes(architecture, (5,))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("heads", [0, 3])
def test_a_width_that_heads_do_not_divide_is_refused_by_name(heads):
    with pytest.raises(UsageError, match=f"heads: {heads} does not divide a width of 64; use a divisor of 64"):
        encoder(vocabulary=9, classes=2, heads=heads)
    with pytest.raises(UsageError, match="patch: 5 does not divide images of 32 rows"):
        vit_tiny(size=32, patch=5)


def count(architecture: Architecture, shape: tuple[int, ...]) -> int:
    return sum(math.prod(one) for one in weight_shapes(architecture, shape).values())


def test_published_networks_have_as_many_weights_as_published():
    assert count(vit_tiny(), (224, 224, 3)) == 5_717_416  # timm's deit_tiny_patch16_224
    # BERT-base without token types and pooler: 109,482,240 - 2 * 768 - (768 * 768 + 768), and two classes
    base = encoder(vocabulary=30522, classes=2, width=768, heads=12, blocks=12)
    assert count(base, (512,)) == 109_482_240 - 2 * 768 - (768 * 768 + 768) + 2 * 768 + 2
    small = decoder(vocabulary=50257, width=768, heads=12, blocks=12)
    assert count(small, (1024,)) == 124_439_808  # GPT-2 small, whose weights are tied
    # rtdl's FTTransformer.make_default with 3 blocks of width 192, 8 heads: each block by its parts
    block = 4 * (192 * 192 + 192) + 2 * (192 * 256 + 256) + 256 * 192 + 192
    norms = 2 * 192 * (2 * 3 - 1 + 1)
    table = ft_transformer(classes=1, columns=(1, 1, 4), width=192, heads=8, blocks=3)
    assert count(table, (6,)) == (6 + 3 + 1) * 192 + 3 * block + norms + 192 + 1


LAWS = {"torch": (1.0, 8**-0.5), "glorot_uniform": (0.05 / 3**0.5, 0.05), "truncated_normal": (0.0176, 0.04)}


@pytest.mark.parametrize("law", LAWS)
def test_tables_start_by_the_law(law):
    ids = Architecture(
        layers=(Embedding(vocabulary=500, width=8), LearnedPositions(), Prepend(), Dense(units=40)), initialisation=law
    )
    weights = initial_weights(ids, (200,), generator=np.random.default_rng(0))
    deviation, largest = LAWS[law]
    for name in ("0.table", "1.table"):
        assert abs(weights[name].std() - deviation) < 0.05 * deviation
    assert 0 < np.abs(weights["2.token"]).max() <= largest
    if law == "truncated_normal":
        assert abs(weights["3.kernel"].std() - deviation) < 0.1 * deviation and not weights["3.bias"].any()
        assert np.abs(weights["0.table"]).max() <= np.float32(largest)
    table = Architecture(layers=(FeatureTokens(width=8), Flatten()), initialisation=law)
    vectors = initial_weights(table, (300,), generator=np.random.default_rng(0))
    assert 0.9 * largest < np.abs(vectors["0.vectors"]).max() <= np.float32(largest)
    assert vectors["0.bias"].any() == (law == "torch")


def drawn(architecture: Architecture, shape: tuple[int, ...]) -> Model:
    generator = np.random.default_rng(3)
    weights = initial_weights(architecture, shape, generator=generator)
    weights = {name: (a + generator.normal(0, 0.5, a.shape)).astype(np.float32) for name, a in weights.items()}
    return Model(architecture=architecture, input_shape=shape, weights=weights)


def test_what_is_padding_does_not_change_an_encoder():
    model = drawn(encoder(vocabulary=12, classes=3, width=8, heads=2), (7,))
    ids = np.array([[3, 5, 4, 2, 0, 0, 0]], np.float32)
    before = logits(model, ids)
    moved = {name: array.copy() for name, array in model.weights.items()}
    moved["tokens.table"][0] += 7.0  # another vector of padding, which nobody sees
    after = logits(Model(architecture=model.architecture, input_shape=(7,), weights=moved), ids)
    np.testing.assert_allclose(after, before, atol=1e-12)
    assert np.abs(logits(model, np.array([[3, 5, 4, 2, 1, 0, 0]], np.float32)) - before).max() > 1e-3
    nothing = logits(model, np.zeros((1, 7), np.float32))  # padding alone: what the classifier adds
    np.testing.assert_allclose(nothing[0], model.weights["logits.bias"], atol=1e-7)


@pytest.mark.parametrize("rotary", [False, True])
def test_a_decoder_sees_no_later_token(rotary):
    model = drawn(decoder(vocabulary=12, width=8, heads=2, rotary=rotary), (6,))
    one = np.array([[3, 5, 4, 2, 7, 1]], np.float32)
    other = np.array([[3, 5, 4, 9, 7, 1]], np.float32)
    change = np.abs(logits(model, one) - logits(model, other))[0].max(axis=1)
    assert (change[:3] < 1e-12).all() and (change[3:] > 1e-4).all()


def test_rotary_attention_knows_distances_alone():
    attended = Architecture(
        layers=(
            Node(name="mask", layer=Mask(padding=0), inputs=("input",)),
            Node(name="tokens", layer=Embedding(vocabulary=5, width=8), inputs=("input",)),
            Node(name="a", layer=Attention(heads=2, rotary=True), inputs=("tokens", "tokens", "tokens", "mask")),
        )
    )
    model = drawn(attended, (7,))
    early, late = (np.array([row], np.float32) for row in ([1, 2, 3, 4, 0, 0, 0], [0, 0, 0, 1, 2, 3, 4]))
    one, other = logits(model, early)[0, :4], logits(model, late)[0, 3:]
    np.testing.assert_allclose(one, other, atol=1e-9)
    apart = logits(model, np.array([[1, 2, 0, 3, 4, 0, 0]], np.float32))[0, [0, 1, 3, 4]]
    assert np.abs(apart - one).max() > 1e-3


def test_written_numbers_count_positions_tables_and_scores():
    shape = (10,)
    one = Architecture(layers=(Dense(units=4), LayerNorm(), Dense(units=2)))
    assert written_numbers(one, shape, copies=1) == 4  # of the norm: dense layers at one position write nothing
    assert written_numbers(one, shape, copies=2) == 10 * 4 + 4 + 4 * 2
    text = Architecture(
        layers=(
            Embedding(vocabulary=1000, width=6),
            Node(name="heads", layer=Attention(heads=2), inputs=("0", "0", "0")),
            Dense(units=3),
            Pick(),
            Dense(units=2),
        )
    )
    assert written_numbers(text, shape, copies=1) == 10 * 6 + 4 * 2 * 10 * 10 + 6 * 3
    assert written_numbers(tied(), shape, copies=1) == 9 * 4 + 4 * 4


def test_an_image_becomes_a_sequence_of_patches():
    shapes = layer_shapes(vision_transformer(size=8, patch=4, width=6, heads=2, blocks=1, classes=3), (8, 8, 2))
    assert shapes[1:4] == [(2, 2, 6), (4, 6), (5, 6)] and shapes[-1] == (3,)


def test_an_unembedding_takes_a_vector_or_a_sequence():
    layers = (Node(name="e", layer=Embedding(vocabulary=9, width=4), inputs=("input",)), Reshape(shape=(2, 4, 4)))
    with pytest.raises(ScenarioError, match=r"Unembedding takes a vector or a sequence"):
        layer_shapes(Architecture(layers=(*layers, Unembedding(of="e", vocabulary=9))), (8,))
