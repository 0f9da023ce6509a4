"""TensorFlow Federated 0.87.0: one client with a finite update whose norm overflows loses the round of all others.

`DifferentiallyPrivateFactory` clips by a norm that is infinite in float32, which makes the update NaN and the sum with
it. The server's step leaves a sum out that is not finite: the round is lost, visibly and without noise, and everybody
knows that the client came. (Updates that are not finite themselves are left out, one by one.)
"""

import sys

import tensorflow as tf
import tensorflow_federated as tff

dense = tf.keras.layers.Dense(2, use_bias=False, kernel_initializer="zeros")
model = tff.learning.models.functional_model_from_keras(
    tf.keras.Sequential([tf.keras.Input((2,)), dense]),
    loss_fn=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    input_spec=(tf.TensorSpec((None, 2)), tf.TensorSpec((None,), tf.int32)),
)
process = tff.learning.algorithms.build_unweighted_fed_avg(
    model,
    client_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
    model_aggregator=tff.aggregators.DifferentiallyPrivateFactory.gaussian_fixed(
        noise_multiplier=1.0, clients_per_round=2.0, clip=1.0
    ),
)


def moved(*rows):
    """Let a client of each row take part in one round, and say whether the model moved."""
    data = [tf.data.Dataset.from_tensor_slices(([[row, row]], [0])).batch(1) for row in rows]
    state = process.next(process.initialize(), data).state
    return bool((process.get_model_weights(state).trainable[0] != 0).any())


ordinary, with_one_more = moved(1.0), moved(1.0, 1e30)
print(f"the model moves without the client: {ordinary}, with it: {with_one_more}")
sys.exit(3 if ordinary and not with_one_more else 0)
