"""Reference models of somebody's model: the same training on random halves of the examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from trustml.attacks.catalogue import References
from trustml.auditing.examples import Given
from trustml.auditing.models import Array, Tell, aligned, ask_all, target_of
from trustml.auditing.outputs import Meaning, to_logits
from trustml.auditing.recognised import is_regressor
from trustml.errors import DataError, UsageError

Retrain: TypeAlias = Callable[[Any, Array, int], Any]
"""Inputs in the form that they were given in, labels and a seed to a model like the audited one."""
COUNT = 16


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which reference models to train; none where `retrain` is None.

    Attributes
    ----------
    retrain : callable, optional
    count : int
    """

    retrain: Retrain | None
    count: int


def asked_references(model: Any, *, references: int | None, retrain: Retrain | None) -> Asked:
    """Decide how reference models are made.

    Raises
    ------
    UsageError
        If they are wanted and nobody says how to train them.
    """
    if references is not None and references < 0:
        raise UsageError(f"references: {references} is no number of models; write 16, or 0 for none")
    if references == 0 or (references is None and retrain is None):
        return Asked(retrain=None, count=0)
    if retrain is None:
        retrain = _cloning(model)
    if retrain is None:
        raise UsageError(
            f"references: {references} wanted, but nothing says how to train them; give retrain, a function of "
            "(inputs, labels, seed) that returns a model like the audited one"
        )
    return Asked(retrain=retrain, count=COUNT if references is None else references)


def train_references(
    asked: Asked,
    *,
    everything: Given,
    meaning: Meaning,
    classes: Array | None,
    columns: int,
    seed: int,
    tell: Tell,
    batch_size: int | None = None,
) -> References:
    """Train reference models, each on a random half of all examples, and ask each for all of them.

    Parameters
    ----------
    asked : Asked
    everything : Given
        The training examples, then the hold-out.
    meaning : Meaning
        How to read the outputs, as for the audited model.
    classes : array, optional
        What the columns of the audited model stand for.
    columns : int
    seed : int
        Draws the halves; models get this seed and those that follow.
    tell : callable
    batch_size : int, optional
        Examples that a model gets at once.

    Returns
    -------
    trustml.attacks.catalogue.References
        Logits float32 (k, n, c).

    Raises
    ------
    DataError
        If a reference model answers in another form than the audited one.
    """
    assert asked.retrain is not None
    generator, total = np.random.default_rng(seed), len(everything)
    members = np.zeros((asked.count, total), np.bool_)
    logits = np.empty((asked.count, total, columns), np.float32)
    for number in range(asked.count):
        members[number, generator.permutation(total)[: total // 2]] = True
        half = everything.take(members[number])
        made = asked.retrain(half.of_owner(), half.labels, seed + number)
        target = target_of(made, parts=half.parts, columns=half.columns, batch_size=batch_size)
        raw = ask_all(target, everything.inputs, tell=lambda what, done, of: None, what="")
        found = to_logits(aligned(raw, classes=target.classes, to=classes), meaning)
        if found.shape[1] != columns:
            raise DataError(f"retrain: its models have {found.shape[1]} classes, the audited one {columns}")
        logits[number] = found
        tell("reference models", number + 1, asked.count)
    return References(logits=logits, members=members)


def _cloning(model: Any) -> Retrain | None:
    """Train scikit-learn estimators anew, with the same settings and another seed."""
    answers = hasattr(model, "predict_proba") or is_regressor(model)
    if not (hasattr(model, "get_params") and hasattr(model, "fit") and answers):
        return None
    from sklearn.base import clone

    def retrain(inputs: Any, labels: Array, seed: int) -> Any:
        fresh = clone(model)
        seeds = {name: seed for name in fresh.get_params() if name.split("__")[-1] == "random_state"}
        flat = inputs.reshape(len(inputs), -1) if inputs.ndim != 2 and hasattr(model, "n_features_in_") else inputs
        return fresh.set_params(**seeds).fit(flat, labels)

    return retrain
