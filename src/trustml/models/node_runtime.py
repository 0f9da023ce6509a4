"""Runtimes of the browser, asked in node: TensorFlow.js, and ONNX Runtime's build for WebAssembly."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.models.exported import ADDED_VARIABLE

_SCRIPT = Path(__file__).resolve().parents[1] / "environments" / "node" / "ask.mjs"
_MARK = b"trustml "
_RUNTIMES = {"tfjs": "TensorFlow.js", "onnx": "onnxruntime-web"}
Floats: TypeAlias = npt.NDArray[np.float32]


def added_folder(name: str) -> Path:
    """Folder of packages that this process was told of.

    Raises
    ------
    EnvironmentMissingError
        If it was told of none.
    """
    found = os.environ.get(ADDED_VARIABLE.format(name.upper()), "")
    if not found:
        raise EnvironmentMissingError(f"{name}: its packages are not there; run `trustml setup {name}`")
    return Path(found)


class NodeModel:
    """A model in a process of node, which ends with this one.

    Parameters
    ----------
    kind : {"tfjs", "onnx"}
    path : Path
        Folder of a model of TensorFlow.js, or an ONNX file.
    name : str
        What it is called where it is refused, if the path is that of a copy.

    Raises
    ------
    UsageError
        If it cannot be opened there.
    EnvironmentMissingError
        If node or its packages are not there.
    """

    def __init__(self, kind: Literal["tfjs", "onnx"], path: Path, *, name: str = "") -> None:
        folder = added_folder("node")
        self._name, self._runtime = name or path.name, _RUNTIMES[kind]
        try:
            self._process = subprocess.Popen(
                ["node", str(_SCRIPT), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except FileNotFoundError:
            raise EnvironmentMissingError("node: not installed on this machine") from None
        self._place = tempfile.TemporaryDirectory(prefix="trustml-node-")
        try:
            self.statement: str = self._answer({"kind": kind, "path": str(path.absolute())})["statement"]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # it may have ended before it was asked
                    stream.close()
        self._process.kill()
        self._process.wait()
        self._place.cleanup()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()

    def ask(self, inputs: Floats, columns: npt.NDArray[np.int64] | None = None) -> Floats:
        """Outputs for inputs as the model takes them, or the gradient of one output of each, its column.

        Raises
        ------
        NotImplementedError
            If the runtime has no such gradient.
        """
        given, taken = (Path(self._place.name) / name for name in ("inputs.bin", "outputs.bin"))
        np.ascontiguousarray(inputs, np.float32).tofile(given)
        asked: dict[str, Any] = {"input": str(given), "shape": inputs.shape, "output": str(taken)}
        if columns is not None:
            asked["columns"] = columns.tolist()
        shape = self._answer(asked)["shape"]
        return np.fromfile(taken, np.float32).reshape(shape)

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(msgspec.json.encode(asked) + b"\n")
            self._process.stdin.flush()
            line = next((one for one in self._process.stdout if one.startswith(_MARK)), b"")
        except BrokenPipeError:
            line = b""
        if not line:
            raise UsageError(f"{self._name}: node ended without an answer; it may be damaged, name another")
        found: dict[str, Any] = msgspec.json.decode(line[len(_MARK) :])
        if found.get("none"):
            raise NotImplementedError(f"{self._name}: TensorFlow.js has no gradient of one of its operators")
        if "problem" in found:
            raise UsageError(
                f"{self._name}: {self._runtime} cannot open or ask it ({found['problem']}); it may be damaged, of "
                "another version, or take inputs of another shape: name another"
            )
        return found


def node_versions() -> dict[str, str]:
    """Versions of the runtimes, by their packages' own word; nothing where they are not there."""
    try:
        folder = added_folder("node") / "node_modules"
    except EnvironmentMissingError:
        return {}
    found = {}
    for name in ("@tensorflow/tfjs", "onnxruntime-web"):
        described = folder / name / "package.json"
        if described.is_file():
            found[name] = str(msgspec.json.decode(described.read_bytes())["version"])
    return found
