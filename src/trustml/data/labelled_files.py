"""Data sets of one file an example: images and recordings in one folder a class, or named by a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.audio import read_clips
from trustml.data.dataset import Dataset, Examples
from trustml.data.encoding import column_of_keys, split_column
from trustml.data.images import image_warnings, read_images
from trustml.data.labels import as_numbers
from trustml.data.preparation import Preparation
from trustml.data.splits import encode_and_split
from trustml.data.tables import read_table, refuse_same_path
from trustml.errors import DataError
from trustml.models.tasks import DEFAULT_TASK, Task
from trustml.scenario.ready import data_hint
from trustml.scenario.sources import Audio, Csv, Files, Images

_MOST_TOLD = 3
_IGNORED = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True, kw_only=True)
class Named:
    """A file and its class."""

    path: Path
    label: str


def class_folders(folder: Path, *, of: str = "image", only: Sequence[str] = ()) -> list[Named]:
    """List the files of each class folder by name, or of `only` some; what editors and systems leave does not count.

    Raises
    ------
    DataError
        If there are not two classes, one is empty, or something lies where no such file can be.
    """
    if not folder.is_dir():
        hint = data_hint(folder) or f"name one that holds a folder of {of}s for each class"
        raise DataError(f"{folder}: is no folder; {hint}")
    classes = _visible(folder)
    if astray := [path.name for path in classes if not path.is_dir()]:
        raise DataError(f"{folder}: {_listed(astray)} lies beside the class folders; move it, or name a table")
    if missing := sorted(set(only) - {path.name for path in classes}):
        there = ", ".join(path.name for path in classes)
        raise DataError(f"data.classes: {missing[0]!r} is no class folder of {folder}; choose among {there}")
    classes = [path for path in classes if not only or path.name in only]
    found: list[Named] = []
    for place in classes:
        files = _visible(place)
        if astray := [path.name for path in (place, *files) if not path.resolve().is_relative_to(folder.resolve())]:
            raise DataError(f"{place}: {_listed(astray)} is a link that leads out of {folder}; put the files there")
        if not files:
            raise DataError(f"{place}: holds no {of}; remove the folder, or fill it")
        if astray := [path.name for path in files if not path.is_file()]:
            raise DataError(f"{place}: {_listed(astray)} is no file; class folders hold {of}s alone")
        found.extend(Named(path=path, label=place.name) for path in files)
    if len(classes) < 2:
        raise DataError(f"{folder}: holds {len(classes)} class folders; give at least two")
    return found


def listed_files(folder: Path, names: Iterable[str], labels: Iterable[str], *, table: str) -> list[Named]:
    """Find the files that a table names, none of which may lie outside of the folder.

    Raises
    ------
    DataError
        If one is missing, named twice, or elsewhere.
    """
    home = folder.resolve()
    found = []
    for row, (name, label) in enumerate(zip(names, labels, strict=True)):
        path = home / name
        if not name or Path(name).is_absolute() or "\0" in name or not path.resolve().is_relative_to(home):
            raise DataError(f"{table}: {name!r} at row {row} is no file inside of {folder}; name it relative to that")
        if not path.is_file():
            raise DataError(f"{table}: {name!r} at row {row} is no file of {folder}; fix that row")
        found.append(Named(path=path, label=label))
    if twins := [name for name, count in Counter(path.path.resolve() for path in found).items() if count > 1]:
        raise DataError(f"{table}: names {twins[0].relative_to(home)} twice: it could be on both sides; remove one row")
    return found


def load_labelled_files(source: Images | Audio, task: Task = DEFAULT_TASK) -> Dataset:
    """Read the files of a folder, in the order of the split, so that no part of them is copied.

    Raises
    ------
    DataError
    """
    refuse_same_path(source)
    files, by = _files_of(source)
    held = [] if source.test_path is None else _class_folders(source, source.test_path)
    files += held
    labels = as_numbers(np.array([one.label for one in files]))
    encoded, rows = encode_and_split(labels, source, task, where=source.path, held=len(held), by=by)
    order = np.concatenate(rows)
    paths = [files[row].path for row in order]
    if isinstance(source, Audio):
        inputs, told = read_clips(paths, source)
    else:
        inputs, counts = read_images(paths, source)
        told = image_warnings(counts, source, images=len(files))
    cut = len(rows[0])
    return Dataset(
        train=Examples(inputs=inputs[:cut], labels=encoded.values[rows[0]]),
        test=Examples(inputs=inputs[cut:], labels=encoded.values[rows[1]]),
        class_names=encoded.names,
        task=task,
        preparation=Preparation(scaling="public constants", categories="none", classes="of the data"),
        warnings=(*told, *encoded.warnings),
    )


def _kind_of(source: Files) -> str:
    return "WAV file" if isinstance(source, Audio) else "image"


def _class_folders(source: Files, folder: str) -> list[Named]:
    return class_folders(Path(folder), of=_kind_of(source), only=source.classes)


def _files_of(source: Files) -> tuple[list[Named], npt.NDArray[Any] | None]:
    """List the files of the folder or of the table, and what they are split by."""
    if source.table is None:
        return _class_folders(source, source.path), None
    if source.classes:
        raise DataError("data.classes: is for class folders, and a table is given; use one of them")
    if source.test_path is not None:
        raise DataError("data.test_path: is for class folders, and a table is given; use one of them")
    listing = Csv(
        path=source.table, label=source.label, keys=(source.file,), split=source.split, split_by=source.split_by
    )
    table = read_table(Path(source.table), listing).table
    for name in (source.file, source.label):
        if name not in table.columns:
            raise DataError(f"{source.table}: has no column {name!r}; choose among {', '.join(map(str, table))}")
    if (absent := table[[source.file, source.label]].isna().any(axis=1)).any():
        raise DataError(f"{source.table}: row {int(absent.to_numpy().argmax())} names no file or no class; remove it")
    names, labels = (column_of_keys(table[name]) for name in (source.file, source.label))
    return listed_files(Path(source.path), names, labels, table=source.table), split_column(table, listing)


def _visible(folder: Path) -> list[Path]:
    """List what is in a folder, in the order of its names, but for hidden files."""
    return sorted(path for path in folder.iterdir() if path.name[0] != "." and path.name.lower() not in _IGNORED)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return ", ".join(map(repr, names[:_MOST_TOLD])) + more
