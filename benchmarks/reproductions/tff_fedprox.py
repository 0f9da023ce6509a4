"""TensorFlow Federated 0.87.0: the proximal term of FedProx has the wrong sign.

`proximal_client_work` adds `strength * (w_start - w)` to each gradient, where the gradient of half the strength times
the squared distance is `strength * (w - w_start)`: the stronger the brake, the further clients go.
"""

import sys

import tensorflow as tf
import tensorflow_federated as tff


def moved(strength):
    """Train one client for a round, and give its weight."""
    dense = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = tff.learning.models.functional_model_from_keras(
        tf.keras.Sequential([tf.keras.Input((1,)), dense]),
        loss_fn=tf.keras.losses.MeanSquaredError(),
        input_spec=(tf.TensorSpec((None, 1)), tf.TensorSpec((None, 1))),
    )
    process = tff.learning.algorithms.build_weighted_fed_prox(
        model, proximal_strength=strength, client_optimizer_fn=tff.learning.optimizers.build_sgdm(0.1)
    )
    data = tf.data.Dataset.from_tensor_slices(([[1.0]] * 4, [[1.0]] * 4)).batch(1)
    state = process.next(process.initialize(), [data]).state
    return float(process.get_model_weights(state).trainable[0][0, 0])


free, held = moved(0.0), moved(1.0)
print(f"a client moves by {free:.4f} without the term and by {held:.4f} with it")
sys.exit(3 if held > free else 0)
