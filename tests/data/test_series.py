"""Time series as archives and programs write them: the same numbers from every format, and what is odd is named."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.test_tables import refused
from trustml.data.dataset import fingerprint
from trustml.data.datasets import load_dataset
from trustml.models.tasks import Regression
from trustml.scenario.sources import Series

VALUES = np.round(np.random.default_rng(0).normal(size=(12, 5, 2)), 3)
LABELS = np.arange(12) % 3 + 1


def held(dataset) -> dict[str, list[tuple[float, ...]]]:
    """All series by class, sorted, whichever side they are on."""
    parts = (dataset.train, dataset.test)
    return {
        name: sorted(tuple(part.inputs[row].ravel()) for part in parts for row in np.flatnonzero(part.labels == label))
        for label, name in enumerate(dataset.class_names)
    }


def ts(values=VALUES, labels=LABELS, *, head: str = "@classLabel true 1 2 3") -> str:
    rows = [":".join([*(",".join(map(str, channel)) for channel in one.T), str(label)])
            for one, label in zip(values, labels, strict=True)]  # fmt: skip
    return "\n".join(["# a comment", "@problemName made", "@timeStamps false", head, "@data", *rows]) + "\n"


def text(values=VALUES, labels=LABELS, *, separator: str = "\t") -> str:
    return "".join(
        f"{label}{separator}{separator.join(map(str, one[:, 0]))}\n" for one, label in zip(values, labels, strict=True)
    )


def written(path, content: str):
    path.write_text(content)
    return Series(path=str(path), test_fraction=0.5)


def lists(path, values=VALUES, labels=LABELS, **columns):
    table = {f"c{number}": [list(one[:, number]) for one in values] for number in range(2)}
    pq.write_table(pa.table({**table, "label": labels, **columns}), path)
    return Series(path=str(path), test_fraction=0.5)


def test_every_format_gives_the_same_series(tmp_path):
    first = load_dataset(written(tmp_path / "a.ts", ts()))
    assert first.input_shape == (5, 2) and first.class_names == ("1", "2", "3") and first.warnings == ()
    assert first.preparation.scaling == "none" and len(first.train) == len(first.test) == 6
    expected = {
        str(label): sorted(tuple(np.float32(one).ravel()) for one in VALUES[label == LABELS]) for label in (1, 2, 3)
    }
    assert held(first) == expected
    np.savez(tmp_path / "a.npz", inputs=VALUES, labels=LABELS)
    np.savez(tmp_path / "b.npz", inputs=np.moveaxis(VALUES, 2, 1), labels=LABELS)
    (tmp_path / "a.ts.gz").write_bytes(gzip.compress(ts().encode()))
    others = [
        Series(path=str(tmp_path / "a.npz"), test_fraction=0.5),
        Series(path=str(tmp_path / "b.npz"), test_fraction=0.5, channels="first"),
        Series(path=str(tmp_path / "a.ts.gz"), test_fraction=0.5),
        lists(tmp_path / "a.parquet"),
    ]
    assert {fingerprint(load_dataset(one)) for one in others} == {fingerprint(first)}


@pytest.mark.parametrize("separator", ["\t", ",", "   "])
def test_rows_of_text_begin_with_the_label_however_it_is_written(tmp_path, separator):
    plain = load_dataset(written(tmp_path / "a.txt", text(separator=separator)))
    assert plain.input_shape == (5, 1) and held(plain)["2"] == sorted(
        tuple(np.float32(one[:, 0])) for one in VALUES[LABELS == 2]
    )
    written_so = text(labels=[f"{label:.7e}" for label in LABELS], separator=separator)
    assert fingerprint(load_dataset(written(tmp_path / "b.txt", written_so))) == fingerprint(plain)
    words = load_dataset(written(tmp_path / "c.txt", text(labels=["up", "down"] * 6, separator=separator)))
    assert words.class_names == ("down", "up")


def test_train_and_test_files_are_both_in_random_order(tmp_path):
    order = np.argsort(LABELS, kind="stable")  # one class after the other, as archives have them
    source = written(tmp_path / "x_TRAIN.ts", ts(VALUES[order], LABELS[order]))
    (tmp_path / "x_TEST.ts").write_text(ts(VALUES[order] + 1, LABELS[order]))
    both = Series(path=source.path, test_path=str(tmp_path / "x_TEST.ts"))
    dataset = load_dataset(both)
    assert len(dataset.train) == len(dataset.test) == 12 and len(set(dataset.test.labels[:5])) > 1
    rows = [np.flatnonzero((dataset.test.inputs == np.float32(one + 1)).all(axis=(1, 2))) for one in VALUES]
    assert [int(dataset.test.labels[row[0]]) + 1 for row in rows] == list(LABELS)
    (tmp_path / "x_TEST.ts").write_text(ts(labels=[*LABELS[:-1], 9]))
    refused(both, "class '9' is not among those of")
    (tmp_path / "x_TEST.ts").write_text(ts(VALUES[:, :, :1]))
    refused(both, "has 1 channels and the first has 2")
    refused(Series(path=source.path, test_path=source.path), "is the training data itself")


def test_lengths_are_alike_or_declared(tmp_path):
    shorter = VALUES.copy()
    shorter[0, 3:] = np.nan  # how archives write that a series has ended
    source = written(tmp_path / "a.ts", ts(shorter))
    refused(source, "have 3 to 5 steps", "data.length")
    padded = load_dataset(Series(path=source.path, length=6))
    assert padded.input_shape == (6, 2) and not padded.train.inputs[:, 5].any()
    assert padded.warnings == ("12 of 12 series are shorter than 6 steps: zeros follow them",)
    cut = load_dataset(Series(path=source.path, length=3))
    assert cut.input_shape == (3, 2) and cut.warnings == (
        "11 of 12 series are longer than 3 steps: the ends were cut off",
    )
    ragged = ts().splitlines()
    ragged[5] = "1,2,3:4,5,6:1"
    assert load_dataset(Series(path=written(tmp_path / "b.ts", "\n".join(ragged)).path, length=5)).input_shape == (5, 2)
    ragged[5] = "1,2,3:4,5:1"
    refused(written(tmp_path / "b.ts", "\n".join(ragged)), "channels of line 6 differ in length")


def test_gaps_are_refused_or_filled_from_the_series_itself(tmp_path):
    source = written(tmp_path / "a.ts", ts().replace(str(VALUES[2, 3, 1]), "?", 1))
    refused(source, "series 2 misses 1 values, the first at step 3 of channel 1", "data.missing to interpolate")
    filled = load_dataset(Series(path=source.path, missing="interpolate", test_fraction=0.5))
    wanted = VALUES[2].copy()
    wanted[3, 1] = (wanted[2, 1] + wanted[4, 1]) / 2
    assert tuple(np.float32(wanted).ravel()) in [tuple(one) for one in held(filled)["3"]]
    empty = VALUES.copy()
    empty[4, :, 0] = np.nan
    path = written(tmp_path / "b.ts", ts(empty)).path
    refused(Series(path=path, missing="interpolate"), "series 4 has no value in channel 0")
    empty[4] = np.nan
    refused(Series(path=written(tmp_path / "b.ts", ts(empty)).path, missing="interpolate"), "series 4 holds no value")


def test_scaling_by_itself_uses_one_series_and_standard_uses_the_training_ones(tmp_path):
    values = VALUES * 100 + 1000
    values[0, :, 1] = 7  # constant
    source = written(tmp_path / "a.ts", ts(values))
    assert "values reach" in load_dataset(source).warnings[0]
    each = load_dataset(Series(path=source.path, scaling="each"))
    assert each.preparation.scaling == "each example" and each.warnings == ()
    for one in (*each.train.inputs, *each.test.inputs):
        for channel in one.T:
            assert abs(channel.mean()) < 1e-5 and (abs(channel.std() - 1) < 1e-5 or not channel.any())
    values[11] += 1e6  # another example changes nothing
    again = load_dataset(Series(path=written(tmp_path / "b.ts", ts(values)).path, scaling="each"))
    assert sum((one == other).all() for one in again.train.inputs for other in each.train.inputs) >= len(each.train) - 1
    standard = load_dataset(Series(path=source.path, scaling="standard", length=7))
    assert standard.preparation.scaling == "training statistics"
    known = standard.train.inputs[:, :5].reshape(-1, 2)
    np.testing.assert_allclose(known.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(known.std(axis=0), 1, atol=1e-5)
    assert not standard.train.inputs[:, 5:].any()


def test_columns_of_lists_are_channels_and_others_split(tmp_path):
    source = lists(tmp_path / "a.parquet", who=[f"p{number // 4}" for number in range(12)], at=np.arange(12))
    grouped = load_dataset(Series(path=source.path, split="by group", split_by="who", test_fraction=0.34))
    assert len(grouped.test) == 4
    late = load_dataset(Series(path=source.path, split="by time", split_by="at", test_fraction=0.25, inputs=("c1",)))
    assert late.input_shape == (5, 1) and {tuple(one.ravel()) for one in late.test.inputs} == {
        tuple(np.float32(one[:, 1])) for one in VALUES[9:]
    }
    refused(Series(path=source.path, inputs=("who",)), "column 'who' is string, no list of numbers")
    refused(Series(path=source.path, inputs=("c9",)), "no column 'c9'; choose among c0, c1, label, who, at")
    refused(Series(path=source.path, split="by time", split_by="who"), "no time")
    refused(
        Series(path=written(tmp_path / "a.ts", ts()).path, split="by group", split_by="who"),
        "names nothing to split by",
    )
    pq.write_table(pa.table({"label": [1, 2], "c0": pa.array([[1.0], None])}), tmp_path / "b.parquet")
    refused(Series(path=str(tmp_path / "b.parquet")), "holds no list in 1 rows")
    two = pa.array([[1.0], [2.0]])
    twins = pa.Table.from_arrays([two, two, pa.array([1, 2])], names=["c0", "c0", "label"])
    pq.write_table(twins, tmp_path / "c.parquet")
    refused(Series(path=str(tmp_path / "c.parquet")), "column 'c0' comes 2 times")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1\t2\tx\n2\t3\t4\n", "'x' at line 1, value 2, is no number"),
        ("1\t1_0\n2\t3\n", "'1_0' at line 1"),
        ("1\t0,5\n2\t0,7\n", "'0,5' at line 1"),
        ("1\n2\n", "line 1 is no label and values"),
        ("", "holds no series"),
        ("1\tinf\n2\t3\n", "'inf' at line 1"),
        ("1\t1e300\n2\t3\n", "beyond float32"),
        ("@timeStamps true\n@classLabel true\n@data\n(0,1):1\n", "time stamps"),
        ("@classLabel false\n@data\n1,2\n", "says that it has no labels"),
        ("@classLabel true\n@data\n1,2\n", "line 3 holds no colon"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, words):
    refused(written(tmp_path / "a.ts", content), words)


def test_arrays_that_are_no_series_are_named(tmp_path):
    path = str(tmp_path / "a.npz")
    np.savez(path, inputs=np.array(["x"] * 4), labels=np.arange(4), deep=np.zeros((4, 1, 1, 1)), few=np.zeros((3, 2)))
    refused(Series(path=path), "'inputs' is <U1 of shape (4,)")
    refused(Series(path=path, inputs=("deep",)), "of shape (4, 1, 1, 1)")
    refused(Series(path=path, inputs=("few",)), "'labels' has shape (4,); give one for each of 3 series")
    refused(Series(path=path, inputs=("none",)), "holds no array 'none'")
    np.savez(path, inputs=np.array([{}] * 4), labels=np.arange(4))
    refused(Series(path=path), "never unpickles")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00\x01")
    refused(Series(path=str(tmp_path / "b.txt")), "is no text")


def test_targets_of_a_regression(tmp_path):
    source = written(tmp_path / "a.ts", ts(labels=np.linspace(-1, 1, 12), head="@targetLabel true"))
    dataset = load_dataset(source, Regression())
    assert dataset.train.labels.shape[1] == 1 and dataset.preparation.classes == "targets as they are"
