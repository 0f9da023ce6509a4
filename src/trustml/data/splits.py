"""Training and held-out examples: the same share of every class, at random, whole groups, or the latest."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Ints, split_indices
from trustml.data.labels import EncodedLabels, encode
from trustml.data.streams import Stream, public_generator
from trustml.errors import DataError
from trustml.models.tasks import Binary, Classes, Task
from trustml.scenario.sources import Files, Module, Npz, Series, Source, Table, Text

_BY = ("by group", "by time")


def require_split(source: Source) -> None:
    """Refuse a way to split that lacks what it splits by, or that the source does not have.

    Raises
    ------
    DataError
    """
    named = isinstance(source, Table | Npz | Text | Series | Module) or (
        isinstance(source, Files) and source.table is not None
    )
    if source.split in _BY and not named:
        raise DataError(f"data.split: {source.split!r} needs a table or named arrays; use stratified or random")
    if isinstance(source, Module):
        if source.split_by is not None:
            raise DataError("data.split_by: the function gives what to split by as its third value; leave it out")
        return
    if source.split in _BY and source.split_by is None:
        raise DataError(f"data.split: {source.split!r} names nothing to split by; set data.split_by")
    if source.split not in _BY and source.split_by is not None:
        raise DataError(
            f'data.split_by: {source.split_by!r} is not used by a {source.split} split; use "by group" or "by time"'
        )


def split_rows(labels: Ints, source: Source, *, where: str, by: npt.NDArray[Any] | None = None) -> tuple[Ints, Ints]:
    """Split as the source says, the same way for the same seed.

    Parameters
    ----------
    labels : int64 array of shape (n,)
    source : Source
    where : str
        File, for errors.
    by : array of shape (n,), optional
        Group of each example, as text, or its time, as a number.

    Returns
    -------
    train, test : int64 arrays
        Both in random order, together a permutation of 0..n-1.

    Raises
    ------
    DataError
        If either side would be empty, the training side would hold one class of several, or a time is missing.
    """
    generator = public_generator(source.split_seed, Stream.SPLIT)
    match source.split:
        case "stratified":
            return split_indices(labels, test_fraction=source.test_fraction, seed=source.split_seed)
        case "random":
            held = generator.permutation(len(labels)) < round(len(labels) * source.test_fraction)
        case "by group":
            assert by is not None  # see require_split
            held = _whole_groups(by, test_fraction=source.test_fraction, generator=generator)
        case "by time":
            assert by is not None
            held = _latest(by, test_fraction=source.test_fraction, where=where)
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    if not len(train) or not len(test):
        raise DataError(f"{where}: data.split {source.split!r} leaves one side empty; change data.test_fraction")
    if len(np.unique(labels[train])) < 2 <= len(np.unique(labels)):
        raise DataError(f"{where}: data.split {source.split!r} leaves one class to train on; split another way")
    return generator.permutation(train), generator.permutation(test)


def encode_and_split(
    labels: npt.NDArray[Any],
    source: Source,
    task: Task,
    *,
    where: str,
    held: int = 0,
    by: npt.NDArray[Any] | None = None,
) -> tuple[EncodedLabels, tuple[Ints, Ints]]:
    """Encode labels, and split as the source says, or where the last `held` examples come from a file of their own.

    Files often hold one class after the other, and the first of the held-out examples are explained: both sides are
    in random order either way.

    Raises
    ------
    DataError
        As of :func:`split_rows`, or if a class is held out that the training examples do not have.
    """
    encoded = encode(task, labels, where)
    if not held:
        return encoded, split_rows(encoded.kinds, source, where=where, by=by)
    train = len(labels) - held
    if isinstance(task, Classes | Binary):
        unknown = np.setdiff1d(encoded.kinds[train:], encoded.kinds[:train])
        if len(unknown):
            name = encoded.names[unknown[0]]
            raise DataError(f"data.test_path: class {name!r} is not among those of {where}; add it there")
    generator = public_generator(source.split_seed, Stream.SPLIT)
    rows = generator.permutation(train), train + generator.permutation(held)
    if by is not None:
        refuse_leakage(by, source, *rows, where=where)
    return encoded, rows


def refuse_leakage(by: npt.NDArray[Any], source: Source, train: Ints, test: Ints, *, where: str) -> None:
    """Refuse a test set of its own that shares a group with the training set, or is not later.

    Raises
    ------
    DataError
    """
    if source.split == "by group":
        shared = np.intersect1d(by[train], by[test])
        if len(shared):
            raise DataError(
                f"{where}: {len(shared)} groups of {source.split_by!r}, such as {shared[0]!s}, are in the "
                "training and in the test file; move each to one of them"
            )
    elif source.split == "by time" and not np.max(by[train]) < np.min(by[test]):
        raise DataError(
            f"{where}: by {source.split_by!r} the test file does not begin after the training file ends; cut at a time"
        )


def _whole_groups(
    by: npt.NDArray[Any], *, test_fraction: float, generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Hold out groups in random order as long as that comes nearer to the share."""
    names, group, sizes = np.unique(by, return_inverse=True, return_counts=True)
    wanted, held = test_fraction * len(by), 0
    chosen: list[int] = []
    for number in generator.permutation(len(names)):
        if abs(held + sizes[number] - wanted) < abs(held - wanted) and len(chosen) < len(names) - 1:
            chosen.append(number)
            held += int(sizes[number])
    return np.isin(group, chosen)


def _latest(by: npt.NDArray[Any], *, test_fraction: float, where: str) -> npt.NDArray[np.bool_]:
    """Hold out what is not before the time that cuts off nearest to the share; no time is on both sides."""
    if not np.isfinite(by).all():
        raise DataError(f"{where}: {(~np.isfinite(by)).sum()} examples have no time to split by; fill or remove them")
    times, first = np.unique(np.sort(by), return_index=True)
    cut = int(np.argmin(np.abs(first - (1 - test_fraction) * len(by)))) if len(times) > 1 else 0
    return by >= times[max(cut, 1) if len(times) > 1 else 0]
