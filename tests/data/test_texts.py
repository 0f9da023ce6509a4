"""Texts to token ids: bytes or a tokenizer of the user's, padded and cut off, and files as messages come."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tests.data.test_tables import refused
from trustml.data.dataset import fingerprint
from trustml.data.datasets import load_dataset
from trustml.data.preparation import preparation_notes
from trustml.errors import DataError
from trustml.measures.assumptions import preprocessing_assumption
from trustml.models.tasks import NextToken
from trustml.scenario.sources import Csv, Text

MESSAGES = ["hi", "grüß dich", 'say "hi"', "", "?", "1,5"] * 4
LABELS = ["ham", "spam"] * 12


def read_of(dataset) -> list[str]:
    """What is told of reading: some of these texts come twice, which is told before."""
    return [told for told in dataset.warnings if "have the inputs of" not in told]


def source(folder, rows, *, name: str = "t.tsv", header: str = "label\ttext\n", **fields) -> Text:
    (folder / name).write_text(header + "".join(f"{label}\t{text}\n" for label, text in rows), encoding="utf-8")
    return Text(**{"path": str(folder / name), "length": 8, "test_fraction": 0.5, **fields})


def decoded(dataset) -> list[str]:
    """Texts of all examples, in the order of the alphabet, from their bytes."""
    rows = np.concatenate([dataset.train.inputs, dataset.test.inputs]).astype(int)
    assert not (rows == 1).any() and rows.max() <= 257
    return sorted(bytes(token - 2 for token in row if token).decode() for row in rows)


def test_bytes_are_tokens_whatever_the_data_hold(tmp_path):
    dataset = load_dataset(source(tmp_path, zip(LABELS, MESSAGES, strict=True), length=12))
    assert dataset.class_names == ("ham", "spam") and dataset.input_shape == (12,)
    assert dataset.train.inputs.dtype == np.float32 and decoded(dataset) == sorted(MESSAGES)
    row = next(row for row in dataset.train.inputs if row[0] == 2 + ord("h"))
    np.testing.assert_array_equal(row, [2 + ord("h"), 2 + ord("i"), *[0] * 10])
    assert tuple(read_of(dataset)) == (
        "found in the file: columns are separated by tabs",
        "texts are 258 kinds of tokens, of which 0 is padding: an embedding needs as many rows",
        "4 texts are empty or missing: they are padding alone",
    )


def test_what_is_too_long_is_cut_off_and_counted(tmp_path):
    dataset = load_dataset(source(tmp_path, zip(LABELS, MESSAGES, strict=True), length=2))
    assert "12 of 24 texts are longer than 2 tokens" in read_of(dataset)[2]
    assert dataset.input_shape == (2,)


@pytest.mark.parametrize("end", ['close" it', 'close"'])  # the latter is two lines to who heeds the quotes
def test_quotes_in_messages_that_come_one_a_line_are_text(tmp_path, end):
    rows = [("ham", '"open'), ("spam", "plain"), ("ham", end), ("spam", 'a "b" c')] * 6
    dataset = load_dataset(source(tmp_path, rows, length=12))
    assert decoded(dataset) == sorted(text for _, text in rows)
    assert "quotes are text" in read_of(dataset)[0]
    whole = [("ham", '"all of it"'), ("spam", '"two\nlines"')] * 6
    quoted = load_dataset(source(tmp_path, whole, length=12))
    assert set(decoded(quoted)) == {"all of it", "two\nlines"}
    unquoted = load_dataset(source(tmp_path, [("a", '"x"'), ("b", "y")] * 3, quote=""))
    assert read_of(unquoted)[0].endswith("quotes are text")


def test_json_lines_csv_and_no_header_are_the_same(tmp_path):
    rows = [(label, text) for label, text in zip(LABELS, MESSAGES, strict=True) if text]
    plain = fingerprint(load_dataset(source(tmp_path, rows)))
    lines = "\n".join(json.dumps({"label": label, "text": text, "more": [1]}) for label, text in rows)
    (tmp_path / "t.jsonl").write_text(lines, encoding="utf-8")
    assert fingerprint(load_dataset(Text(path=str(tmp_path / "t.jsonl"), length=8, test_fraction=0.5))) == plain
    bare = source(tmp_path, rows, header="")
    named = Text(path=bare.path, length=8, test_fraction=0.5, label="column1", text="column2", header=False)
    assert fingerprint(load_dataset(named)) == plain


def test_a_test_file_and_groups(tmp_path):
    rows = list(zip(LABELS, MESSAGES, strict=True))
    source(tmp_path, rows[:6], name="test.tsv")
    dataset = load_dataset(source(tmp_path, rows, test_path=str(tmp_path / "test.tsv")))
    assert (len(dataset.train), len(dataset.test)) == (24, 6)
    by = source(tmp_path, [(label, f"{text}\tp{row // 6}") for row, (label, text) in enumerate(rows)],
                header="label\ttext\twho\n", split="by group", split_by="who")  # fmt: skip
    assert len(load_dataset(by).test) == 12


def test_what_is_not_there_is_named(tmp_path):
    rows = [("a", "x"), ("b", "y")]
    refused(source(tmp_path, rows, text="body"), "data.text names no column 'body'; choose among label, text")
    refused(source(tmp_path, rows, label="kind"), "data.label names no column 'kind'")
    refused(source(tmp_path, rows, tokenizer=str(tmp_path)), "tokenizer.json: no such file")


class Tokens:
    """What `tokenizers` offers, for words."""

    WORDS = ("[UNK]", "hi", "say")

    @classmethod
    def from_file(cls, path: str):
        cls.WORDS = tuple(json.loads(Path(path).read_text())["words"])
        return cls()

    def no_padding(self) -> None:
        pass

    no_truncation = no_padding

    def get_vocab_size(self) -> int:
        return len(self.WORDS)

    def token_to_id(self, name: str) -> int | None:
        return self.WORDS.index(name) if name in self.WORDS else None

    def encode_batch(self, texts: list[str]) -> list:
        unknown = self.WORDS.index("[UNK]")
        return [
            types.SimpleNamespace(ids=[self.WORDS.index(w) if w in self.WORDS else unknown for w in text.split()])
            for text in texts
        ]


@pytest.mark.parametrize("words", [["[PAD]", "[UNK]", "hi"], ["[UNK]", "hi"]])
def test_a_tokenizer_of_the_users_keeps_its_ids_where_0_is_padding(tmp_path, monkeypatch, words):
    module = types.ModuleType("tokenizers")
    module.Tokenizer = Tokens
    monkeypatch.setitem(sys.modules, "tokenizers", module)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"words": words}))
    dataset = load_dataset(source(tmp_path, [("a", "hi you"), ("b", "hi")] * 4, length=3, tokenizer=str(tmp_path)))
    assert dataset.preparation.scaling == "given tokenizer"
    assert "tokenizer is of the user" in preprocessing_assumption(dataset.preparation).why
    assert "no epsilon would cover it" in preparation_notes(dataset.preparation)[0]
    rows = {tuple(row) for row in dataset.train.inputs}
    assert rows == {(2, 1, 0), (2, 0, 0)}  # unknown is 1 in both: read so, or moved up
    assert "3 kinds of tokens" in read_of(dataset)[1]
    assert "one higher" in read_of(dataset)[2] if len(words) == 2 else len(read_of(dataset)) == 2


def test_a_tokenizer_without_its_package_is_told_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    (tmp_path / "tokenizer.json").write_text("{}")
    refused(source(tmp_path, [("a", "x"), ("b", "y")], tokenizer=str(tmp_path)), "trustml[text]")


def test_the_collection_of_messages_loads_whole(real_data):
    path = real_data / "sms_spam" / "SMSSpamCollection.tsv.gz"
    dataset = load_dataset(Text(path=str(path), label="column1", text="column2", header=False, length=160))
    assert len(dataset.train) + len(dataset.test) == 5_430 and dataset.class_names == ("ham", "spam")


def test_the_next_token_is_the_text_one_on_and_needs_no_label(tmp_path):
    rows = zip(LABELS, MESSAGES, strict=True)
    dataset = load_dataset(source(tmp_path, rows, length=3, label="no such column"), NextToken())
    assert dataset.input_shape == (3,) and dataset.train.labels.shape[1:] == (3,) and dataset.train.labels.dtype == int
    assert len(dataset.class_names) == 258 and dataset.class_names[2 + ord("h")] == "h"
    both = zip(
        *(np.concatenate([getattr(p, f) for p in (dataset.train, dataset.test)]) for f in ("inputs", "labels")),
        strict=True,
    )
    found = {tuple(map(int, (*inputs[:1], *labels))) for inputs, labels in both}
    known = {tuple((list(text.encode()) + [-2] * 4)[:4]) for text in MESSAGES if len(text) > 1}
    assert found == {tuple(byte + 2 for byte in text) for text in known}
    assert "8 texts have fewer than two tokens: nothing follows in them, and they were left out" in read_of(dataset)
    assert "8 of 24 texts are longer than 4 tokens: the ends were cut off" in read_of(dataset)
    assert dataset.preparation.classes == "public"


def test_texts_in_which_nothing_follows_are_refused(tmp_path):
    with pytest.raises(DataError, match="no text has two tokens"):
        load_dataset(source(tmp_path, [("a", "x"), ("b", "y")] * 4), NextToken())


def test_other_data_than_texts_have_no_next_token(tmp_path):
    (tmp_path / "t.csv").write_text("a,label\n" + "1,2\n2,1\n" * 5, encoding="utf-8")
    with pytest.raises(DataError, match="holds no tokens; use data=Text"):
        load_dataset(Csv(path=str(tmp_path / "t.csv"), label="label"), NextToken())


def test_a_split_that_leaves_a_side_empty_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"data: 2 examples are left to train on, and 0 are held out; give more"):
        load_dataset(source(tmp_path, [("a", "hi"), ("b", "you")]))
