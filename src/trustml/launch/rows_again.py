"""Whether rows of an earlier run are rows of this one again, as far as can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Dataset, Floats
from trustml.data.near_rows import found_again, in_one_unit
from trustml.errors import RecordError
from trustml.record.schema import Manifest
from trustml.record.starts import SharedRows
from trustml.record.store import PRIVATE_DATA, RunDirectory
from trustml.scenario.sources import DataSource

_MAY_DIFFER = ("path", "test_path", "classes", "test_fraction", "split_seed", "split", "split_by")
"""Fields of a source that choose rows, and change nothing in one."""
_OF_THE_SPLIT = {"test_fraction", "split_seed", "split", "split_by"}
_PLACES = {"path", "images", "folder"}
_PARTS = {"classes", "table", "first", "function", "arguments"}
"""Fields that choose rows of what is read."""


def rows_of(run: RunDirectory, name: str) -> npt.NDArray[Any] | None:
    """Give the inputs that a run kept as it prepared them; None where they are gone."""
    try:
        return run.mapped(PRIVATE_DATA, names=(name,))[name]
    except (RecordError, KeyError, OSError):
        return None


def shared_rows(
    old: npt.NDArray[Any] | None, before: Manifest, new: Floats, source: DataSource, dataset: Dataset
) -> SharedRows:
    """Tell whether rows of an earlier run are among some of this one's, as far as can be told.

    Rows are compared as they were prepared, so that nothing is ruled out where they were prepared otherwise, or as
    other rows made it, where some are the same but for the digits that were written, and where a column may be in
    another unit: the same person would be another row.

    Parameters
    ----------
    old : array, optional
        Inputs of the earlier run; None where they are gone.
    before : Manifest
        Of the earlier run.
    new : array
        Inputs of this one, which are of `dataset`.
    source : DataSource
        Of this run.
    dataset : Dataset
    """
    near = False
    if old is not None:
        same, close = found_again(new, old)
        if same.any():
            return "some"
        near = bool(close.any())
    if old is not None and not near and _made_alike(before, source, dataset) and in_one_unit(new, old):
        return "none"
    return "some" if _same_place(before.scenario.get("data"), source) else "unknown"


def rows_seen(
    old: npt.NDArray[Any] | None, before: Manifest, new: Floats, source: DataSource, dataset: Dataset
) -> frozenset[int] | None:
    """Give the places of rows, held-out ones say, that are among an earlier run's or near one; None if nobody can tell.

    Parameters are those of :func:`shared_rows`.
    """
    if old is None:
        return None
    _, near = found_again(new, old)
    told = near.any() or (_made_alike(before, source, dataset) and in_one_unit(new, old))
    return frozenset(map(int, np.flatnonzero(near))) if told else None


def _made_alike(before: Manifest, source: DataSource, dataset: Dataset) -> bool:
    """Whether both prepared each row by itself, in the same way and into the same columns."""
    old, new = before.data.preparation, dataset.preparation
    return (
        same_preparation(before.scenario.get("data"), source)
        and (old.scaling, old.categories) == (new.scaling, new.categories)
        and new.scaling in ("none", "public constants")
        and new.categories in ("none", "declared")
        and before.data.feature_names == dataset.feature_names
        and before.data.input_shape == dataset.input_shape
    )


def _same_place(recorded: Any, source: DataSource) -> bool:
    """Whether a record's data were read where a source reads: the same file, or data that come with a package."""
    before, now = _plain(recorded), _plain(msgspec.to_builtins(source))
    if before is None or now is None or before.get("kind") != now.get("kind"):
        return False
    for source_fields in (before, now):
        for name in _PLACES & source_fields.keys():
            source_fields[name] = str(Path(source_fields[name]).expanduser().resolve())
    named = _PLACES & now.keys()
    fields = named | _PARTS if named else now.keys() - _OF_THE_SPLIT
    return all(before.get(name) == now.get(name) for name in fields)


def same_preparation(recorded: Any, source: DataSource) -> bool:
    """Whether a source makes rows as one of a record did, though it may choose others."""
    before = _prepared(recorded)
    return before is not None and before == _prepared(msgspec.to_builtins(source))


def _prepared(source: Any) -> Any:
    """What a source, or a record of one, says of how rows are made; None where it cannot be read."""
    whole = _plain(source)
    return None if whole is None else {name: value for name, value in whole.items() if name not in _MAY_DIFFER}


def _plain(source: Any) -> dict[str, Any] | None:
    try:
        whole: dict[str, Any] = msgspec.json.decode(
            msgspec.json.encode(msgspec.convert(source, DataSource, strict=False))
        )
    except (msgspec.ValidationError, TypeError):
        return None
    return whole
