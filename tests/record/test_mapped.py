"""Arrays that are mapped: what was written is there, nothing else can be made of a file, and nothing is copied."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trustml.errors import RecordError
from trustml.record.files import encode_arrays, read_arrays, write_atomic
from trustml.record.mapped import map_arrays, write_arrays

ARRAYS = {
    "inputs": np.arange(7 * 28 * 28, dtype=np.float32).reshape(7, 28, 28, 1),
    "labels": np.arange(7),
    "names": np.array(["a", "bcd"]),
    "nobody": np.zeros((0, 3)),
    "one": np.float32(3.0) * np.ones(()),
    "mask": np.ones(5, bool),
}


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def archive(path: Path, content: bytes, *, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as writer:
        writer.writestr("x.npy", content)
    return path


@pytest.mark.parametrize("writer", ["mapped", "compressed", "numpy"])
def test_what_was_written_is_there_whoever_wrote_it(tmp_path, writer):
    path = tmp_path / "a.npz"
    match writer:
        case "mapped":
            write_arrays(path, ARRAYS, private=True)
            assert path.stat().st_mode & 0o777 == 0o600
        case "compressed":
            write_atomic(path, encode_arrays(ARRAYS))
        case _:
            np.savez(path, **ARRAYS)
    found, read = map_arrays(path), read_arrays(path)
    assert list(found) == list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        for one in (found[name], read[name]):
            assert one.dtype == array.dtype and one.shape == array.shape
            np.testing.assert_array_equal(one, array)


def test_arrays_lie_in_the_file_aligned_and_writing_to_them_leaves_it_alone(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, ARRAYS)
    before = path.read_bytes()
    found = map_arrays(path)
    for name in ("inputs", "labels", "mask"):
        assert found[name].ctypes.data % 64 == 0
        assert not found[name].flags.owndata
    assert found["inputs"].ctypes.data - found["labels"].ctypes.data < 0  # views of one mapping, in order
    assert before.index(ARRAYS["inputs"].tobytes()) % 64 == 0
    found["inputs"][:] = -1
    assert path.read_bytes() == before
    assert map_arrays(path)["inputs"][0, 0, 1, 0] == 1


def test_files_are_alike_whenever_they_are_written(tmp_path):
    write_arrays(tmp_path / "a", ARRAYS)
    write_arrays(tmp_path / "b", ARRAYS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.ones(3)})
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        write_arrays(path, {"x": np.zeros(3), "y": np.array([{}], object)})
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]
    np.testing.assert_array_equal(map_arrays(path)["x"], np.ones(3))


def lying_header(shape: str, kind: str = "<f4") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(64)


@pytest.mark.parametrize(
    "content",
    [
        lying_header("(1000000000000,)"),
        lying_header("(17,)"),
        lying_header("(-4, -4)"),
        lying_header("(1000000000000, 0)", "<U0"),
        lying_header("(8,)", "|O"),
        lying_header("('a',)"),
        npy(np.ones(3))[:-1],
        b"\x93NUMPY\x09\x00",
        b"",
    ],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_header_that_does_not_fit_its_bytes_is_refused_before_anything_is_made(tmp_path, content, compression):
    with pytest.raises(RecordError, match=r"not a readable \.npz"):
        map_arrays(archive(tmp_path / "a.npz", content, compression=compression))


def test_a_directory_that_points_elsewhere_is_refused(tmp_path):
    path = archive(tmp_path / "a.npz", npy(np.ones(30)))
    whole = path.read_bytes()
    entry = whole.index(b"PK\1\2")
    for offset in (5, len(whole) - 4, len(whole) + 10, 2**32 - 2):
        path.write_bytes(whole[: entry + 42] + offset.to_bytes(4, "little") + whole[entry + 46 :])
        with pytest.raises(RecordError):
            map_arrays(path)
    sized = (2**31).to_bytes(4, "little")
    path.write_bytes(whole[: entry + 20] + sized + sized + whole[entry + 28 :])
    with pytest.raises(RecordError):
        map_arrays(path)
    path.write_bytes(whole[: entry + 8] + b"\1\0" + whole[entry + 10 :])  # encrypted, it says
    with pytest.raises(RecordError):
        map_arrays(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\5\6" + bytes(17)])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"a\.npz"):
        map_arrays(path)
    with pytest.raises(RecordError):
        map_arrays(tmp_path / "missing.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as writer:
        writer.writestr("x.npy", npy(np.ones(3)))
        writer.writestr("x.npy", npy(np.zeros(3)))
    with pytest.raises(RecordError, match="twice"):
        map_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("writer", ["mapped", "compressed"])
def test_arrays_can_be_named_and_those_that_are_not_there_are_left_out(tmp_path, writer):
    path = tmp_path / "a.npz"
    if writer == "mapped":
        write_arrays(path, ARRAYS)
    else:
        write_atomic(path, encode_arrays(ARRAYS))
    assert list(map_arrays(path, names=("labels", "missing"))) == ["labels"]
