"""Models of a stored run, alive: the outputs that the run recorded, in each framework that is here."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

import trustml
from tests.records import copy_of
from trustml.deployment import trained
from trustml.errors import EnvironmentMissingError, RecordError, UsageError
from trustml.launch.environments import Environment

MODEL = "train.jax.DPSGD.s0"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> trustml.Run:
    return copy_of("frameworks", tmp_path_factory.mktemp("run"))


@pytest.fixture
def inputs(run) -> np.ndarray:
    return run.heldout()["inputs"].astype(np.float32)


@pytest.mark.parametrize(
    "backend", [pytest.param("torch", marks=pytest.mark.torch), pytest.param("jax", marks=pytest.mark.jax)]
)
@pytest.mark.parametrize("trained_by", ["torch", "jax", "tensorflow"])
def test_any_model_is_built_in_any_framework_and_says_what_was_recorded(run, inputs, backend, trained_by):
    name = f"train.{trained_by}.DPSGD.s0"
    found = run.model(name, backend=backend)
    recorded = run.predictions(name)
    assert (found.backend, found.trained_by) == (backend, trained_by)
    scale = max(1.0, np.abs(recorded["logits"]).max())
    assert np.abs(found.logits(inputs) - recorded["logits"][: len(inputs)]).max() <= 1e-5 * scale
    assert (found.predict(inputs) == recorded["logits"][: len(inputs)].argmax(axis=1)).all()
    assert found.probabilities(inputs).sum(axis=1) == pytest.approx(1.0)
    assert len(found.class_names) == recorded["logits"].shape[1]


@pytest.mark.torch
def test_a_torch_module_is_what_its_users_hold(run, inputs):
    import torch

    found = run.model(MODEL, backend="torch")
    assert isinstance(found.native, torch.nn.Module) and not found.native.training
    rows = torch.from_numpy(np.ascontiguousarray(np.moveaxis(inputs, -1, 1)))
    with torch.no_grad():
        assert np.allclose(found.native(rows).numpy(), found.logits(inputs), atol=1e-5)


@pytest.mark.jax
def test_a_jax_model_is_a_function_and_its_parameters(run, inputs):
    import jax

    function, params = run.model(MODEL).native
    assert np.allclose(jax.jit(function)(params, inputs), run.model(MODEL).logits(inputs), atol=1e-5)
    assert set(params) == set(run.weights(MODEL))


@pytest.mark.jax
def test_what_cannot_be_is_said(run, inputs, monkeypatch):
    with pytest.raises(UsageError, match=r"has no job 'train\.jax\.Nothing\.s0'"):
        run.model("train.jax.Nothing.s0")
    explained = next(job.id for job in run.manifest.jobs if job.kind == "explain")
    for ask in (run.model, run.predictions):
        with pytest.raises(UsageError, match="is no training"):
            ask(explained)
    with pytest.raises(UsageError, match=r"inputs have shape \(3, 2\); give \(n, "):
        run.model(MODEL).logits(np.zeros((3, 2)))
    with pytest.raises(UsageError, match="backend 'keras' is not there"):
        run.model(MODEL, backend="keras")
    for python, said in [(Path("/there/python"), "call this by `PYTHONPATH=.*/src /there/py.*`"), (None, "run `make`")]:
        found = Environment(backend="tensorflow", python=python, fix="make")
        monkeypatch.setattr(trained, "find_environment", lambda backend, found=found: found)
        with pytest.raises(EnvironmentMissingError, match=f"tensorflow is not installed beside .*, or {said}"):
            run.model(MODEL, backend="tensorflow")


@pytest.mark.long
@pytest.mark.tensorflow
def test_the_interpreter_that_is_named_gives_a_keras_model(run):
    """As somebody calls it who does what the error says."""
    with pytest.raises(EnvironmentMissingError) as told:
        run.model("train.tensorflow.DPSGD.s0")
    call = re.search("`(.*)`", str(told.value)).group(1)
    code = "import sys, trustml; print(type(trustml.load(sys.argv[1]).model(sys.argv[2]).native).__mro__)"
    words = ["env", *shlex.split(call), "-c", code, str(run.path), "train.tensorflow.DPSGD.s0"]
    assert "keras" in subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.mark.jax
def test_weights_of_another_model_are_refused_and_so_is_what_is_no_input(tmp_path):
    run = copy_of("frameworks", tmp_path)
    plain, private = (run.path / "jobs" / f"train.jax.{name}.s0" / "weights.safetensors" for name in ("Plain", "DPSGD"))
    found = run.model(MODEL)
    for odd in ([[1.0]], np.zeros((2, *found.input_shape), complex), np.full((2, *found.input_shape), np.nan)):
        with pytest.raises(UsageError, match="inputs"):
            found.logits(odd)
    private.write_bytes(plain.read_bytes())
    with pytest.raises(RecordError, match="not what the run recorded"):
        run.model(MODEL)
