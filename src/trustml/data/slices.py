"""Groups of held-out examples by a column of the data: what accuracy is told apart by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from trustml.errors import ScenarioError

MOST_GROUPS = 20
"""Of one column: more are no groups but values, and few examples are in each."""
CODES, NAMES = "slice_codes", "slice_names"
"""Arrays of ``heldout.npz``: the group of each example by each column, and what groups are called."""


def slice_arrays(
    columns: Sequence[str], keys: Mapping[str, npt.NDArray[np.str_]]
) -> dict[str, npt.NDArray[np.generic]]:
    """Give the arrays that say in which groups held-out examples are; none where no column is asked for.

    Parameters
    ----------
    columns : sequence of str
        Of the scenario's ``slices``.
    keys : mapping of str to str array of shape (n,)
        Columns of the held-out examples.

    Returns
    -------
    dict of str to array
        ``slice_codes`` int64 (columns, n) and ``slice_names`` str (columns, most groups), empty text where there are
        fewer.

    Raises
    ------
    ScenarioError
        If a column has too many groups or one alone.
    """
    if not columns:
        return {}
    codes, names = [], []
    for place, column in enumerate(columns):
        groups, code = np.unique(keys[column], return_inverse=True)
        if not 1 < len(groups) <= MOST_GROUPS:
            raise ScenarioError(
                f"slices.{place}",
                f"{column!r} has {len(groups)} values among the held-out examples",
                fix=f"name a column of 2 to {MOST_GROUPS} groups",
            )
        codes.append(code.astype(np.int64))
        names.append([*map(str, groups), *[""] * (MOST_GROUPS - len(groups))])
    widest = max(int(code.max()) + 1 for code in codes)
    return {CODES: np.stack(codes), NAMES: np.array(names, dtype=np.str_)[:, :widest]}


def codes_of_others(
    columns: Sequence[str], keys: Mapping[str, npt.NDArray[np.str_]], names: npt.NDArray[np.generic]
) -> npt.NDArray[np.int64]:
    """Give the groups of other examples, (columns, n), by the names that held-out ones have; -1 for one of none.

    Parameters
    ----------
    columns : sequence of str
    keys : mapping of str to str array of shape (n,)
    names : str array
        ``slice_names`` of :func:`slice_arrays`.
    """
    found = []
    for column, groups in zip(columns, names, strict=True):
        same = keys[column][:, None] == groups[None]
        found.append(np.where(same.any(axis=1), same.argmax(axis=1), -1))
    return np.array(found, np.int64)


def read_slices(
    columns: Sequence[str], heldout: Mapping[str, npt.NDArray[np.generic]]
) -> dict[str, dict[str, npt.NDArray[np.bool_]]]:
    """Give the examples in each group, by column and name of the group; nothing where none are recorded."""
    if CODES not in heldout:
        return {}
    codes, names = heldout[CODES], heldout[NAMES]
    return {
        column: {str(name): codes[place] == number for number, name in enumerate(names[place]) if str(name)}
        for place, column in enumerate(columns)
    }
