"""TensorFlow 2.14: `tf.vectorized_map` forgets the value of `tf.pad`, and so do TF Privacy's per-example gradients.

The converter of `PadV2` leaves `constant_values` out, so that a pool padded with minus infinity sees zeros.
"""

import sys

import tensorflow as tf

rows = tf.ones((2, 1))
found = tf.vectorized_map(lambda row: tf.pad(row, [[1, 0]], constant_values=-5.0), rows).numpy()[0, 0]
print(f"padded with -5 under vectorized_map: {found:g}")
sys.exit(3 if found != -5.0 else 0)
