"""Layers that go through a sequence step by step, with weights in the canonical layout.

Keras has these functions by ``GRU(reset_after=True)`` and ``LSTM``, but what their steps compute cannot be looked at.
With the gradients of the loss by ``a = x @ kernel + bias`` and ``b = state @ recurrent_kernel + recurrent_bias`` of all
steps, an example's gradient by a kernel is a sum over steps, as a convolution's is one over positions.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trustml.backends.tensorflow.own_layers import AsWritten

_GATES = {"GRU": 3, "LSTM": 4}


@tf.keras.utils.register_keras_serializable("trustml")
class GatedRecurrence(AsWritten):
    """States (n, steps, units) from values (n, steps, channels).

    Parameters
    ----------
    kind : {"GRU", "LSTM"}
    units : int
    """

    _unroll = False

    def __init__(self, kind: str, units: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.kind, self.units = kind, units

    def build(self, shape: tf.TensorShape) -> None:
        """Make kernels and biases."""
        wide = _GATES[self.kind] * self.units
        self.kernel = self.add_weight("kernel", shape=(shape[-1], wide))
        self.recurrent_kernel = self.add_weight("recurrent_kernel", shape=(self.units, wide))
        self.bias = self.add_weight("bias", shape=(wide,), initializer="zeros")
        self.recurrent_bias = self.add_weight("recurrent_bias", shape=(wide,), initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Shape (n, steps, units)."""
        return self._states(self._entered(inputs))

    def step_gradients(
        self, inputs: tf.Tensor, gradient: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """Give what both kernels multiply and the gradients of what they give, at each step.

        Parameters
        ----------
        inputs : tf.Tensor of shape (n, steps, channels)
            What went in.
        gradient : tf.Tensor of shape (n, steps, units)
            Of the loss by what came out.

        Returns
        -------
        of_inputs : (tf.Tensor of shape (n, steps, channels), tf.Tensor of shape (n, steps, gates * units))
        of_states : (tf.Tensor of shape (n, steps, units), tf.Tensor of shape (n, steps, gates * units))
        """
        entered = self._entered(inputs)
        taps = tf.zeros_like(entered)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([entered, taps])
            states = self._states(entered, taps)
        of_entered, of_taps = tape.gradient(states, [entered, taps], gradient)
        before = tf.pad(states[:, :-1], [[0, 0], [1, 0], [0, 0]])
        return (inputs, of_entered), (before, of_taps)

    def get_config(self) -> dict[str, Any]:
        """Settings that rebuild the layer."""
        return {"kind": self.kind, "units": self.units, "name": self.name}

    def _entered(self, inputs: tf.Tensor) -> tf.Tensor:
        steps, channels = inputs.shape[1:]
        product = tf.matmul(tf.reshape(inputs, (-1, channels)), self.kernel) + self.bias
        return tf.reshape(product, (-1, steps, product.shape[-1]))

    def _states(self, entered: tf.Tensor, taps: tf.Tensor | None = None) -> tf.Tensor:
        """States after each step; `taps` are added to what states are multiplied to, to read its gradient."""
        zeros = tf.zeros((tf.shape(entered)[0], self.units), entered.dtype)
        given = entered if taps is None else (entered, taps)

        def step(values: Any, states: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
            own, tap = (values, 0.0) if taps is None else values
            before = tf.matmul(states[0], self.recurrent_kernel) + self.recurrent_bias + tap
            after = self._after(own, before, states)
            return after[0], after

        start = [zeros] if self.kind == "GRU" else [zeros, zeros]
        found = tf.keras.backend.rnn(step, given, start, unroll=self._unroll)[1]
        return tf.ensure_shape(found, (None, entered.shape[1], self.units))

    def _after(self, own: tf.Tensor, before: tf.Tensor, states: list[tf.Tensor]) -> list[tf.Tensor]:
        """State, and cell of an LSTM, after a step."""
        parts = _GATES[self.kind]
        if self.kind == "GRU":
            (a0, a1, a2), (b0, b1, b2) = tf.split(own, parts, axis=1), tf.split(before, parts, axis=1)
            update = tf.sigmoid(a1 + b1)
            return [(1 - update) * tf.tanh(a2 + tf.sigmoid(a0 + b0) * b2) + update * states[0]]
        enter, forget, new, leave = tf.split(own + before, parts, axis=1)
        cell = tf.sigmoid(forget) * states[1] + tf.sigmoid(enter) * tf.tanh(new)
        return [tf.sigmoid(leave) * tf.tanh(cell), cell]


class UnrolledRecurrence(GatedRecurrence):
    """The same with its steps written out, for runtimes without TensorFlow's loops."""

    _unroll = True
