"""The page of tasks, from their table.

``python -m trustml.report.tasks_page`` prints it.
"""

from __future__ import annotations

from trustml.models.tasks import TASKS, TaskFacts

_HEAD = """# Tasks

Made by `python -m trustml.report.tasks_page` from `models/tasks.py`; a test says that it is current.

What a model is asked is one field of a scenario, `task`; everything else follows from it. Without the field a model
tells classes apart, and records and digests are what they were before there were other tasks.

```python
Scenario(..., task=Regression(target_range=(0, 500_000)), data=Csv(path="houses.csv", label="price"))
Scenario(..., task=Labels(), data=Csv(path="weather.csv", label=("rain", "wind")))
Scenario(..., task=Binary(class_weights=(1.0, 5.0)), data=Csv(path="patients.csv", label="ill"))
```

* `class_weights` are public constants that multiply the loss of an example *before* its gradient is clipped, so the
  clipping norm stands and epsilon with it. The mean of a batch is over its examples, as Keras has it; PyTorch's
  `CrossEntropyLoss(weight=...)` divides by the sum of their weights, `BCEWithLogitsLoss(pos_weight=...)` does not. Such
  a sum says which labels are in the batch, so a private step cannot have it. Weights of one size change the step of SGD
  here, and nothing there: what a script did with a rate `r`, here takes `r` over the mean weight of an example. Counts
  of private labels would cost epsilon and are not offered; nor is weighted sampling, under which examples that are
  drawn more often would lose more privacy.
* `target_range` maps the targets of a regression to [-1, 1], as `ranges` do with columns. It has to be public: taken
  from the training data it would tell of them, and the privacy statement says that nobody checked where it comes from.
  Errors are reported in the unit of the data; outputs, attributions and `predictions.npz` are in scaled units.
* `NextToken` has a language model of texts (`data=Text(...)`), such as `models.transformers.decoder`. A text is one
  example: its loss is the mean over its steps, and its gradient is what is clipped. Of its logits a run keeps four
  numbers a step: the log-probability of the token that follows and of the likeliest, and mean and standard deviation
  of that of a token drawn from the model (`test_logits` is (n, steps, 4)).
* Attacks by the tokens of a text (`min-k`, `min-k++`, `zlib`, `calibrated`) are for `NextToken` alone: a classifier of
  texts gives no probability of a token, and is attacked as other classifiers are.
* Losses grow without bound where targets are far away, and so do gradients; clipping bounds what one example adds.
"""
_COLUMNS = {
    "labels": "labels",
    "outputs": "network gives",
    "loss": "loss of an example",
    "explained": "explained is",
    "probability": "where explanations are judged by the probability of the target",
    "signals": "attacks on membership rank by",
    "canaries": "label of a mislabelled canary",
    "audited": "`trustml.audit` takes it",
}


def tasks_markdown() -> str:
    """Write the page."""
    lines = [_HEAD, f"| | {' | '.join(f'`{kind.__name__}`' for kind in TASKS)} |", "|---" * (len(TASKS) + 1) + "|"]
    lines.append(f"| | {' | '.join(facts.title for facts in TASKS.values())} |")
    lines.append(f"| led by | {' | '.join(f'`{facts.score}`' for facts in TASKS.values())} |")
    for name, words in _COLUMNS.items():
        lines.append(f"| {words} | {' | '.join(str(getattr(facts, name)) for facts in TASKS.values())} |")
    lines.append(f"| not attacked by | {' | '.join(map(_unfit, TASKS.values()))} |")
    return "\n".join(lines) + "\n"


def _unfit(facts: TaskFacts) -> str:
    reasons: dict[str, list[str]] = {}
    for name, reason in facts.not_attacked_by.items():
        reasons.setdefault(reason, []).append(f"`{name}`")
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items()) or "-"


if __name__ == "__main__":
    print(tasks_markdown(), end="")
