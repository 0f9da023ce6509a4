"""What tables of texts, time series and folders of recordings hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trustml.data.audio import read_wav
from trustml.data.labelled_files import class_folders
from trustml.data.series_files import read_series
from trustml.data.spelling import FaultError, as_text
from trustml.data.tables import Tables, read_tables
from trustml.drafting.found import Found, source_from, task_of_array
from trustml.drafting.tables import kind_of_table, likely_label, task_of_column, why_no_feature
from trustml.errors import UsageError
from trustml.models.tasks import Classes
from trustml.scenario.sources import Audio, Series, Text

if TYPE_CHECKING:
    import pandas as pd

_FORM = ("separator", "quote", "encoding", "header")
_SPLIT = ("split", "split_by", "split_seed", "test_fraction")
_OWN = ("text", "length", "tokenizer")
_LEAST_WORDS = 4
_SHORTEST, _LONGEST, _OF_TOKENIZER = 8, 64, 64
_USUAL = 0.9
_LOOKED_AT = 200
_LONGEST_CLIP = 2.0


def find_in_texts(path: Path, label: Sequence[str], test: Path | None, settings: Mapping[str, Any]) -> Found | None:
    """Find the one column of texts in a table that has nothing else to learn from; None where it has.

    Raises
    ------
    UsageError
        If a field of :class:`Text` is given, and no column or several may be the texts.
    DataError
        If the table cannot be read as it is.
    """
    kind, asked = kind_of_table(path), bool(set(_OWN) & set(settings))
    form = {name: settings[name] for name in (*_FORM, *_SPLIT) if name in settings}
    if kind is None or (not asked and (len(label) > 1 or set(settings) - set(form))):
        return None
    place = {"path": str(path), "test_path": None if test is None else str(test)}
    read = read_tables(source_from(kind, {"label": "", **place, **form}))
    try:
        wanted = label[0] if label else likely_label(list(map(str, read.table)), path)
        text = settings.get("text") or _column_of_texts(read, wanted, path=path, asked=asked)
        words = as_text(read.table[text])
    except (UsageError, KeyError, FaultError):
        if asked:
            raise
        return None
    if text is None or wanted not in read.table:
        return None
    task, notes = task_of_column(read, source_from(kind, {"label": wanted, **place, **form}))
    length, why = _length(words, settings)
    if why:
        notes["data.length"] = why
    source = source_from(Text, {**place, "text": text, "label": wanted, "length": length, **dict(settings)})
    told = (f"{text!r} is read as texts, by {'bytes' if source.tokenizer is None else 'the tokenizer'}",)
    looked_at = {"data.text": "text" not in settings, "data.length": bool(why)}
    chosen = ("task", *(name for name, is_so in looked_at.items() if is_so))
    return Found(source=source, task=task, notes=notes, told=told, chosen=chosen)


def _column_of_texts(read: Tables, label: str, *, path: Path, asked: bool) -> str | None:
    columns = [name for name in map(str, read.table) if name != label]
    texts = [name for name in columns if _is_prose(read.table[name])]
    rows, others = len(read.table), [name for name in columns if name not in texts]
    if len(texts) == 1 and all(why_no_feature(read.table[name], name, rows) for name in others):
        return texts[0]
    if asked:
        raise UsageError(f"--set data.text: {len(texts)} columns of {path} are texts; name one of {', '.join(columns)}")
    return None


def _is_prose(column: pd.Series) -> bool:
    """Whether a column holds sentences: different ones in most rows, of several words."""
    if column.dtype.kind in "biufMm":
        return False
    known = list(map(str, column.dropna()))
    words = sum(len(text.split()) for text in known)
    return len(set(known)) > len(known) / 2 and words >= _LEAST_WORDS * len(known)


def _length(texts: Iterable[str | None], settings: Mapping[str, Any]) -> tuple[int, str]:
    """Give the tokens that texts are brought to, and why."""
    if "length" in settings:
        return settings["length"], ""
    if "tokenizer" in settings:
        return _OF_TOKENIZER, ""
    usual = float(np.quantile([len((text or "").encode()) for text in texts], _USUAL))
    length = min(_LONGEST, max(_SHORTEST, 2 ** math.ceil(math.log2(max(usual, 1)))))
    short = "Short ones keep runs short: raise it once all else is right."
    return length, f"Nine in ten texts have at most {usual:.0f} bytes; what is longer is cut off. {short}"


def find_in_series(path: Path, test: Path | None, settings: Mapping[str, Any]) -> Found:
    """Find the length and the test file of series in the format of the UEA and UCR archives, or arrays of them.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    notes, told = dict[str, str](), list[str]()
    beside = path.with_name(path.name.replace("_TRAIN", "_TEST"))
    if test is None and beside != path and beside.is_file():
        test = beside
        told.append(f"{beside.name} is held out, as its name says")
    given = {"path": str(path), "test_path": None if test is None else str(test), "scaling": "each", **settings}
    source = source_from(Series, given)
    raw = [read_series(one, source) for one in (path, *([test] if test else []))]
    lengths = {len(values) for part in raw for values in part.values}
    chosen = ["task"]
    if source.length is None and len(lengths) > 1:
        given["length"] = max(lengths)
        notes["data.length"] = f"Series have {min(lengths)} to {max(lengths)} steps; zeros follow shorter ones."
    if source.length is None:
        chosen.append("data.length")
    if "missing" not in settings and any(np.isnan(values).any() for part in raw for values in part.values):
        given["missing"] = "interpolate"
        notes["data.missing"] = "Some values are missing; they lie on the line between their neighbours."
    if "missing" not in settings:
        chosen.append("data.missing")
    source = source_from(Series, given)
    if source.scaling == "each":
        notes["data.scaling"] = "Each series by its own mean and deviation: nothing is learned from the others."
    task, of_task = task_of_array(raw[0].labels)
    return Found(source=source, task=task, notes=notes | of_task, told=tuple(told), chosen=tuple(chosen))


def holds_recordings(folder: Path) -> bool:
    """Whether the class folders below hold WAV files."""
    return any(path.suffix.lower() == ".wav" for path in folder.glob("*/*"))


def find_in_recordings(path: Path, test: Path | None, settings: Mapping[str, Any]) -> Found:
    """Find rate and length of the clips of a folder of class folders.

    Raises
    ------
    DataError
        If it is no such folder, or a file is no WAV file.
    """
    files = class_folders(path, of="recording")
    rates, seconds = Counter[int](), list[float]()
    for one in files[:: max(1, len(files) // _LOOKED_AT)]:
        rate, samples = read_wav(one.path)
        rates[rate] += 1
        seconds.append(len(samples) / rate)
    usual = min(_LONGEST_CLIP, math.ceil(10 * float(np.quantile(seconds, _USUAL))) / 10)
    given: dict[str, Any] = {"path": str(path), "test_path": None if test is None else str(test)}
    given |= {"rate": max(rates, key=lambda rate: rates[rate]), "seconds": usual}
    span = f"{min(seconds):.2g} to {max(seconds):.2g} seconds"
    notes = {"data.seconds": f"Clips have {span}, those looked at; silence follows shorter ones, longer are cut off."}
    if len(rates) > 1:
        given["resample"] = True
        notes["data.resample"] = f"Files have {len(rates)} rates; the commonest is kept."
    read = [name for name in ("rate", "seconds", "resample") if name not in settings]
    source = source_from(Audio, given | dict(settings))
    return Found(source=source, task=Classes(), notes=notes, chosen=tuple(f"data.{name}" for name in read))
