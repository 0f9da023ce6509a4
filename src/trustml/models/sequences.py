"""Networks for sequences (steps, channels) and texts, as published but for the norms, which mix no examples."""

from __future__ import annotations

from collections.abc import Sequence

from trustml.errors import UsageError
from trustml.models.layers import (
    GRU,
    INPUT,
    Add,
    Architecture,
    Concatenate,
    Conv1D,
    Dense,
    Dropout,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    Layer,
    Node,
    ReLU,
)
from trustml.models.token_layers import Embedding, Mask, MaskedMean


def tcn(
    *, classes: int, filters: Sequence[int] = (16, 16, 16, 16), kernel: int = 5, groups: int = 4, dropout: float = 0.0
) -> Architecture:
    """Temporal convolutional network: residual blocks of causal convolutions (Bai et al., arXiv 1803.01271).

    A block has two convolutions that look back, at steps twice as far apart as in the block before; so the last step
    sees ``1 + 2 * (kernel - 1) * (2**blocks - 1)`` steps. Where they normalise weights, GroupNorm normalises values,
    over all steps; and the mean over steps goes on to the classes, instead of the last one.

    Parameters
    ----------
    classes : int
    filters : sequence of int
        Of each block.
    kernel : int
    groups : int
        Of each GroupNorm; a divisor of all `filters`.
    dropout : float
        Behind each convolution.
    """
    nodes: list[Node] = []
    for block, width in enumerate(filters):
        source = nodes[-1].name if nodes else INPUT
        before = filters[block - 1] if block else 0  # an input has channels of its own number
        nodes += _causal_block(f"block{block}", source, before, width, kernel, 2**block, groups, dropout)
    return Architecture(
        layers=(*nodes, Node(name="pool", layer=GlobalAvgPool()), Node(name="logits", layer=Dense(units=classes))),
        initialisation="kaiming",
    )


def gru_classifier(
    *,
    classes: int,
    units: int = 32,
    layers: int = 1,
    window: int = 0,
    stride: int = 1,
    vocabulary: int = 0,
    width: int = 32,
) -> Architecture:
    """Gated recurrent units, the mean of whose states over all steps goes on to the classes.

    Of texts it is the mean over the tokens that are no padding (0).

    Parameters
    ----------
    classes : int
    units : int
    layers : int
        One above the other.
    window, stride : int
        Steps that a convolution in front of them sees, and goes on by, with as many filters and a ReLU: it makes long
        series short, over which gradients would fade. Without a window there is none.
    vocabulary, width : int
        Of inputs that are token ids: how many tokens there are, and channels of the vectors that stand for them.
        Without a vocabulary inputs are (steps, channels).
    """
    front: list[Node] = []
    if window and vocabulary:
        raise UsageError(f"window: {window} steps would mix tokens with padding; leave it out, or use text_cnn")
    if window:
        convolution = Conv1D(filters=units, kernel=window, stride=stride)
        front = [Node(name="front", layer=convolution), Node(name="front.relu", layer=ReLU())]
    pool = Node(name="pool", layer=GlobalAvgPool())
    if vocabulary:
        mask = Node(name="mask", layer=Mask(), inputs=(INPUT,))
        front = [mask, *_tokens(vocabulary, width)]
        pool = Node(name="pool", layer=MaskedMean(), inputs=(f"gru{layers - 1}", "mask"))
    stack = [Node(name=f"gru{number}", layer=GRU(units=units)) for number in range(layers)]
    return Architecture(layers=(*front, *stack, pool, Node(name="logits", layer=Dense(units=classes))))


def text_cnn(
    *,
    classes: int,
    widths: Sequence[int] = (3, 4, 5),
    filters: int = 100,
    dropout: float = 0.0,
    vocabulary: int = 0,
    width: int = 64,
) -> Architecture:
    """Convolutions of several widths side by side, and the largest value of each over all steps (Kim, EMNLP 2014).

    Padding has a vector of its own there, which is learned like any.

    Parameters
    ----------
    classes : int
    widths : sequence of int
        Steps that the filters see.
    filters : int
        Of each width.
    dropout : float
        Before the classes; 0.5 in the paper.
    vocabulary, width : int
        Of inputs that are token ids: how many tokens there are, and channels of the vectors that stand for them (300
        in the paper). Without a vocabulary inputs are (steps, channels).
    """
    nodes: list[Node] = _tokens(vocabulary, width)
    source = nodes[-1].name if nodes else INPUT
    for steps in widths:
        name = f"width{steps}"
        nodes += [
            Node(name=f"{name}.conv", layer=Conv1D(filters=filters, kernel=steps), inputs=(source,)),
            Node(name=f"{name}.relu", layer=ReLU()),
            Node(name=f"{name}.max", layer=GlobalMaxPool()),
        ]
    ends = tuple(f"width{steps}.max" for steps in widths)
    if len(ends) > 1:
        nodes.append(Node(name="all", layer=Concatenate(), inputs=ends))
    nodes += [Node(name="dropout", layer=layer) for layer in _dropout(dropout)]
    return Architecture(layers=(*nodes, Node(name="logits", layer=Dense(units=classes))))


def _causal_block(
    name: str, source: str, before: int, filters: int, kernel: int, dilation: int, groups: int, dropout: float
) -> list[Node]:
    """Two convolutions with norm and ReLU, and a shortcut: what goes in, or a projection to as many channels."""
    padding = ((kernel - 1) * dilation, 0)
    nodes = []
    for number, start in ((1, source), (2, "")):
        convolution = Conv1D(filters=filters, kernel=kernel, padding=padding, dilation=dilation)
        nodes += [
            Node(name=f"{name}.{number}.conv", layer=convolution, inputs=(start,) if start else ()),
            Node(name=f"{name}.{number}.norm", layer=GroupNorm(groups=groups)),
            Node(name=f"{name}.{number}.relu", layer=ReLU()),
            *(Node(name=f"{name}.{number}.dropout", layer=layer) for layer in _dropout(dropout)),
        ]
    end, shortcut = nodes[-1].name, source
    if before != filters:
        shortcut = f"{name}.shortcut"
        nodes.append(Node(name=shortcut, layer=Conv1D(filters=filters, kernel=1), inputs=(source,)))
    return [
        *nodes,
        Node(name=f"{name}.add", layer=Add(), inputs=(end, shortcut)),
        Node(name=f"{name}.relu", layer=ReLU()),
    ]


def _tokens(vocabulary: int, width: int) -> list[Node]:
    """Vectors of token ids; nothing where inputs are no ids."""
    if not vocabulary:
        return []
    return [Node(name="tokens", layer=Embedding(vocabulary=vocabulary, width=width), inputs=(INPUT,))]


def _dropout(rate: float) -> list[Layer]:
    return [Dropout(rate=rate)] if rate else []
