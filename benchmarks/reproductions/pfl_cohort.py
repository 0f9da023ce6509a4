"""pfl 0.6.0: under privacy the noisy sum is divided by the clients that came.

Under Poisson sampling the number of clients is private itself: one client more changes every other's share.
"""

import sys

import numpy as np
from pfl.aggregate.weighting import WeightByUser
from pfl.stats import MappedVectorStatistics

moved = []
for clients in (1, 4):
    total = None
    for _ in range(clients):
        one = MappedVectorStatistics({"w": np.ones(3)})
        one, _ = WeightByUser().postprocess_one_user(stats=one, user_context=None)
        total = one if total is None else total + one
    total.average()  # as FederatedAveraging does, after the noise
    moved.append(float(total["w"][0]) / clients)
print(f"one client alone moves a weight by {moved[0]:g}, each of four clients by {moved[1]:g}")
sys.exit(3 if moved[0] != moved[1] else 0)
