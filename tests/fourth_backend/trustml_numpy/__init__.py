"""Dense networks in plain numpy: training, DP-SGD, federated rounds and attributions, for trustml's contract."""

from __future__ import annotations

from trustml.backends.contract import Backend, Device
from trustml.errors import UsageError
from trustml_numpy.attribution import explain
from trustml_numpy.network import NumpyNetwork
from trustml_numpy.training import PlainTrainer, PrivateTrainer, federation


def open_device(device: str, threads: int) -> Device:
    if device == "cuda":
        raise UsageError("execution.device: 'cuda' but numpy computes on the processor; use cpu or auto")
    return Device(
        describe=lambda: "cpu",
        synchronize=lambda: None,
        packages=("numpy",),
        switches={},
        reduced_precision=lambda: (),
    )


BACKEND = Backend(
    open_device=open_device,
    network=NumpyNetwork,
    plain=lambda model, regime, dropout_seed: PlainTrainer(model, regime.optimizer),
    private=lambda model, settings, dropout_seed: PrivateTrainer(model, settings),
    stock=None,
    federated=federation,
    shadows=None,
    explain=explain,
)
