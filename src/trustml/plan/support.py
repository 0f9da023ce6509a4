"""Which backend does what, by which library; and why not, where it does not."""

from __future__ import annotations

import msgspec

from trustml.frameworks.entry import BackendEntry, Missing, Support
from trustml.frameworks.table import entry_of
from trustml.scenario.federated import (
    DPFedAvg,
    FedAvg,
    FederatedSpec,
    IndependentNoise,
    NoiseMechanism,
    PrivateClientsSpec,
)
from trustml.scenario.regimes import DPSGD, Plain, Regime
from trustml.scenario.spec import BackendName


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


_AGGREGATION = {
    "robust": "TFF's zeroing and clipping by adaptive norms",
    "compressed": "TFF's quantised sum",
    "secure": "TFF's simulation of secure sums",
}


def training_support(backend: BackendName, regime: Regime) -> Support:
    """Tell who trains by that regime on that backend."""
    entry = entry_of(backend)
    if isinstance(regime, DPSGD):
        if regime.unit == "user" and isinstance(entry.regimes.users, Missing):
            return entry.regimes.users
        if not isinstance(regime.mechanism, IndependentNoise):
            correlated = _correlated_support(entry, regime.mechanism)
            return correlated if isinstance(correlated, Missing) else entry.regimes.private
        nothing = Missing(reason=f"{entry.title} has no engine {regime.engine!r}")
        return entry.regimes.private if regime.engine == "core" else entry.regimes.engines.get(regime.engine, nothing)
    if isinstance(regime, PrivateClientsSpec):
        return entry.regimes.private  # each client trains by itself
    if isinstance(regime, FederatedSpec):
        return _federated_support(entry, regime)
    if isinstance(regime, Plain) and regime.ablation is not None:
        return entry.regimes.private
    return entry.regimes.plain


def _federated_support(entry: BackendEntry, regime: FederatedSpec) -> Support:
    if isinstance(regime, FedAvg) and regime.aggregation == "masked":
        return entry.regimes.plain  # each client trains by itself
    general = entry.regimes.federated
    if isinstance(general, Missing):
        return general
    match regime:
        case FedAvg(aggregation=aggregation) if aggregation != "mean" and not entry.regimes.aggregations:
            reason = f"aggregation {aggregation!r} is {_AGGREGATION[aggregation]}; {general.library} has none"
            return Missing(reason=reason)
        case DPFedAvg(mechanism=mechanism) if not isinstance(mechanism, IndependentNoise):
            return _correlated_support(entry, mechanism)
    return general


def _correlated_support(entry: BackendEntry, mechanism: NoiseMechanism) -> Support:
    name = type(mechanism).__name__
    return entry.regimes.mechanisms.get(name, Missing(reason=f"{entry.title} has no {name}"))
