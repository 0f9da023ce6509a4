"""Tiny workloads, and the engines of the table at work on them. Imports no framework."""

from __future__ import annotations

import numpy as np

from trustml_bench.catalogue import ENGINES
from trustml_bench.engine import Engine, Work
from trustml_bench.serve import find_maker
from trustml_bench.workloads import Workload

TINY = {
    "plain_step": (
        Workload(kind="plain_step", network="small_cnn", size=6),
        Workload(kind="plain_step", network="small_mlp", size=5),
    ),
    "noisy_step": (Workload(kind="noisy_step", network="small_mlp", size=5),),
    "noise": (),  # comes to nothing
    "head_epoch": (),  # of networks of real size: tests.bench.test_large
    "feature_epoch": (),
    "private_step": (
        Workload(kind="private_step", network="small_cnn", size=32, noise_multiplier=0.0),
        Workload(kind="private_step", network="small_mlp", size=32, noise_multiplier=0.0),
    ),
    "integrated_gradients": (
        Workload(kind="integrated_gradients", network="small_cnn", size=3),
        Workload(kind="integrated_gradients", network="small_mlp", size=3),
    ),
    "smooth_grad": (Workload(kind="smooth_grad", network="small_cnn", size=2),),
    "occlusion": (Workload(kind="occlusion", network="small_cnn", size=3),),
    "round": (Workload(kind="round", network="small_mlp", size=3, examples=6, batch_size=3),),
    "shadows": (Workload(kind="shadows", network="shadow_mlp", size=3, examples=10, batch_size=4),),
}
"""Workloads that take no time, by kind; private ones without noise."""

UNITS = {"plain_step": 2, "noisy_step": 2, "private_step": 2, "round": 2}
"""How often a unit is done before its outcome is looked at; others once."""


def cases(environment: str) -> list[tuple[Engine, Workload]]:
    """All engines of an environment with all tiny workloads of their kinds."""
    engines = (engine for engine in ENGINES if engine.environment == environment)
    return [(engine, workload) for engine in engines for kind in engine.kinds for workload in TINY[kind]]


def label(case: tuple[Engine, Workload]) -> str:
    """How a case is called."""
    engine, workload = case
    return f"{engine.name}/{workload.name}"


def outcome(engine: Engine, workload: Workload) -> dict[str, np.ndarray]:
    """Make an engine, let it do its units, and look at what came of it."""
    work = find_maker(engine.maker)(workload)
    assert isinstance(work, Work)
    for _ in range(UNITS.get(workload.kind, 1)):
        work()
    return work.outcome()
