"""Rows of users, where what is drawn and clipped is a user: which rows each has, and which of them a step sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Examples, Floats, Ints, LabelArray


@dataclass(frozen=True, kw_only=True)
class UserRows:
    """Which training examples are whose.

    Attributes
    ----------
    rows : int64 array of shape (n,)
        Positions in the training set, those of a user side by side.
    starts : int64 array of shape (users + 1,)
        User ``u`` has ``rows[starts[u]:starts[u + 1]]``.
    """

    rows: Ints
    starts: Ints

    @property
    def counts(self) -> Ints:
        """Rows of each user; shape (users,)."""
        return np.diff(self.starts)

    def of(self, user: int) -> Ints:
        """Rows of one user, in the order of the training set."""
        return self.rows[self.starts[user] : self.starts[user + 1]]

    def chosen(self, batch: Ints, *, most: int, entropy: Sequence[int]) -> list[Ints]:
        """Rows of each user of a batch: all of them, or a uniform subset of `most`.

        The subset follows from the entropy of the step and the user, never from who else is in the batch.
        """
        found = []
        for user in map(int, batch):
            own = self.of(user)
            if len(own) > most:
                own = np.sort(np.random.default_rng([*entropy, user]).choice(own, most, replace=False))
            found.append(own)
        return found


def user_rows(owners: Ints, usable: npt.NDArray[np.bool_], *, users: int) -> UserRows:
    """Sort rows by their user, without those that cannot be used.

    Parameters
    ----------
    owners : int64 array of shape (n,)
        User of each training example; -1 where it has none.
    usable : bool array of shape (n,)
    users : int
    """
    rows = np.flatnonzero(usable & (owners >= 0))
    rows = rows[np.argsort(owners[rows], kind="stable")]
    counts = np.bincount(owners[rows], minlength=users)
    return UserRows(rows=rows.astype(np.int64), starts=np.cumsum([0, *counts]).astype(np.int64))


def stacked(examples: Examples, chosen: Sequence[Ints], *, most: int) -> tuple[Floats, LabelArray]:
    """Put each user's rows side by side, filled up to `most`.

    Returns
    -------
    inputs : float32 array of shape (b, most, *x)
        What fills up is the user's first row once more, of which a network gives numbers if it gives any.
    labels : array of shape (b, most, ...)
        Of what fills up -1, or NaN where labels are no whole numbers: such a row is not there.
    """
    places = np.array([[*own, *[own[0]] * (most - len(own))] for own in chosen], np.int64).reshape(-1, most)
    there = np.arange(most) < np.array([len(own) for own in chosen], np.int64)[:, None]
    labels = examples.labels[places]
    absent = np.nan if labels.dtype.kind == "f" else -1
    labels = np.where(there.reshape(*there.shape, *[1] * (labels.ndim - 2)), labels, np.asarray(absent, labels.dtype))
    return examples.inputs[places], labels
