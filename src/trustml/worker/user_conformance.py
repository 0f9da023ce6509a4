"""Users as a backend takes them: the mean over a user's rows is clipped as one, whatever a row of it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trustml.backends.contract import PrivateTrainer
from trustml.backends.settings import PrivateSettings
from trustml.conformance.findings import CheckResult, bounded
from trustml.conformance.subject import flat
from trustml.data.dataset import Examples, Ints
from trustml.data.user_rows import stacked, user_rows
from trustml.models.weights import Weights
from trustml.scenario.optimizers import SGD

_ROWS, _USERS = 3, 9
_UNCLIPPED = 1e9
_CLOSE = 1e-5
"""Of the longest: float32, in another order."""
_LARGE = 1e4


def check_users(
    make_trainer: Callable[[PrivateSettings], PrivateTrainer], examples: Examples
) -> tuple[list[CheckResult], Weights]:
    """Check clipped sums over users of one, two and three rows.

    Returns
    -------
    findings : list of CheckResult
    sums : dict of str to array
        Clipped sum over all users, to be compared between backends.
    """
    settings = PrivateSettings(
        optimizer=SGD(), expected_batch_size=_USERS, multiplicity=_ROWS, rows_of_users=True, noise_seed=(1, 2, 3, 4)
    )
    owners = np.repeat(np.arange(_USERS), 1 + np.arange(_USERS) % _ROWS)
    several = Examples(inputs=examples.inputs[: len(owners)], labels=examples.labels[: len(owners)])
    everybody = np.arange(_USERS)
    kept: list[Weights] = []
    trainer = make_trainer(settings)

    def summed(given: Examples, of: Ints, who: Ints, norm: float) -> npt.NDArray[np.float64]:
        users = user_rows(of, np.ones(len(of), np.bool_), users=int(of.max()) + 1)
        inputs, labels = stacked(given, users.chosen(who, most=_ROWS, entropy=()), most=_ROWS)
        trainer.accumulate(inputs, labels, clipping_norm=norm)
        kept.append(trainer.clipped_sum())
        trainer.update(clipping_norm=norm, noise_multiplier=0.0, learning_rate=0.0)  # begins a sum anew
        return flat(kept[-1])

    alone = [summed(several, np.arange(len(owners)), np.array([row]), _UNCLIPPED) for row in range(len(owners))]
    means = [np.mean([alone[row] for row in np.flatnonzero(owners == user)], axis=0) for user in everybody]
    found = [summed(several, owners, np.array([user]), _UNCLIPPED) for user in everybody]
    error = max(np.linalg.norm(a - b) for a, b in zip(found, means, strict=True)) / max(map(np.linalg.norm, means))
    norm = float(np.median([np.linalg.norm(mean) for mean in means]))
    expected = np.sum([mean * min(1.0, norm / np.linalg.norm(mean)) for mean in means], axis=0)
    whole = summed(several, owners, everybody, norm)
    sums = kept[-1]
    large = several.inputs.copy()
    large[owners == _ROWS - 1] *= _LARGE
    outlier = Examples(inputs=large, labels=several.labels)
    moved = np.linalg.norm(
        summed(outlier, owners, everybody, norm) - summed(outlier, owners, np.delete(everybody, _ROWS - 1), norm)
    )
    return [
        bounded(
            "a user's gradient is the mean over the user's rows",
            float(error),
            _CLOSE,
            diagnosis="rows that are not there count, or those that are count unlike",
        ),
        bounded(
            "a batch of users is the sum of their clipped gradients",
            float(np.linalg.norm(whole - expected) / np.linalg.norm(expected)),
            _CLOSE,
            diagnosis="rows are clipped, and not users",
        ),
        bounded(
            "a user moves the sum by the clipping norm at most",
            float(moved / norm),
            1 + _CLOSE,
            diagnosis="a user of several rows, outliers among them, moves the sum by more",
        ),
    ], sums
