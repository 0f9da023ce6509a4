"""Files for deployment by a stranger: what is refused before any process is started for it."""

from __future__ import annotations

from pathlib import Path

from trustml.errors import UsageError
from trustml.models.keras_files import kind_of, read_keras_file
from trustml.models.pt2_files import read_pt2_file
from trustml.models.tfjs_files import GRAPH

_FIX = "name a file of that kind"
_BEGINS: dict[str, tuple[int, bytes, str]] = {
    ".onnx": (0, b"\x08", "ONNX"),  # a protobuf whose first field is the version
    ".tflite": (4, b"TFL3", "TensorFlow Lite"),
    ".pte": (4, b"ET", "ExecuTorch"),
}
_FOLDERS = {"saved_model.pb": "savedmodel", GRAPH: "tfjs"}
ENDINGS = {one: one[1:] for one in (".pt2", ".onnx", ".stablehlo", ".keras", ".tflite")} | {".pte": "executorch"}


def target_of_file(path: Path) -> str:
    """Target that a file is of by the ending of its name, or a folder by what is in it; empty where it is of none."""
    if path.is_dir():
        return next((target for name, target in _FOLDERS.items() if (path / name).is_file()), "")
    return ENDINGS.get(path.suffix, "")


def kind_by_content(begin: bytes) -> tuple[str, str]:
    """Kind of a file, and the ending that it should have, by its first 16 bytes; empty where they tell neither."""
    for ending, (place, magic, kind) in _BEGINS.items():
        if len(magic) > 1 and begin[place:].startswith(magic):
            return kind, ending
    return "", ""


def refuse_deployed_file(path: Path) -> None:
    """Refuse a file whose name says another kind than its content; the rest is looked at where it is opened.

    Raises
    ------
    UsageError
    """
    if path.is_dir():
        return
    if not path.is_file():
        raise UsageError(f"{path}: no such file or folder; name one")
    if path.name.endswith(".keras"):
        read_keras_file(path)
        return
    if path.suffix == ".pt2":
        read_pt2_file(path)
        return
    with path.open("rb") as stream:
        begin = stream.read(16)
    place, magic, kind = _BEGINS.get(path.suffix, (0, b"", "StableHLO"))
    known = kind_of(begin)
    if known != kind_of(b"\x01") or not begin[place:].startswith(magic):
        raise UsageError(f"{path}: is no {kind} file but {known}; {_FIX}")
