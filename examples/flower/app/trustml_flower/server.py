"""The server: Flower's own FedAvg from the starting weights of a run, or sums that it learns by secure aggregation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from trustml_flower.secure import secure_rounds

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Take the rounds, and write the weights after the last beside those of the start."""
    config = context.run_config
    folder, clients, rounds = Path(str(config["folder"])), int(config["clients"]), int(config["rounds"])
    with np.load(folder / "start.npz") as start:
        weights = {name: start[name] for name in start.files}
    if config["secure"]:
        weights = secure_rounds(grid, weights, clients=clients, rounds=rounds)
    else:
        weights = _averaged(grid, weights, clients=clients, rounds=rounds)
    np.savez(folder / "writing.npz", **weights)
    (folder / "writing.npz").rename(folder / "after.npz")


def _averaged(grid: Grid, weights: dict[str, Any], *, clients: int, rounds: int) -> dict[str, Any]:
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    arrays = ArrayRecord({name: Array(part) for name, part in weights.items()})
    found = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=rounds)
    return {name: array.numpy() for name, array in found.arrays.items()}
