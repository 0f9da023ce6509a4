"""What a model is asked, as plain data, and one table of what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from trustml.ranges import Positive

ClassWeights: TypeAlias = Annotated[
    tuple[Positive, ...],
    msgspec.Meta(extra={"fix": "give public constants, one a class; counts of private labels would cost epsilon"}),
]


Quantity: TypeAlias = Literal["logit", "probability", "loss"]
"""What of an output is explained: itself, the probability it stands for, or the loss of a label."""


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all tasks share: the field ``kind`` names them in files."""


class Classes(TaskSpec, frozen=True, kw_only=True, tag="Classes"):
    """One class of many: an output for each class, softmax cross-entropy.

    Parameters
    ----------
    class_weights : tuple of float
        Public constants, one a class, that the loss of its examples is multiplied by *before* anything is clipped, so
        that the clipping norm stands. Counts of private labels are no public constants. The mean loss of a batch is
        over its examples, not over their weights.
    """

    class_weights: ClassWeights = ()


class Binary(TaskSpec, frozen=True, kw_only=True, tag="Binary"):
    """One of two classes by a single output, the log-odds of the second: sigmoid cross-entropy.

    Parameters
    ----------
    class_weights : tuple of float
        Of the first and the second class; see :class:`Classes`.
    """

    class_weights: ClassWeights = ()


class Labels(TaskSpec, frozen=True, kw_only=True, tag="Labels"):
    """Several labels that hold or do not: an output for each, the log-odds that it holds.

    The loss of an example is the *mean* over the labels of their sigmoid cross-entropies.

    Parameters
    ----------
    class_weights : tuple of float
        Of each label's cross-entropy in that mean; see :class:`Classes`.
    """

    class_weights: ClassWeights = ()


class Regression(TaskSpec, frozen=True, kw_only=True, tag="Regression"):
    """A number.

    Parameters
    ----------
    loss : {"squared", "absolute", "huber"}
        ``r ** 2``, ``abs(r)``, or Huber's: ``r ** 2 / 2`` up to `huber_delta` and ``huber_delta * (abs(r) -
        huber_delta / 2)`` beyond, of the residual ``r`` of the scaled target.
    huber_delta : float
        In units of the scaled target.
    target_range : (float, float), optional
        Known lowest and highest target, public constants; the network is taught targets mapped to [-1, 1] by them, as
        columns are by ``data.ranges``. What is reported of predictions is in the unit of the data again. Without it
        targets are taught as they are.
    """

    loss: Literal["squared", "absolute", "huber"] = "squared"
    huber_delta: Positive = 1.0
    target_range: tuple[float, float] | None = None


class NextToken(TaskSpec, frozen=True, kw_only=True, tag="NextToken"):
    """The token that follows at each step of a text: logits of all tokens at each, softmax cross-entropy.

    The loss of a text is the *mean* over the steps that a token follows, padding left out: a text is one example, and
    what is clipped is its gradient.

    Parameters
    ----------
    step : int
        Where explanations ask for the next token; negative from the end of the inputs. Where no token follows the
        step in a text, the likeliest one is explained.
    """

    step: int = -1


Task: TypeAlias = Classes | Binary | Labels | Regression | NextToken
DEFAULT_TASK = Classes()


_LATER: dict[str, Any] = {
    "task": msgspec.to_builtins(DEFAULT_TASK),
    "ablation": None,
    "ablated": None,
    "chosen_from_data": [],
    "start": "",
    "sweep": [],
    "tried": {},
    "border": "zeros",
    "groups": [],
    "quantity": "logit",
    "explanation_rows": 0,
    "extraction": None,
    "extracted": "",
    "attributes": None,
    "attribute_values": "",
    "attributed": "",
    "gradient_inversion": None,
    "model_inversion": None,
    "property_inference": None,
    "rows": [],
    "trainable": [],
    "from_seed": False,
    "classes": [],
    "devices": 0,
    "place": {"kind": "local"},
    "warm_workers": True,
    "resources": {},
    "relation": None,
}
"""Fields that jobs and scenarios got after runs had been recorded, and the values that change nothing."""
_LATER_OF_KIND: dict[tuple[str, str], Any] = {
    ("Plain", "augmentation"): None,
    ("SmoothGrad", "relative"): False,
    ("DPSGD", "unit"): "example",
    ("DPSGD", "key"): [],
    ("DPSGD", "rows_per_user"): 8,
    ("FedAvg", "clipping_norm"): None,
}
"""The same of one kind of struct alone, where others had the field before."""


def without_later_defaults(data: Any) -> Any:
    """Leave out of plain data the later fields that have their defaults, as it was before there were any.

    Digests of jobs and records of scenarios then are what they were.
    """
    if isinstance(data, list | tuple):
        return [without_later_defaults(value) for value in data]
    if not isinstance(data, dict) or data.get("kind") == "Module":  # whose arguments may have any names
        return data
    later = _LATER | {field: value for (kind, field), value in _LATER_OF_KIND.items() if kind == data.get("kind")}
    return {
        name: without_later_defaults(value)
        for name, value in data.items()
        if name not in later or msgspec.json.encode(value) != msgspec.json.encode(later[name])
    }


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """What follows from a task.

    Attributes
    ----------
    title : str
    labels : str
        Type and shape of the labels of n examples, as they are stored and trained on.
    outputs : str
        What the network gives.
    loss : str
        Of one example.
    score : str
        Measure that leads tables, and that a regime may stop at.
    score_words : str
    label_words, truth : str
        What labels are called, and the one of an example.
    explained : str
        Outputs that can be explained.
    probability : str
        What stands where explanations are judged by the probability of the target.
    signals : str
        What attacks on membership rank examples by.
    not_attacked_by : mapping of str to str
        Attacks on membership that need what this task does not give, and what that is.
    canaries : str
        Labels of mislabelled canaries.
    audited : str
        Whether :func:`trustml.audit` takes models of this task.
    """

    title: str
    labels: str
    outputs: str
    loss: str
    score: str
    score_words: str = "accuracy"
    label_words: str = "classes"
    truth: str = "true class"
    explained: str
    probability: str
    signals: str
    not_attacked_by: Mapping[str, str]
    canaries: str
    audited: str


