"""Gradients and updates from outside in Opacus's sums and pfl's rounds."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.backends.contract import Model
from trustml.backends.settings import FederatedSettings, PrivateSettings, UserPrivacy
from trustml.backends.torch.dp import OpacusTrainer
from trustml.backends.torch.federated import PflFederation
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten
from trustml.models.weights import initial_weights
from trustml.scenario.federated import DPFedAvg, IndependentNoise
from trustml.scenario.optimizers import SGD

pytestmark = pytest.mark.torch

ARCHITECTURE = Architecture(layers=(Conv2D(filters=2, kernel=(2, 3)), Flatten(), Dense(units=3)))
SHAPE = (4, 5, 2)
MODEL = Model(
    architecture=ARCHITECTURE,
    input_shape=SHAPE,
    weights=initial_weights(ARCHITECTURE, SHAPE, generator=np.random.default_rng(0)),
)
NORM = 0.7
CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # Opacus adds 1e-6 to every norm


def draw_rows(count=5):
    """Half of the rows are longer than the clipping norm."""
    draw = np.random.default_rng(1)
    rows = {name: draw.normal(size=(count, *part.shape)).astype(np.float32) for name, part in MODEL.weights.items()}
    lengths = np.sqrt(sum((part.reshape(count, -1) ** 2).sum(axis=1) for part in rows.values()))
    wanted = NORM * np.linspace(0.3, 3, count)
    return {
        name: part * (wanted / lengths).astype(np.float32).reshape(-1, *[1] * (part.ndim - 1))
        for name, part in rows.items()
    }


def clipped_sum(rows, *, per_layer):
    """Sum of the rows, each clipped, in float64."""
    flat = {name: part.reshape(len(part), -1).astype(np.float64) for name, part in rows.items()}
    norms = {name: np.linalg.norm(part, axis=1) for name, part in flat.items()}
    whole = np.sqrt(sum(norm**2 for norm in norms.values()))
    found = {}
    for name, part in flat.items():
        factor = NORM / len(flat) ** 0.5 / norms[name] if per_layer else NORM / whole
        found[name] = (part * np.minimum(1, factor)[:, None]).sum(axis=0).reshape(rows[name].shape[1:])
    return found


@pytest.mark.parametrize(
    ("mode", "per_layer"),
    [("hooks", False), ("hooks", True), ("book_keeping", False), ("book_keeping", True)],
)
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_planted_gradients_are_clipped_and_added_to_those_of_examples(mode, per_layer):
    settings = PrivateSettings(
        optimizer=SGD(), per_layer=per_layer, expected_batch_size=4, noise_seed=(1, 2, 3, 4), grad_sample_mode=mode
    )
    trainer, rows = OpacusTrainer(MODEL, settings=settings, dropout_seed=0), draw_rows()
    draw = np.random.default_rng(2)
    inputs, labels = draw.normal(size=(3, 1, *SHAPE)).astype(np.float32), draw.integers(0, 3, 3)
    trainer.accumulate(inputs, labels, clipping_norm=NORM)
    before = trainer.clipped_sum()
    trainer.plant(rows, clipping_norm=NORM)
    trainer.accumulate(inputs, labels, clipping_norm=NORM)
    expected = clipped_sum(rows, per_layer=per_layer)
    for name, part in trainer.clipped_sum().items():
        np.testing.assert_allclose(part - 2 * before[name], expected[name], **CLOSE)
    trainer.update(clipping_norm=NORM, noise_multiplier=0.0, learning_rate=0.1)
    for name, part in trainer.gradient().items():
        np.testing.assert_allclose(part, (2 * before[name] + expected[name]) / 4, **CLOSE)
    assert not any(part.any() for part in trainer.clipped_sum().values())


@pytest.mark.filterwarnings("ignore:There is no current event loop")
def test_planted_updates_come_to_one_round_as_clients_do():
    privacy = UserPrivacy(mechanism=IndependentNoise(), noise_multiplier=0.0, clipping_norm=NORM, expected_clients=4)
    federation = PflFederation(
        MODEL, FederatedSettings(regime=DPFedAvg(rounds=2), privacy=privacy, noise_seed=(1, 2, 3, 4), batch_size=1)
    )
    rows = draw_rows()
    federation.plant(rows)
    federation.round([])
    after = federation.weights()
    for name, part in clipped_sum(rows, per_layer=False).items():
        np.testing.assert_allclose(after[name] - MODEL.weights[name], part / 4, **CLOSE)
    federation.round([])
    assert all((federation.weights()[name] == part).all() for name, part in after.items())
