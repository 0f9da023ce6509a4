"""What is imported before it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

APPS = Path(__file__).resolve().parents[2] / "apps"
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import warming

warming.warm().join()
assert warming.warm() is warming.warm()  # once
pages = "report.accuracy.figures", "report.federated.partition", "launch.what_if"
print([name for name in (*(f"trustml.{one}" for one in pages), "trustml_bench.panels") if name not in sys.modules])
print([name for name in ("torch", "jax", "tensorflow") if name in sys.modules])
"""


def test_what_pages_import_is_there_before_they_are_opened_and_is_no_framework():
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(APPS)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"] and not done.stderr
