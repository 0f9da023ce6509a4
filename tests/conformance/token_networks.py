"""Small networks of tokens, of text and of tables, for :mod:`tests.conformance.trials`."""

from __future__ import annotations

import numpy as np

from trustml.models.layers import Add, Architecture, Dense, Flatten, LayerNorm, Node, ReLU, RMSNorm
from trustml.models.token_layers import (
    Attention,
    Embedding,
    FeatureTokens,
    LearnedPositions,
    Mask,
    MaskedMean,
    Pick,
    Prepend,
    SinusoidalPositions,
    Unembedding,
)


def draw_tokens(generator: np.random.Generator, *, classes: int) -> tuple[Architecture, tuple[int, ...]]:
    """Draw a network of few, extreme layers, and the shape of its inputs: ids, or the columns of a table."""
    heads = int(generator.choice([1, 2]))
    width = heads * int(generator.choice([2, 4, 16]))
    text = generator.random() < 0.6
    steps = int(generator.choice([1, 2, 5, 12]))
    nodes = _text(generator, width) if text else _table(generator, steps, width)
    nodes += _attention(generator, nodes[-1].name, width, heads, mask=text)
    if generator.random() < 0.7:
        nodes.append(Node(name="norm", layer=LayerNorm() if generator.random() < 0.6 else RMSNorm()))
    if generator.random() < 0.5:
        nodes += [
            Node(name="hidden", layer=Dense(units=int(generator.choice([1, 8, 64])))),
            Node(name="relu", layer=ReLU()),
        ]
    elif text and generator.random() < 0.6:
        nodes.append(Node(name="tied", layer=Unembedding(of="tokens", vocabulary=_vocabulary(nodes))))
    way = generator.random()
    if text and way < 0.4:
        nodes.append(Node(name="end", layer=MaskedMean(), inputs=(nodes[-1].name, "mask")))
    else:
        nodes.append(Node(name="end", layer=Pick(index=int(generator.choice([0, -1]))) if way < 0.8 else Flatten()))
    return Architecture(layers=(*nodes, Dense(units=classes))), (steps,)


def _vocabulary(nodes: list[Node]) -> int:
    return next(node.layer.vocabulary for node in nodes if isinstance(node.layer, Embedding))


def _text(generator: np.random.Generator, width: int) -> list[Node]:
    layer = Embedding(vocabulary=int(generator.choice([2, 7, 40])), width=width)
    positions = LearnedPositions() if generator.random() < 0.7 else SinusoidalPositions()
    return [
        Node(name="mask", layer=Mask(), inputs=("input",)),
        Node(name="tokens", layer=layer, inputs=("input",)),
        Node(name="positions", layer=positions),
    ]


def _table(generator: np.random.Generator, steps: int, width: int) -> list[Node]:
    joined = steps > 2 and generator.random() < 0.5
    layer = FeatureTokens(width=width, columns=(steps - 2, 2) if joined else ())
    return [Node(name="features", layer=layer), Node(name="class", layer=Prepend())]


def _attention(generator: np.random.Generator, source: str, width: int, heads: int, *, mask: bool) -> list[Node]:
    project = Dense(units=width, bias=bool(generator.random() < 0.8))
    layer = Attention(heads=heads, causal=bool(generator.random() < 0.4), rotary=bool(generator.random() < 0.4))
    parts = ("query", "key", "value")
    return [
        *(Node(name=part, layer=project, inputs=(source,)) for part in parts),
        Node(name="heads", layer=layer, inputs=(*parts, "mask") if mask else parts),
        Node(name="output", layer=Dense(units=width)),
        Node(name="add", layer=Add(), inputs=(source, "output")),
    ]
