"""What trustml knows of TensorFlow and Keras, and works around."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from trustml.launch.environments import find_environment

pytestmark = [pytest.mark.tensorflow, pytest.mark.long, pytest.mark.timeout(300)]  # of others alone, of locked versions
HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def peers(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("peers")
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [find_environment("tensorflow").require(), HERE / "peers.py", folder / "found.json"],
            env={**os.environ, "PYTHONPATH": str(HERE.parents[2] / "src")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=200)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    assert code == 0, (folder / "log.txt").read_text()[-2000:]
    return json.loads((folder / "found.json").read_text())


def torch_steps(make, rates: list[float]) -> float:
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = make([weight])
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.ones(())
        optimizer.step()
    return float(weight.detach())


RATES = {"constant": [0.1] * 4, "changing": [0.4, 0.2, 0.1, 0.05]}


def test_vectorised_padding_forgets_its_value(peers):
    """Known defect of TensorFlow 2.14; when this fails it was fixed, and ``Pad`` can use tf.pad again."""
    assert peers["padding"] == [-7.0, 0.0]


@pytest.mark.parametrize("rates", RATES)
def test_our_optimizers_are_those_of_pytorch(peers, rates):
    sgd = torch_steps(lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.5), RATES[rates])
    adam = torch_steps(lambda w: torch.optim.Adam(w, lr=0.1, eps=0.1), RATES[rates])
    assert peers[rates]["our_sgd"] == pytest.approx(sgd, rel=1e-6)
    assert peers[rates]["our_adam"] == pytest.approx(adam, rel=1e-6)


def test_keras_differs_under_a_schedule_and_in_adam(peers):
    """Why Keras's own optimizers are not used."""
    assert peers["constant"]["keras_sgd"] == pytest.approx(peers["constant"]["our_sgd"], rel=1e-6)
    assert peers["changing"]["keras_sgd"] != pytest.approx(peers["changing"]["our_sgd"], rel=0.05)
    assert peers["constant"]["keras_adam"] != pytest.approx(peers["constant"]["our_adam"], rel=0.05)


def test_switches_to_fewer_bits_are_named_with_the_way_out(peers):
    found = peers["precision"]
    assert found["nothing"] == found["rewriting False"] == []
    assert found["policy"] == ["the global Keras policy is 'mixed_bfloat16'; set_global_policy('float32')"]
    assert "Keras's floatx is 'float16'; set_floatx('float32')" in found["floatx"]
    assert found["rewriting True"] == [
        "tf.config.optimizer option 'auto_mixed_precision_onednn_bfloat16' is on; set it to False"
    ]


def test_a_gpu_that_tensorflow_does_not_see_names_the_libraries_it_needs(peers):
    if "cuda" not in peers["precision"]:
        pytest.skip("it sees one")
    (message,) = peers["precision"]["cuda"]
    assert message.startswith("execution.device: 'cuda' but TensorFlow 2.14.1 sees no GPU: it needs the libraries of")
    assert "CUDA 11.8 and cuDNN 8" in message
    assert "`trustml doctor` says how to get them; or use cpu or auto" in message
