"""A GPU that a framework does not see is spoken of, with the way to it."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement

from trustml.launch import environments
from trustml.launch.environments import find_environment, unused_gpu

PYTHON = "/somewhere/bin/python"


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_a_gpu_that_is_not_used_is_noted_with_a_command(monkeypatch, backend):
    monkeypatch.setattr(environments, "driver_loaded", lambda: True)
    note = unused_gpu(backend, ("cpu",), python=PYTHON)
    assert "sees no GPU" in note
    assert f"run `{PYTHON} -m pip install " in note
    assert unused_gpu(backend, ("cpu", "NVIDIA H100"), python=PYTHON) == ""
    assert unused_gpu(backend, (), python=PYTHON) == "", "what does not start has other problems"


def test_nothing_is_said_where_there_is_no_driver(monkeypatch):
    monkeypatch.setattr(environments, "driver_loaded", lambda: False)
    assert unused_gpu("tensorflow", ("cpu",), python=PYTHON) == ""


@pytest.mark.tensorflow
def test_the_libraries_named_for_tensorflow_are_those_it_asks_for(monkeypatch):
    """By its own metadata; without nccl, which one GPU does not need, and TensorRT, which cannot be had."""
    (metadata,) = (
        find_environment("tensorflow").require().parents[1].glob("lib/*/*/tensorflow-2.14.1.dist-info/METADATA")
    )
    wanted = [Requirement(line) for line in re.findall(r"^Requires-Dist: (.*and-cuda.*)$", metadata.read_text(), re.M)]
    pins = {f"{requirement.name}{requirement.specifier}" for requirement in wanted}
    monkeypatch.setattr(environments, "driver_loaded", lambda: True)
    named = set(re.findall(r"\S+==[\d.]+", unused_gpu("tensorflow", ("cpu",), python=PYTHON)))
    assert named
    assert pins - named == {"nvidia-nccl-cu11==2.16.5", "tensorrt==8.5.3.1"}
    assert not named - pins
