"""``python -m trustml.worker.exporting FOLDER``: write a model as a file for deployment, in its exporter's environment.

FOLDER holds ``request.json``, ``weights.safetensors`` and, where values are to be rounded, ``calibration.npz``. It gets
the file and ``written.json``; where that cannot be written the reason is in ``problem.txt``, in one line.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import msgspec

from trustml.backends.contract import Deployed, FileRequest, Model
from trustml.errors import TrustmlError, UsageError
from trustml.frameworks.table import entry_of
from trustml.models.node_runtime import node_versions
from trustml.models.weights import read_weights
from trustml.record.exports import WRITTEN, ExportRequest, Written
from trustml.record.files import read_arrays, write_atomic
from trustml.record.provenance import package_versions
from trustml.worker.__main__ import one_line, write_problem

_BESIDE = ("onnx", "onnxruntime", "onnxscript", "executorch", "torchao", "ai-edge-litert")


def main(arguments: list[str]) -> int:
    """Write the file."""
    folder = Path(arguments[0])
    try:
        wanted = msgspec.json.decode((folder / "request.json").read_bytes(), type=ExportRequest)
        calibration = folder / "calibration.npz"
        without = exporter_of(wanted.backend).EXPORTERS[wanted.target](
            FileRequest(
                model=model_of(wanted, folder),
                path=folder / wanted.file,
                statement=wanted.statement,
                quantised=wanted.quantised,
                calibration=read_arrays(calibration)["inputs"] if calibration.is_file() else None,
            )
        )
        entry = entry_of(wanted.backend)
        versions = package_versions((*entry.packages, *entry.live_packages, *_BESIDE)) | node_versions()
        written = Written(versions=versions, without_gradient=without or {})
        write_atomic(folder / WRITTEN, msgspec.json.encode(written))
    except Exception as error:
        write_problem(folder, error)
        return 1
    return 0


def exporter_of(backend: str) -> Any:
    """Module of a framework that writes and opens files for deployment."""
    return importlib.import_module(f"{entry_of(backend).module}.exporting")


def open_file(backend: str, target: str, path: Path, *, as_given: bool = False) -> Deployed:
    """Open a file for deployment in its runtime.

    Raises
    ------
    UsageError
        If it is refused, or its runtime cannot open it, which each says in words of its own.
    """
    try:
        opened: Deployed = exporter_of(backend).OPENERS[target](path, as_given=as_given)
    except (TrustmlError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise UsageError(
            f"{path.name}: cannot be opened as {target} ({one_line(error)}); it is damaged, or of another version: "
            "name another"
        ) from error
    return opened


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
