"""What an attacker reads off a model's outputs: loss, confidence, entropy, all in float64 and without cancellation.

The differences between an overfitted model's answers lie in how far its probability is from 1: 1 - 1e-9 and 1 - 1e-12
are the same float32. All signals are therefore computed from logits, with the logarithm of 1 - p as the log-sum-exp of
the *other* classes, and attacks rank by log-odds rather than by probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import UsageError

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

CLAMP = 1e-12
"""Smallest probability that is told from zero, unless the caller says otherwise."""
SUM_TOLERANCE = 1e-3
"""Rows of probabilities may miss one by this much: rounding to three or four digits is common in served models."""


@dataclass(frozen=True, kw_only=True)
class Signals:
    """Signals of n examples; all of shape (..., n), float64 but for `correct`.

    Attributes
    ----------
    loss : numpy.ndarray
        Cross-entropy -log p_y, in nats.
    confidence : numpy.ndarray
        Probability p_y of the true label.
    scaled_confidence : numpy.ndarray
        log p_y - log(1 - p_y), the statistic of LiRA (Carlini et al., S&P 2022, 2112.03570), in nats.
    top_confidence : numpy.ndarray
        The same log-odds of the class the model finds most probable, whatever the label is.
    entropy : numpy.ndarray
        Of the whole output, in nats.
    modified_entropy : numpy.ndarray
        -(1 - p_y) log p_y - sum over the other classes of p_i log(1 - p_i) (Song & Mittal, USENIX Security 2021,
        2003.10595), in nats: unlike entropy it is high where the model is sure and wrong.
    correct : numpy.ndarray
        Bool: whether the most probable class is the label; the first of several equally probable ones counts.
    """

    loss: Floats
    confidence: Floats
    scaled_confidence: Floats
    top_confidence: Floats
    entropy: Floats
    modified_entropy: Floats
    correct: Bools


def signals_from_logits(logits: npt.NDArray[Any], labels: npt.NDArray[Any], *, normalised: bool = False) -> Signals:
    """Compute all signals.

    Parameters
    ----------
    logits : numpy.ndarray
        Shape (..., n, c), any float type, before the softmax; leading axes may count models.
    labels : numpy.ndarray
        Shape (n,), integers from 0 to c - 1.
    normalised : bool
        Whether they are logarithms of probabilities (`logits_from_probabilities`). Signals of the label are then
        functions of its probability alone: the few values of a small forest stay ties, which the rounding of sums over
        the other classes would break in an order that means nothing.

    Returns
    -------
    Signals
        Arrays of shape (..., n).

    Raises
    ------
    UsageError
        Where a logit is not finite, there is but one class, shapes do not fit, or a label is out of range.
    """
    values, truth = checked_outputs(logits, labels)
    if normalised:
        log_p = values
        log_rest = np.log(np.maximum(-np.expm1(np.minimum(values, 0.0)), CLAMP))
    else:
        total = _log_sum_exp(values)
        log_p = values - total[..., None]
        log_rest = _log_one_minus(values, total)
    picked = np.broadcast_to(truth[:, None], (*values.shape[:-1], 1))
    scaled = np.take_along_axis(log_p - log_rest, picked, -1)[..., 0]
    first = np.argmax(values, axis=-1)
    p = np.exp(log_p)
    # softplus of the log-odds keeps all digits of a loss near 0, where log p_y itself would lose them
    loss = np.logaddexp(0.0, -scaled)
    terms = p * log_rest
    if normalised:
        entropies, others = -_same_sum(p * log_p), terms.copy()
        np.put_along_axis(others, picked, 0.0, -1)
        of_others = _same_sum(others)
    else:
        entropies = -np.sum(p * log_p, axis=-1)
        of_others = terms.sum(axis=-1) - np.take_along_axis(terms, picked, -1)[..., 0]
    wrong = np.exp(np.take_along_axis(log_rest, picked, -1)[..., 0])
    return Signals(
        loss=loss,
        confidence=np.exp(-loss),
        scaled_confidence=scaled,
        top_confidence=np.take_along_axis(log_p - log_rest, first[..., None], -1)[..., 0],
        entropy=entropies,
        modified_entropy=wrong * loss - of_others,
        correct=first == truth,
    )


def logits_from_probabilities(
    probabilities: npt.NDArray[Any],
    *,
    clamp: float = CLAMP,
    rescale: bool = True,
    sum_tolerance: float = SUM_TOLERANCE,
) -> Floats:
    """Logits whose softmax are the probabilities given.

    Parameters
    ----------
    probabilities : numpy.ndarray
        Shape (..., c): not negative, rows that add up to 1 within `sum_tolerance`.
    clamp : float
        Smaller probabilities are raised to this one before the logarithm. An example that is given 1 for its label
        and 0 for the c - 1 others so has log-odds of about -log((c - 1) clamp): 27.6 in two classes at 1e-12.
    rescale : bool
        Scale rows to add up to 1 exactly. Without it equal probabilities stay equal, whatever the others of a row are.
    sum_tolerance : float
        Wider where probabilities are rounded to few digits.

    Returns
    -------
    numpy.ndarray
        float64, of the same shape.

    Raises
    ------
    UsageError
        Where they are no probabilities.
    """
    if not 0.0 < clamp < 0.1:
        raise UsageError(f"clamp: {clamp} is not between 0 and 0.1; leave it out for {CLAMP}")
    values = np.asarray(probabilities, np.float64)
    if values.ndim < 1 or values.shape[-1] < 2:
        raise UsageError(
            f"probabilities: shape {values.shape} holds fewer than two classes; give one column a class, "
            "[1 - p, p] where a model gives p alone"
        )
    if not np.isfinite(values).all():
        raise UsageError(f"probabilities: {_count_bad(values)} values are not finite; fix the model or leave them out")
    if values.size and values.min() < 0.0:
        raise UsageError(f"probabilities: {values.min():.4g} is negative; give probabilities, or logits as logits")
    sums = values.sum(axis=-1, keepdims=True)
    if values.size and (worst := float(np.abs(sums - 1.0).max())) > sum_tolerance:
        raise UsageError(
            f"probabilities: a row adds up to 1 only within {worst:.4g}; give probabilities, or logits as logits"
        )
    return np.log(np.maximum(values / sums if rescale else values, clamp))


def checked_outputs(
    logits: npt.NDArray[Any], labels: npt.NDArray[Any], *, field: str = "logits"
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Logits as float64 and labels as int64, or a clear error.

    Parameters
    ----------
    logits : numpy.ndarray
        Shape (..., n, c).
    labels : numpy.ndarray
        Shape (n,).
    field : str
        Name of the logits in errors.

    Raises
    ------
    UsageError
    """
    values, truth = np.asarray(logits, np.float64), np.asarray(labels)
    if values.ndim < 2 or truth.shape != (values.shape[-2],):
        raise UsageError(
            f"{field}: shape {values.shape} and labels of shape {truth.shape} do not fit; "
            "give (examples, classes) and (examples,)"
        )
    if values.shape[-1] < 2:
        raise UsageError(
            f"{field}: one class only; give one column a class, [0, z] where a model gives a single logit z"
        )
    if not np.isfinite(values).all():
        raise UsageError(f"{field}: {_count_bad(values)} values are not finite; fix the model or leave them out")
    if not np.issubdtype(truth.dtype, np.integer):
        raise UsageError(f"labels: type {truth.dtype}; give integers from 0 to {values.shape[-1] - 1}")
    if truth.size and (truth.min() < 0 or truth.max() >= values.shape[-1]):
        raise UsageError(
            f"labels: from {truth.min()} to {truth.max()}, where the model has {values.shape[-1]} classes; "
            f"give integers from 0 to {values.shape[-1] - 1}"
        )
    return values, truth.astype(np.int64)


def _count_bad(values: Floats) -> int:
    return int(np.size(values) - np.isfinite(values).sum())


def _same_sum(terms: Floats) -> Floats:
    """Sum over classes, the same to the last bit in whichever order the terms come."""
    total: Floats = np.sort(terms, axis=-1).sum(axis=-1)
    return total


def _log_sum_exp(values: Floats) -> Floats:
    top = values.max(axis=-1)
    total: Floats = top + np.log(np.exp(values - top[..., None]).sum(axis=-1))
    return total


def _log_one_minus(values: Floats, total: Floats) -> Floats:
    """log(1 - p_i) of every class: directly where p_i is at most a half, else from the sum over the others."""
    p = np.exp(values - total[..., None])
    result = np.log1p(-np.minimum(p, 0.5))
    first = np.argmax(values, axis=-1)[..., None]
    others = values.copy()
    np.put_along_axis(others, first, -np.inf, -1)
    np.put_along_axis(result, first, (_log_sum_exp(others) - total)[..., None], -1)
    return result
