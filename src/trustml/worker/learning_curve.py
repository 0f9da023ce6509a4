"""Score and loss on held-out examples while a model trains.

Never on training examples: a training loss tells of them, and no epsilon would cover it. What the held-out examples
show of a private model in training follows from noisy weights, each step of which is charged, so epsilon covers it.
Weights are put aside in training, in memory alone, and asked when it has ended: asking them takes random numbers and
time, which belong to the training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from trustml.backends.contract import Backend, Model
from trustml.data.dataset import Examples, Floats
from trustml.models.answers import recorded_losses, score
from trustml.models.tasks import facts_of
from trustml.models.weights import Weights
from trustml.record.files import encode_arrays, write_atomic
from trustml.worker.predicting import predict_recorded

HISTORY = "history.npz"
"""Held-out score and loss by step or round. Under privacy this follows from noisy weights, so epsilon covers it."""
_MOST_LOOKS = 8
_SHARE = 0.1
"""Of the examples that training goes through, as many at the most are looked at for the curve."""
_MOST_BYTES = 1 << 24
"""Of weights that are put aside: more would be seen in what is measured of memory."""


class LearningCurve:
    """Puts weights aside a few times in a training, more often at its beginning, and asks them at its end.

    Parameters
    ----------
    backend : Backend
    model : Model
        The scenario's, whose weights :attr:`whole` gives.
    held_out : Examples
    folder : Path
        The job's.
    """

    def __init__(self, backend: Backend, model: Model, held_out: Examples, *, folder: Path) -> None:
        self._backend, self._model, self._held_out = backend, model, held_out
        self._published = folder / HISTORY
        self._aside: list[tuple[int, Weights]] = []
        self._due: list[int] = []
        self._last = 0
        self.whole: Callable[[Weights], Weights] = lambda weights: weights
        """From the weights that are trained to those of the model; of a part of a model they are not the same."""

    def plan(self, *, steps: int, rows: float, start: int = 0) -> None:
        """Say how many steps there are, over how many examples together; none where looking would cost too much.

        The curve of a training that goes on after an interruption begins at step `start`.
        """
        size = sum(array.nbytes for array in self._model.weights.values())
        room = min(_SHARE * rows / max(1, len(self._held_out)), _MOST_BYTES / max(1, size))
        looks = min(_MOST_LOOKS, int(room), steps)
        due = {int(steps * (place / looks) ** 2) for place in range(looks)} if looks > 1 else set()
        self._due = sorted({max(step, start) for step in due})

    def look(self, step: int, weights: Callable[[], Weights]) -> None:
        """Put the weights after so many steps aside, if it is time to."""
        self._last = step
        if self._due and step >= self._due[0]:
            self._due = [one for one in self._due if one > step]
            self._aside.append((step, {name: array.copy() for name, array in weights().items()}))

    def end(self, outputs: Floats) -> None:
        """Ask what was put aside, add what the trained model answers, and publish the curve; one point is none."""
        task, held_out = self._model.task, self._held_out
        points = []
        for step, weights in self._aside:
            if step < self._last:
                network = self._backend.network(replace(self._model, weights=self.whole(weights)))
                then = predict_recorded(network, held_out.inputs, held_out.labels, task=task)
                points.append((step, *self._judged(then)))
        if not points:
            return
        steps, scores, losses = zip(*points, (self._last, *self._judged(outputs)), strict=True)
        name = facts_of(task).score
        arrays = {"steps": np.array(steps, np.int64), name: np.array(scores), "loss": np.array(losses)}
        write_atomic(self._published, encode_arrays(arrays))

    def _judged(self, outputs: Floats) -> tuple[float, float]:
        """Score, and mean loss."""
        task, labels = self._model.task, self._held_out.labels
        return float(score(task, outputs, labels)), float(recorded_losses(task, outputs, labels).mean())
