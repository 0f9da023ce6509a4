"""Sensitivity of tree aggregation (Kairouz et al., ICML 2021, arXiv 2103.00039)."""

from __future__ import annotations

from collections import Counter


def tree_squared_sensitivity(*, rounds: int, separation: int, every_node: bool = True) -> int:
    """Squared L2 norm of what one client adds to all nodes of the tree, in units of the clipping norm.

    Leaf ``t`` of the tree is the sum of round ``t``; a node is the sum of the leaves below it, and noise is drawn
    for every node that is complete within `rounds`. A client that comes every `separation` rounds adds to node
    sums as often as it has leaves below them, so its squared norm is the sum of those counts squared, at its
    worst over the round of its first visit. All else that DP-FTRL releases follows from the noisy nodes.

    Parameters
    ----------
    rounds : int
    separation : int
        Rounds from one visit of a client to its next, exactly.
    every_node : bool
        Whether noisy sums of all nodes are released, or only of those on which a running sum rests, every other one of
        a level: the rest are covered by a higher node as soon as they are complete.

    Returns
    -------
    int
    """
    worst = 0
    for first in range(min(separation, rounds)):
        total, level = 0, 0
        while 1 << level <= rounds:
            nodes = Counter(visit >> level for visit in range(first, rounds, separation))
            total += sum(
                count**2
                for node, count in nodes.items()
                if (node + 1) << level <= rounds and (every_node or node % 2 == 0)
            )
            level += 1
        worst = max(worst, total)
    return worst
