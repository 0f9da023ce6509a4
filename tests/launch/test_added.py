"""Packages that some targets need beside an environment: found by their lock, made once, never in somebody's folder."""

from __future__ import annotations

import json
import re

import pytest

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.launch import added
from trustml.launch.added import (
    ADDITIONS,
    LOCKS,
    STAMP,
    added_variables,
    create_addition,
    find_addition,
    require_addition,
)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Nothing of this machine is seen."""
    monkeypatch.setattr(added, "checkout_root", lambda: tmp_path)
    for one in ADDITIONS.values():
        monkeypatch.delenv(one.variable, raising=False)


def test_what_is_not_there_names_its_repair():
    assert find_addition("node") is None and added_variables() == {}
    for name in ADDITIONS:
        with pytest.raises(EnvironmentMissingError, match=f"trustml setup {name}|not installed|alone"):
            require_addition(name)


def test_what_was_made_from_this_lock_is_shown_to_our_processes(tmp_path, monkeypatch):
    folder = ADDITIONS["node"].folder
    folder.mkdir()
    (folder / STAMP).write_text("of another lock")
    assert find_addition("node") is None
    (folder / STAMP).write_text(ADDITIONS["node"].digest)
    assert added_variables() == {"TRUSTML_ENV_NODE": str(folder)}
    assert not create_addition("node", folder, tell=pytest.fail)
    monkeypatch.setenv("TRUSTML_ENV_NODE", str(tmp_path))
    assert find_addition("node") == tmp_path


def test_a_folder_of_something_else_is_never_removed(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text").write_text("ten years")
    with pytest.raises((UsageError, EnvironmentMissingError), match=r"not empty|needs node|alone"):
        create_addition("node", tmp_path / "thesis", tell=lambda line: None)
    assert (tmp_path / "thesis" / "text").read_text() == "ten years"


def test_locks_are_exact_and_hashed_and_name_no_place():
    expected = {"executorch": ["executorch", "torchao", "ruamel.yaml", "tabulate"], "litert": ["ai-edge-litert"]}
    for name, packages in expected.items():
        text = (LOCKS / f"{name}.lock").read_text()
        pins = re.findall(r"^([a-z0-9.-]+)==\S+ \\\n    --hash=sha256:[0-9a-f]{64}$", text, flags=re.MULTILINE)
        assert pins == packages
    lock = json.loads((LOCKS / "node" / "package-lock.json").read_text())
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert {"node_modules/@tensorflow/tfjs", "node_modules/onnxruntime-web"} <= packages.keys()
    assert all(one["integrity"].startswith("sha512-") and "resolved" not in one for one in packages.values())
