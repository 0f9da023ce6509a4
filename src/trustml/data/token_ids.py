"""Whether a data set's inputs are the token ids that a model looks up."""

from __future__ import annotations

import numpy as np

from trustml.data.dataset import Dataset
from trustml.errors import ScenarioError
from trustml.models.graph import layer_field
from trustml.models.layers import INPUT, Architecture
from trustml.models.token_layers import Embedding, Mask

_ROWS_AT_ONCE = 4096


def check_token_ids(architecture: Architecture, dataset: Dataset) -> None:
    """Refuse data whose inputs are no ids of the tables that take them, instead of cutting them off.

    Raises
    ------
    ScenarioError
        It names the layer.
    """
    for index, node in enumerate(architecture.nodes):
        layer = node.layer
        if not isinstance(layer, Embedding | Mask):
            continue
        field, shape = layer_field(architecture, index), dataset.input_shape
        if node.inputs != (INPUT,):
            problem = f"{type(layer).__name__} takes token ids, but {node.inputs[0]!r} is computed"
            raise ScenarioError(field, problem, fix='name "input" as its input')
        if len(shape) != 1:
            problem = f"{type(layer).__name__} takes token ids (steps,), but inputs have shape {shape}"
            raise ScenarioError(field, problem, fix="use a source of texts, or a model for these inputs")
        if isinstance(layer, Embedding):
            _check_range(layer, dataset, field)


def _check_range(layer: Embedding, dataset: Dataset, field: str) -> None:
    largest = 0.0
    for part in (dataset.train.inputs, dataset.test.inputs):
        for start in range(0, len(part), _ROWS_AT_ONCE):  # it may be mapped from a file
            ids = part[start : start + _ROWS_AT_ONCE]
            if (ids < 0).any() or (ids != np.floor(ids)).any():
                raise ScenarioError(
                    field,
                    "Embedding takes token ids, but inputs are numbers below zero or between them",
                    fix="use a source of texts, or FeatureTokens for the columns of a table",
                )
            largest = max(largest, float(ids.max(initial=0)))
    if largest >= layer.vocabulary:
        problem = f"{layer.vocabulary} tokens, but the data has id {largest:.0f}"
        raise ScenarioError(f"{field}.vocabulary", problem, fix=f"use {largest + 1:.0f} or more")
