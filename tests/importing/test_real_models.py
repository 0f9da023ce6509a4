"""Models of transformers, Keras and ONNX, as far as an interpreter has these libraries: real_models.py tries them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("TRUSTML_IMPORT_PYTHON")


@pytest.mark.long
@pytest.mark.torch
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    PYTHON is None, reason="TRUSTML_IMPORT_PYTHON names no interpreter with transformers, keras and onnx"
)
def test_what_was_carried_is_carried_still(tmp_path):
    before = json.loads((ROOT / "docs" / "results" / "importing.json").read_text(encoding="utf-8"))
    search = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    command = [str(PYTHON), "-m", "tests.importing.real_models", str(tmp_path / "found.json")]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": search, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    carried = {row["name"]: row["nodes"] for row in before if "refused" not in row}
    assert carried == {row["name"]: row["nodes"] for row in found if row["name"] in carried and "refused" not in row}
