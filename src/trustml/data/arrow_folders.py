"""Folders that Hugging Face's ``datasets`` writes by ``save_to_disk``: Arrow streams, and what their columns are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trustml.data.npy import in_words, largest_now
from trustml.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_STATE, _INFO, _SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


class _File(msgspec.Struct):
    filename: str


class _State(msgspec.Struct, rename={"data_files": "_data_files", "indices": "_indices_data_files"}):
    data_files: list[_File]
    indices: list[_File] | None = None


def read_arrow_folder(path: Path) -> pa.Table:
    """Read all rows; numbers of classes become their names.

    Raises
    ------
    DataError
        If the folder holds no such data, or several splits.
    DAMAGED, pyarrow.ArrowException or msgspec.MsgspecError
        If a file is damaged.
    """
    if (path / _SPLITS).is_file():
        splits = msgspec.json.decode((path / _SPLITS).read_bytes(), type=dict[str, Any]).get("splits", [])
        raise DataError(f"{path}: holds the splits {', '.join(map(str, splits))}; name one, such as {path.name}/train")
    if not (path / _STATE).is_file():
        raise DataError(f"{path}: is a folder without {_STATE}; name a file, or what save_to_disk of datasets wrote")
    state = msgspec.json.decode((path / _STATE).read_bytes(), type=_State)
    if state.indices:
        raise DataError(f"{path}: holds a choice of rows apart from them; call flatten_indices() and save it again")
    table = _rows_of(path, [one.filename for one in state.data_files])
    for name, classes in _classes_of(path / _INFO).items():
        if name in table.column_names:
            table = _named(path, table, name, classes)
    return table


def _rows_of(path: Path, names: list[str]) -> pa.Table:
    """Read the Arrow streams, which lie in the folder itself; give up what unpacks to more than it may."""
    import pyarrow as pa

    batches, size, most = [], 0, largest_now()
    for name in names:
        file = path / name
        if Path(name).name != name or not file.resolve().is_relative_to(path.resolve()) or not file.is_file():
            raise DataError(f"{path / _STATE}: {name!r} is no file in {path}; save the data again")
        with pa.memory_map(str(file)) as stream, pa.ipc.open_stream(stream) as reader:
            for batch in reader:
                size += batch.nbytes
                if size > most:
                    raise ValueError(f"holds more than {in_words(most)}, a quarter of the memory that is free")
                batch.validate(full=True)
                batches.append(batch)
    if not batches:
        raise DataError(f"{path}: holds no rows; save data with some")
    return pa.Table.from_batches(batches)


def _classes_of(info: Path) -> dict[str, list[str]]:
    """Names of the classes of each column that has them."""
    if not info.is_file():
        return {}
    features = msgspec.json.decode(info.read_bytes(), type=dict[str, Any]).get("features") or {}
    return {
        name: [str(one) for one in feature["names"]]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }


def _named(path: Path, table: pa.Table, name: str, classes: list[str]) -> pa.Table:
    import pyarrow as pa

    numbers = table.column(name).to_pylist()
    for row, number in enumerate(numbers):
        if number is not None and not (isinstance(number, int) and 0 <= number < len(classes)):
            raise DataError(f"{path}: {name!r} is {number!r} at row {row}, none of {len(classes)} classes; remove it")
    found = pa.array([None if number is None else classes[number] for number in numbers], pa.string())
    return table.set_column(table.column_names.index(name), name, found)
