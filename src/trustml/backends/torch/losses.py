"""The loss of examples by their task."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from trustml.backends.contract import Model
from trustml.models.tasks import (
    DEFAULT_TASK,
    Binary,
    Classes,
    Labels,
    NextToken,
    Regression,
    Task,
    are_classes,
    require_same_shape,
)


def batch_loss(task: Task, outputs: Tensor, labels: Tensor, *, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Mean, or sum, over the examples of their losses; outputs are (n, c), or (n, steps, c)."""
    if task == DEFAULT_TASK:
        return functional.cross_entropy(outputs, labels, reduction=reduction)
    losses = example_losses(task, outputs, labels)
    return losses.mean() if reduction == "mean" else losses.sum()


def copies_loss(task: Task, outputs: Tensor, labels: Tensor, *, copies: int, own_labels: bool) -> Tensor:
    """Sum over the examples of their mean loss over copies; outputs and labels are of all n * k rows.

    With labels of their own the copies are a user's rows, of which one whose label is negative or not a number is not
    there.
    """
    if not own_labels:
        return batch_loss(task, outputs, labels, reduction="sum") / copies
    marks = labels.flatten(1)[:, 0] if labels.ndim > 1 else labels
    there = ~marks.isnan() if marks.is_floating_point() else marks >= 0
    known = torch.where(there.view(-1, *[1] * (labels.ndim - 1)), labels, torch.zeros_like(labels))
    counts = there.view(-1, copies).sum(dim=1).clamp(min=1)
    shares = there.view(-1, copies).to(outputs.dtype) / counts[:, None]
    return (example_losses(task, outputs, known) * shares.flatten()).sum()


def example_losses(task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    """Loss of each example, (n,)."""
    if not are_classes(task):
        require_same_shape(tuple(outputs.shape), tuple(labels.shape))
    match task:
        case Classes():
            found = functional.cross_entropy(outputs, labels, reduction="none")
            return found * _of_classes(task, labels) if task.class_weights else found
        case Binary():
            found = functional.binary_cross_entropy_with_logits(outputs, labels, reduction="none")[:, 0]
            return found * _of_classes(task, labels[:, 0]) if task.class_weights else found
        case Labels():
            each = functional.binary_cross_entropy_with_logits(outputs, labels, reduction="none")
            return (each * outputs.new_tensor(task.class_weights or (1.0,))).mean(dim=1)
        case Regression(loss="squared"):
            return functional.mse_loss(outputs, labels, reduction="none").mean(dim=1)
        case Regression(loss="absolute"):
            return functional.l1_loss(outputs, labels, reduction="none").mean(dim=1)
        case Regression():
            return functional.huber_loss(outputs, labels, reduction="none", delta=task.huber_delta).mean(dim=1)
        case NextToken():
            each = functional.cross_entropy(outputs.transpose(1, 2), labels, reduction="none")
            follows = (labels > 0).to(each.dtype)
            return (each * follows).sum(dim=1) / follows.sum(dim=1).clamp(min=1)


def synthetic_labels(model: Model, count: int, *, generator: torch.Generator) -> Tensor:
    """Labels of no data, to time with."""
    shape = (count, *model.label_shape)
    if are_classes(model.task):
        return torch.randint(model.outputs, shape, generator=generator)
    return torch.randint(2, shape, generator=generator).to(torch.float32)


def _of_classes(task: Classes | Binary, classes: Tensor) -> Tensor:
    return torch.tensor(task.class_weights, device=classes.device)[classes.long()]
