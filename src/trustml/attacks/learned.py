"""A learned attack: a classifier that was taught on reference models who is in and who is out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.signals import Bools, Floats, Signals, checked_outputs, signals_from_logits
from trustml.errors import UsageError

MOST_CLASSES = 10
MOST_ROWS = 20_000


def attack_features(logits: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Floats:
    """What the classifier sees of an example: its largest probabilities in falling order, as logarithms, and signals.

    Parameters
    ----------
    logits : numpy.ndarray
        Shape (n, c).
    labels : numpy.ndarray
        Shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n, min(c, 10) + 5).
    """
    values, truth = checked_outputs(logits, labels)
    signals: Signals = signals_from_logits(values, truth)
    top = np.sort(values, axis=-1)[:, ::-1][:, :MOST_CLASSES]
    total = values.max(axis=-1) + np.log(np.exp(values - values.max(axis=-1, keepdims=True)).sum(axis=-1))
    return np.column_stack(
        [
            # far tails say little and would rule the standardised features
            np.maximum(top - total[:, None], -30.0),
            signals.loss,
            signals.scaled_confidence,
            signals.entropy,
            signals.modified_entropy,
            signals.correct,
        ]
    )


def learned_scores(
    target_logits: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    reference_logits: npt.NDArray[Any],
    members: npt.NDArray[Any],
    *,
    seed: int = 0,
) -> Floats:
    """Fit a logistic regression on the reference models' answers and apply it to the target's.

    The shadow-model attack of Shokri et al. (S&P 2017, 1610.05820) with one attack model for all classes, as Salem et
    al. (NDSS 2019, 1806.01246) showed to be enough. The target's membership takes no part in it.

    Parameters
    ----------
    target_logits : numpy.ndarray
        Shape (n, c).
    labels : numpy.ndarray
        Shape (n,).
    reference_logits : numpy.ndarray
        Shape (k, n, c).
    members : numpy.ndarray
        Bool of shape (k, n).
    seed : int
        Draws the at most 20,000 answers that are learned from.

    Returns
    -------
    numpy.ndarray
        Log-odds of membership, of shape (n,).

    Raises
    ------
    UsageError
        Where the reference models have members only, or none.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inside: Bools = np.asarray(members, bool)
    if inside.all() or not inside.any():
        raise UsageError("members: every example is in every reference model, or in none; nothing can be learned")
    flat = inside.reshape(-1)
    rows = np.random.default_rng(seed).permutation(flat.size)[:MOST_ROWS]
    model, example = np.divmod(rows, inside.shape[1])
    features = attack_features(np.asarray(reference_logits)[model, example], np.asarray(labels)[example])
    if flat[rows].all() or not flat[rows].any():
        raise UsageError("members: too few members or non-members among the reference models; nothing can be learned")
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    classifier.fit(features, flat[rows])
    return np.asarray(classifier.decision_function(attack_features(target_logits, labels)), np.float64)
