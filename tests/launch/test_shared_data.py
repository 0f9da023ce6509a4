"""The same data is kept once in a folder of runs, and only if it really is the same."""

from __future__ import annotations

import msgspec
import numpy as np

from trustml.data.dataset import Dataset, Examples, fingerprint, fingerprint_of
from trustml.launch.shared_data import write_data
from trustml.record.files import encode_arrays, write_atomic
from trustml.record.mapped import map_arrays
from trustml.record.schema import DataRecord, Manifest
from trustml.record.store import PRIVATE_DATA, RunDirectory, create_run


def dataset(value: float) -> Dataset:
    examples = Examples(inputs=np.full((5, 3), value, np.float32), labels=np.arange(5))
    return Dataset(train=examples, test=examples, class_names=tuple("abcde"))


def made(root, data: Dataset) -> RunDirectory:
    run = create_run(root, name="same")
    write_data(run, data, fingerprint=fingerprint(data))
    record = DataRecord(
        fingerprint=fingerprint(data), train_examples=5, test_examples=5, input_shape=(3,), class_names=("a",)
    )
    run.write_manifest(Manifest(run=run.path.name, status="success", created="", scenario={}, data=record, jobs=()))
    return run


def same_file(first: RunDirectory, second: RunDirectory) -> bool:
    return (first.path / PRIVATE_DATA).samefile(second.path / PRIVATE_DATA)


def test_runs_of_the_same_data_share_one_file_and_either_can_go(tmp_path):
    first, second, other = made(tmp_path, dataset(1)), made(tmp_path, dataset(1)), made(tmp_path, dataset(2))
    assert same_file(first, second) and not same_file(first, other)
    (first.path / PRIVATE_DATA).unlink()
    assert fingerprint_of(map_arrays(second.path / PRIVATE_DATA)) == fingerprint(dataset(1))


def test_a_file_that_is_not_what_its_manifest_says_is_not_shared(tmp_path):
    first = made(tmp_path, dataset(1))
    arrays = map_arrays(first.path / PRIVATE_DATA)
    write_atomic(
        first.path / PRIVATE_DATA, encode_arrays({**arrays, "test_labels": arrays["test_labels"] + 1}), private=True
    )
    second = made(tmp_path, dataset(1))
    assert not same_file(first, second)
    assert fingerprint_of(map_arrays(second.path / PRIVATE_DATA)) == fingerprint(dataset(1))


def test_what_others_can_read_or_is_damaged_is_not_shared(tmp_path):
    first = made(tmp_path, dataset(1))
    (first.path / PRIVATE_DATA).chmod(0o644)
    second = made(tmp_path, dataset(1))
    assert not same_file(first, second)
    (second.path / PRIVATE_DATA).write_bytes(b"broken")
    (first.path / "manifest.json").write_text("broken")
    third = made(tmp_path, dataset(1))
    assert not same_file(second, third)
    assert msgspec.json.decode((third.path / "manifest.json").read_bytes())["data"]["fingerprint"]
