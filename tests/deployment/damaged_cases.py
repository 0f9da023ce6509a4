"""Files of TensorFlow with damaged bytes, opened and asked: ``damaged_cases.py tensorflow OUTPUT``."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.conformance.cases import make_model
from tests.deployment.exported_cases import ENDINGS, STATEMENT, added
from trustml.backends.contract import FileRequest
from trustml.backends.tensorflow.exporting import EXPORTERS
from trustml.errors import UsageError
from trustml.models.exported import STATEMENT as STATEMENT_FILE
from trustml.worker.exporting import open_file

_LEFT_ALONE = frozenset({STATEMENT_FILE, "fingerprint.pb"})
"""What no answer follows from."""


def main(backend: str, output: str) -> None:
    """How each damaged file was answered: the refusal, or ``answered``."""
    model, found = make_model("mlp"), {}
    with tempfile.TemporaryDirectory() as place:
        for target in ("keras", "savedmodel", "tfjs"):
            if not added(target):
                continue
            path = Path(place) / f"model{ENDINGS.get(target, '')}"
            EXPORTERS[target](FileRequest(model=model, path=path, statement=STATEMENT))
            for part in [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file()):
                if part.name not in _LEFT_ALONE:
                    for name, content in _faults(part.read_bytes()):
                        if content is not None or part != path:  # a part is absent, not all of it
                            found[f"{target}.{part.name}.{name}"] = _asked(backend, target, path, part, content)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    Path(output).write_text(json.dumps(found))


def _faults(content: bytes) -> Iterator[tuple[str, bytes | None]]:
    yield "empty", b""
    yield "half", content[: len(content) // 2]
    yield "text", b"no model\n" * 9
    yield "random", np.random.default_rng(0).bytes(len(content))
    middle = len(content) // 2
    yield "one byte", content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
    yield "absent", None


def _asked(backend: str, target: str, path: Path, part: Path, content: bytes | None) -> str:
    before = part.read_bytes()
    if content is None:
        part.unlink()
    else:
        part.write_bytes(content)
    try:
        open_file(backend, target, path).logits(np.zeros((2, 64), np.float32))
    except UsageError as error:
        return str(error)
    finally:
        part.write_bytes(before)
    return "answered"


if __name__ == "__main__":
    main(*sys.argv[1:3])
