"""TF Privacy 0.9.0: one example that is not finite makes the private gradient NaN, whatever the noise.

The norm of its gradient is NaN, and so is what clipping divides by it: every weight is lost, and whoever sees the
weights knows that the example was in the batch. No epsilon covers that.
"""

import sys

import numpy as np
import tensorflow as tf
from tensorflow_privacy.privacy.optimizers.dp_optimizer_keras import DPKerasSGDOptimizer

network = tf.keras.Sequential([tf.keras.Input((5,)), tf.keras.layers.Dense(2)])
network.compile(
    DPKerasSGDOptimizer(l2_norm_clip=1.0, noise_multiplier=1.0, num_microbatches=4, learning_rate=0.1),
    tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=tf.keras.losses.Reduction.NONE),
)
inputs = np.ones((4, 5), np.float32)
inputs[2] = np.nan
network.train_on_batch(inputs, np.zeros(4, np.int64))
lost = not all(np.isfinite(weight).all() for weight in network.get_weights())
print("every weight is NaN" if lost else "the example was left out")
sys.exit(3 if lost else 0)
