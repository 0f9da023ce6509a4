"""The contract, kept by Keras 3."""

from __future__ import annotations

from typing import Any

import keras

from trustml.backends.contract import Backend, Device
from trustml.errors import UsageError
from trustml_keras3.attribution import explain
from trustml_keras3.network import KerasNetwork
from trustml_keras3.training import PlainTrainer, PrivateTrainer


def open_device(device: str, threads: int) -> Device:
    """Take the processor: on others nothing here was tried."""
    if device == "cuda":
        raise UsageError("execution.device: 'cuda' but trustml-keras3 computes on the processor; use cpu or auto")
    engine = keras.backend.backend()
    if engine == "torch":
        import torch

        torch.set_num_threads(threads or torch.get_num_threads())
    keras.backend.set_floatx("float32")
    return Device(
        describe=lambda: f"cpu, Keras on {engine}",
        synchronize=lambda: None,
        packages=("keras", engine, "trustml-keras3"),
        switches={},
        reduced_precision=lambda: (),
    )


def _federated(model: Any, settings: Any) -> Any:
    raise NotImplementedError("trustml-keras3 has no federated training; use another backend")


BACKEND = Backend(
    open_device=open_device,
    network=KerasNetwork,
    plain=lambda model, regime, dropout_seed: PlainTrainer(model, regime.optimizer),
    private=lambda model, settings, dropout_seed: PrivateTrainer(model, settings),
    stock=None,
    federated=_federated,
    shadows=None,
    explain=explain,
)
