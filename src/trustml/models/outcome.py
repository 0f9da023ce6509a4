"""What of a model's answer is explained: an output as it is, the probability it stands for, or the loss of a label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.models.answers import Explained, answers, explained_outputs
from trustml.models.layer_spec import LayerSpec
from trustml.models.layers import Architecture
from trustml.models.losses import AnyArray
from trustml.models.tasks import Binary, Classes, Labels, Quantity, Regression, Task


class Outcome(LayerSpec, frozen=True, kw_only=True, tag="Outcome"):
    """A last layer that explanations put behind a model's own; no layer of a scenario.

    Parameters
    ----------
    quantity : {"probability", "loss"}
        Of a loss there is a value for each label that an example could have, without class weights.
    exclusive : bool
        Whether outputs are logits of classes that exclude each other, instead of log-odds; a loss of these is of one
        output, and has the values of both labels.
    """

    quantity: Literal["probability", "loss"]
    exclusive: bool


def outcome_shape(layer: Outcome, shapes: Sequence[tuple[int, ...]], field: str) -> tuple[int, ...]:
    """Shape of the outcome."""
    return shapes[0] if layer.exclusive or layer.quantity == "probability" else (2,)


def why_no_quantity(task: Task, quantity: Quantity) -> str:
    """Say why the task does not define it; empty if it does."""
    if quantity == "logit":
        return ""
    if isinstance(task, Regression):
        return "a regression gives a number, which has no probability and whose loss needs another target each time"
    if isinstance(task, Labels) and quantity == "loss":
        return "the loss of several labels is of all outputs together, and one output is explained"
    return ""


def with_outcome(architecture: Architecture, task: Task, quantity: Quantity) -> Architecture:
    """Put the outcome behind the outputs of a network, if another than the outputs is explained."""
    if quantity == "logit":
        return architecture
    last = Outcome(quantity=quantity, exclusive=isinstance(task, Classes))
    return msgspec.structs.replace(architecture, layers=(*architecture.layers, last))


def explained_columns(
    task: Task,
    quantity: Quantity,
    outputs: AnyArray,
    labels: AnyArray,
    target: Explained,
) -> npt.NDArray[np.int64]:
    """Column of the outcome that is explained of each example, (n,)."""
    if not (isinstance(task, Binary) and quantity == "loss"):
        return explained_outputs(task, outputs, labels, target=target)
    if isinstance(target, int):
        return np.full(len(outputs), target, np.int64)
    chosen: AnyArray = labels if target == "true" else answers(task, outputs)
    return (chosen[:, 0] > 0.5).astype(np.int64)
