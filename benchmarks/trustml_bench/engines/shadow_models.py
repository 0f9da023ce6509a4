"""Shadow models that every engine trains: starts, batches and labels, drawn once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustml.backends.shadows import ShadowModels
from trustml.data.dataset import Floats, Ints
from trustml.models.weights import initial_weights
from trustml_bench.workloads import NETWORKS, Workload

EPOCHS = 30


@dataclass(frozen=True, kw_only=True)
class Shadows:
    """What shadow models learn from, and their starts.

    Attributes
    ----------
    inputs : float32 array of shape (p, *x)
        The pool; each model has half of it.
    labels : int64 array of shape (p,)
    models : ShadowModels
    """

    inputs: Floats
    labels: Ints
    models: ShadowModels


def make_shadows(workload: Workload) -> Shadows:
    """Draw them; each model shuffles its examples anew in each of :data:`EPOCHS` epochs."""
    architecture, shape, classes = NETWORKS[workload.network]
    generator = np.random.default_rng(0)
    pool, each, size = 2 * workload.examples, workload.examples, workload.batch_size
    steps = -(-each // size)
    rows = np.full((workload.size, EPOCHS, steps * size), -1, np.int32)
    for model in rows:
        members = generator.permutation(pool)[:each]
        for epoch in model:
            epoch[:each] = generator.permutation(members)
    labels = generator.integers(0, classes, pool)
    starts = [initial_weights(architecture, shape, generator=generator) for _ in range(workload.size)]
    return Shadows(
        inputs=generator.random((pool, *shape), np.float32),
        labels=labels,
        models=ShadowModels(
            weights={name: np.stack([start[name] for start in starts]) for name in starts[0]},
            labels=np.repeat(labels[None], workload.size, axis=0),
            rows=rows.reshape(workload.size, EPOCHS * steps, size),
            dropout_seeds=np.zeros(workload.size, np.int64),
            noise_seeds=np.zeros((workload.size, 4), np.uint32),
        ),
    )
