"""Tables of numbers that somebody hands over as examples."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from trustml.auditing.tables import examples_of_csv
from trustml.errors import UsageError


def table(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    return path


def test_a_table_of_numbers_becomes_examples(tmp_path):
    inputs, labels = examples_of_csv(table(tmp_path, b"\xef\xbb\xbfx,y,label\n1,2.5,0\n\n3,4,1\n"))
    assert inputs.tolist() == [[1, 2.5], [3, 4]] and labels.tolist() == [0, 1]
    assert inputs.dtype == np.float32 and labels.dtype == np.int64


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x,label\n1,yes\n", "train.csv: is no table of numbers"),
        (b"x,label\n1,0.5\n", r"the label is 0\.5 in row 1; .*whole numbers"),
        (b"x,label\n1,-1\n", "whole numbers"),
        (b"x,label\n1,nan\n", "whole numbers"),
        (b"x,label\n1,0\n1,1e300\n", r"the label is 1e\+300 in row 2; .*whole numbers"),
        (b"x,label\nnan,1\n", "'x' is nan in row 1, no finite number of float32"),
        (b"x,y,label\n1,2,0\n1,-1e300,0\n", r"'y' is -1e\+300 in row 2, no finite number of float32"),
        (b"x,label\n", "needs a line of names"),
        (b"label\n1\n", "needs a line of names"),
        (b"", "needs a line of names"),
        (b"x,y,label\n1,2,0\n1,0\n", "train.csv: 3 names stand above a row of 2 values; give each column one name"),
        (b"x,y,label\n1,0\n2,1\n", "train.csv: 3 names stand above a row of 2 values"),
        (b"x,label\n1,2,0\n", "train.csv: 2 names stand above a row of 3 values"),
        (b"0.5,1.5,0\n2.5,3.5,1\n", "train.csv: its first line holds numbers alone, .* write a line of names above"),
        (b" 0,1e3 ,nan\n2,3,1\n", "train.csv: its first line holds numbers alone"),
        (b"\xff\xfe", "train.csv: is no table of numbers"),
    ],
)
def test_what_is_no_such_table_is_refused_in_a_line(tmp_path, content, said):
    with pytest.raises(UsageError, match=said):
        examples_of_csv(table(tmp_path, content))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (b"age,income,label", None),
        (b" age , income,label", None),
        (
            b"income,age,label",
            r"holdout.csv: its columns \(income, age, label\) are in another order than those of train",
        ),
        (b"age,height,label", "holdout.csv: its columns .* are others than those of train.csv .*; give both the same"),
        (b"age,income,height,label", "are others than those of train.csv"),
    ],
)
def test_two_tables_of_other_columns_are_not_mixed(tmp_path, names, said):
    train = table(tmp_path, b"age,income,label\n30,1,0\n")
    other = tmp_path / "holdout.csv"
    other.write_bytes(names + b"\n" + b",".join([b"1"] * len(names.split(b","))) + b"\n")
    with contextlib.nullcontext() if said is None else pytest.raises(UsageError, match=said):
        assert examples_of_csv(other, beside=train)[0].tolist() == [[1, 1]]
