"""Flower 1.42.0: a client that is not finite passes the clipping.

`min(1, clipping_norm / norm)` is 1 where the norm is NaN, and an infinite norm gives 0 times infinity: the sum is NaN
for all, visibly and without noise.
"""

import sys

import numpy as np
from flwr.supercore.differential_privacy import compute_clip_model_update

lost = []
for value in (np.nan, np.inf):
    update = [np.array([value, 1.0])]
    with np.errstate(invalid="ignore"):
        compute_clip_model_update(update, [np.zeros(2)], clipping_norm=1.0)
    lost.append(not np.isfinite(update[0]).all())
print(f"NaN passes: {lost[0]}; infinity becomes NaN: {lost[1]}")
sys.exit(3 if any(lost) else 0)
