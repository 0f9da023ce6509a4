"""pfl 0.6.0: the noise of `BandedMatrixFactorizationMechanism` is too small.

The Gram matrix X is optimised with a unit diagonal, so that columns of C have norm 1 where X = C.T @ C. The factor that
is taken is `numpy.linalg.cholesky(X)`, whose product is C @ C.T: its rows have norm 1, and a client's visit moves the
encoded sum by the norm of a column, which is larger. The noise stays that of 1.
"""

import os
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
from pfl.internal.ops import pytorch_ops, selector
from pfl.privacy.ftrl_mechanism import BandedMatrixFactorizationMechanism

selector.set_framework_module(pytorch_ops)
os.chdir(tempfile.mkdtemp())  # it keeps a file where it is started
accountant = SimpleNamespace(cohort_noise_parameter=1.0)
mechanism = BandedMatrixFactorizationMechanism(1.0, 20, 5, lambda _: accountant)
norm = float(np.linalg.norm(mechanism.query_matrix, axis=0).max())
print(f"largest norm of a column: {norm:.3g} (noise is made for 1)")
sys.exit(3 if norm > 1.01 else 0)
