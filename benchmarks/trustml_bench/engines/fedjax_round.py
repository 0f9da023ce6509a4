"""FedJAX's federated averaging as its documentation drives it, on trustml's JAX network. Needs its own environment."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

jax.tree_map = jax.tree_util.tree_map  # FedJAX 0.0.17 is older than this name's end
import fedjax  # noqa: E402
from fedjax.algorithms import fed_avg  # noqa: E402

from trustml.backends.jax.network import apply, to_params, to_weights  # noqa: E402
from trustml_bench.engine import Work  # noqa: E402
from trustml_bench.engines.jax_network import mean_loss  # noqa: E402
from trustml_bench.workloads import LEARNING_RATE, Workload, make_clients, make_model  # noqa: E402


def federated_round(workload: Workload) -> Work:
    """A round with every client, one local epoch each, by FedJAX's default backend."""
    model = make_model(workload)

    def loss(params: Any, batch: Any, rng: jax.Array) -> jax.Array:
        return mean_loss(partial(apply, model.architecture), params, batch["x"], batch["y"])

    algorithm = fed_avg.federated_averaging(
        jax.grad(loss),
        fedjax.optimizers.sgd(LEARNING_RATE),
        fedjax.optimizers.sgd(1.0),
        fedjax.ShuffleRepeatBatchHParams(
            batch_size=workload.batch_size, num_epochs=1, drop_remainder=False, skip_shuffle=True
        ),
    )
    clients = []
    for number, client in enumerate(make_clients(workload)):
        inputs, labels = (np.concatenate(part) for part in zip(*client, strict=True))
        data = fedjax.ClientDataset({"x": inputs, "y": labels.astype(np.int32)})
        clients.append((str(number).encode(), data, jax.random.PRNGKey(number)))
    state = [algorithm.init(to_params(model.weights))]

    def unit() -> None:
        state[0], _ = algorithm.apply(state[0], clients)
        jax.block_until_ready(state[0].params)

    return Work(unit=unit, outcome=lambda: to_weights(state[0].params, list(model.weights)))
