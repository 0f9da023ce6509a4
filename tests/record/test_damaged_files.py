"""Files of which some bytes were changed: read, or refused in one line; never another exception, never memory."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.auditing.disguises import keras_file, keras_layer, keras_model
from trustml.data.files import read_idx, read_npz
from trustml.data.tables import read_table
from trustml.errors import DataError, RecordError
from trustml.models.keras_files import why_not_keras
from trustml.models.weights import encode_weights, read_weights
from trustml.record.files import encode_arrays, read_arrays
from trustml.record.mapped import map_arrays, write_arrays
from trustml.scenario.sources import Csv, Parquet

ARRAYS = {"inputs": np.arange(12, dtype=np.float32).reshape(4, 3), "labels": np.arange(4)}
IDX = b"\0\0\x08\x02" + b"\0\0\0\x03\0\0\0\x04" + bytes(12)


def parquet() -> bytes:
    import pandas as pd

    stream = io.BytesIO()
    pd.DataFrame({"a": [1.0, 2.0], "label": ["x", "y"]}).to_parquet(stream, index=False)
    return stream.getvalue()


def mapped(folder: Path) -> bytes:
    write_arrays(folder / "made.npz", ARRAYS)
    return (folder / "made.npz").read_bytes()


def keras(path: Path) -> None:
    found = why_not_keras(path.read_bytes())
    assert len(found.splitlines()) <= 1


READERS = {
    "npz of a scenario": (
        lambda path: read_npz(path, names=("inputs", "labels")),
        lambda folder: encode_arrays(ARRAYS),
    ),
    "npz of a run": (read_arrays, lambda folder: encode_arrays(ARRAYS)),
    "mapped npz": (map_arrays, mapped),
    "idx": (read_idx, lambda folder: IDX),
    "csv": (
        lambda path: read_table(path, Csv(path=str(path), label="label")),
        lambda folder: b"a,b,label\n1,2,x\n3,4,y\n",
    ),
    "parquet": (lambda path: read_table(path, Parquet(path=str(path), label="label")), lambda folder: parquet()),
    "weights": (read_weights, lambda folder: encode_weights({"0.kernel": ARRAYS["inputs"]})),
    "keras": (keras, lambda folder: keras_file(keras_model(keras_layer("keras.layers", "Dense", {"units": 2})))),
}


@pytest.mark.parametrize("name", READERS)
def test_some_changed_bytes(name, tmp_path):
    read, make = READERS[name]
    whole, path = make(tmp_path), tmp_path / "changed"
    path.write_bytes(whole)
    read(path)
    changes = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=6)

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(changes, st.integers(0, len(whole)), st.binary(max_size=8))
    def try_changed(changes, kept, more):
        content = bytearray(whole)
        for place, byte in changes:
            content[place] = byte
        path.write_bytes(bytes(content[: kept if not changes else None]) + (b"" if changes else more))
        try:
            read(path)
        except (DataError, RecordError) as error:
            assert len(str(error).splitlines()) == 1

    try_changed()
