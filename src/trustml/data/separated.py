"""How a text file separates its columns: what it says itself, found out, or told by the scenario."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trustml.errors import DataError
from trustml.scenario.sources import Csv

if TYPE_CHECKING:
    from _csv import Reader

SEPARATORS = ",;\t|"
BLANK = " "
"""Separator that stands for any run of blanks and tabs."""
_MOST_TOLD = 3
_MOST_COMPARED = 10_000
_LONGEST_FIELD = 2**31 - 1
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_PACKED = {
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"BZh": "a bzip2 archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "a NumPy array",
    b"\xd0\xcf\x11\xe0": "an Excel sheet",
}
_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
          (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
_ENDS = re.compile(r"\r\n|\n|\r")
_NUMBERED = re.compile(r"column[1-9]\d{0,5}")
_WORD = re.compile(r"""(?:"(?:[^"]|"")*"|'[^']*')(?=\s|$)|\S+""")


@dataclass(frozen=True, kw_only=True)
class Form:
    """How the columns of a text file are written.

    Attributes
    ----------
    encoding, separator, quote : str
        The quote is empty where quotes are text.
    header : bool
        Whether the first row holds names; else columns are ``column1``, ``column2``, ....
    """

    encoding: str = "utf-8"
    separator: str = ","
    quote: str = '"'
    header: bool = True


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A text file, once it is known that all of its rows have as many fields.

    Attributes
    ----------
    text : str
    form : Form
    names : tuple of str
    coded : frozenset of int
        Columns that hold codes such as 01.
    """

    text: str
    form: Form
    names: tuple[str, ...]
    coded: frozenset[int] = frozenset()


@dataclass(kw_only=True)
class _Rows:
    """What one way to separate makes of a file."""

    first: list[str] = field(default_factory=list)
    extra: int = 0
    joined: bool = False
    odd: list[tuple[int, int]] = field(default_factory=list)
    coded: set[int] = field(default_factory=set)


def decoded(path: Path, content: bytes, encoding: str | None) -> tuple[str, str]:
    """Text of a file, and its encoding: as told, by its mark, UTF-8, else Windows-1252, which holds Latin-1's letters.

    Raises
    ------
    DataError
        If it is an archive or another format.
    ValueError
        If it is no text of that encoding.
    """
    kind = next((kind for begin, kind in _PACKED.items() if content.startswith(begin)), "")
    if content[257:262] == b"ustar":
        kind = "a tar archive"
    if kind:
        raise DataError(f"{path}: is {kind}; unpack it, and name the table (a .gz is read as it is)")
    if encoding is not None:
        try:
            return content.decode(encoding).removeprefix("\ufeff"), encoding
        except LookupError:
            raise DataError(
                f"data.encoding: {encoding!r} is none that Python knows; use such as utf-8 or cp1252"
            ) from None
    for mark, name in _MARKS:
        if content.startswith(mark):
            return content.decode(name), name
    try:
        return content.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError as error:
        if b"\0" in content:
            raise ValueError("holds zero bytes: it is no text; if it is, name its data.encoding") from None
        if _MULTIBYTE.search(content):
            raise DataError(
                f"{path}: is UTF-8 but for the byte {content[error.start]:#04x} at {error.start}; fix it, or name the "
                "encoding of the whole file in data.encoding"
            ) from None
        return content.decode("cp1252"), "cp1252"


def lay_out(path: Path, text: str, encoding: str, source: Csv) -> Layout:
    """Find out how the columns are separated, and their names.

    A file is read the first way that fits: as told, as its first line says (Excel), by that of ``, ; | tab`` which the
    header has most of; and only where that fails, by another one under which all rows have the fields of the header
    and the label is among them.

    Raises
    ------
    DataError
        If rows have other fields than the header, or there is none.
    csv.Error
        If quotes do not close.
    """
    first, _, rest = text.partition("\n")
    stated = source.separator
    if first.strip().lower().startswith("sep=") and len(first.strip()) == len("sep=;"):
        text, stated = rest, stated or first.strip()[-1]
    usual = stated or _most_frequent(text)
    broken: csv.Error | None = None
    usually: Layout | _Rows = _Rows()
    quote = '"' if source.quote is None else source.quote
    for separator in [usual] if stated else [usual, *(mark for mark in SEPARATORS + BLANK if mark != usual)]:
        try:
            found = _layout(text, Form(encoding=encoding, separator=separator, quote=quote), source)
        except csv.Error as error:
            broken = error if separator == usual else broken
            continue
        usually = found if separator == usual else usually
        labelled = isinstance(found, Layout) and set(source.label_columns) <= set(found.names)
        if isinstance(found, Layout) and labelled and (separator == usual or len(found.names) > 1):
            _refuse_doubtful_header(path, found, source)
            return found
    if broken is not None:
        raise broken
    if not isinstance(usually, Layout):
        raise DataError(f"{path}: {_why_not(usually, usual, source)}")
    if source.header is None and (numbers := [name for name in usually.names if is_float(name)]):
        raise DataError(_no_header(path, numbers[0]))
    return usually


def _no_header(path: Path, number: str) -> str:
    return (
        f"{path}: has no header: its first row holds numbers such as {number!r}; add a row of column names, or "
        "set data.header to false, which names the columns column1, column2, ..."
    )


def _refuse_doubtful_header(path: Path, layout: Layout, source: Csv) -> None:
    """Refuse a header that is all numbers, and a first row of data that looks like names."""
    if source.header is not None:
        return
    if layout.form.header and layout.names and all(map(is_float, layout.names)):
        raise DataError(f"{_no_header(path, layout.names[0])}; if these are names, set it to true")
    if not layout.form.header and (odd := _unlike_its_column(layout)):
        raise DataError(
            f"{path}: its first row holds {odd!r}, which is like nothing else in that column; set data.header to true "
            "if it is a name, or to false if not"
        )


def _unlike_its_column(layout: Layout) -> str:
    """Give the first cell of the first row that no other of its column is like: text among numbers or few classes."""
    rows = itertools.islice((row for row in _reader(layout.text, layout.form) if any(row)), _MOST_COMPARED)
    for cell, *others in zip(*rows, strict=False):
        known = [other for other in others if other]
        if not cell or is_float(cell) or cell in known or len(known) < 2:
            continue
        if all(map(is_float, known)) or 2 * len(set(known)) <= len(known):
            return str(cell)
    return ""


def _layout(text: str, form: Form, source: Csv) -> Layout | _Rows:
    """Separate in one way; what was found where rows differ."""
    if form.separator == BLANK:
        text = _tabbed(text)
    try:
        rows = _rows(text, form, named=source.row_names)
    except csv.Error:
        rows = None
    if source.quote is None and form.quote and form.separator == "\t" and (rows is None or rows.joined):
        other = _layout(text, replace(form, quote=""), source)  # quotes of no meaning, such as in messages
        if isinstance(other, Layout):
            return other
    if rows is None:
        rows = _rows(text, form, named=source.row_names)
    names = [name.strip() for name in rows.first]
    if source.quote is None and form.quote == '"' and source.label_columns[0] not in names and _all_in(names, "'"):
        return _layout(text, replace(form, quote="'"), source)
    if rows.odd or not rows.first:
        return rows
    width = len(names) + rows.extra
    if source.header is False or (source.header is None and _is_headerless(names, source.label_columns[0])):
        form, names = replace(form, header=False), [f"column{number + 1}" for number in range(width)]
    elif source.row_names:
        names = ["", *names[1 - rows.extra :]]
    return Layout(text=text, form=form, names=tuple(names), coded=frozenset(rows.coded))


def _is_headerless(names: list[str], label: str) -> bool:
    """Say whether the label is named by its number, and the first row holds numbers."""
    return label not in names and _NUMBERED.fullmatch(label) is not None and any(map(is_float, names))


def _rows(text: str, form: Form, *, named: bool) -> _Rows:
    """Count the fields of every row, because pandas takes a longer one for one with an index, and shifts all columns.

    Where rows are `named`, all may have one more than the header.
    """
    found = _Rows()
    reader = _reader(text, form)
    count = 0
    lines = 0
    for row in reader:
        found.joined |= reader.line_num > lines + 1
        lines = reader.line_num
        if not row or (len(row) == 1 and len(found.first) > 1 and not row[0].strip()):
            continue
        if not found.first:
            found.first = row
            continue
        count += 1
        if count == 1 and named and len(row) == len(found.first) + 1:
            found.extra = 1
        if len(row) != len(found.first) + found.extra:
            found.odd.append((reader.line_num, len(row)))
        codes = (number for number, cell in enumerate(row) if cell[:1] == "0" and len(cell) > 1 and cell.isdigit())
        found.coded.update(codes)
    return found


def _reader(text: str, form: Form) -> Reader:
    csv.field_size_limit(_LONGEST_FIELD)  # of the process; texts may be long
    return csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter(form), quotechar=form.quote or None, skipinitialspace=True,
        strict=True, quoting=csv.QUOTE_MINIMAL if form.quote else csv.QUOTE_NONE,
    )  # fmt: skip


def _why_not(rows: _Rows, separator: str, source: Csv) -> str:
    if not rows.first:
        return "is empty; give a header and rows"
    if rows.first[0].startswith("#"):
        return f"begins with a comment ({rows.first[0][:20]!r}); remove what stands before the header"
    told = ", ".join(f"line {line} has {count}" for line, count in rows.odd[:_MOST_TOLD])
    more = f" and {len(rows.odd) - _MOST_TOLD} more rows" if len(rows.odd) > _MOST_TOLD else ""
    fix = f"quote values that hold {separator!r}, or fix those rows"
    if not source.row_names and all(count == len(rows.first) + 1 for _, count in rows.odd):
        fix = f"quote values that hold {separator!r}, or set data.row_names if the first field of each names its row"
    return f"the header has {len(rows.first)} fields, but {told}{more}; {fix}"


def delimiter(form: Form) -> str:
    """Give the character that separates columns in the text of a layout."""
    return "\t" if form.separator == BLANK else form.separator


def _tabbed(text: str) -> str:
    """Put one tab between the words of each line, whatever blanks were there."""
    return "\n".join("\t".join(_WORD.findall(line)) for line in _ENDS.split(text))


def _most_frequent(text: str) -> str:
    """Choose the separator of the header, outside of quotes; a comma where there is none."""
    line = next((line for line in _ENDS.split(text) if line.strip()), "")
    unquoted = "".join(part for index, part in enumerate(line.split('"')) if index % 2 == 0)
    return max(SEPARATORS, key=unquoted.count)


def _all_in(names: list[str], quote: str) -> bool:
    return bool(names) and all(len(name) > 1 and name[0] == name[-1] == quote for name in names)


def is_float(text: str) -> bool:
    """Whether Python reads a text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
