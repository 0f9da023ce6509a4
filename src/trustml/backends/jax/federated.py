"""Federated averaging in JAX: clients one after the other in a compiled loop, ragged clients by masks."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trustml.backends.contract import Model
from trustml.backends.jax.network import Params, to_params, to_weights
from trustml.backends.jax.training import Batch, cross_entropy, fill, sgd_update
from trustml.data.dataset import Floats, Ints
from trustml.models.weights import Weights
from trustml.scenario.regimes import FedAvg


class FedAvgSimulation:
    """See :class:`trustml.backends.contract.Federation`."""

    def __init__(self, model: Model, *, regime: FedAvg) -> None:
        self._params = to_params(model.weights)
        self._batch_size = regime.batch_size
        architecture, optimizer = model.architecture, regime.client_optimizer

        def train_client(start: Params, batches: Batch) -> Params:
            """Give the change that one client makes to the weights."""

            def one(state: tuple[Params, Params], batch: Batch) -> tuple[tuple[Params, Params], None]:
                params, velocity = state
                gradient = jax.grad(lambda weights: cross_entropy(architecture, weights, batch))(params)
                new = sgd_update(params, velocity, gradient, optimizer)
                real = batch[2].sum() > 0  # a step of filling alone changes nothing
                return jax.tree.map(lambda after, before: jnp.where(real, after, before), new, state), None

            (final, _), _ = lax.scan(one, (start, jax.tree.map(jnp.zeros_like, start)), batches)
            return jax.tree.map(jnp.subtract, final, start)

        def one_round(params: Params, clients: Batch) -> Params:
            def visit(total: Params, batches: Batch) -> tuple[Params, None]:
                examples = batches[2].sum()
                delta = train_client(params, batches)
                return jax.tree.map(lambda t, d: t + examples * d, total, delta), None

            total, _ = lax.scan(visit, jax.tree.map(jnp.zeros_like, params), clients)
            examples = clients[2].sum()
            return jax.tree.map(lambda w, t: w + regime.server_learning_rate * t / examples, params, total)

        self._round = jax.jit(one_round)

    def round(self, clients: Sequence[Sequence[tuple[Floats, Ints]]]) -> None:
        """Train all clients and average by examples."""
        self._params = jax.block_until_ready(self._round(self._params, self._stack(clients)))

    def weights(self) -> Weights:
        """Present global weights, canonical."""
        return to_weights(self._params)

    def _stack(self, clients: Sequence[Sequence[tuple[Floats, Ints]]]) -> Batch:
        """Stack to arrays of shape (clients, batches, batch size, ...), filled and masked."""
        most = max(len(batches) for batches in clients)
        empty = clients[0][0][0][:0], clients[0][0][1][:0]
        rows = [
            [fill(*batch, size=self._batch_size) for batch in [*batches, *[empty] * (most - len(batches))]]
            for batches in clients
        ]
        inputs, labels, mask = (
            np.stack([np.stack([np.asarray(batch[part]) for batch in row]) for row in rows]) for part in range(3)
        )
        return inputs, labels, mask
