"""Inputs whose columns or parts have names, as one array and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import DataError

Array: TypeAlias = npt.NDArray[Any]


def in_parts(inputs: Array, parts: tuple[str, ...]) -> dict[str, Array]:
    """Parts of inputs by their names."""
    return {name: inputs[:, number] for number, name in enumerate(parts)}


def as_given(inputs: Array, *, parts: tuple[str, ...], columns: tuple[str, ...]) -> Any:
    """Inputs in the form that their owner has them in: a mapping of parts, a DataFrame, or the array itself."""
    if parts:
        return in_parts(inputs, parts)
    return as_table(inputs, columns) if columns else inputs


def as_table(inputs: Array, columns: Sequence[str]) -> Any:
    """Inputs as a DataFrame."""
    import pandas as pd

    return pd.DataFrame(inputs, columns=list(columns))


def table_of_numbers(frame: Any, *, field: str) -> tuple[Array, tuple[str, ...]]:
    """Read a DataFrame of numbers, of pandas or Polars, and the names of its columns."""
    names = tuple(map(str, frame.columns))
    columns = [np.asarray(frame[name]) for name in frame.columns]
    for name, values in zip(names, columns, strict=True):
        if values.ndim != 1 or values.dtype.kind not in "biuf":
            raise DataError(
                f"{field}: column {name!r} of the table holds {values.dtype}, and an audit needs numbers; give the "
                "inputs encoded, and the model that takes them so (of a pipeline its last step)"
            )
    return np.column_stack(columns) if columns else np.empty((len(frame), 0)), names


def packed(parts: Mapping[str, Any], *, field: str) -> tuple[Array, tuple[str, ...]]:
    """Read the parts of inputs, such as what a tokenizer gives, as one array; none is left out."""
    arrays = {str(name): np.asarray(part) for name, part in parts.items()}
    kinds = {"whole" if values.dtype.kind in "iu" else values.dtype.kind for values in arrays.values()}
    if len({values.shape for values in arrays.values()}) != 1 or not kinds <= {"whole", "b", "f"}:
        raise _not_alike(arrays, field)
    if truths := [name for name, values in arrays.items() if values.dtype.kind == "b"]:
        # One array has one type, and ~1 is -2: the model would be asked something else.
        raise DataError(
            f"{field}: part {truths[0]!r} holds bool, and the parts become one array of numbers; give it as 0 and 1, "
            "and wrap a model that needs bool in a function that casts it"
        )
    if len(kinds) != 1 or any(values.ndim < 2 for values in arrays.values()):
        raise _not_alike(arrays, field)
    whole = [values.astype(np.int64) if kinds == {"whole"} else values for values in arrays.values()]
    return np.stack(whole, axis=1), tuple(arrays)


def _not_alike(arrays: Mapping[str, Array], field: str) -> DataError:
    told = ", ".join(f"{name} {values.shape} {values.dtype}" for name, values in arrays.items())
    return DataError(
        f"{field}: parts of an input are {told or 'none'}; numbers (n, ...) of one shape are needed, all of them whole "
        "or none, such as a tokenizer gives with padding=True and return_tensors"
    )
