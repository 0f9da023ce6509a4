"""Where the data of a scenario comes from, as data."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from trustml.ranges import Count, CountOrNone, Inside, Positive, Several, Sides

Scaling: TypeAlias = Literal["none", "standard"]
Buckets: TypeAlias = Annotated[int, msgspec.Meta(ge=2, le=1024)]
Separator: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=1)]
Quote: TypeAlias = Literal['"', "'", ""]
Splitting: TypeAlias = Literal["stratified", "random", "by group", "by time"]


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all sources share.

    Parameters
    ----------
    test_fraction : float
        Share of the examples held out, in (0, 1). Ignored by a source that brings its own test set.
    split_seed : int
        Seed of the split, which is public.
    split : {"stratified", "random", "by group", "by time"}
        Hold out the same share of every class; so many examples; whole groups; or the latest examples.
    split_by : str, optional
        Column of a table, or array of an ``.npz`` file, that names an example's group or gives its time. It stays a
        feature unless it is dropped.
    """

    test_fraction: Inside = 0.2
    split_seed: CountOrNone = 0
    split: Splitting = "stratified"
    split_by: str | None = None


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
    channels : {"last", "first"}
        Where the channels of images with four axes are.
    """

    images: str
    labels: str
    test_images: str | None = None
    test_labels: str | None = None
    mean: float = 0.0
    deviation: Positive = 1.0
    first: int | None = None
    channels: Literal["last", "first"] = "last"


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
        that, and the record says so. A column of more than 100 different texts is left out with a warning, unless its
        categories are declared or it is hashed.
    hashing : dict of str to int
        Columns of text, and into how many buckets each is hashed; every bucket is a column.
    dates : {"day first", "month first"}, optional
        Which of two numbers is the day, as in ``2/3/2024``; without it one above 12 must show. Dates become years
        since the beginning of 2000 (of 365.2425 days), times the part of a day, and durations days.
    missing : {"mark", "category", "refuse"}
        A missing number is 0, after the scaling, and marked in a column of its own; a missing text is a category of
        its own. With ``"category"`` declared categories have one for missing texts whether or not there is one; with
        ``"mark"`` they must have all. In a CSV file an empty field and ``?`` are missing, and among numbers marks such
        as ``NA`` and ``-``.
    marked : tuple of str
        Columns of numbers that have a mark of missing ones whether or not there is one, so that it is not taken from
        the data.
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
    hashing: dict[str, Buckets] = {}
    dates: Literal["day first", "month first"] | None = None
    missing: Literal["mark", "category", "refuse"] = "mark"
    marked: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns that hold labels."""
        return (self.label,) if isinstance(self.label, str) else self.label


class Csv(Table, frozen=True, kw_only=True, tag="Csv"):
    """Separated columns, ``.gz`` or plain; further fields as in :class:`Table`. What is found out is told.

    Parameters
    ----------
    separator : str, optional
        One character, of which a blank stands for any run of blanks and tabs. Without it that of ``, ; | tab`` which
        the header has most of, or another one that fits all rows where that does not.
    quote : {'"', "'", ""}, optional
        What stands around values that hold a separator; empty where quotes are text. Without it ``"``, but ``'`` where
        that is around all names, and none in a tab-separated file that only so has rows of one length, one a line.
    decimal : {".", ","}, optional
        The decimal mark, where the other one may group thousands. Without it numbers have a point, or are written as
        they can only be read one way, such as ``1.234,5``; else columns of numbers with commas are refused.
    encoding : str, optional
        Such as ``"latin-1"``. Without it UTF-8, UTF-16 or UTF-32 with a byte order mark, or else Windows-1252.
    header : bool, optional
        Whether the first row holds names; columns of a file without are ``column1``, ``column2``, ... . Without it a
        file has no header where its first row holds numbers and the label is named that way.
    row_names : bool
        Whether the first field of each row names the row and is left out; the header may have it or not (R).
    """

    separator: Separator | None = None
    quote: Quote | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    header: bool | None = None
    row_names: bool = False


