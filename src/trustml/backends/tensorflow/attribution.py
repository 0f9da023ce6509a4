"""Attributions by tf-explain: its raw arrays, never its rendered pictures.

tf-explain 0.3.1 returns for integrated gradients the *mean gradient* along the path, both ends included,
from a baseline of zeros. The factor (input - baseline) of the definition is missing (its issue 128), so
the attributions cannot add up to the change of the logit. ``native`` is that array; ``completed`` is the
same times (input - baseline).
"""

from __future__ import annotations

import numpy as np
from tf_explain.core.integrated_gradients import IntegratedGradients

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.tensorflow.network import build_keras

_ROWS_AT_ONCE = 4096


def explain(request: ExplainRequest) -> Attributions:
    """tf-explain's integrated gradients, class by class: it takes one class for a whole batch."""
    model = build_keras(request.model)
    n_steps = request.method.n_steps
    native = np.zeros(request.inputs.shape, np.float32)
    at_once = max(1, _ROWS_AT_ONCE // n_steps)
    for target in np.unique(request.targets):
        members = np.flatnonzero(request.targets == target)
        for start in range(0, len(members), at_once):
            rows = members[start : start + at_once]
            path = IntegratedGradients.generate_interpolations(request.inputs[rows], n_steps)
            native[rows] = IntegratedGradients.get_integrated_gradients(path, model, int(target), n_steps)
    return {"native": native, "completed": native * request.inputs}
