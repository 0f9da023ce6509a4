"""Federated averaging whose server learns sums alone, written once for every backend.

Every client trains by itself, by the backend's plain steps; the sum of their updates is that of secure aggregation with
real masks. Whoever was asked and does not come has sent keys and shares before it falls silent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trustml.backends.contract import Backend, Client, Model
from trustml.backends.settings import EngineChoice, RoundOutcome
from trustml.data.dataset import Ints
from trustml.errors import PrivacyError
from trustml.models.weights import Weights
from trustml.privacy.secure_aggregation import SecureSum, secure_sum
from trustml.privacy.secure_settings import SecureAggregation
from trustml.scenario.federated import FedAvg, FederatedRegime
from trustml.scenario.regimes import Plain
from trustml.worker.canary_insertion import unflat
from trustml.worker.private_clients import Server, local_update

_SHARED = 2  # messages of a client that drops out: its keys, and shares of its secrets


class MaskedFederation:
    """See :class:`trustml.backends.contract.Federation`; the library's part is what each client does.

    Parameters
    ----------
    regime : FederatedRegime
        ``FedAvg(aggregation="masked")``.
    backend : Backend
    model : Model
    asked : int64 array
        Clients that are asked, of each round in which any come.
    seed : int
    """

    choice: EngineChoice | None = None

    def __init__(self, regime: FederatedRegime, backend: Backend, model: Model, *, asked: Ints, seed: int) -> None:
        if not isinstance(regime, FedAvg) or regime.clipping_norm is None:
            raise PrivacyError(f"{regime.title}: masked sums need a clipping_norm")
        self._norm, self._rate = regime.clipping_norm, regime.client_optimizer.learning_rate
        self._plain = backend.plain(model, Plain(optimizer=regime.client_optimizer), seed)
        self._server = Server(regime, model.weights)
        self._asked = iter(asked.tolist())

    def round(self, clients: Sequence[Client]) -> RoundOutcome:
        """Train the clients, add their updates up behind masks, move by their mean.

        Where half of those that were asked do not come, or one alone was asked, there is no sum and nothing moves:
        whoever came has trained for it all the same. Only a simulation knows whose update was not finite.
        """
        asked, weights = next(self._asked), self._server.weights
        threshold = asked // 2 + 1
        updates = [local_update(self._plain, weights, client, learning_rate=self._rate) for client in clients]
        if len(updates) < max(2, threshold):
            return RoundOutcome(summed=False)
        left_out = sum(not all(np.isfinite(part).all() for part in update.values()) for update in updates)
        found = self._sum(updates, SecureAggregation(clients=asked, threshold=threshold, clipping_norm=self._norm))
        mean = (found.total / len(found.survivors)).astype(np.float32)
        self._server.step([{name: part[0] for name, part in unflat(mean[None], like=weights).items()}])
        return RoundOutcome(left_out=left_out, bytes_up=found.bytes_up, bytes_down=found.bytes_down)

    def plant(self, updates: Weights) -> None:
        """Refuse: there is no private round."""
        raise NotImplementedError("masked sums are of no private regime")

    def weights(self) -> Weights:
        """Present global weights, canonical."""
        return self._server.weights

    def clipping_norm(self) -> float:
        """Clipping norm of every round."""
        return self._norm

    def _sum(self, updates: Sequence[Weights], settings: SecureAggregation) -> SecureSum:
        vectors = [np.concatenate([update[name].ravel() for name in self._server.weights]) for update in updates]
        gone = range(len(vectors), settings.clients)
        vectors += [np.zeros_like(vectors[0]) for _ in gone]  # never sent
        return secure_sum(vectors, settings, stays=dict.fromkeys(gone, _SHARED))
