"""Clipped sums of one example each, in a process that compiles as users' do: JSON of the longest, by network."""

from __future__ import annotations

import json
import math

import numpy as np

from trustml.backends.contract import Model
from trustml.backends.jax.dp import DPTrainer
from trustml.backends.settings import PrivateSettings
from trustml.models.layers import Architecture, Dense, GlobalMaxPool, LayerNorm
from trustml.models.token_layers import FeatureTokens, LearnedPositions
from trustml.models.weights import initial_weights
from trustml.scenario.optimizers import SGD

EXAMPLES, NORM = 60, 0.01
NETWORKS = {
    "positions": ((LearnedPositions(), LayerNorm(), GlobalMaxPool(), Dense(units=7)), (5, 3)),
    "columns": ((FeatureTokens(width=4), GlobalMaxPool(), Dense(units=7)), (6,)),
}


def longest(name: str) -> dict[str, float]:
    """The longest sum of a single example over the clipping norm, and how many were left out as not finite."""
    layers, shape = NETWORKS[name]
    draw = np.random.default_rng(9)
    architecture = Architecture(layers=layers)
    weights = initial_weights(architecture, shape, generator=draw)
    weights = {part: (array + draw.normal(0, 0.5, array.shape)).astype(np.float32) for part, array in weights.items()}
    settings = PrivateSettings(optimizer=SGD(), expected_batch_size=16, noise_seed=(1, 2, 3, 4))
    trainer = DPTrainer(
        Model(architecture=architecture, input_shape=shape, weights=weights), settings=settings, dropout_seed=0
    )
    inputs = draw.normal(size=(EXAMPLES, 1, *shape)).astype(np.float32)
    labels, found = draw.integers(7, size=EXAMPLES), []
    finite = 0
    for example in range(EXAMPLES):
        finite += trainer.accumulate(inputs[[example]], labels[[example]], clipping_norm=NORM).finite
        total = {part: array.astype(np.float64) for part, array in trainer.clipped_sum().items()}
        trainer.update(clipping_norm=NORM, noise_multiplier=0.0, learning_rate=1e-30)  # begins a new sum
        found.append(math.sqrt(sum((array**2).sum() for array in total.values())) / NORM)
    return {"longest": max(found), "finite": float(finite)}


if __name__ == "__main__":
    print(json.dumps({name: longest(name) for name in NETWORKS}))
