"""Where the data of a scenario comes from, as data."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from trustml.ranges import CountOrNone, Inside, Positive

Scaling: TypeAlias = Literal["none", "standard"]


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all sources share.

    Parameters
    ----------
    test_fraction : float
        Share of the examples held out, in (0, 1). Ignored by a source that brings its own test set.
    split_seed : int
        Seed of the split, which is public.
    """

    test_fraction: Inside = 0.2
    split_seed: CountOrNone = 0


class Digits(Source, frozen=True, kw_only=True, tag="Digits"):
    """scikit-learn's handwritten digits: 1,797 images of 8x8 grey values, scaled to [0, 1] by 1/16."""


class BreastCancer(Source, frozen=True, kw_only=True, tag="BreastCancer"):
    """scikit-learn's Wisconsin diagnostic table: 569 rows of 30 numbers, two classes.

    Columns are mapped to [-1, 1] by the ranges printed in the public description of the data, so that no
    statistic of the training rows leaks through the scaling.
    """


class Idx(Source, frozen=True, kw_only=True, tag="Idx"):
    """Images and labels in the IDX format of MNIST, ``.gz`` or plain; bytes are scaled to [0, 1].

    Parameters
    ----------
    images, labels : str
        Paths of the training files.
    test_images, test_labels : str, optional
        Paths of the test files; without them `test_fraction` is held out.
    mean, deviation : float
        Known constants: inputs become ``(x - mean) / deviation`` after the scaling to [0, 1].
    first : int, optional
        Use only the first so many training images.
    """

    images: str
    labels: str
    test_images: str | None = None
    test_labels: str | None = None
    mean: float = 0.0
    deviation: Positive = 1.0
    first: int | None = None


class Table(Source, frozen=True, kw_only=True):
    """What tables share: columns of numbers, and columns of text that become one column a category.

    Parameters
    ----------
    path : str
        The file.
    label : str or tuple of str
        The column that holds the class, or the number that a regression learns; for a task of several labels, theirs.
    test_path : str, optional
        File of the held-out rows; without it `test_fraction` is held out.
    drop : tuple of str
        Columns to leave out.
    scaling : {"none", "standard"}
        ``"standard"`` subtracts the training mean and divides by the training deviation. Those two are
        computed from the training data and are *not* covered by any epsilon; the record says so.
    ranges : dict of str to (float, float)
        Known lowest and highest value of a column of numbers, which is mapped to [-1, 1] by them.
    categorical : {"one-hot", "refuse"}
        What becomes of columns of text.
    categories : dict of str to tuple of str
        Known categories of a column of text. Those of other columns are taken from the data; no epsilon covers
        that, and the record says so.
    missing : {"refuse", "category"}
        With ``"category"`` a missing text is a category of its own, and a missing number is 0, after the scaling, and
        marked in a column of its own. In a CSV file an empty field and ``?`` are missing.
    keys : tuple of str
        Columns whose values may name the clients of a federated regime, whether they are features or dropped.
    """

    path: str
    label: str | tuple[str, ...]
    test_path: str | None = None
    drop: tuple[str, ...] = ()
    scaling: Scaling = "none"
    ranges: dict[str, tuple[float, float]] = {}
    categorical: Literal["one-hot", "refuse"] = "one-hot"
    categories: dict[str, tuple[str, ...]] = {}
    missing: Literal["refuse", "category"] = "refuse"
    keys: tuple[str, ...] = ()

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns that hold labels."""
        return (self.label,) if isinstance(self.label, str) else self.label


class Csv(Table, frozen=True, kw_only=True, tag="Csv"):
    """Separated columns with a header, ``.gz`` or plain; further fields as in :class:`Table`.

    Text is UTF-8, UTF-16 with a byte order mark, or else Windows-1252.

    Parameters
    ----------
    separator : str, optional
        One character; without it that of ``, ; | tab`` which the header has most of.
    decimal : {".", ","}, optional
        The decimal mark. Where it is given, the other one may group thousands; without it numbers have a point, and a
        column of numbers that are written with commas is refused.
    """

    separator: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] | None = None
    decimal: Literal[".", ","] | None = None


class Parquet(Table, frozen=True, kw_only=True, tag="Parquet"):
    """Columns of a Parquet file; fields as in :class:`Table`."""


class Npz(Source, frozen=True, kw_only=True, tag="Npz"):
    """Arrays of an ``.npz`` file, read without unpickling.

    Parameters
    ----------
    path : str
    inputs, labels : str
        Names of the arrays: inputs are (n, features) or (n, height, width[, channels]), labels (n,), or (n, k) for a
        task of several labels.
    scaling : {"none", "standard"}
        As in :class:`Table`.
    """

    path: str
    inputs: str = "inputs"
    labels: str = "labels"
    scaling: Scaling = "none"


DataSource: TypeAlias = Digits | BreastCancer | Idx | Csv | Parquet | Npz
