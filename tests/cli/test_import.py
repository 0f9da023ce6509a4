"""``trustml import``: a module by its name becomes a file, or one line says why not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from trustml.cli.main import trustml
from trustml.errors import DataError, UsageError
from trustml.models.network_files import read_network

pytestmark = pytest.mark.torch
MODULE = """
from torch import nn
import torch

def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "imported_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("imported_module", None)


def call(*arguments: str):
    return CliRunner().invoke(trustml, ["import", *arguments], standalone_mode=False)


def test_a_module_becomes_a_file(folder):
    done = call("imported_module:model", "--shape", "2,5,5", "-o", "mine", "--group-norm", "3")
    assert done.exception is None, done.exception
    assert "mine.safetensors" in done.output and "something else until it is trained" in done.output
    found, weights = read_network(Path("mine.safetensors"))
    assert found.input_shape == (5, 5, 2) and "torch.nn.Module (Sequential)" in found.kind
    assert [type(node.layer).__name__ for node in found.architecture.nodes][1] == "GroupNorm"
    assert sum(array.size for array in weights.values()) == 57 + 6 + 56


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["-o", "there"], UsageError, "there.safetensors: is there; give --force"),
        (["-o", "no/where"], UsageError, "no such folder"),
        (["-o", "mine"], UsageError, "--example, --shape: give one of them"),
        (["-o", "mine", "--shape", "2,0"], UsageError, "--shape '2,0': is no shape"),
        (["-o", "mine", "--example", "none.npz"], DataError, "none.npz: no such file"),
        (["-o", "mine", "--example", "other.npz"], DataError, "holds x; it needs `inputs`"),
    ],
    ids=["there", "folder", "neither", "shape", "missing", "other"],
)
def test_what_cannot_be_asked_is_one_line(folder, arguments, error, message):
    (folder / "there.safetensors").write_bytes(b"")
    np.savez(folder / "other.npz", x=np.zeros(1))
    done = call("imported_module:model", *arguments)
    assert isinstance(done.exception, error) and message in str(done.exception)
    assert not (folder / "mine.safetensors").exists()
