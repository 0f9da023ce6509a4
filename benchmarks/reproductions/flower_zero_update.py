"""Flower 1.42.0: a client whose model did not change stops the round.

`clip_inputs_inplace` divides the clipping norm by the norm of the update, which is 0.0 for a client without examples or
with a learning rate of zero: ZeroDivisionError in `aggregate_train`, and everybody knows who came.
"""

import sys

import numpy as np
from flwr.supercore.differential_privacy import compute_clip_model_update

weights = [np.zeros(3)]
try:
    compute_clip_model_update([np.zeros(3)], weights, clipping_norm=1.0)
except ZeroDivisionError as error:
    print(f"ZeroDivisionError: {error}")
    sys.exit(3)
print("an update of zero stays zero")
