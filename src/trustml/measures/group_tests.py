"""Whether groups of examples differ in the mean of a value: a permutation test of who is in which group.

A largest less a smallest mean grows with the spread of what is averaged, so that no interval around it says whether
there is a difference. Shuffling the groups does: what is then seen is what groups that do not matter give.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trustml.measures.resampling import Doubles

PERMUTATIONS = 1999


def groups_differ(values: Doubles, groups: npt.NDArray[np.int64]) -> float:
    """p-value of the test that a value follows no group.

    Parameters
    ----------
    values : float64 array of shape (n,)
        Whether each example is right; what a second model adds to that, for the test that it changes groups alike.
    groups : int64 array of shape (n,)
        0 to the number of groups less one.

    Returns
    -------
    float
        Share of permutations, of the present order and 1999 others, whose groups are as far apart. The statistic
        weighs groups by their own spread, so that groups that differ in the spread alone are not called different
        (Chung and Romano, Annals of Statistics 2013).
    """
    kinds, places = np.unique(values, return_inverse=True)
    if len(kinds) < 2:
        return 1.0
    sizes = np.bincount(groups)
    shape = (len(sizes), len(kinds))
    seen = np.bincount(groups * len(kinds) + places.reshape(-1), minlength=shape[0] * shape[1]).reshape(1, *shape)
    shuffled = _shuffled(seen[0].sum(axis=0), sizes)
    apart = _statistic(shuffled, kinds) >= _statistic(seen, kinds)[0] * (1 - 1e-9)
    return float((1 + apart.sum()) / (1 + PERMUTATIONS))


def _shuffled(totals: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How often each value is in each group where groups are dealt out anew; (permutations, groups, values)."""
    generator = np.random.default_rng([int(sizes.sum()), PERMUTATIONS])
    left = np.tile(totals, (PERMUTATIONS, 1))
    found = np.zeros((PERMUTATIONS, len(sizes), len(totals)), np.int64)
    for group, size in enumerate(sizes):
        wanted = np.full(PERMUTATIONS, size)
        others = left.sum(axis=1)
        for kind in range(len(totals)):
            others = others - left[:, kind]
            found[:, group, kind] = generator.hypergeometric(left[:, kind], others, wanted)
            wanted = wanted - found[:, group, kind]
        left = left - found[:, group]
    return found


def _statistic(counts: npt.NDArray[np.int64], kinds: Doubles) -> Doubles:
    """Squared distance of the groups' means from their common one, each over its own variance."""
    sizes = counts.sum(axis=2)
    means = counts @ kinds / sizes
    whole = counts.sum(axis=1) @ kinds**2 / sizes.sum(axis=1) - (counts.sum(axis=1) @ kinds / sizes.sum(axis=1)) ** 2
    # A small group may have no spread of its own: one example's worth of the common one is added.
    spread = np.maximum(counts @ kinds**2 / sizes - means**2, 0.0) + whole[:, None] / sizes
    weights = sizes / spread
    centre = (weights * means).sum(axis=1) / weights.sum(axis=1)
    found: Doubles = (weights * (means - centre[:, None]) ** 2).sum(axis=1)
    return found
