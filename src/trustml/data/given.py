"""One example that a reader gives, an image or a row, as the models of a run get it."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trustml.data.dataset import Floats
from trustml.data.encoding import MISSING
from trustml.data.images import read_images
from trustml.errors import DataError, UsageError
from trustml.scenario.sources import Digits, Idx, Images, Source, Table
from trustml.scenario.spec import Scenario

_MOST_CATEGORIES = 200
_FIRST_BYTES = 1 << 20
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Feature:
    """How a reader sees one feature of a table.

    Attributes
    ----------
    name : str
    columns : tuple of int
        Of an input; several for categories.
    categories : tuple of str
        One for each column, where one of them alone is 1; else empty.
    span : (float, float), optional
        What -1 and 1 stand for, where the scenario names the range; else values are as the model gets them.
    """

    name: str
    columns: tuple[int, ...]
    categories: tuple[str, ...] = ()
    span: tuple[float, float] | None = None

    def shown(self, row: Floats) -> float | str:
        """Give the feature of an input as a reader sees it."""
        values = row[list(self.columns)]
        if self.categories:
            return self.categories[int(values.argmax())]
        low, high = self.span or (-1.0, 1.0)
        return float(f"{low + (float(values[0]) + 1) / 2 * (high - low):.6g}")

    def put(self, row: Floats, value: float | str | None) -> None:
        """Set the feature in an input; one that is as shown stays exactly as it is.

        Parameters
        ----------
        row : float32 array of shape (columns,)
        value : float or str, optional
            None is an empty cell, which is refused.

        Raises
        ------
        UsageError
        """
        if value is None:
            raise UsageError(f"{self.name}: is empty; give a value")
        if self.categories:
            if value == self.shown(row):
                return
            if value not in self.categories:
                known = ", ".join(self.categories[:20])
                raise UsageError(f"{self.name}: {value!r} is none of its categories; choose among {known}")
            row[list(self.columns)] = [float(one == value) for one in self.categories]
            return
        try:
            number = float(value)
        except ValueError:
            raise UsageError(f"{self.name}: {value!r} is no number; give one") from None
        if number == self.shown(row):
            return
        low, high = self.span or (-1.0, 1.0)
        if not low < high:
            raise UsageError(f"{self.name}: the run knows no value of it but {low:g}; leave it as it is")
        scaled = 2 * (number - low) / (high - low) - 1
        if not abs(scaled) <= _LARGEST:
            raise UsageError(f"{self.name}: {value!r} is no finite number of the model's, float32; give another")
        row[self.columns[0]] = scaled


def source_of(scenario: Mapping[str, Any]) -> Source | None:
    """Read what a record says of its data; None where this trustml does not know it."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(Scenario)}
    try:
        found: Source = msgspec.convert(scenario.get("data"), kinds["data"])
    except msgspec.ValidationError:
        return None
    return found


def features_given(
    names: Sequence[str], groups: Sequence[int], source: Source | None, *, examples: Floats
) -> list[Feature]:
    """Give the features of a table as a reader may change them.

    Parameters
    ----------
    names : sequence of str
        Of the features.
    groups : sequence of int
        Feature of each column.
    source : Source, optional
    examples : float32 array of shape (n, columns)
        Inputs that show which columns are categories.
    """
    table = source if isinstance(source, Table) and source.scaling == "none" else None
    found = []
    for number, name in enumerate(names):
        columns = tuple(place for place, group in enumerate(groups) if group == number)
        categories = _categories(name, examples[:, list(columns)], table)
        if categories:
            found.append(Feature(name=name, columns=columns, categories=categories))
            continue
        span = table.ranges.get(name) if table else None
        found.append(Feature(name=name, columns=columns[:1], span=span))
        found += [
            Feature(name=f"{name} [{place}]", columns=(column,)) for place, column in enumerate(columns[1:], start=2)
        ]
    return found


def _categories(name: str, values: Floats, table: Table | None) -> tuple[str, ...]:
    """Names of the categories of one-hot columns, or their numbers where the scenario does not name them."""
    count = values.shape[1]
    one_hot = np.isin(values, (0.0, 1.0)).all() and (values.sum(axis=1) == 1).all()
    if count < 2 or count > _MOST_CATEGORIES or not len(values) or not one_hot:
        return ()
    declared = table.categories.get(name, ()) if table else ()
    if table and table.missing == "category" and declared and MISSING not in declared:
        declared = (*declared, MISSING)
    return declared if len(declared) == count else tuple(f"category {place + 1}" for place in range(count))


def row_given(content: bytes, features: Sequence[Feature], *, base: Floats) -> tuple[Floats, tuple[str, ...]]:
    """Read the first row of a CSV file, with the names of features above; what it leaves out is as in `base`.

    Returns
    -------
    row : float32 array of shape (columns,)
    unused : tuple of str
        Columns that are no features.

    Raises
    ------
    UsageError
    """
    try:
        text = content[:_FIRST_BYTES].decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text)))[:2]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"row: is no CSV file in UTF-8 ({error}); save it as one") from None
    if len(lines) < 2 or len(lines[0]) != len(lines[1]):
        raise UsageError("row: needs a line of names and below it a line of as many values; add what is missing")
    given = dict(zip((name.strip() for name in lines[0]), (value.strip() for value in lines[1]), strict=True))
    known = {feature.name: feature for feature in features}
    if not given.keys() & known.keys():
        raise UsageError(f"row: names no feature of this model; names are {', '.join(list(known)[:10])} and so on")
    row = base.copy()
    for name, value in given.items():
        if name in known:
            known[name].put(row, value)
    return row, tuple(name for name in given if name not in known)


def row_as_csv(features: Sequence[Feature], row: Floats) -> str:
    """Write a row as :func:`row_given` reads it."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([feature.name for feature in features])
    writer.writerow([feature.shown(row) for feature in features])
    return stream.getvalue()


def image_given(
    content: bytes, source: Source | None, *, shape: tuple[int, ...], span: tuple[float, float], invert: bool = False
) -> Floats:
    """Read a PNG or JPEG image, resized as the scenario declares.

    Parameters
    ----------
    content : bytes
    source : Source, optional
    shape : tuple of int
        Height, width and channels (1 or 3) of an input.
    span : (float, float)
        Values of black and white where the source does not say; see :func:`black_and_white`.
    invert : bool
        Whether the image is dark on light, and inputs are light on dark, or the other way round.

    Returns
    -------
    float32 array of that shape

    Raises
    ------
    UsageError
    """
    declared = source if isinstance(source, Images) else Images(path="", colour="grey" if shape[-1] == 1 else "rgb")
    fitted = msgspec.structs.replace(declared, size=(shape[0], shape[1]))
    with tempfile.TemporaryDirectory(prefix="trustml-given-") as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        try:
            pixels = np.array(read_images([path], fitted)[0][0])
        except DataError as error:
            raise UsageError(str(error).replace(str(path), "image")) from None
    if pixels.shape != shape:
        raise UsageError(f"image: becomes {pixels.shape}, and the model takes {shape}; give another")
    low, high = span
    found: Floats = (low + (1 - pixels if invert else pixels) * (high - low)).astype(np.float32)
    return found


def black_and_white(source: Source | None, examples: Floats) -> tuple[tuple[float, float], bool]:
    """Values that black and white have as the model gets them, and whether the record says so.

    Where it does not, they are the least and the largest of the examples.
    """
    match source:
        case Images() | Digits():
            return (0.0, 1.0), True
        case Idx():
            return (-source.mean / source.deviation, (1 - source.mean) / source.deviation), True
    return (float(examples.min()), float(examples.max())), False
