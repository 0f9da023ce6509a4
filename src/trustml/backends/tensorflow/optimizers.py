"""SGD and Adam by the formulas of :mod:`trustml.scenario.optimizers`, on Keras's variables.

Keras 2.14 multiplies the momentum by the learning rate and adds Adam's stabilizer to the uncorrected second
moment, so that under a schedule, and in the first steps of Adam, it trains other models than PyTorch and Optax.
Without a schedule its SGD is equal to this one.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trustml.models.weights import Weights
from trustml.scenario.optimizers import SGD, Optimizer


class OptimizerSteps:
    """Takes steps on the variables of a model.

    Parameters
    ----------
    optimizer : SGD or Adam
    variables : dict of str to tf.Variable
        By canonical name.
    """

    def __init__(self, optimizer: Optimizer, variables: dict[str, tf.Variable]) -> None:
        self._optimizer, self._variables = optimizer, variables
        slots = ("momentum",) if isinstance(optimizer, SGD) else ("mean", "variance")
        self._slots = {
            slot: {name: tf.Variable(tf.zeros_like(variable)) for name, variable in variables.items()} for slot in slots
        }
        self._count = tf.Variable(0.0)

    def apply(self, gradients: dict[str, tf.Tensor], learning_rate: tf.Tensor) -> None:
        """Take one step; call it inside a ``tf.function``."""
        self._count.assign_add(1.0)
        for name, variable in self._variables.items():
            variable.assign_sub(learning_rate * self._direction(name, gradients[name]))

    def state(self) -> Weights:
        """Copy what is remembered; empty before the first step."""
        if not self._count.numpy():
            return {}
        state = {f"{slot}/{name}": v.numpy() for slot, kept in self._slots.items() for name, v in kept.items()}
        if not isinstance(self._optimizer, SGD):
            state["count"] = np.array(self._count.numpy(), np.float32)
        return state

    def restore(self, state: Weights) -> None:
        """Put back what :meth:`state` gave, of this backend or another; nothing is remembered of what is not in it."""
        for slot, kept in self._slots.items():
            for name, variable in kept.items():
                kept_before = state.get(f"{slot}/{name}")
                variable.assign(tf.zeros_like(variable) if kept_before is None else kept_before)
        self._count.assign(float(state.get("count", 1.0 if state else 0.0)))

    def _direction(self, name: str, gradient: tf.Tensor) -> tf.Tensor:
        optimizer = self._optimizer
        if isinstance(optimizer, SGD):
            if not optimizer.momentum:
                return gradient
            velocity = self._slots["momentum"][name]
            return velocity.assign(optimizer.momentum * velocity + gradient)
        mean, variance = self._slots["mean"][name], self._slots["variance"][name]
        mean.assign(optimizer.beta1 * mean + (1 - optimizer.beta1) * gradient)
        variance.assign(optimizer.beta2 * variance + (1 - optimizer.beta2) * tf.square(gradient))
        corrected = mean / self._correction(optimizer.beta1)
        return corrected / (tf.sqrt(variance / self._correction(optimizer.beta2)) + optimizer.stabilizer)

    def _correction(self, beta: float) -> tf.Tensor:
        """``1 - beta ** count`` in double precision: in single, 1 - 0.999 is off by 5e-5."""
        power = tf.pow(tf.constant(beta, tf.float64), tf.cast(self._count, tf.float64))
        return tf.cast(1 - power, tf.float32)
