"""Examples that are there more than once, exactly or but for small changes: how many distinct ones there are.

An example that was copied twenty times is one observation: its copies get the same answer of any model, and where they
all were put on one side, statistics that count twenty are surer than they may be.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Doubles: TypeAlias = npt.NDArray[np.float64]

NEAR, MOST_FEATURES = 0.01, 256
"""Nearer than this share of the usual distance is a near copy; and of so many columns, drawn at random."""
_SAMPLE, _MOST_COPIES, _GAP, _DIRECTIONS = 500, 100, 100.0, 6


def groups_of(inputs: npt.NDArray[Any]) -> Ints:
    """Number the distinct examples; copies have the number of the first of them.

    Parameters
    ----------
    inputs : numpy.ndarray
        Shape (n, *x). Floats are searched for near copies too, other types for exact ones alone.

    Returns
    -------
    numpy.ndarray
        int64 of shape (n,), from 0 on in the order of first appearance.

    Notes
    -----
    A near copy lies within the tolerance of the first example of its group, not of its last: chains of small steps are
    cut, and no two of a group are further apart than twice the tolerance. Labels take no part.
    """
    found = digests(inputs)
    _, first, groups = np.unique(found, return_index=True, return_inverse=True)
    groups = first[groups.reshape(-1)]
    if inputs.dtype.kind == "f" and len(first) > 2:
        kept = np.sort(first)
        leaders = np.arange(len(inputs))
        leaders[kept] = kept[_near_groups(inputs[kept])]
        groups = leaders[groups]
    _, numbers = np.unique(groups, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64)


def one_of_each(groups: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Choose one example of each group at random, always the same.

    Not the first, as rows may be in the order of their labels, and those of copies may differ.
    """
    order = np.random.default_rng(len(groups)).permutation(len(groups))
    chosen = np.zeros(len(groups), bool)
    chosen[order[np.unique(groups[order], return_index=True)[1]]] = True
    return chosen


def digests(inputs: npt.NDArray[Any], *, like: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
    """Hash the bytes of every example, in the type that both arrays have in common; 0 and -0 are the same."""
    dtype = inputs.dtype if like is None else np.result_type(inputs.dtype, like.dtype)
    rows = np.ascontiguousarray(inputs.astype(dtype, copy=False)).reshape(len(inputs), -1)
    zero = dtype.type(0) if dtype.kind == "f" else None
    found = [
        hashlib.blake2b((row if zero is None else row + zero).tobytes(), digest_size=16).hexdigest() for row in rows
    ]
    return np.array(found)


def near_duplicates(train: npt.NDArray[Any], holdout: npt.NDArray[Any]) -> int:
    """Count hold-out examples, of the first 500, that lie much nearer to a training example than those to each other.

    Parameters
    ----------
    train, holdout : float arrays of shape (n, *x) and (m, *x)
    """
    known, asked = _comparable(train, holdout[:_SAMPLE])
    return int((_nearest(asked, known) < _tolerance(known)).sum()) if known.size else 0


def _comparable(*sets: npt.NDArray[Any]) -> list[Doubles]:
    """Columns of each set divided by their standard deviations in the first; without those that do not vary."""
    generator = np.random.default_rng(0)
    columns = generator.permutation(int(np.prod(sets[0].shape[1:])))[:MOST_FEATURES]  # of images, enough of the pixels
    flat = [values.reshape(len(values), -1)[:, columns] for values in sets]
    spread = flat[0].std(axis=0, dtype=np.float64)
    return [values[:, spread > 0] / spread[spread > 0] for values in flat]


def _tolerance(known: Doubles) -> float:
    """Below this, two examples are near copies: a hundredth of the median distance to the nearest that is none.

    An example's own copies say nothing of how far apart examples are: where a distance is a hundred times the one
    before it, those before it, if they are not too many, are of copies.
    """
    generator = np.random.default_rng(0)
    own = generator.permutation(len(known))[:_SAMPLE]
    lengths, usual = (known**2).sum(axis=1), []
    for start in range(0, len(own), 50):
        places = own[start : start + 50]
        squares = lengths - 2 * known[places] @ known.T  # but for the point's own length, which changes no order
        squares[np.arange(len(places)), places] = np.inf
        count = min(_MOST_COPIES + 1, len(known) - 1)
        closest = np.argpartition(squares, count - 1, axis=1)[:, :count]
        for place, others in zip(places, closest, strict=True):
            distances = np.sort(np.sqrt(((known[others] - known[place]) ** 2).sum(axis=1)))
            distances = distances[distances > 0]
            gaps = np.flatnonzero(distances[1:] >= _GAP * distances[:-1])
            if len(distances):
                usual.append(distances[gaps[-1] + 1] if len(gaps) else distances[0])
    return NEAR * float(np.median(usual)) if usual else 0.0


def _near_groups(inputs: npt.NDArray[Any]) -> Ints:
    """Place of the example that leads each one's group, among examples of which no two are the same."""
    from scipy.spatial import KDTree

    (points,) = _comparable(inputs)
    leader = np.arange(len(points))
    tolerance = _tolerance(points) if points.size else 0.0
    if tolerance <= 0.0:
        return leader
    # Along directions at right angles no distance grows, so that whoever is near is near there too.
    width = points.shape[1]
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(width, min(width, _DIRECTIONS))))[0]
    shadows = points @ directions
    tree = KDTree(shadows)
    reach = tolerance * (1 + 1e-9) + 1e-12
    nearest, _ = tree.query(shadows, k=2, distance_upper_bound=reach)
    for place in np.flatnonzero(np.isfinite(nearest[:, 1])):
        if leader[place] != place:
            continue
        others = np.array(tree.query_ball_point(shadows[place], reach), np.int64)
        others = others[(others > place) & (leader[others] == others)]
        close = ((points[others] - points[place]) ** 2).sum(axis=1) < tolerance**2
        leader[others[close]] = place
    return leader


def _nearest(points: Doubles, known: Doubles) -> Doubles:
    """Distance of every point to the nearest known one."""
    lengths, found = (known**2).sum(axis=1), np.empty(len(points))
    for start in range(0, len(points), 50):
        part = points[start : start + 50]
        squares = lengths - 2 * part @ known.T  # but for the point's own length, which changes no order
        found[start : start + 50] = np.sqrt(((part - known[squares.argmin(axis=1)]) ** 2).sum(axis=1))
    return found
