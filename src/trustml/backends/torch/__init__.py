"""PyTorch: training, private training by Opacus, attributions by Captum."""

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
    StockTrainer,
    Trainer,
)
from trustml.backends.settings import FederatedSettings, PrivateSettings, StockSettings
from trustml.data.dataset import Examples
from trustml.errors import UsageError
from trustml.models.layers import NativeModule
from trustml.models.native import OwnNetwork
from trustml.scenario.regimes import Plain

# Each part is imported when it is used: Opacus alone costs seconds.


def _open_device(device: str, threads: int) -> Device:
    from trustml.backends.torch.device import open_device

    return open_device(device, threads=threads)


def _network(model: Model) -> Network:
    from trustml.backends.torch.network import TorchNetwork

    return TorchNetwork(model)


def _plain(model: Model, regime: Plain, dropout_seed: int) -> Trainer:
    from trustml.backends.torch.training import PlainTrainer

    return PlainTrainer(model, optimizer=regime.optimizer, dropout_seed=dropout_seed)


def _private(model: Model, settings: PrivateSettings, dropout_seed: int) -> PrivateTrainer:
    from trustml.backends.torch.dp import OpacusTrainer

    return OpacusTrainer(model, settings=settings, dropout_seed=dropout_seed)


def _stock(model: Model, settings: StockSettings, examples: Examples) -> StockTrainer:
    from trustml.backends.torch.library_default import MakePrivateTrainer

    return MakePrivateTrainer(model, settings=settings, examples=examples)


_PFL = ("pfl==0.6.0", "dill", "multiprocess", "prv-accountant")
"""pfl and what it needs beyond ours. It refuses current dp-accounting by its metadata, so no extra can name it."""


def _federated(model: Model, settings: FederatedSettings) -> Federation:
    try:
        from trustml.backends.torch.federated import PflFederation
    except ModuleNotFoundError as error:
        if error.name not in ("pfl", "dill", "multiprocess", "prv_accountant"):
            raise
        fix = f"pip install --no-deps {' '.join(_PFL)}"
        raise UsageError(
            f"federated training in PyTorch needs {error.name}, which is not installed; run `{fix}`"
        ) from None
    return PflFederation(model, settings)


def _explain(request: ExplainRequest) -> Attributions:
    from trustml.backends.torch.attribution import explain

    return explain(request)


def _own(layer: NativeModule, input_shape: tuple[int, ...], seeds: Sequence[int]) -> OwnNetwork:
    from trustml.backends.torch.native import look_at

    return look_at(layer, input_shape, seeds)


def _native(model: Model) -> Any:
    from trustml.backends.torch.network import build_module

    return build_module(model).eval()


BACKEND = Backend(
    open_device=_open_device,
    network=_network,
    plain=_plain,
    private=_private,
    stock=_stock,
    federated=_federated,
    shadows=None,
    explain=_explain,
    native=_native,
    own=_own,
)
