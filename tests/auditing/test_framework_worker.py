"""A model in another process: the same answers as here, one line for each way to fail, nothing left behind."""

from __future__ import annotations

import numpy as np
import psutil
import pytest

from trustml.auditing.framework_worker import FrameworkWorker
from trustml.auditing.models import target_of
from trustml.errors import TrustmlError, UsageError

pytestmark = pytest.mark.jax

MODULE = """
import os, time
import numpy as np

class Model:
    def __init__(self, function, params):
        self.function, self.params = function, params

def predict(params, inputs):
    return inputs @ params["w"]

def make():
    return Model(predict, {"w": np.arange(12, dtype=np.float32).reshape(4, 3)})

def die(params, inputs):
    os._exit(7)

def sleep(params, inputs):
    time.sleep(5)

dies, sleeps = Model(die, {}), Model(sleep, {})
"""
INPUTS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)


def test_outputs_gradients_and_shuffled_weights_cross_the_border_and_nothing_stays():
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    with FrameworkWorker("jax", "theirs:make") as worker:
        target = target_of(worker)
        assert target.live is worker and "theirs:make, in its own environment" in target.kind
        np.testing.assert_allclose(target.ask(INPUTS), INPUTS @ weights, atol=1e-5)
        columns = np.array([0, 1, 2, 0, 1])
        np.testing.assert_allclose(worker.input_gradients(INPUTS, columns), weights.T[columns], atol=1e-6)
        with worker.randomised(0) as other:
            shuffled = other.input_gradients(INPUTS, columns)
            assert np.abs(shuffled - weights.T[columns]).max() > 0.5
        np.testing.assert_allclose(worker.outputs(INPUTS), INPUTS @ weights, atol=1e-5)
        with pytest.raises(TrustmlError, match="model: TypeError: its inputs are integers"):
            worker.input_gradients(np.zeros((2, 4), np.int64), columns[:2])
        assert worker.outputs(INPUTS[:2]).shape == (2, 3)  # an error ends nothing
        process, folder = worker.process_id, worker.folder
        assert psutil.pid_exists(process) and folder.is_dir()
    assert not psutil.pid_exists(process) and not folder.exists()


@pytest.mark.parametrize(
    ("what", "words"), [("absent:make", "No module named 'absent'"), ("theirs:absent", "has no attribute 'absent'")]
)
def test_a_model_that_cannot_be_loaded_is_one_line(what, words):
    with pytest.raises(UsageError, match=words) as raised:
        FrameworkWorker("jax", what)
    assert "\n" not in str(raised.value)


def test_a_worker_that_dies_or_sleeps_is_one_line():
    with FrameworkWorker("jax", "theirs:dies") as worker, pytest.raises(TrustmlError, match="ended with code 7"):
        worker.outputs(INPUTS)
    with (
        FrameworkWorker("jax", "theirs:sleeps", timeout=0.3) as worker,
        pytest.raises(TrustmlError, match=r"gave no answer in 0\.3 s"),
    ):
        worker.outputs(INPUTS)
