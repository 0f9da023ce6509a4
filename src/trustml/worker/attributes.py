"""How well each value of a column fits a row's label, to a network: what attribute inference looks at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.attributes import Column, distinct_rows
from trustml.backends.contract import Network
from trustml.data.dataset import Examples, Ints
from trustml.models.answers import recorded_losses
from trustml.models.tasks import Regression, Task
from trustml.scenario.attacks import AttributeInference
from trustml.worker.predicting import predict


def columns_of(arrays: dict[str, npt.NDArray[Any]], asked: AttributeInference) -> list[Column]:
    """Columns as the launcher wrote them, in the order of the scenario."""
    return [
        Column(
            places=arrays[f"places.{number}"],
            candidates=arrays[f"candidates.{number}"],
            edges=arrays[f"edges.{number}"],
        )
        for number in range(len(asked.columns))
    ]


def attribute_fits(
    network: Network,
    train: Examples,
    held_out: Examples,
    *,
    asked: AttributeInference,
    columns: list[Column],
    known: Ints,
    task: Task,
) -> dict[str, npt.NDArray[Any]]:
    """Log-likelihood of each row's label under each value of each column, the true values, and the rows themselves.

    Parameters
    ----------
    network : Network
    train, held_out : Examples
    asked : AttributeInference
    columns : list of Column
    known : int64 array
        Places of held-out rows that are not attacked.
    task : Task

    Returns
    -------
    dict of str to array
        ``<set>_inputs`` (n, d) and ``<set>_labels``; and of the column with a number ``<set>_fits.<number>`` (n, k) and
        ``<set>_true.<number>`` (n,), where the set is ``train``, ``test``, or ``known``, which has no fits.
    """
    own, others = distinct_rows(train, held_out)
    generator = np.random.default_rng()
    drawn = [generator.permutation(rows)[: asked.rows] for rows in (own, np.setdiff1d(others, known))]
    found: dict[str, npt.NDArray[Any]] = {
        "known_inputs": held_out.inputs[known],
        "known_labels": held_out.labels[known],
    }
    found |= {f"known_true.{number}": one.true(found["known_inputs"]) for number, one in enumerate(columns)}
    for name, examples, rows in zip(("train", "test"), (train, held_out), drawn, strict=True):
        inputs, labels = examples.inputs[rows], examples.labels[rows]
        found |= {f"{name}_inputs": inputs, f"{name}_labels": labels}
        for number, column in enumerate(columns):
            losses = [
                recorded_losses(task, predict(network, column.with_value(inputs, value)), labels)
                for value in range(len(column.candidates))
            ]
            found[f"{name}_fits.{number}"] = -np.stack(losses, axis=1)
            found[f"{name}_true.{number}"] = column.true(inputs)
    if isinstance(task, Regression):
        _in_units_of_noise(found, len(columns))
    return found


def _in_units_of_noise(found: dict[str, npt.NDArray[Any]], columns: int) -> None:
    """Make log-likelihoods of losses of a regression: over their mean on held-out rows as they are."""
    for number in range(columns):
        true = found[f"test_true.{number}"]
        known = np.flatnonzero(true >= 0)
        own = -found[f"test_fits.{number}"][known, true[known]]
        scale = max(2.0 * float(own.mean()), 1e-12) if len(own) else 1.0
        for name in ("train", "test"):
            found[f"{name}_fits.{number}"] = found[f"{name}_fits.{number}"] / scale
