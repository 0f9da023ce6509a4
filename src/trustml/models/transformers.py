"""Transformers as published: an encoder and a decoder of token ids, of images, and of tables.

None has dropout, which the frameworks would draw differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trustml.errors import UsageError
from trustml.models.layers import (
    GELU,
    INPUT,
    Add,
    Architecture,
    Conv2D,
    Dense,
    Layer,
    LayerNorm,
    Multiply,
    Node,
    ReLU,
)
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
    Unembedding,
)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """What the blocks of a transformer share.

    Attributes
    ----------
    width, heads, hidden : int
        Channels of a step, heads of attention, channels between the two layers of the feed-forward part.
    causal, rotary : bool
    mask : str
        Name of the node that is the mask; empty for none.
    epsilon : float
        Of norms.
    norm_first : bool
        Whether norms come before attention and feed-forward part, instead of after the sum.
    gated : bool
        Whether the feed-forward part is ReGLU (Shazeer, arXiv 2002.05202) instead of GELU between two layers.
    """

    width: int
    heads: int
    hidden: int
    causal: bool = False
    rotary: bool = False
    mask: str = ""
    epsilon: float = 1e-5
    norm_first: bool = True
    gated: bool = False


def encoder(
    *,
    vocabulary: int,
    classes: int,
    width: int = 64,
    heads: int = 4,
    blocks: int = 2,
    hidden: int | None = None,
    padding: int = 0,
) -> Architecture:
    """Encoder of token ids as BERT's (Devlin et al., arXiv 1810.04805): norms come after sums, GELU is exact.

    Positions are learned. BERT's token types are left out, and the classifier takes the mean of the tokens that are no
    padding, where BERT takes the first, as texts have no token of that kind.

    Parameters
    ----------
    vocabulary, classes, width, heads, blocks : int
    hidden : int, optional
        Channels inside of the feed-forward part; four times the width by default.
    padding : int
        Id that fills texts up.
    """
    _check_sizes(width=width, heads=heads)
    inside = hidden or 4 * width
    block = _Block(width=width, heads=heads, hidden=inside, mask="mask", epsilon=1e-12, norm_first=False)
    nodes = [
        Node(name="mask", layer=Mask(padding=padding), inputs=(INPUT,)),
        Node(name="tokens", layer=Embedding(vocabulary=vocabulary, width=width), inputs=(INPUT,)),
        Node(name="positions", layer=LearnedPositions()),
        Node(name="norm", layer=LayerNorm(epsilon=block.epsilon)),
    ]
    for number in range(blocks):
        nodes += _block(f"block{number}", nodes[-1].name, block)
    nodes += [
        Node(name="mean", layer=MaskedMean(), inputs=(nodes[-1].name, "mask")),
        Node(name="logits", layer=Dense(units=classes)),
    ]
    return Architecture(layers=tuple(nodes), initialisation="truncated_normal")


def decoder(
    *,
    vocabulary: int,
    width: int = 64,
    heads: int = 4,
    blocks: int = 2,
    hidden: int | None = None,
    rotary: bool = False,
    tied: bool = True,
) -> Architecture:
    """Causal decoder of token ids as GPT-2 (Radford et al., 2019): norms come before, and once more at the end.

    It gives logits of the next token at each step, (steps, vocabulary). GPT-2 has the tanh approximation of GELU and
    starts the layers before a sum smaller, by their number; here GELU is exact and all start alike.

    Parameters
    ----------
    vocabulary, width, heads, blocks : int
    hidden : int, optional
        Four times the width by default.
    rotary : bool
        Turn queries and keys by their positions, instead of learned positions.
    tied : bool
        Whether logits are products with the table of the embedding.
    """
    _check_sizes(width=width, heads=heads)
    block = _Block(width=width, heads=heads, hidden=hidden or 4 * width, causal=True, rotary=rotary)
    nodes = [Node(name="tokens", layer=Embedding(vocabulary=vocabulary, width=width), inputs=(INPUT,))]
    if not rotary:
        nodes.append(Node(name="positions", layer=LearnedPositions()))
    for number in range(blocks):
        nodes += _block(f"block{number}", nodes[-1].name, block)
    last: Layer = Unembedding(of="tokens", vocabulary=vocabulary) if tied else Dense(units=vocabulary, bias=False)
    nodes += [Node(name="norm", layer=LayerNorm()), Node(name="logits", layer=last)]
    return Architecture(layers=tuple(nodes), initialisation="truncated_normal")


def vision_transformer(
    *, size: int, patch: int, width: int, heads: int, blocks: int, classes: int, hidden: int | None = None
) -> Architecture:
    """Vision transformer (Dosovitskiy et al., arXiv 2010.11929): patches, a class token, learned positions.

    Parameters
    ----------
    size : int
        Rows and columns of an image; a multiple of `patch`.
    patch : int
        Rows and columns of a patch.
    width, heads, blocks, classes : int
    hidden : int, optional
        Four times the width by default.
    """
    _check_sizes(width=width, heads=heads)
    if size % patch:
        raise UsageError(f"patch: {patch} does not divide images of {size} rows; use a divisor of {size}")
    block = _Block(width=width, heads=heads, hidden=hidden or 4 * width, epsilon=1e-6)
    convolution = Conv2D(filters=width, kernel=(patch, patch), stride=(patch, patch))
    nodes = [
        Node(name="patches", layer=convolution, inputs=(INPUT,)),
        Node(name="sequence", layer=Reshape(shape=((size // patch) ** 2, width))),
        Node(name="class", layer=Prepend()),
        Node(name="positions", layer=LearnedPositions()),
    ]
    for number in range(blocks):
        nodes += _block(f"block{number}", nodes[-1].name, block)
    nodes += [
        Node(name="norm", layer=LayerNorm(epsilon=block.epsilon)),
        Node(name="first", layer=Pick(index=0)),
        Node(name="logits", layer=Dense(units=classes)),
    ]
    return Architecture(layers=tuple(nodes), initialisation="truncated_normal")


def vit_tiny(*, size: int = 224, patch: int = 16, classes: int = 1000) -> Architecture:
    """ViT-Ti of DeiT (Touvron et al., ICML 2021, table 1): 5.7 million weights for 224x224x3 and 1,000 classes.

    Parameters
    ----------
    size, patch, classes : int
        For images of 32x32 a patch of 4 is usual.
    """
    return vision_transformer(size=size, patch=patch, width=192, heads=3, blocks=12, classes=classes)


def ft_transformer(
    *,
    classes: int,
    columns: Sequence[int] = (),
    width: int = 64,
    heads: int = 4,
    blocks: int = 2,
    hidden: int | None = None,
) -> Architecture:
    """FT-Transformer for tables (Gorishniy et al., NeurIPS 2021, arXiv 2106.11959), of their sizes but without dropout.

    Each feature becomes a token; of a feature with a column for each category, the columns make one token together. A
    class token looks at all of them. Norms come first, but for the first one of attention, which they leave out; the
    feed-forward part is ReGLU.

    Parameters
    ----------
    classes : int
    columns : sequence of int
        How many columns each feature takes, in their order; by default one each.
    width, heads, blocks : int
    hidden : int, optional
        Channels inside of the feed-forward part; 4/3 of the width by default.
    """
    _check_sizes(width=width, heads=heads)
    block = _Block(width=width, heads=heads, hidden=hidden or width * 4 // 3, gated=True)
    nodes = [
        Node(name="features", layer=FeatureTokens(width=width, columns=tuple(columns)), inputs=(INPUT,)),
        Node(name="class", layer=Prepend()),
    ]
    for number in range(blocks):
        part = _block(f"block{number}", nodes[-1].name, block)
        nodes += _without_first_norm(part) if not number else part
    nodes += [
        Node(name="first", layer=Pick(index=0)),
        Node(name="norm", layer=LayerNorm()),
        Node(name="relu", layer=ReLU()),
        Node(name="logits", layer=Dense(units=classes)),
    ]
    return Architecture(layers=tuple(nodes))


def _check_sizes(*, width: int, heads: int) -> None:
    if width < 1 or heads < 1 or width % heads:
        raise UsageError(f"heads: {heads} does not divide a width of {width}; use a divisor of {width}")


def _block(name: str, source: str, block: _Block) -> list[Node]:
    """Attention and a feed-forward part, each beside a shortcut."""
    first, second = f"{name}.attention", f"{name}.forward"
    if block.norm_first:
        return [
            *_normed(f"{first}.norm", source, block),
            *_attention(first, f"{first}.norm", block),
            Node(name=f"{first}.add", layer=Add(), inputs=(source, f"{first}.output")),
            *_normed(f"{second}.norm", f"{first}.add", block),
            *_forward(second, f"{second}.norm", block),
            Node(name=f"{second}.add", layer=Add(), inputs=(f"{first}.add", f"{second}.output")),
        ]
    return [
        *_attention(first, source, block),
        Node(name=f"{first}.add", layer=Add(), inputs=(source, f"{first}.output")),
        *_normed(f"{first}.norm", f"{first}.add", block),
        *_forward(second, f"{first}.norm", block),
        Node(name=f"{second}.add", layer=Add(), inputs=(f"{first}.norm", f"{second}.output")),
        *_normed(f"{second}.norm", f"{second}.add", block),
    ]


def _normed(name: str, source: str, block: _Block) -> list[Node]:
    return [Node(name=name, layer=LayerNorm(epsilon=block.epsilon), inputs=(source,))]


def _attention(name: str, source: str, block: _Block) -> list[Node]:
    project = Dense(units=block.width)
    layer = Attention(heads=block.heads, causal=block.causal, rotary=block.rotary)
    parts = tuple(f"{name}.{part}" for part in ("query", "key", "value"))
    return [
        *(Node(name=part, layer=project, inputs=(source,)) for part in parts),
        Node(name=f"{name}.heads", layer=layer, inputs=(*parts, *((block.mask,) if block.mask else ()))),
        Node(name=f"{name}.output", layer=project),
    ]


def _forward(name: str, source: str, block: _Block) -> list[Node]:
    wide = Node(name=f"{name}.hidden", layer=Dense(units=block.hidden), inputs=(source,))
    narrow = Node(name=f"{name}.output", layer=Dense(units=block.width))
    if not block.gated:
        return [wide, Node(name=f"{name}.gelu", layer=GELU()), narrow]
    return [
        wide,
        Node(name=f"{name}.gate", layer=Dense(units=block.hidden), inputs=(source,)),
        Node(name=f"{name}.relu", layer=ReLU()),
        Node(name=f"{name}.gated", layer=Multiply(), inputs=(f"{name}.hidden", f"{name}.relu")),
        narrow,
    ]


def _without_first_norm(nodes: list[Node]) -> list[Node]:
    """Leave the first node of a block out."""
    norm, *rest = nodes
    (source,) = norm.inputs
    return [
        Node(name=n.name, layer=n.layer, inputs=tuple(source if name == norm.name else name for name in n.inputs))
        for n in rest
    ]
