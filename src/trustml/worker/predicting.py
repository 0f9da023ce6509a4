"""Outputs of many inputs, in pieces that fit into memory."""

from __future__ import annotations

import numpy as np

from trustml.backends.contract import Network
from trustml.data.dataset import Floats, LabelArray
from trustml.models.answers import recorded
from trustml.models.tasks import NextToken, Task

_ROWS_AT_ONCE = 1024
_TEXTS_AT_ONCE = 64  # each of which has logits of all tokens at all steps


def predict(network: Network, inputs: Floats) -> Floats:
    """Logits of shape (n, c)."""
    parts = [network.logits(inputs[start : start + _ROWS_AT_ONCE]) for start in range(0, len(inputs), _ROWS_AT_ONCE)]
    return np.concatenate(parts).astype(np.float32)


def predict_recorded(network: Network, inputs: Floats, labels: LabelArray, *, task: Task) -> Floats:
    """What is recorded of the outputs (:func:`trustml.models.answers.recorded`)."""
    if not isinstance(task, NextToken):
        return predict(network, inputs)
    parts = [
        recorded(task, network.logits(inputs[start : start + _TEXTS_AT_ONCE]), labels[start : start + _TEXTS_AT_ONCE])
        for start in range(0, len(inputs), _TEXTS_AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float32)
