"""Shadow models by trustml's one program."""

from __future__ import annotations

import numpy as np

from trustml.backends.jax import BACKEND
from trustml.backends.shadows import ShadowSettings
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Plain
from trustml_bench.engine import Work
from trustml_bench.engines.shadow_models import EPOCHS, make_shadows
from trustml_bench.workloads import LEARNING_RATE, NETWORKS, Workload


def shadows(workload: Workload) -> Work:
    """All models from their starts to their logits over the pool."""
    BACKEND.open_device("cpu", 0)
    assert BACKEND.shadows is not None
    made = make_shadows(workload)
    settings = ShadowSettings(
        architecture=NETWORKS[workload.network][0],
        inputs=made.inputs,
        regime=Plain(epochs=EPOCHS, batch_size=workload.batch_size, optimizer=SGD(learning_rate=LEARNING_RATE)),
        rates=np.full(made.models.rows.shape[1], LEARNING_RATE, np.float32),
    )
    trainer = BACKEND.shadows(settings)
    found: list[np.ndarray] = []

    def unit() -> None:
        found[:] = [trainer.train(made.models, done=lambda count: None)]

    return Work(unit=unit, outcome=lambda: {"logits": found[0]})