_NO_CLASSES = "needs probabilities of classes, and a regression gives a number"
_NO_LIKELIHOOD = "compares probabilities of the label, and a squared error has no scale to make one of"
_ONE_TOKEN = "looks at one answer an example, and a text has one at each step"
_ONE_ANSWER = "learns from probabilities of classes that exclude each other"

TASKS: dict[type[TaskSpec], TaskFacts] = {
    Classes: TaskFacts(
        title="one class of many",
        labels="int64 (n,)",
        outputs="a logit for each class",
        loss="softmax cross-entropy",
        score="accuracy",
        explained="the logit of a class: the true, the predicted or a given one",
        probability="softmax probability of the class",
        signals="loss, log-odds of the true class, entropy",
        not_attacked_by={},
        canaries="another class, at random",
        audited="yes",
    ),
    Binary: TaskFacts(
        title="one of two classes by one output",
        labels="float32 (n, 1), 0 or 1",
        outputs="the log-odds of the second class",
        loss="sigmoid cross-entropy",
        score="accuracy",
        explained="the one output",
        probability="sigmoid of the output",
        signals="those of two classes with the logits 0 and z",
        not_attacked_by={},
        canaries="the other class",
        audited="as a model of two classes: one that gives [1 - p, p]",
    ),
    Labels: TaskFacts(
        title="several labels",
        labels="float32 (n, k), 0 or 1",
        outputs="the log-odds of each label",
        loss="mean over the labels of sigmoid cross-entropies",
        score="accuracy",
        label_words="labels",
        truth="true labels",
        explained="the output of a label: a given one, or the likeliest of those that hold, or of all",
        probability="sigmoid of the label's output",
        signals="loss and log-odds of all labels of an example together, entropy",
        not_attacked_by={"learned": _ONE_ANSWER},
        canaries="all labels turned over",
        audited="no",
    ),
    Regression: TaskFacts(
        title="regression",
        labels="float32 (n, 1), scaled by target_range",
        outputs="the scaled target",
        loss="squared, absolute or Huber's",
        score="r2",
        score_words="R2",
        label_words="targets",
        truth="true value",
        explained="the one output, in scaled units",
        probability="the output itself, in scaled units",
        signals="loss; LiRA: the negative squared error",
        not_attacked_by={
            "confidence": _NO_CLASSES,
            "entropy": _NO_CLASSES,
            "modified-entropy": _NO_CLASSES,
            "label-only": _NO_CLASSES,
            **dict.fromkeys(("rmia-1", "rmia-2", "rmia-4", "rmia-all", "rmia-offline"), _NO_LIKELIHOOD),
            "learned": _NO_CLASSES,
        },
        canaries="the end of target_range that is further away",
        audited="as a model of one number, with targets that are not whole, a regressor, or outputs='values'",
    ),
    NextToken: TaskFacts(
        title="next token",
        labels="int64 (n, steps): the tokens that follow; 0 where none does",
        outputs="a logit for each token at each step",
        loss="mean over the steps that a token follows of softmax cross-entropies",
        score="accuracy",
        label_words="next tokens",
        truth="next token",
        explained="the logit of a token at one step: the one that follows, the likeliest or a given one",
        probability="softmax probability of the token",
        signals="mean loss over the steps, also against reference models and the packed text; mean log-probability of "
        "the likeliest and of the least likely tokens",
        not_attacked_by={
            **dict.fromkeys(("entropy", "modified-entropy", "label-only"), _ONE_TOKEN),
            "learned": _ONE_TOKEN,
        },
        canaries="another token at each step, at random",
        audited="no",
    ),
}
"""By the type of the task."""


def facts_of(task: Task) -> TaskFacts:
    """Row of a task in the table."""
    return TASKS[type(task)]


def output_count(task: Task, names: int) -> int:
    """Outputs that a network must have, where there are so many names of classes, labels or targets."""
    return 1 if isinstance(task, Binary | Regression) else names


def label_shape(task: Task, outputs: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of one example's label, for a network that gives outputs of this shape."""
    return outputs[:-1] if are_classes(task) else outputs


def are_classes(task: Task) -> bool:
    """Whether labels are whole numbers, of a class or a token, and not as many numbers as there are outputs."""
    return isinstance(task, Classes | NextToken)


def explained_task(task: Task) -> Task:
    """What is asked of the network that is explained: of one step of a text, one token of all."""
    return DEFAULT_TASK if isinstance(task, NextToken) else task


def require_same_shape(outputs: tuple[int, ...], labels: tuple[int, ...]) -> None:
    """Refuse outputs and labels that arrays would broadcast to a loss of nobody's.

    Raises
    ------
    ValueError
    """
    if outputs != labels:
        raise ValueError(f"labels of shape {labels} beside outputs of shape {outputs}; give both (n, c)")


def in_words(task: Task, names: int) -> str:
    """Say what is asked, for tables: ``10 classes``."""
    match task:
        case Classes():
            return f"{names} classes"
        case Binary():
            return "2 classes by one output"
        case Labels():
            return f"{names} labels"
        case Regression():
            return f"regression, {task.loss} loss"
        case NextToken():
            return f"the next of {names} tokens"
