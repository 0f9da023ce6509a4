"""Texts to token ids of one length, by bytes or by a tokenizer of the user's; nothing is learned from the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from trustml.data.cautions import form_warnings
from trustml.data.dataset import Dataset, Examples, Floats
from trustml.data.encoding import split_column
from trustml.data.labels import EncodedLabels, as_numbers, encode
from trustml.data.preparation import Preparation
from trustml.data.spelling import FaultError, as_text
from trustml.data.splits import refuse_leakage, split_rows
from trustml.data.tables import first_line, read_tables
from trustml.errors import DataError
from trustml.models.tasks import DEFAULT_TASK, NextToken, Task
from trustml.scenario.sources import Csv, Json, Parquet, Text

if TYPE_CHECKING:
    import pandas as pd

PADDING, UNKNOWN = 0, 1
BYTES = 258
"""Tokens of the byte-level tokenizer."""
_MOST_TOKENS = 2**24  # what float32 counts without a gap

Tokenize: TypeAlias = Callable[[Sequence[str]], list[list[int]]]


@dataclass(frozen=True, kw_only=True)
class _Tokenizer:
    tokenize: Tokenize
    tokens: int
    names: Callable[[], tuple[str, ...]]
    shifted: bool = False  # so that 0 is padding


@dataclass(frozen=True, kw_only=True)
class _Tokens:
    ids: Floats
    told: tuple[str, ...]
    names: Callable[[], tuple[str, ...]]


def load_texts(source: Text, task: Task = DEFAULT_TASK) -> Dataset:
    """Read texts and their labels, and tokenize; where the next token is asked for, tokens are the labels.

    Raises
    ------
    DataError
        If a column or the tokenizer is missing, or a value is no text.
    """
    following = isinstance(task, NextToken)
    listing = _table_of(source, label=source.text if following else source.label)
    read = read_tables(listing, verbatim=source.text)
    table, where = read.table, source.path
    for field, name in (("text", source.text), ("label", listing.label)):
        if name not in table.columns:
            known = ", ".join(map(str, table))
            raise DataError(f"{where}: data.{field} names no column {name!r}; choose among {known}")
    tokens = _token_ids(table[source.text], source, length=source.length + following)
    inputs = tokens.ids[:, : source.length]
    if following:
        encoded = _next_tokens(tokens, where)
    else:
        labels = table[source.label].to_numpy()
        encoded = encode(task, as_numbers(labels) if isinstance(listing, Csv) else labels, where, names=(source.label,))
    by = split_column(table, listing)
    if source.test_path is None:
        rows = split_rows(encoded.kinds, source, where=where, by=by)
    else:
        rows = np.arange(read.train_rows), np.arange(read.train_rows, len(table))
        if by is not None:
            refuse_leakage(by, source, *rows, where=where)
    if following:
        train, test = (part[encoded.values[part].any(axis=1)] for part in rows)
        rows = train, test
    return Dataset(
        train=Examples(inputs=inputs[rows[0]], labels=encoded.values[rows[0]]),
        test=Examples(inputs=inputs[rows[1]], labels=encoded.values[rows[1]]),
        class_names=encoded.names,
        task=task,
        preparation=Preparation(
            scaling="none" if source.tokenizer is None else "given tokenizer",
            categories="none",
            classes="public" if following else "of the data",
        ),
        warnings=(*read.warnings, *form_warnings(read.forms), *tokens.told, *encoded.warnings),
        feature_names=tuple(f"token {number}" for number in range(source.length)),
        feature_groups=tuple(range(source.length)),
        token_names=tokens.names,
    )


def _next_tokens(tokens: _Tokens, where: str) -> EncodedLabels:
    """Label each step with the token that follows, 0 where none does."""
    values = tokens.ids[:, 1:].astype(np.int64)
    few = int((~values.any(axis=1)).sum())
    if few == len(values):
        raise DataError(f"{where}: no text has two tokens, so that none follows another; give longer texts")
    told = (f"{few} texts have fewer than two tokens: nothing follows in them, and they were left out",) if few else ()
    return EncodedLabels(values=values, names=tokens.names(), kinds=np.zeros(len(values), np.int64), warnings=told)


def _table_of(source: Text, *, label: str) -> Csv | Json | Parquet:
    """Say how the file is read: text as it stands, whatever it looks like."""
    suffixes = {suffix.lower() for suffix in Path(source.path).suffixes}
    columns = Path(source.path).is_dir() or suffixes & {".parquet", ".pq"}
    if columns or suffixes & {".json", ".jsonl"}:
        return (Parquet if columns else Json)(
            path=source.path,
            label=label,
            test_path=source.test_path,
            split=source.split,
            split_by=source.split_by,
        )
    return Csv(
        path=source.path, label=label, test_path=source.test_path, split=source.split, split_by=source.split_by,
        separator=source.separator, quote=source.quote, encoding=source.encoding, header=source.header,
        keys=(source.text,), decimal=".",
    )  # fmt: skip


def _token_ids(column: pd.Series, source: Text, *, length: int) -> _Tokens:
    """Tokenize and pad to a length; tell of the texts that are cut off or missing."""
    try:
        text = [value or "" for value in as_text(column)]
    except FaultError as fault:
        raise DataError(f"{source.path}: column {source.text!r} {fault}") from None
    tokenizer = _bytes_tokenizer() if source.tokenizer is None else _of_file(Path(source.tokenizer))
    ids = np.full((len(text), length), PADDING, np.float32)
    cut = 0
    for row, tokens in enumerate(tokenizer.tokenize(text)):
        kept = tokens[:length]
        ids[row, : len(kept)] = kept
        cut += len(tokens) > length
    told = [f"texts are {tokenizer.tokens} kinds of tokens, of which 0 is padding: an embedding needs as many rows"]
    if tokenizer.shifted:
        told.append("ids are one higher than the tokenizer's, whose 0 is not its padding")
    if cut:
        told.append(f"{cut} of {len(text)} texts are longer than {length} tokens: the ends were cut off")
    if empty := sum(not value for value in text):
        told.append(f"{empty} texts are empty or missing: they are padding alone")
    return _Tokens(ids=ids, told=tuple(told), names=tokenizer.names)


def _bytes_tokenizer() -> _Tokenizer:
    return _Tokenizer(
        tokenize=lambda texts: [[2 + byte for byte in text.encode()] for text in texts],
        tokens=BYTES,
        names=lambda: ("<padding>", "<unknown>", *map(_byte_name, range(256))),
    )


def _byte_name(byte: int) -> str:
    """A character of ASCII by itself, and other bytes by their number."""
    return chr(byte) if 32 <= byte < 127 else f"<{byte:02x}>"


def _of_file(path: Path) -> _Tokenizer:
    """Read a tokenizer from its file, never from a network.

    Raises
    ------
    DataError
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{file}: no such file; data.tokenizer names a tokenizer.json, or a folder that holds one")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise DataError(
            "data.tokenizer: the package tokenizers is not installed; install trustml[text], or leave "
            "data.tokenizer out for bytes"
        ) from None
    try:
        found = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise DataError(f"{file}: is no tokenizer ({first_line(error)}); save one with its save method") from error
    found.no_padding()
    found.no_truncation()
    tokens = found.get_vocab_size()
    shifted = not any(found.token_to_id(name) == PADDING for name in ("[PAD]", "<pad>", "<|pad|>"))
    tokens += shifted
    if tokens > _MOST_TOKENS:
        raise DataError(f"{file}: has {tokens} tokens, more than {_MOST_TOKENS}; use a smaller one")

    def tokenize(texts: Sequence[str]) -> list[list[int]]:
        return [[token + shifted for token in one.ids] for one in found.encode_batch(list(texts))]

    def names() -> tuple[str, ...]:
        known = (found.id_to_token(number) or f"<{number}>" for number in range(tokens - shifted))
        return ("<padding>", *known) if shifted else tuple(known)

    return _Tokenizer(tokenize=tokenize, tokens=tokens, names=names, shifted=shifted)
