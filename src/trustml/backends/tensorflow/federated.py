"""Federated training by TFF's own algorithms, on clients and batches drawn by the core."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from trustml.backends.contract import Client, Model
from trustml.backends.settings import EngineChoice, FederatedSettings, RoundOutcome
from trustml.backends.tensorflow.aggregators import plain_aggregator, present_clipping_norm, private_aggregator
from trustml.backends.tensorflow.losses import keras_loss, label_spec
from trustml.backends.tensorflow.network import build_keras, variable
from trustml.backends.tensorflow.server_optimizers import ProximalOptimizer, server_optimizer, sgd
from trustml.data.dataset import Floats, LabelArray
from trustml.errors import UsageError
from trustml.models.native import native_of
from trustml.models.token_layers import Unembedding
from trustml.models.weights import Weights
from trustml.scenario.federated import DPFedAvg, FedAvg, FedProx, FedSGD, LocalSpec

_LOOP = tff.learning.LoopImplementation.DATASET_ITERATOR


class TFFFederation:
    """See :class:`trustml.backends.contract.Federation`.

    TFF itself leaves a client out whose update is not finite: it weighs nothing in an average, and under privacy
    it adds zero to the sum.

    Secure aggregation runs in TFF's test runtime, which does the arithmetic of the protocol in the clear.

    Raises
    ------
    UsageError
        If outputs are tied to a table.
    """

    def __init__(self, model: Model, settings: FederatedSettings) -> None:
        regime = settings.regime
        if any(isinstance(node.layer, Unembedding) for node in model.architecture.nodes):
            raise UsageError("model: TFF copies models, and copies lose ties; use a Dense instead of Unembedding")
        if native_of(model.architecture) is not None:
            raise UsageError("model: TFF copies models, and does not keep the weights of own code; use its layers")
        if isinstance(regime, FedAvg) and regime.aggregation == "secure":
            # No other runtime knows the secure intrinsics; this one replaces them by ordinary sums, for all that
            # this process runs from now on.
            tff.backends.test.set_sync_test_cpp_execution_context()
        self._needs_examples = isinstance(regime, FedAvg) and regime.aggregation != "mean"
        self._uniform = isinstance(regime, LocalSpec) and regime.weighting == "uniform"
        keras_model = build_keras(model)
        self._names = list(model.weights)
        self._order = [
            _canonical(keras_model, model.weights, variable_) for variable_ in keras_model.trainable_variables
        ]
        self._input_shape, self._batch_size = model.input_shape, settings.batch_size
        self._labels = label_spec(model, None)
        self._privacy = settings.privacy
        functional = tff.learning.models.functional_model_from_keras(
            keras_model,
            loss_fn=keras_loss(model.task),
            input_spec=(
                tf.TensorSpec((None, *model.input_shape), tf.float32),
                label_spec(model, None),
            ),
        )
        start = tuple(model.weights[name] for name in self._order)
        self._process = _build_process(functional, settings, tuple(tf.TensorSpec(array.shape) for array in start))
        self._state = self._process.set_model_weights(
            self._process.initialize(), tff.learning.models.ModelWeights(trainable=start, non_trainable=())
        )

    @property
    def choice(self) -> EngineChoice | None:
        """Nothing to choose: TFF's runtime decides how clients are simulated."""
        return None

    def round(self, clients: Sequence[Client]) -> RoundOutcome:
        """Train the clients, aggregate, take the server's step; an update's norm is told without privacy only.

        The update of a client is its gradient under FedSGD. Without a single example in the round, an average is
        zero, but TFF's own aggregators would divide by zero: then the round is left out.
        """
        if self._needs_examples and not any(clients):
            return RoundOutcome()
        output = self._process.next(self._state, [self._dataset(client) for client in clients])
        self._state = output.state
        measured = output.metrics["aggregator"]
        if not clients or "client_norm" not in measured:
            return RoundOutcome()
        with_weight = sum(1 for client in clients if client or self._uniform)
        return RoundOutcome(
            update_norm=float(measured["client_norm"]), left_out=with_weight - int(measured["weighing"])
        )

    def plant(self, updates: Weights) -> None:
        """Not possible here."""
        raise NotImplementedError("TFF computes every client's update itself and takes none from outside")

    def weights(self) -> Weights:
        """Present global weights, canonical."""
        present = self._process.get_model_weights(self._state).trainable
        found = {name: np.array(array, np.float32) for name, array in zip(self._order, present, strict=True)}
        return {name: found[name] for name in self._names}

    def clipping_norm(self) -> float:
        """Clipping norm of the next round; 0 without privacy."""
        return present_clipping_norm(self._state, self._privacy) if self._privacy else 0.0

    def _dataset(self, client: Client) -> tf.data.Dataset:
        """Build the given batches, in their order, from as few pieces as possible.

        TFF sends a data set to its worker as a graph, so it must be made of tensors, not of a generator.
        """
        if not client:
            inputs = np.zeros((0, *self._input_shape), np.float32)
            labels = np.zeros((0, *self._labels.shape[1:]), self._labels.dtype.as_numpy_dtype)
            return tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(self._batch_size)
        joined: tf.data.Dataset | None = None
        piece: list[tuple[Floats, LabelArray]] = []
        for number, batch in enumerate(client):
            piece.append(batch)
            if len(batch[1]) == self._batch_size and number + 1 < len(client):
                continue
            inputs, labels = (np.concatenate(part) for part in zip(*piece, strict=True))
            batched = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(self._batch_size)
            joined = batched if joined is None else joined.concatenate(batched)
            piece = []
        return joined


def _build_process(
    functional: tff.learning.models.FunctionalModel,
    settings: FederatedSettings,
    specs: tuple[tf.TensorSpec, ...],
) -> tff.learning.templates.LearningProcess:
    """Choose TFF's algorithm for the regime."""
    regime = settings.regime
    server = server_optimizer(regime)
    if isinstance(regime, FedSGD):
        return tff.learning.algorithms.build_fed_sgd(
            functional, server, model_aggregator=plain_aggregator("mean"), loop_implementation=_LOOP
        )
    client = sgd(regime.client_optimizer)
    if isinstance(regime, DPFedAvg):
        if settings.privacy is None:
            raise ValueError("DPFedAvg without the numbers of its privacy")
        return tff.learning.algorithms.build_unweighted_fed_avg(
            functional,
            client,
            server,
            model_aggregator=private_aggregator(
                settings.privacy, specs, noise_seed=settings.noise_seed, rounds=regime.rounds
            ),
            loop_implementation=_LOOP,
        )
    weighting = tff.learning.ClientWeighting
    chosen = weighting.NUM_EXAMPLES if regime.weighting == "examples" else weighting.UNIFORM
    if isinstance(regime, FedProx):
        # Not build_weighted_fed_prox: TFF 0.87 adds its term with the wrong sign, and clients are driven away.
        client = ProximalOptimizer(client, strength=regime.proximal)
    return tff.learning.algorithms.build_weighted_fed_avg(
        functional,
        client,
        server,
        client_weighting=chosen,
        model_aggregator=plain_aggregator(regime.aggregation if isinstance(regime, FedAvg) else "mean"),
        loop_implementation=_LOOP,
    )


def _canonical(keras_model: tf.keras.Model, weights: Weights, wanted: tf.Variable) -> str:
    return next(name for name in weights if variable(keras_model, name) is wanted)
