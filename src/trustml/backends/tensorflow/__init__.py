"""TensorFlow: training by Keras, federated training by TFF, attributions by tf-explain and Xplique."""

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
from trustml.models.layers import NativeModule
from trustml.models.native import OwnNetwork
from trustml.scenario.regimes import Plain


def _open_device(device: str, threads: int) -> Device:
    from trustml.backends.tensorflow.device import open_device

    return open_device(device, threads=threads)


def _network(model: Model) -> Network:
    from trustml.backends.tensorflow.network import KerasNetwork

    return KerasNetwork(model)


def _plain(model: Model, regime: Plain, dropout_seed: int) -> Trainer:
    from trustml.backends.tensorflow.training import PlainTrainer

    return PlainTrainer(model, optimizer=regime.optimizer, dropout_seed=dropout_seed)


def _private(model: Model, settings: PrivateSettings, dropout_seed: int) -> PrivateTrainer:
    from trustml.backends.tensorflow.dp import TFPrivacyTrainer

    return TFPrivacyTrainer(model, settings=settings, dropout_seed=dropout_seed)


def _stock(model: Model, settings: StockSettings, examples: Examples) -> StockTrainer:
    from trustml.backends.tensorflow.library_default import stock_trainer

    return stock_trainer(model, settings=settings, examples=examples)


def _federated(model: Model, settings: FederatedSettings) -> Federation:
    from trustml.backends.tensorflow.federated import TFFFederation

    return TFFFederation(model, settings)


def _explain(request: ExplainRequest) -> Attributions:
    from trustml.backends.tensorflow.attribution import explain

    return explain(request)


def _own(layer: NativeModule, input_shape: tuple[int, ...], seeds: Sequence[int]) -> OwnNetwork:
    from trustml.backends.tensorflow.native import look_at

    return look_at(layer, input_shape, seeds)


def _native(model: Model) -> Any:
    from trustml.backends.tensorflow.network import build_keras

    return build_keras(model)


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
