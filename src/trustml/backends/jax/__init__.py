"""JAX: training, private and federated training, and attributions, written here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trustml.backends.contract import (
    Attributions,
    Backend,
    Device,
    ExplainRequest,
    Federation,
    Model,
    Network,
    PrivateTrainer,
    Trainer,
)
from trustml.backends.settings import FederatedSettings, InversionSettings, PrivateSettings
from trustml.backends.shadows import ShadowSettings, ShadowTrainer
from trustml.data.dataset import Floats
from trustml.models.layers import NativeModule
from trustml.models.native import OwnNetwork
from trustml.scenario.regimes import Plain


def _open_device(device: str, threads: int) -> Device:
    from trustml.backends.jax.device import open_device

    return open_device(device, threads=threads)


def _network(model: Model) -> Network:
    from trustml.backends.jax.network import JaxNetwork

    return JaxNetwork(model)


def _plain(model: Model, regime: Plain, dropout_seed: int) -> Trainer:
    from trustml.backends.jax.training import PlainTrainer

    return PlainTrainer(model, regime=regime, dropout_seed=dropout_seed)


def _private(model: Model, settings: PrivateSettings, dropout_seed: int) -> PrivateTrainer:
    from trustml.backends.jax.dp import DPTrainer

    return DPTrainer(model, settings=settings, dropout_seed=dropout_seed)


def _federated(model: Model, settings: FederatedSettings) -> Federation:
    from trustml.backends.jax.federated import JaxFederation

    return JaxFederation(model, settings=settings)


def _shadows(settings: ShadowSettings) -> ShadowTrainer:
    from trustml.backends.jax.shadows import JaxShadows

    return JaxShadows(settings)


def _explain(request: ExplainRequest) -> Attributions:
    from trustml.backends.jax.attribution import explain

    return explain(request)


def _own(layer: NativeModule, input_shape: tuple[int, ...], seeds: Sequence[int]) -> OwnNetwork:
    from trustml.backends.jax.native import look_at

    return look_at(layer, input_shape, seeds)


def _invert(model: Model, settings: InversionSettings) -> Floats:
    from trustml.backends.jax.inversion import invert

    return invert(model, settings)


def _native(model: Model) -> Any:
    from trustml.backends.jax.network import native_model

    return native_model(model)


BACKEND = Backend(
    open_device=_open_device,
    network=_network,
    plain=_plain,
    private=_private,
    stock=None,
    federated=_federated,
    shadows=_shadows,
    explain=_explain,
    native=_native,
    own=_own,
    invert=_invert,
)
