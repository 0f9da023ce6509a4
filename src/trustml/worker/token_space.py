"""What is explained of a model of token ids: vectors that were looked up before, each a value of its token."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from trustml.backends.contract import Model
from trustml.catalogue.available import combine_of, returns_layer
from trustml.data.dataset import Floats
from trustml.models.layers import Node
from trustml.models.tasks import NextToken, explained_task
from trustml.models.token_layers import Pick
from trustml.models.token_space import look_up, looked_up_shape, table_of_tokens
from trustml.scenario.methods import Method, RandomControl

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]


def in_token_space(model: Model, inputs: Floats, prepared: Arrays) -> tuple[Model, Floats, Arrays]:
    """Give model, inputs and prepared arrays of explanations in :mod:`trustml.models.token_space`, or as they are.

    Baselines, one for each input, have the padding of their inputs; the rows of a background have their own.
    """
    if not table_of_tokens(model.architecture):
        return model, inputs, prepared
    shape = looked_up_shape(model.architecture, model.input_shape)

    def vectors(ids: npt.NDArray[Any], masks: npt.NDArray[Any]) -> Floats:
        return look_up(model.architecture, model.weights, ids.astype(np.float32), masks=masks.astype(np.float32))

    found: Arrays = {}
    for name, array in prepared.items():
        kind = name.rpartition(".")[2]
        if kind == "features":
            found[name] = np.broadcast_to(array[:, None], shape).copy()
        elif kind == "baseline":
            found[name] = vectors(array, inputs)
        else:
            found[name] = vectors(array, array)
    explained = Model(architecture=model.architecture, input_shape=shape, weights=model.weights, task=model.task)
    return explained, vectors(inputs, inputs), found


def at_the_step(model: Model) -> Model:
    """Give the network that is explained: of texts the one that gives the logits of one step's next token."""
    if not isinstance(model.task, NextToken):
        return model
    last = Node(name="explained", layer=Pick(index=model.task.step))
    names = {node.name for node in model.architecture.nodes}
    while last.name in names:
        last = replace(last, name=f"{last.name}_")
    nodes = (*model.architecture.layers, last)
    return dataclasses.replace(
        model, architecture=replace(model.architecture, layers=nodes), task=explained_task(model.task)
    )


def by_token(method: Method, attributions: Floats) -> Floats:
    """Give each token what its vector was given, (n, steps): contributions add up; slopes and magnitudes do not."""
    if returns_layer(method):
        return attributions
    vectors = attributions[..., :-1]
    summed = not isinstance(method, RandomControl) and combine_of(method) == "sum"
    found: Floats = vectors.sum(axis=-1) if summed else vectors.mean(axis=-1)
    return found


def tables_looked_up(model: Model) -> frozenset[str]:
    """Names of weights that no longer matter once tokens are looked up."""
    name = table_of_tokens(model.architecture)
    return frozenset({f"{name}.table"}) if name else frozenset()
