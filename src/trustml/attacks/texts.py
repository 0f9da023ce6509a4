"""Attacks on language models, by what is recorded of each step of a text."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.signals import Bools, Floats
from trustml.models.answers import DEVIATION, FOLLOWING, MEAN

SHARE = 0.2
"""Of the tokens of a text, those that are least likely: what both papers mostly use."""
_LEAST_DEVIATION = 1e-6


def least_likely_scores(outputs: Floats, labels: npt.NDArray[Any]) -> Floats:
    """Mean log-probability of the least likely fifth of the tokens (Min-K%: Shi et al., ICLR 2024, 2310.16789).

    Parameters
    ----------
    outputs : numpy.ndarray
        Shape (n, steps, 4), see :func:`trustml.models.answers.recorded`.
    labels : numpy.ndarray
        Shape (n, steps), 0 where no token follows.

    Returns
    -------
    numpy.ndarray
        Shape (n,); NaN for a text in which no token follows.
    """
    return _mean_of_least(outputs[..., FOLLOWING], labels)


def least_likely_standardised_scores(outputs: Floats, labels: npt.NDArray[Any]) -> Floats:
    """Do the same in standard deviations above what the model expects there (Min-K%++: Zhang et al., 2404.02936).

    A token that is rarer than a draw from the model's own distribution would be says more where the model is sure.
    """
    spread = np.maximum(outputs[..., DEVIATION], _LEAST_DEVIATION)
    return _mean_of_least((outputs[..., FOLLOWING] - outputs[..., MEAN]) / spread, labels)


def compressed_scores(loss: Floats, labels: npt.NDArray[Any], names: Sequence[str] = ()) -> Floats:
    """Minus the loss over the length of the text when zlib has packed it (Carlini et al., USENIX Security 2021).

    Texts that are easy for anybody pack well, and are no sign of membership. Without `names` of the tokens their
    numbers are packed.
    """
    return -loss / np.array([_packed(row[row > 0], names) for row in labels], np.float64)


def calibrated_scores(loss: Floats, references: Floats, members: Bools) -> Floats:
    """Mean loss by models not trained on an example, less the target's (Watson et al., ICLR 2022, 2111.08440).

    Parameters
    ----------
    loss : numpy.ndarray
        Shape (n,).
    references, members : numpy.ndarray
        Losses and membership by reference models, (k, n); where all were trained on an example, all are taken.
    """
    without = np.where(members.all(axis=0), True, ~members)
    return np.asarray(np.where(without, references, 0.0).sum(axis=0) / without.sum(axis=0) - loss, np.float64)


def lowest_without_tokens(scores: Floats, labels: npt.NDArray[Any]) -> Floats:
    """Scores of which those of texts in which no token follows are the lowest: no loss is no sign of membership.

    Parameters
    ----------
    scores : numpy.ndarray
        Shape (n,).
    labels : numpy.ndarray
        Shape (n, steps), 0 where no token follows.
    """
    follows = (labels > 0).any(axis=1)
    return np.where(follows, scores, scores[follows].min() if follows.any() else 0.0)


def _mean_of_least(values: Floats, labels: npt.NDArray[Any]) -> Floats:
    follows = labels > 0
    counts = np.maximum(np.ceil(SHARE * follows.sum(axis=1)), 1).astype(np.int64)
    ordered = np.sort(np.where(follows, values, np.inf), axis=1)
    chosen = np.arange(values.shape[1]) < counts[:, None]
    means = np.where(chosen & np.isfinite(ordered), ordered, 0.0).sum(axis=1) / counts
    return np.where(follows.any(axis=1), means, np.nan)


def _packed(tokens: npt.NDArray[Any], names: Sequence[str]) -> int:
    text = "".join(names[token] for token in tokens).encode() if names else tokens.astype("<u4").tobytes()
    return len(zlib.compress(text))
