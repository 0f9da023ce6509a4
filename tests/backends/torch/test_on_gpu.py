"""Everything that the torch backend computes with lies on the device that was chosen: on a GPU that is pretended.

No GPU was at hand. What runs here is every operation, with the results of the processor; what CUDA itself would compute
is not tested.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.backends.torch.explaining import METHODS
from tests.backends.torch.explaining import request as request_of
from tests.backends.torch.pretended import PretendedGPU, WrongDeviceError
from trustml.backends.contract import Model
from trustml.backends.settings import FederatedSettings, PrivateSettings
from trustml.backends.torch import BACKEND, device
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, GroupNorm, MaxPool, ReLU
from trustml.models.weights import Weights, initial_weights
from trustml.scenario import methods as m
from trustml.scenario.federated import FedAdam, FedAvg, FedProx
from trustml.scenario.optimizers import SGD, Adam
from trustml.scenario.regimes import Plain

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:Full backward hook is firing")]
NETWORK = Architecture(
    layers=(
        Conv2D(filters=4, kernel=(3, 3), padding=((1, 1), (1, 1))),
        GroupNorm(groups=2),
        ReLU(),
        MaxPool(size=(2, 2), stride=(2, 2)),
        Flatten(),
        Dense(units=3),
    )
)


@pytest.fixture
def gpu(monkeypatch) -> Iterator[PretendedGPU]:
    """The chosen device is a pretended GPU."""
    pretended = PretendedGPU()
    monkeypatch.setattr(device, "_chosen", torch.device("cuda"))
    monkeypatch.setenv("PFL_PYTORCH_DEVICE", "cuda")  # a federation sets it; pfl reads it for as long as we live
    monkeypatch.setattr(torch, "Generator", pretended.generator_class())
    backward = pretended.with_hooks(torch.autograd._engine_run_backward)
    monkeypatch.setattr(torch.autograd, "_engine_run_backward", backward)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda *_: torch.get_rng_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, *_: torch.set_rng_state(state))
    with pretended:
        yield pretended


@pytest.fixture(scope="module")
def model() -> Model:
    weights = initial_weights(NETWORK, (6, 6, 1), generator=np.random.default_rng(0))
    return Model(architecture=NETWORK, input_shape=(6, 6, 1), weights=weights)


@pytest.fixture(scope="module")
def batch() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return generator.normal(size=(5, 6, 6, 1)).astype(np.float32), generator.integers(0, 3, 5)


def assert_same(first: Weights, second: Weights) -> None:
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_pretended_gpu_refuses_what_cuda_would(gpu):
    """Else the tests below could not fail."""
    here, there = torch.ones(3), torch.ones(3, device="cuda")
    assert there.device.type == "cuda" and there.is_cuda and (there * 2 + 1).is_cuda
    assert not there.cpu().is_cuda and here.device.type == "cpu"
    with pytest.raises(WrongDeviceError, match="on cuda and on cpu"):
        here + there
    with pytest.raises(WrongDeviceError, match="on cuda and on cpu"):
        (here.requires_grad_() * here.to("cuda").detach()).sum().backward()
    with pytest.raises(WrongDeviceError, match="numpy"):
        there.numpy()
    with pytest.raises(WrongDeviceError, match="generator"):
        torch.normal(0.0, 1.0, (3,), device="cuda", generator=torch.Generator())


def test_predictions_and_input_gradients(request, model, batch):
    expected = BACKEND.network(model)
    logits, gradients = expected.logits(batch[0]), expected.input_gradients(*batch)
    gpu = request.getfixturevalue("gpu")
    found = BACKEND.network(model)
    assert {parameter.device.type for parameter in found.module.parameters()} == {"cuda"}
    np.testing.assert_allclose(found.logits(batch[0]), logits, atol=1e-6)
    np.testing.assert_allclose(found.input_gradients(*batch), gradients, atol=1e-6)
    assert gpu.labels.count > 10


@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9), Adam()], ids=["SGD", "Adam"])
def test_plain_training_and_its_checkpoint(request, model, batch, optimizer):
    def train() -> Weights:
        regime = Plain(epochs=1, batch_size=5, optimizer=optimizer)
        trainer = BACKEND.plain(model, regime, 0)
        trainer.step(*batch, learning_rate=0.1)
        other = BACKEND.plain(model, regime, 0)
        other.restore(trainer.weights(), trainer.state())
        other.step(*batch, learning_rate=0.1)
        return other.weights()

    expected = train()
    request.getfixturevalue("gpu")
    assert_same(train(), expected)


@pytest.mark.parametrize(
    "mode", [*(pytest.param(one, marks=pytest.mark.long) for one in ("hooks", "functorch", "book_keeping")), "auto"]
)
def test_private_training(request, model, batch, mode):
    def train() -> tuple[Weights, Weights]:
        settings = PrivateSettings(
            optimizer=SGD(momentum=0.5), expected_batch_size=5, noise_seed=(1, 2, 3, 4), grad_sample_mode=mode
        )
        trainer = BACKEND.private(model, settings, 0)
        trainer.plant({name: np.ones((2, *array.shape), np.float32) for name, array in model.weights.items()},
                      clipping_norm=0.5)  # fmt: skip
        trainer.accumulate(batch[0][:, None], batch[1], clipping_norm=0.5)
        sums = trainer.clipped_sum()
        trainer.update(clipping_norm=0.5, noise_multiplier=0.0, learning_rate=0.1)
        weights = trainer.weights()
        trainer.update(clipping_norm=0.5, noise_multiplier=1.0, learning_rate=0.1)  # without an example
        assert np.isfinite(trainer.gradient()["0.kernel"]).all()
        return sums, weights

    expected = train()
    request.getfixturevalue("gpu")
    for found, wanted in zip(train(), expected, strict=True):
        assert_same(found, wanted)


QUICK = (m.IntegratedGradients, m.SmoothGrad, m.DeepLift, m.GradCam, m.FeatureAblation, m.KernelShap, m.LRP)
"""In short one of each family."""


@pytest.mark.parametrize(
    "method",
    [pytest.param(one, marks=() if isinstance(one, QUICK) else pytest.mark.long) for one in METHODS],
    ids=lambda method: type(method).__name__,
)
def test_attributions(request, method):
    asked = request_of(method, count=3)
    expected = BACKEND.explain(asked)
    gpu = request.getfixturevalue("gpu")
    assert_same(BACKEND.explain(asked), expected)
    assert gpu.labels.count > 10


@pytest.mark.parametrize(
    "regime",
    [FedAvg(), *(pytest.param(one, marks=pytest.mark.long) for one in (FedProx(), FedAdam()))],
    ids=lambda regime: type(regime).__name__,
)
def test_a_federated_round(request, model, batch, regime):
    def train() -> Weights:
        federation = BACKEND.federated(model, FederatedSettings(regime=regime, noise_seed=(1, 2, 3, 4), batch_size=5))
        federation.round([[batch], [(batch[0][:2], batch[1][:2])]])
        return federation.weights()

    expected = train()
    request.getfixturevalue("gpu")
    assert_same(train(), expected)
