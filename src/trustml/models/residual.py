"""Residual networks with GroupNorm, as published but for the norm, which mixes no examples."""

from __future__ import annotations

from collections.abc import Sequence

from trustml.models.layers import (
    INPUT,
    Add,
    Architecture,
    Conv2D,
    Dense,
    GlobalAvgPool,
    GroupNorm,
    MaxPool,
    Node,
    ReLU,
)


def residual_network(*, filters: Sequence[int], blocks: int, groups: int, classes: int) -> Architecture:
    """ResNet for small images, of any size: stages of blocks of two convolutions.

    Parameters
    ----------
    filters : sequence of int
        Of each stage; all stages but the first halve rows and columns.
    blocks : int
        In each stage.
    groups : int
        Of each GroupNorm; a divisor of all `filters`.
    classes : int
    """
    stem = _conv_norm_relu("stem", INPUT, filters[0], groups=groups)
    return _post_activation(stem, filters=filters, blocks=blocks, groups=groups, classes=classes)


def resnet20(*, classes: int = 10, groups: int = 8) -> Architecture:
    """ResNet-20 for small images (He et al., CVPR 2016, section 4.2): 0.27 million weights.

    Where a stage begins, the shortcut is a convolution of kernel (1, 1) with a norm, their option B; for CIFAR-10 they
    pad with zeros, option A, and have 2,752 weights fewer.

    Parameters
    ----------
    classes : int
    groups : int
        Of each GroupNorm; a divisor of 16.
    """
    return residual_network(filters=(16, 32, 64), blocks=3, groups=groups, classes=classes)


def resnet18(*, classes: int = 1000, groups: int = 32, small_images: bool = False) -> Architecture:
    """ResNet-18 (He et al., CVPR 2016, table 1): 11.7 million weights for 1,000 classes.

    Parameters
    ----------
    classes : int
    groups : int
        Of each GroupNorm; a divisor of 64. Wu and He (ECCV 2018) have 32.
    small_images : bool
        Begin with a convolution of kernel (3, 3) alone, as is usual for images of 32x32, instead of one of (7, 7) with
        stride and a MaxPool.
    """
    if small_images:
        stem = _conv_norm_relu("stem", INPUT, 64, groups=groups)
    else:
        stem = _conv_norm_relu("stem", INPUT, 64, groups=groups, size=7, stride=2)
        pool = MaxPool(size=(3, 3), stride=(2, 2), padding=((1, 1), (1, 1)))
        stem += [Node(name="stem.pool", layer=pool)]
    return _post_activation(stem, filters=(64, 128, 256, 512), blocks=2, groups=groups, classes=classes)


def wrn16_4(*, classes: int = 10, groups: int = 16) -> Architecture:
    """WRN-16-4 as De et al. (arXiv 2204.13650) train it privately: 2.7 million weights.

    Norm and ReLU come before each convolution (Zagoruyko and Komodakis, BMVC 2016); norms are GroupNorm, and filters
    are standardised. There is no gain beside a standardised filter: the norm that follows has one a channel.

    Parameters
    ----------
    classes : int
    groups : int
        Of each GroupNorm; a divisor of 16.
    """
    nodes = [Node(name="stem.conv", layer=_convolution(16, standardised=True), inputs=(INPUT,))]
    before = 16
    for stage, width in enumerate((64, 128, 256)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            name = f"stage{stage + 1}.{block}"
            nodes += _pre_activated_block(name, nodes[-1].name, before, width, groups, stride)
            before = width
    nodes += _norm_relu("final", nodes[-1].name, groups)
    return Architecture(layers=(*nodes, *_head(classes)), initialisation="kaiming")


def _pre_activated_block(name: str, source: str, before: int, filters: int, groups: int, stride: int) -> list[Node]:
    """Norm, ReLU and convolution twice, and a shortcut: what goes in, or a projection of it behind norm and ReLU."""
    first = _convolution(filters, stride=stride, standardised=True)
    nodes = [
        *_norm_relu(f"{name}.1", source, groups),
        Node(name=f"{name}.1.conv", layer=first),
        *_norm_relu(f"{name}.2", f"{name}.1.conv", groups),
        Node(name=f"{name}.2.conv", layer=_convolution(filters, standardised=True)),
    ]
    shortcut = source
    if stride > 1 or before != filters:
        shortcut = f"{name}.shortcut"
        projection = _convolution(filters, size=1, stride=stride, standardised=True)
        nodes.append(Node(name=shortcut, layer=projection, inputs=(f"{name}.1.relu",)))
    return [*nodes, Node(name=f"{name}.add", layer=Add(), inputs=(f"{name}.2.conv", shortcut))]


def _norm_relu(name: str, source: str, groups: int) -> list[Node]:
    norm = Node(name=f"{name}.norm", layer=GroupNorm(groups=groups), inputs=(source,))
    return [norm, Node(name=f"{name}.relu", layer=ReLU())]


def _post_activation(
    stem: list[Node], *, filters: Sequence[int], blocks: int, groups: int, classes: int
) -> Architecture:
    nodes, before = stem, filters[0]
    for stage, width in enumerate(filters):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            nodes = [*nodes, *_basic_block(f"stage{stage + 1}.{block}", nodes[-1].name, before, width, groups, stride)]
            before = width
    return Architecture(layers=(*nodes, *_head(classes)), initialisation="kaiming")


def _basic_block(name: str, source: str, before: int, filters: int, groups: int, stride: int) -> list[Node]:
    """Two convolutions and a shortcut, then a ReLU."""
    nodes = [
        *_conv_norm_relu(f"{name}.1", source, filters, groups=groups, stride=stride),
        *_conv_norm_relu(f"{name}.2", f"{name}.1.relu", filters, groups=groups)[:-1],
    ]
    shortcut = source
    if stride > 1 or before != filters:
        nodes += _conv_norm_relu(f"{name}.shortcut", source, filters, groups=groups, size=1, stride=stride)[:-1]
        shortcut = f"{name}.shortcut.norm"
    return [
        *nodes,
        Node(name=f"{name}.add", layer=Add(), inputs=(f"{name}.2.norm", shortcut)),
        Node(name=f"{name}.relu", layer=ReLU()),
    ]


def _conv_norm_relu(name: str, source: str, filters: int, *, groups: int, size: int = 3, stride: int = 1) -> list[Node]:
    convolution = Node(name=f"{name}.conv", layer=_convolution(filters, size=size, stride=stride), inputs=(source,))
    return [convolution, *_norm_relu(name, convolution.name, groups)]


def _convolution(filters: int, *, size: int = 3, stride: int = 1, standardised: bool = False) -> Conv2D:
    side = (size // 2, size // 2)
    return Conv2D(
        filters=filters,
        kernel=(size, size),
        stride=(stride, stride),
        padding=(side, side),
        bias=False,
        standardised=standardised,
    )


def _head(classes: int) -> list[Node]:
    return [Node(name="pool", layer=GlobalAvgPool()), Node(name="logits", layer=Dense(units=classes))]
