"""Networks and examples that moved a clipped sum too far before, in one backend or another."""

from __future__ import annotations

from tests.conformance.trials import Network, Rows, Trial
from trustml.models.layers import Add, Architecture, Conv2D, Dense, Flatten, GroupNorm, LayerNorm, Node, ReLU
from trustml.models.residual import residual_network

ORDINARY = Rows(pattern="normal", offset=0.0, spread=1.0)


def far(offset: float) -> Rows:
    """Examples far from zero, whose gradients through a normalisation are mostly rounding."""
    return Rows(pattern="normal", offset=offset, spread=1.0)


def trial(batch: int, others: Rows, added: Rows, **changes: float) -> Trial:
    """Make a trial of a batch and an added example."""
    usual = {"seed": 0, "place": 1.0, "first_layer": 1.0, "last_layer": 1.0, "alike": 1.0, "clipping_norm": 1.0}
    return Trial(**{**usual, "batch": batch, "others": others, "added": added, **changes})


def network(layers: tuple, shape: tuple[int, ...], block: int) -> Network:
    """Make a network of ten classes."""
    architecture = Architecture(layers=(*layers, Flatten(), Dense(units=10)))
    return Network(architecture=architecture, input_shape=shape, block=block)


OUTLIERS = [trial(31, ORDINARY, far(offset)) for offset in (1e4, 1e5, 1e6, 1e7)]
LARGE_AMONG_MANY = Rows(pattern="pixel", offset=1.0, spread=2.0**-12)
NEAR_ONE = Rows(pattern="near one", offset=0.0, spread=1.0)
LARGE_LAST = [
    trial(7, ORDINARY, NEAR_ONE, last_layer=30.0, clipping_norm=0.1),
    trial(7, ORDINARY, far(1e6), last_layer=30.0, clipping_norm=0.1),
]
NEIGHBOURS = [trial(batch, far(1e6), far(1e6), place=place) for batch in (7, 12, 31, 33) for place in (0.0, 0.5, 1.0)]

KNOWN = [
    (network((Conv2D(filters=64, kernel=(3, 3)), GroupNorm(groups=64), ReLU()), (5, 5, 64), 32),
     [*OUTLIERS, *LARGE_LAST, *NEIGHBOURS]),
    (network((
        Conv2D(filters=16, kernel=(3, 3)), GroupNorm(groups=16), ReLU(),
        Conv2D(filters=12, kernel=(2, 2)), GroupNorm(groups=4), ReLU(),
        Flatten(), Dense(units=30), LayerNorm(),
     ), (9, 7, 3), 24), NEIGHBOURS),
    (Network(
        architecture=residual_network(filters=(4, 8), blocks=1, groups=2, classes=10), input_shape=(6, 5, 2), block=16
     ), [trial(7, ORDINARY, ORDINARY, clipping_norm=0.1), *OUTLIERS[:2]]),
    (network((), (200_000,), 2), [trial(0, ORDINARY, LARGE_AMONG_MANY, clipping_norm=0.01)]),
]  # fmt: skip
"""Each with its trials: one example far out, a large last layer, others whose gradients are mostly rounding, and
values that two layers take."""
TWO_USES = Architecture(
    layers=(
        Conv2D(filters=4, kernel=(3, 3)),
        Node(name="long", layer=Conv2D(filters=8, kernel=(2, 2))),
        Node(name="short", layer=Conv2D(filters=8, kernel=(2, 2)), inputs=("0",)),
        Node(name="both", layer=Add(), inputs=("long", "short")),
        Flatten(),
        Dense(units=10),
    )
)
SHORT = [
    (KNOWN[1][0], [*NEIGHBOURS[9:], *OUTLIERS[::2], *LARGE_LAST]),
    (Network(architecture=TWO_USES, input_shape=(6, 5, 2), block=16), KNOWN[2][1]),
]
"""Fewer of them: a network whose gradients are mostly rounding, and a small one of a value that two layers take."""
