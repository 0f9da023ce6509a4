"""What attacks look at: answers of the target and of reference models, checked and read for signals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.catalogue import CATALOGUE, References, Seen
from trustml.attacks.signals import Floats, checked_outputs
from trustml.attacks.task_signals import (
    checked_numbers,
    checked_texts,
    signals_of_losses,
    task_signals,
    two_classes,
)
from trustml.errors import UsageError
from trustml.models.answers import DEVIATION
from trustml.models.tasks import Classes, NextToken, Task


def as_two_classes(
    outputs: npt.NDArray[Any], labels: npt.NDArray[Any], references: References | None
) -> tuple[Floats, npt.NDArray[np.int64], References | None]:
    """What a model of one output says, as of two classes."""
    checked_numbers(outputs, labels, field="target_logits")
    values, truth = two_classes(outputs, labels)
    if references is not None:
        logits, _ = two_classes(references.logits, labels)
        references = References(logits=logits, members=references.members)
    return values, truth, references


def answers(
    outputs: npt.NDArray[Any], labels: npt.NDArray[Any], task: Task
) -> tuple[Floats, npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Outputs and labels, checked, and the classes, of which a task without classes has none."""
    if isinstance(task, Classes):
        values, classes = checked_outputs(outputs, labels, field="target_logits")
        return values, classes, classes
    check = checked_texts if isinstance(task, NextToken) else checked_numbers
    values, truth = check(outputs, labels, field="target_logits")
    return values, truth, np.zeros(0, np.int64)


def unfit_to_texts(task: Task, values: Floats) -> dict[str, str]:
    """Attacks by the tokens of a text, where there are none, or a record of before tells too little of them."""
    if isinstance(task, NextToken) and values.shape[2] > DEVIATION:
        return {}
    why = "looks at each token of a text, which is for models that were asked for the next token and recorded it all"
    return {attack.name: why for attack in CATALOGUE if attack.texts}


def look(
    values: Floats,
    truth: npt.NDArray[Any],
    references: References | None,
    *,
    normalised: bool,
    task: Task,
    names: tuple[str, ...],
) -> Seen:
    """Read the signals of the target, and of the reference models if there are any."""
    signals = task_signals(values, truth, task=task, field="target_logits", normalised=normalised)
    if references is None:
        return Seen(logits=values, labels=truth, signals=signals, names=names)
    logits, inside = np.asarray(references.logits), np.asarray(references.members)
    of_texts = isinstance(task, NextToken)
    each = values.shape[:1] if of_texts else values.shape
    if logits.ndim != 1 + len(each) or logits.shape[1:] != each or inside.shape != logits.shape[:2] or not len(logits):
        raise UsageError(
            f"references: logits of shape {logits.shape} and members of {inside.shape} beside target_logits of "
            f"{values.shape}; give (models, examples{'' if of_texts else ', classes'}) and (models, examples) of the "
            "same examples"
        )
    if inside.dtype != np.bool_:
        raise UsageError(f"references.members: type {inside.dtype}; give bools")
    if of_texts:
        if not np.isfinite(logits).all():
            raise UsageError("references: some values are not finite; fix that model or leave it out")
        return Seen(
            logits=values,
            labels=truth,
            signals=signals,
            references=References(logits=logits, members=inside),
            reference_signals=signals_of_losses(-logits.astype(np.float64)),
            names=names,
        )
    # model by model: in float64 all of them at once may not fit into memory
    parts = [task_signals(one, truth, task=task, field="references.logits", normalised=normalised) for one in logits]
    stacked = {name: np.stack([getattr(part, name) for part in parts]) for name in type(signals).__dataclass_fields__}
    return Seen(
        logits=values,
        labels=truth,
        signals=signals,
        references=References(logits=logits, members=inside),
        reference_signals=type(signals)(**stacked),
    )
