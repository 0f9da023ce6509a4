"""What the noise of a few private steps must be, whatever the framework: tables times the vectors that were drawn."""

from __future__ import annotations

import numpy as np

from tests import WHOLE
from trustml.backends.contract import Backend, Model
from trustml.backends.settings import PrivateSettings
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp
from trustml.privacy.noise_strategy import NoiseStrategy, noise_matrix, noise_strategy
from trustml.privacy.rounding import drawn_noise
from trustml.scenario.federated import BandedMatrix, BufferedToeplitz, TreeAggregation
from trustml.scenario.optimizers import SGD

STEPS, SEPARATION, EXPECTED, SEED = 13, 5, 8, (1, 2, 3, 4)
NORM, NOISE = 0.5, 3.0
STRATEGIES: dict[str, NoiseStrategy] = {
    name: noise_strategy(mechanism, steps=STEPS, separation=SEPARATION)
    for name, mechanism in {
        "tree": TreeAggregation(),
        "banded": BandedMatrix(),
        "one band": BandedMatrix(bands=1),
        "blt": BufferedToeplitz(),
    }.items()
}


SHORT = tuple(STRATEGIES) if WHOLE else ("blt",)
"""Of those whose steps are compiled: each is a table, and this one keeps vectors in buffers."""


def model() -> Model:
    architecture = mlp([5], classes=3)
    weights = initial_weights(architecture, (4,), generator=np.random.default_rng(2))
    return Model(architecture=architecture, input_shape=(4,), weights=weights)


def settings_with(strategy: NoiseStrategy | None) -> PrivateSettings:
    return PrivateSettings(
        optimizer=SGD(), expected_batch_size=EXPECTED, noise_seed=SEED, noise=strategy, grad_sample_mode="book_keeping"
    )


def noise_of_steps(backend: Backend, strategy: NoiseStrategy | None, steps: int = STEPS) -> dict[str, np.ndarray]:
    """Noise of so many steps over the stated deviation, by array; examples are in some of the steps."""
    trainer = backend.private(model(), settings_with(strategy), 0)
    inputs, labels = np.ones((2, 1, 4), np.float32), np.zeros(2, np.int64)
    rows = []
    for step in range(steps):
        if step % 3 == 0:
            trainer.accumulate(inputs, labels, clipping_norm=NORM)
        quiet = trainer.clipped_sum()
        trainer.update(clipping_norm=NORM, noise_multiplier=NOISE, learning_rate=0.1)
        noisy = trainer.gradient()
        deviation = NORM * drawn_noise(NOISE, terms=EXPECTED)
        rows.append({name: (noisy[name] * EXPECTED - quiet[name]) / deviation for name in quiet})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def combined(strategy: NoiseStrategy, drawn: np.ndarray) -> np.ndarray:
    """Rows of noise from rows of fresh vectors, (steps, size), in float64."""
    return noise_matrix(strategy) @ drawn.astype(np.float64)