class Parquet(Table, frozen=True, kw_only=True, tag="Parquet"):
    """Columns of a Parquet file, or of a folder by ``save_to_disk`` of Hugging Face's; fields as in :class:`Table`."""


class Json(Table, frozen=True, kw_only=True, tag="Json"):
    """Objects of a JSON file, ``.gz`` or plain: one array of them, or one a line; fields as in :class:`Table`.

    A name that an object does not have is missing there, and so is ``null``.
    """


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
    channels : {"last", "first"}, optional
        Where the channels of images with four axes are; without it first where only the second axis has one to four.
    """

    path: str
    inputs: str = "inputs"
    labels: str = "labels"
    scaling: Scaling = "none"
    channels: Literal["last", "first"] | None = None


class Files(Source, frozen=True, kw_only=True):
    """What sources of one file an example share: files in one folder a class, or named by a table.

    Parameters
    ----------
    path : str
        The folder: of class folders, or that the table's names are relative to.
    table : str, optional
        CSV file that names the files and their classes; further columns serve `split_by` alone.
    file, label : str
        Columns of the table.
    test_path : str, optional
        Folder of the held-out files, by class as `path`; without it `test_fraction` is held out.
    classes : tuple of str
        Class folders that are taken, of `path` and of `test_path`; all by default.
    """

    path: str
    classes: tuple[str, ...] = ()
    table: str | None = None
    file: str = "file"
    label: str = "label"
    test_path: str | None = None


class Images(Files, frozen=True, kw_only=True, tag="Images"):
    """PNG and JPEG files in one folder a class, or named by a table; scaled to [0, 1] by 1/255.

    Images are turned as their cameras say, and what is transparent is laid on white. Further fields as in
    :class:`Files`.

    Parameters
    ----------
    size : (int, int), optional
        Height and width; without it all images must have one size.
    fit : {"resize", "crop"}
        Stretch an image to `size`; or keep its proportions, and cut off what is too much on both sides.
    colour : {"rgb", "grey"}
        Three channels or one.
    """

    size: Sides | None = None
    fit: Literal["resize", "crop"] = "resize"
    colour: Literal["rgb", "grey"] = "rgb"


class Audio(Files, frozen=True, kw_only=True, tag="Audio"):
    """WAV files in one folder a class, or named by a table: PCM of 8 to 32 bits or floats, in [-1, 1].

    Several channels are mixed to their mean. Further fields as in :class:`Files`.

    Parameters
    ----------
    rate : int
        Samples a second.
    seconds : float
        Length of each clip: silence follows a shorter one, and a longer one is cut off at its end.
    resample : bool
        Whether files of another rate are resampled (scipy's ``resample_poly``) or refused.
    features : {"log-mel", "wave"}
        ``"log-mel"``: inputs of shape (frames, mels, 1), which are ``(d + 40) / 40`` of decibels ``d = 10 log10(max(p,
        1e-10))`` of the power ``p`` in each mel band, of Hann windows that lie within the clip. ``"wave"``: inputs of
        shape (samples, 1).
    mels : int
        Bands from 0 to half the rate.
    window, hop : int
        Samples of a window, and from one window to the next.
    scale : {"slaney", "htk"}
        ``"slaney"``: Slaney's mel scale, triangles of one area, as librosa has them. ``"htk"``: HTK's mel scale,
        triangles of one height, as torchaudio has them.
    """

    rate: Count
    seconds: Positive
    resample: bool = False
    features: Literal["log-mel", "wave"] = "log-mel"
    mels: Count = 40
    window: Several = 512
    hop: Count = 256
    scale: Literal["slaney", "htk"] = "slaney"


class Text(Source, frozen=True, kw_only=True, tag="Text"):
    """A column of text as token ids, padded with 0 to one length; ids are inputs of an embedding.

    Bytes of UTF-8 are the tokens unless a tokenizer is given: id 0 is padding, 1 is unknown, and 2 to 257 are the
    bytes 0 to 255, whatever the data hold.

    Parameters
    ----------
    path : str
        CSV or tab-separated file; one whose name has ``.json`` or ``.jsonl`` in it holds objects as in :class:`Json`,
        and one with ``.parquet``, or a folder, is read as by :class:`Parquet`.
    text, label : str
        Columns of the text and of its class; further columns serve `split_by` alone. No label is read where the task
        is :class:`NextToken`: it is the text, one token on.
    length : int
        Tokens of each example. What is longer is cut off at its end.
    test_path : str, optional
        File of the held-out texts; without it `test_fraction` is held out.
    tokenizer : str, optional
        A ``tokenizer.json`` of Hugging Face's, or the local folder that holds one, read by the package ``tokenizers``.
        Its special tokens are added as it says. Where its id 0 is not its padding all ids are one higher.
    separator, quote, encoding, header
        As in :class:`Csv`.
    """

    path: str
    text: str = "text"
    label: str = "label"
    length: Count
    test_path: str | None = None
    tokenizer: str | None = None
    separator: Separator | None = None
    quote: Quote | None = None
    encoding: str | None = None
    header: bool | None = None


class Series(Source, frozen=True, kw_only=True, tag="Series"):
    """Time series of one or several channels, inputs of shape (steps, channels).

    Files are read by their names: ``.npz``; ``.parquet`` with a column of lists for each channel; ``.ts`` of the UEA
    and UCR archives (aeon, sktime); and else rows of text that begin with the label, as the UCR archive had before
    (tabs, commas or blanks). A missing value is ``NaN``, ``?`` or nothing; a series ends where all channels miss the
    rest of their values.

    Parameters
    ----------
    path : str
    inputs : tuple of str, optional
        Columns of a Parquet file, one a channel: without it all that hold lists. Or the array of an ``.npz`` file, of
        shape (n, steps) or (n, steps, channels): without it ``inputs``.
    label : str, optional
        Column, or array; without it ``label`` of a Parquet and ``labels`` of an ``.npz`` file.
    channels : {"last", "first"}
        Whether arrays of ``.npz`` files are (n, steps, channels) or (n, channels, steps).
    test_path : str, optional
        File of the held-out series; without it `test_fraction` is held out.
    length : int, optional
        Steps of each series: zeros follow a shorter one, and a longer one is cut off. Without it all must be alike.
    missing : {"refuse", "interpolate"}
        What becomes of values that are missing inside of a series: they are refused, or lie on the line between their
        neighbours; the first and the last known value go on to the ends.
    scaling : {"none", "each", "standard"}
        ``"each"`` subtracts from a channel its mean over that one series, and divides by its deviation: nothing is
        learned from other examples. ``"standard"`` does so by each channel's mean and deviation over the training
        series; no epsilon covers these.
    """

    path: str
    inputs: tuple[str, ...] = ()
    label: str | None = None
    channels: Literal["last", "first"] = "last"
    test_path: str | None = None
    length: Count | None = None
    missing: Literal["refuse", "interpolate"] = "refuse"
    scaling: Literal["none", "each", "standard"] = "none"


class Module(Source, frozen=True, kw_only=True, tag="Module"):
    """What a function of the user's own gives. Running the scenario runs its code, in a process of its own.

    Nothing else does: who reads, verifies or audits the run reads what it stored. The function returns ``(inputs,
    labels)``, or ``(inputs, labels, by)`` with what examples are split by; or it yields one example after the other, as
    ``(input, label)`` or ``(input, label, by)``. Inputs have one shape: (features,), (steps, channels) or (height,
    width, channels). Bytes of images are scaled by 1/255.

    Parameters
    ----------
    function : str
        As in ``"my_data:load"``: a module, and a function in it.
    folder : str
        Where the module lies, and what it imports beside it.
    arguments : dict of str to (str, int, float or bool)
        Given to the function by name.
    test_arguments : dict, optional
        With which it returns the held-out examples; without them `test_fraction` is held out.
    """

    function: str
    folder: str = "."
    arguments: dict[str, str | int | float | bool] = {}
    test_arguments: dict[str, str | int | float | bool] | None = None


DataSource: TypeAlias = (
    Digits | BreastCancer | Idx | Csv | Parquet | Json | Npz | Images | Audio | Text | Series | Module
)
