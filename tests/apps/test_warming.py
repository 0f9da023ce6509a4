"""What is imported before it is asked for."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.fixture
def warming():
    spec = importlib.util.spec_from_file_location("warming_alone", APPS / "warming.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_imports_are_found_without_a_tree_of_source(warming, tmp_path, monkeypatch):
    """Two threads that make trees at once fail in Python before 3.11.8: Streamlit's thread makes one of each page."""
    many = "\n".join(f"name_{i} = {i}" for i in range(300))  # more names than one byte counts
    (tmp_path / "page.py").write_text(
        f"import trustml\nimport trustml.record\n{many}\nfrom trustml.first import a, b as c\n"
        "def late():\n    from trustml.second import d\n    from os import path\n    from . import near\n"
    )
    with monkeypatch.context() as here:  # pytest makes trees, too, to tell of a failure
        here.setattr(ast, "parse", None)
        found = warming.imports_of(tmp_path / "page.py")
    assert found == [("trustml.first", ("a", "b")), ("trustml.second", ("d",))]


def test_what_cannot_be_imported_keeps_nothing_else_from_it(warming, tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("from trustml.nothing import x\nfrom trustml.second import y\n")
    (tmp_path / "b.py").write_text("from trustml.half import (\n")
    (tmp_path / "c.py").write_text("from trustml.third import z\n")
    asked = []

    def imported(name, fromlist=()):
        asked.append(name)
        if name == "trustml.nothing":
            raise ModuleNotFoundError(name)

    monkeypatch.setattr(warming, "_HERE", tmp_path)
    monkeypatch.setattr(warming, "__import__", imported, raising=False)
    monkeypatch.setattr(warming, "bench_module", imported)
    warming._import_all()
    assert asked == ["trustml.nothing", "trustml.second", "trustml.third", "panels"]
