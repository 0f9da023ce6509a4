"""Outputs of many inputs, in pieces that fit into memory."""

from __future__ import annotations

import sys

import numpy as np

from trustml.attacks.extraction import continued, distinct_texts
from trustml.attribution.passes import MOST_ROWS
from trustml.backends.contract import Network
from trustml.data.dataset import Examples, Floats, Ints, LabelArray
from trustml.models.answers import recorded
from trustml.models.tasks import NextToken, Task
from trustml.scenario.attacks import Extraction

_ROWS_AT_ONCE = 1024
_TEXTS_AT_ONCE = 64  # each of which has logits of all tokens at all steps


class InPieces:
    """A network that takes a few rows at a time; see :class:`trustml.backends.contract.Network`.

    Parameters
    ----------
    network : Network
    rows : int
        512 or more leave calls as they come: they are cut already.
    """

    def __init__(self, network: Network, rows: int) -> None:
        self._network, self._rows = network, rows if rows < MOST_ROWS else sys.maxsize

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        return np.concatenate([self._network.logits(inputs[part]) for part in self._parts(len(inputs))])

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of the target logit, shape (n, *x)."""
        parts = self._parts(len(inputs))
        return np.concatenate([self._network.input_gradients(inputs[part], targets[part]) for part in parts])

    def _parts(self, count: int) -> list[slice]:
        return [slice(start, start + self._rows) for start in range(0, max(1, count), self._rows)]


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


def extract(network: Network, train: Examples, held_out: Examples, *, asked: Extraction) -> dict[str, Ints]:
    """Let the network go on with distinct texts of both sets; how many tokens of each were right at first, by set."""
    sides = distinct_texts(
        (train.inputs, train.labels), (held_out.inputs, held_out.labels), prefix=asked.prefix, length=asked.length
    )
    found = {}
    for name, texts, rows in zip(("train", "test"), (train, held_out), sides, strict=True):
        rows = np.random.default_rng(len(rows)).permutation(rows)[: asked.texts]
        found[f"{name}_right"] = continued(
            network.logits, texts.inputs[rows], texts.labels[rows], prefix=asked.prefix, length=asked.length
        )
    return found
