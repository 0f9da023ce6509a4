"""``python -m trustml.worker.exporting FOLDER``: write a model as a file for deployment, in its exporter's environment.

FOLDER holds ``request.json``, ``weights.safetensors`` and, where values are to be rounded, ``calibration.npz``. Where
it cannot be written the reason is in ``problem.txt``, in one line.
"""

from __future__ import annotations

import importlib
import platform
import sys
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from trustml.backends.contract import FileRequest, Model
from trustml.errors import TrustmlError
from trustml.frameworks.entry import BackendEntry
from trustml.frameworks.table import entry_of
from trustml.models.weights import read_weights
from trustml.record.exports import ExportRequest
from trustml.record.files import read_arrays, write_atomic
from trustml.worker.__main__ import one_line


def main(arguments: list[str]) -> int:
    """Write the file."""
    folder = Path(arguments[0])
    try:
        wanted = msgspec.json.decode((folder / "request.json").read_bytes(), type=ExportRequest)
        calibration = folder / "calibration.npz"
        exporter_of(wanted.backend).EXPORTERS[wanted.target](
            FileRequest(
                model=model_of(wanted, folder),
                path=folder / wanted.file,
                statement=wanted.statement,
                quantised=wanted.quantised,
                calibration=read_arrays(calibration)["inputs"] if calibration.is_file() else None,
            )
        )
        write_atomic(folder / "versions.json", msgspec.json.encode(_versions(entry_of(wanted.backend))))
    except Exception as error:
        traceback.print_exc()
        said = str(error) if isinstance(error, TrustmlError) else one_line(error)
        write_atomic(folder / "problem.txt", said.encode())
        return 1
    return 0


def _versions(entry: BackendEntry) -> dict[str, str]:
    """Versions of what may have written the file."""
    found = {"python": platform.python_version()}
    for name in (*entry.packages, *entry.live_packages, "onnx", "onnxruntime", "onnxscript"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def exporter_of(backend: str) -> Any:
    """Module of a framework that writes and opens files for deployment."""
    return importlib.import_module(f"{entry_of(backend).module}.exporting")


def model_of(wanted: ExportRequest, folder: Path) -> Model:
    """Give the model that is exported."""
    return Model(
        architecture=wanted.architecture,
        input_shape=wanted.input_shape,
        weights=read_weights(folder / "weights.safetensors"),
        task=wanted.task,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
