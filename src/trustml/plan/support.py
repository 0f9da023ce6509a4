"""Which backend does what, by which library; and why not, where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from trustml.scenario.regimes import DPSGD, Engine, FedAvg, Plain, Regime
from trustml.scenario.spec import BackendName


@dataclass(frozen=True, kw_only=True)
class Supported:
    """The backend does it.

    Attributes
    ----------
    library : str
        Whose code does the work.
    """

    library: str


@dataclass(frozen=True, kw_only=True)
class Missing:
    """The backend does not do it.

    Attributes
    ----------
    reason : str
    """

    reason: str


Support: TypeAlias = Supported | Missing


class Skip(msgspec.Struct, frozen=True, kw_only=True):
    """A cell of a scenario that its backend does not fill, and why: a regime, or a method of explanation."""

    backend: BackendName
    regime: str = ""
    method: str = ""
    reason: str

    @property
    def cell(self) -> str:
        """The regime or method."""
        return self.regime or self.method


_TRAINING: dict[tuple[BackendName, type[Regime]], Support] = {
    ("torch", Plain): Supported(library="PyTorch"),
    ("torch", DPSGD): Supported(library="Opacus"),
    ("torch", FedAvg): Missing(reason="federated training in PyTorch is not built yet"),
    ("jax", Plain): Supported(library="JAX"),
    ("jax", DPSGD): Supported(library="trustml on JAX"),
    ("jax", FedAvg): Supported(library="trustml on JAX"),
    ("tensorflow", Plain): Supported(library="Keras"),
    ("tensorflow", DPSGD): Supported(library="TF Privacy"),
    ("tensorflow", FedAvg): Supported(library="TensorFlow Federated"),
}

_STOCK: dict[tuple[BackendName, Engine], Support] = {
    ("torch", "stock"): Supported(library="Opacus make_private"),
    ("torch", "stock_optimizer"): Missing(reason="stock_optimizer is TF Privacy's DPKerasSGDOptimizer"),
    ("jax", "stock"): Missing(reason="JAX has no stock engine here: trustml's own is its only one"),
    ("jax", "stock_optimizer"): Missing(reason="stock_optimizer is TF Privacy's DPKerasSGDOptimizer"),
    ("tensorflow", "stock"): Supported(library="TF Privacy DPModel.fit"),
    ("tensorflow", "stock_optimizer"): Supported(library="TF Privacy DPKerasSGDOptimizer"),
}


def training_support(backend: BackendName, regime: Regime) -> Support:
    """Tell who trains by that regime on that backend."""
    if isinstance(regime, DPSGD) and regime.engine != "core":
        return _STOCK[backend, regime.engine]
    return _TRAINING[backend, type(regime)]
