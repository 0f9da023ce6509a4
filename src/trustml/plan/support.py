"""Which backend does what, by which library; and why not, where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from trustml.scenario.federated import FedAvg, FederatedSpec
from trustml.scenario.regimes import DPSGD, Engine, Plain, Regime
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
    ("jax", Plain): Supported(library="JAX"),
    ("jax", DPSGD): Supported(library="trustml on JAX"),
    ("tensorflow", Plain): Supported(library="Keras"),
    ("tensorflow", DPSGD): Supported(library="TF Privacy"),
}

_FEDERATED: dict[BackendName, str] = {
    "torch": "pfl",
    "jax": "trustml on JAX",
    "tensorflow": "TensorFlow Federated",
}

_AGGREGATION = {
    "robust": "TFF's zeroing and clipping by adaptive norms",
    "compressed": "TFF's quantised sum",
    "secure": "TFF's simulation of secure sums",
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
    if isinstance(regime, FederatedSpec):
        reason = _why_not_federated(backend, regime)
        return Missing(reason=reason) if reason else Supported(library=_FEDERATED[backend])
    return _TRAINING[backend, type(regime)]


def _why_not_federated(backend: BackendName, regime: FederatedSpec) -> str:
    match regime:
        case FedAvg(aggregation=aggregation) if aggregation != "mean" and backend != "tensorflow":
            return f"aggregation {aggregation!r} is {_AGGREGATION[aggregation]}; {_FEDERATED[backend]} has none"
    return ""
