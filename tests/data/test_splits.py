"""Splits: stratified as ever, at random, whole groups on one side, the latest held out; nothing leaks across."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.test_tables import csv, refused, table
from trustml.data.dataset import split_indices
from trustml.data.datasets import load_dataset
from trustml.data.splits import split_rows
from trustml.models.tasks import Labels, Regression
from trustml.scenario.sources import Csv, Digits, Npz

ROWS = 60
LABELS = np.arange(ROWS) % 2


def rows_of(dataset) -> tuple[list[int], list[int]]:
    """Give the numbers of the training and of the held-out rows, which are their first feature."""
    return tuple([round(value) for value in part.inputs[:, 0]] for part in (dataset.train, dataset.test))


@given(seed=st.integers(0, 5), fraction=st.floats(0.1, 0.6), split=st.sampled_from(["stratified", "random"]))
def test_a_split_is_a_permutation_and_the_same_again(seed, fraction, split):
    source = Csv(path="t", label="y", split=split, split_seed=seed, test_fraction=fraction)
    train, test = split_rows(LABELS, source, where="t")
    assert sorted([*train, *test]) == list(range(ROWS))
    again = split_rows(LABELS, source, where="t")
    assert (again[0] == train).all() and (again[1] == test).all()
    if split == "random":
        assert len(test) == round(fraction * ROWS)
    else:
        np.testing.assert_array_equal(test, split_indices(LABELS, test_fraction=fraction, seed=seed)[1])


def test_another_seed_is_another_random_split():
    first, other = (
        split_rows(LABELS, Csv(path="t", label="y", split="random", split_seed=seed), where="t")[1] for seed in (0, 1)
    )
    assert set(first) != set(other)


@given(groups=st.lists(st.integers(0, 9), min_size=ROWS, max_size=ROWS), fraction=st.floats(0.1, 0.5))
def test_a_group_is_on_one_side(groups, fraction):
    by = np.array(groups)
    by[:4] = [0, 0, 1, 1]
    source = Csv(path="t", label="y", split="by group", split_by="g", test_fraction=fraction)
    train, test = split_rows(np.arange(ROWS) % 5, source, where="t", by=by)
    assert not set(by[train]) & set(by[test]) and sorted([*train, *test]) == list(range(ROWS))


def test_groups_and_times_of_a_table(tmp_path):
    who = [f"p{row // 6}" for row in range(ROWS)]
    when = [f"{1 + row // 2 % 28}.{1 + row // 56}.2024" for row in range(ROWS)]
    text = table("a,who,when,y", range(ROWS), who, when, LABELS)
    train, test = rows_of(load_dataset(csv(tmp_path, text, split="by group", split_by="who", drop=("who", "when"))))
    assert len(test) == 12 and not {row // 6 for row in train} & {row // 6 for row in test}
    assert train != sorted(train)
    train, test = rows_of(load_dataset(csv(tmp_path, text, split="by time", split_by="when", test_fraction=0.25)))
    assert sorted(test) == list(range(44, ROWS))
    assert max(train) < min(test) and min(test) % 2 == 0  # two rows share each day
    refused(csv(tmp_path, text, split="by time", split_by="who"), "column 'who' holds text, no times")
    refused(csv(tmp_path, text, split="by group", split_by="whom"), "data.split_by names no column 'whom'")


def test_a_time_that_is_missing_is_refused(tmp_path):
    text = table("a,when,y", range(ROWS), ["", *range(1, ROWS)], LABELS)
    refused(csv(tmp_path, text, split="by time", split_by="when"), "1 examples have no time")


def test_a_test_file_that_shares_a_group_or_is_not_later_is_refused(tmp_path):
    (tmp_path / "test.csv").write_text(table("a,g,y", range(ROWS), [9] * ROWS, LABELS))
    source = csv(tmp_path, table("a,g,y", range(ROWS), [row % 9 for row in range(ROWS)], LABELS))

    def split(kind: str, *, path: str = source.path) -> Csv:
        return Csv(path=path, test_path=str(tmp_path / "test.csv"), label="y", split=kind, split_by="g")

    assert len(load_dataset(split("by group")).test) == ROWS == len(load_dataset(split("by time")).train)
    csv(tmp_path, table("a,g,y", range(ROWS), [row % 10 for row in range(ROWS)], LABELS))
    refused(split("by group"), "1 groups of 'g', such as 9")
    refused(split("by time"), "does not begin after")


def test_arrays_to_split_by(tmp_path):
    path = str(tmp_path / "a.npz")
    np.savez(
        path, inputs=np.arange(ROWS)[:, None], labels=LABELS, when=np.arange(ROWS)[::-1], who=np.arange(ROWS) // 20
    )
    train, test = rows_of(load_dataset(Npz(path=path, split="by time", split_by="when")))
    assert sorted(test) == list(range(12)) and len(train) == 48
    train, test = rows_of(load_dataset(Npz(path=path, split="by group", split_by="who")))
    assert len({row // 20 for row in test}) == 1 and len(test) == 20
    refused(Npz(path=path, split="by time", split_by="inputs"), "one for each example")
    refused(Npz(path=path, split="by group", split_by="whom"), "holds no array 'whom'")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Digits(split="by group", split_by="x"), "needs a table or named arrays"),
        (Npz(path="a.npz", split="by group"), "names nothing to split by"),
        (Npz(path="a.npz", split_by="who"), "is not used by a stratified split"),
    ],
)
def test_a_split_that_cannot_be_is_refused_first(source, words):
    refused(source, words)


def test_a_side_that_would_be_empty_or_of_one_class_is_refused(tmp_path):
    text = table("a,g,y", range(ROWS), [row % 2 for row in range(ROWS)], LABELS)
    refused(csv(tmp_path, text, split="by group", split_by="g", test_fraction=0.5), "leaves one class to train on")
    refused(csv(tmp_path, text.replace(",1,", ",0,"), split="by time", split_by="g"), "leaves one side empty")
    one = table("a,y", range(ROWS), LABELS)
    refused(csv(tmp_path, one, split="random", test_fraction=0.001), "leaves one side empty")


@pytest.mark.parametrize(
    "fields", [{"split": "random"}, *({"split": f"by {by}", "split_by": "g"} for by in ("group", "time"))]
)
def test_targets_and_labels_have_no_classes_that_a_split_could_leave_out(tmp_path, fields):
    text = table("a,g,t,u,y", range(ROWS), [row // 6 for row in range(ROWS)], LABELS, LABELS[::-1], range(ROWS))
    found = load_dataset(csv(tmp_path, text, **fields), Regression())
    assert len(found.train) + len(found.test) == ROWS and len(found.test) > 5
    found = load_dataset(csv(tmp_path, text, **{**fields, "label": ("t", "u")}), Labels())
    assert len(found.test) > 5


def test_groups_of_one_number_are_one_group_however_it_is_written(tmp_path):
    groups = [row % 5 for row in range(ROWS)]
    (tmp_path / "test.csv").write_text(table("a,g,y", range(ROWS), [float(group) for group in groups], LABELS))
    source = csv(tmp_path, table("a,g,y", range(ROWS), groups, LABELS), split="by group", split_by="g")
    for path in (tmp_path / "test.csv", tmp_path / "t.csv"):
        words = "5 groups of 'g'" if path.name == "test.csv" else "is the training data itself"
        refused(msgspec.structs.replace(source, test_path=str(path)), words)
    one = load_dataset(csv(tmp_path, table("a,g,y", range(ROWS), ["0", "0.0", "1", "2"] * 15, LABELS), keys=("g",)))
    assert set(one.train_keys["g"]) == {"0", "1", "2"}
    codes = load_dataset(csv(tmp_path, table("a,g,y", range(ROWS), ["0", "0.0", "01", "1"] * 15, LABELS), keys=("g",)))
    assert set(codes.train_keys["g"]) == {"0", "0.0", "01", "1"}


def test_a_column_of_marked_times_is_one_of_times(tmp_path):
    text = table("a,t,y", range(ROWS), range(ROWS), LABELS)
    assert len(load_dataset(csv(tmp_path, text, split="by time", split_by="t", marked=("t",))).test) == 12
