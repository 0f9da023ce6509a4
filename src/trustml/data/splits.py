"""The split into training and held-out examples: stratified, seeded, public."""

from __future__ import annotations

import numpy as np

from trustml.data.dataset import Ints
from trustml.data.streams import Stream, public_generator


def split_indices(labels: Ints, *, test_fraction: float, seed: int) -> tuple[Ints, Ints]:
    """Hold out the same share of every class.

    Parameters
    ----------
    labels : int64 array of shape (n,)
    test_fraction : float
        In (0, 1); at least one example of every class with two or more is held out, and one is kept.
    seed : int

    Returns
    -------
    train, test : int64 arrays
        Both in random order, together a permutation of 0..n-1.
    """
    generator = public_generator(seed, Stream.SPLIT)
    train: list[Ints] = []
    test: list[Ints] = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        held = int(np.clip(round(len(members) * test_fraction), 1, len(members) - 1)) if len(members) > 1 else 0
        test.append(members[:held])
        train.append(members[held:])
    return generator.permutation(np.concatenate(train)), generator.permutation(np.concatenate(test))
