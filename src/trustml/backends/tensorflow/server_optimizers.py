"""TFF's functional optimizers: those of the server, and those of clients."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from trustml.scenario.federated import DPFedAvg, FedAdagrad, FedAdam, FedAvg, FederatedRegime, FedProx, FedSGD, FedYogi
from trustml.scenario.optimizers import SGD


def server_optimizer(regime: FederatedRegime) -> tff.learning.optimizers.Optimizer:
    """Build the server's optimizer, whose gradient is the average update with the opposite sign.

    Parameters
    ----------
    regime : FederatedRegime

    Returns
    -------
    tff.learning.optimizers.Optimizer
    """
    rate = regime.server_learning_rate
    match regime:
        case FedAdam():
            return tff.learning.optimizers.build_adam(rate, regime.beta1, regime.beta2, regime.stabilizer)
        case FedYogi():
            return tff.learning.optimizers.build_yogi(
                rate, regime.beta1, regime.beta2, regime.stabilizer, regime.initial_accumulator
            )
        case FedAdagrad():
            return tff.learning.optimizers.build_adagrad(rate, regime.initial_accumulator, regime.stabilizer)
        case FedProx():
            return sgd(SGD(learning_rate=rate))
        case FedAvg() | FedSGD() | DPFedAvg():
            return sgd(SGD(learning_rate=rate, momentum=regime.server_momentum))


def sgd(optimizer: SGD) -> tff.learning.optimizers.Optimizer:
    """Build TFF's SGD; without momentum it keeps no velocity.

    Parameters
    ----------
    optimizer : SGD

    Returns
    -------
    tff.learning.optimizers.Optimizer
    """
    return tff.learning.optimizers.build_sgdm(optimizer.learning_rate, optimizer.momentum or None)


class ProximalOptimizer(tff.learning.optimizers.Optimizer):
    """Add the gradient of ``strength / 2 * ||w - w_start||**2`` before an optimizer's step.

    TFF makes an optimizer's state anew for each client in each round, so the first weights that it sees are
    those that the server sent.

    Parameters
    ----------
    inner : tff.learning.optimizers.Optimizer
    strength : float
    """

    def __init__(self, inner: tff.learning.optimizers.Optimizer, *, strength: float) -> None:
        self._inner, self._strength = inner, strength

    def initialize(self, specs: Any) -> OrderedDict[str, Any]:
        """Begin without having seen any weights."""
        zeros = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), specs)
        return OrderedDict(started=tf.constant(False), start=zeros, inner=self._inner.initialize(specs))

    def next(self, state: OrderedDict[str, Any], weights: Any, gradients: Any) -> tuple[OrderedDict[str, Any], Any]:
        """Take one step."""
        start = tf.nest.map_structure(lambda old, new: tf.where(state["started"], old, new), state["start"], weights)
        pulled = tf.nest.map_structure(
            lambda gradient, weight, first: gradient + self._strength * (weight - first), gradients, weights, start
        )
        inner, weights = self._inner.next(state["inner"], weights, pulled)
        return OrderedDict(started=tf.constant(True), start=start, inner=inner), weights
