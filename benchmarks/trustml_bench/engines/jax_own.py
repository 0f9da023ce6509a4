"""trustml's jax backend; see :mod:`trustml_bench.engines.own`."""

from __future__ import annotations

from trustml_bench.engine import Work
from trustml_bench.engines import own
from trustml_bench.workloads import Workload


def plain_step(workload: Workload) -> Work:
    """A step of the plain trainer."""
    return own.plain_step("jax", workload)


def private_step(workload: Workload) -> Work:
    """A step of the private trainer."""
    return own.private_step("jax", workload)


def explanation(workload: Workload) -> Work:
    """Attributions by the workload's method."""
    return own.explanation("jax", workload)


def federated_round(workload: Workload) -> Work:
    """A round of federated averaging."""
    return own.federated_round("jax", workload)
