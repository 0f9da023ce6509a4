"""The robust membership inference attack (RMIA: Zarifzadeh, Liu & Shokri, ICML 2024, 2312.03262).

An example x is more likely a member the larger p(x | target) / p(x) is beside the same ratio of other examples z; the
score is the share of the population with [p(x | target) / p(x)] / [p(z | target) / p(z)] >= gamma. The marginal p(x)
is a mean over reference models, half of them trained on x and half not; from models of one side alone the other half
follows by the line p_in = a p_out + (1 - a).

The score is a step function of x's own ratio, the same for all x. Population and gamma so change no ranking and no ROC
curve, they only merge neighbours; what decides is p(x). The pool of examples that is attacked can therefore be its own
population without anybody's membership being looked at, and gamma is 1 here. That also makes the attack a sort and a
binary search, n log n, where the formula reads as n times |Z| comparisons.

ML Privacy Meter (``modules/mia/attacks/rmia.py``, run_rmia) compares with ``> 1`` and always uses the line,
p(x) = ((1 + a) p_out + (1 - a)) / 2. Ours equals it where every example is out of every reference model. It differs
elsewhere: with more than one reference it keeps, of each example's values with in models set to zero, the *largest*
``num_reference_models``, so out models are dropped by how confident they are, and zeros enter the mean where there are
too few; and for one in model it takes p_out = (p_in + a - 1) / a as it comes, negative below p_in = 1 - a, so that
p(x) may be negative and a member scored zero. Here all models given are used, and p_out is at least zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.signals import Bools, Floats
from trustml.errors import UsageError

OFFLINE_A = 0.3
"""Slope of the line between p_out and p_in: the default of ML Privacy Meter."""
TINY = 1e-300


def rmia(
    target: npt.NDArray[Any],
    references: npt.NDArray[Any],
    members: npt.NDArray[Any],
    *,
    online: bool = True,
    a: float = OFFLINE_A,
) -> Floats:
    """Score every example beside all the others.

    Parameters
    ----------
    target : numpy.ndarray
        Probability of the true label by the target, of shape (n,).
    references : numpy.ndarray
        The same by the reference models, of shape (k, n), k >= 1.
    members : numpy.ndarray
        Bool of shape (k, n): who was trained on in which reference model.
    online : bool
        Use the models trained on an example too. Offline they are used only for examples that are in all of them.
    a : float
        Between 0 and 1; used for examples with models of one side only, and for all of them offline.

    Returns
    -------
    numpy.ndarray
        float64 of shape (n,), between 0 and 1; the higher, the more likely a member.

    Raises
    ------
    UsageError
        For shapes that do not fit or values that are no probabilities.
    """
    own, others, inside = _checked(target, references, members)
    if len(own) < 2:
        raise UsageError("target: one example alone has nothing to be compared with; give more")
    ratios = own / marginal(others, inside, online=online, a=a)
    not_above = np.searchsorted(np.sort(ratios), ratios, side="right")
    return np.asarray((not_above - 1) / (len(own) - 1), np.float64)


def marginal(references: Floats, members: Bools, *, online: bool, a: float) -> Floats:
    """Probability p(x) of the true label over models that were and models that were not trained on x, half and half.

    Parameters
    ----------
    references : numpy.ndarray
        Shape (k, n).
    members : numpy.ndarray
        Bool of shape (k, n).
    online : bool
    a : float

    Returns
    -------
    numpy.ndarray
        Shape (n,), above zero.
    """
    if not 0.0 < a <= 1.0:
        raise UsageError(f"a: {a} is not above 0 and at most 1; write {OFFLINE_A}, or tune it on reference models")
    ins, outs = members.sum(axis=0), (~members).sum(axis=0)
    p_in = np.where(members, references, 0.0).sum(axis=0) / np.maximum(ins, 1)
    p_out = np.where(members, 0.0, references).sum(axis=0) / np.maximum(outs, 1)
    # the other half by the line: p_in from p_out, or backwards where an example is in every model there is
    p_out = np.where(outs > 0, p_out, np.maximum((p_in + a - 1.0) / a, 0.0))
    p_in = np.where((ins > 0) & (online | (outs == 0)), p_in, a * p_out + (1.0 - a))
    return np.maximum((p_in + p_out) / 2.0, TINY)


def tune_a(references: npt.NDArray[Any], members: npt.NDArray[Any]) -> float:
    """Choose `a` by attacking the first reference model with the others, whose membership is known.

    Parameters
    ----------
    references, members : numpy.ndarray
        Shape (k, n), k >= 2.

    Returns
    -------
    float
        Of 0.1, 0.2, ... 1.0 the one with the largest AUC; `OFFLINE_A` where the first model holds all examples or none.
        The target takes no part in it.
    """
    from trustml.attacks.roc import auc_of_counts, roc_of_scores

    if len(references) < 2:
        raise UsageError(f"references: {len(references)} are too few to tune a; give two or more")
    if members[0].all() or not members[0].any():
        return OFFLINE_A
    areas = {}
    for a in np.arange(1, 11) / 10:
        roc = roc_of_scores(rmia(references[0], references[1:], members[1:], online=False, a=float(a)), members[0])
        areas[float(a)] = auc_of_counts(roc.false_positives, roc.true_positives)
    return max(areas, key=lambda a: areas[a])


def _checked(
    target: npt.NDArray[Any], references: npt.NDArray[Any], members: npt.NDArray[Any]
) -> tuple[Floats, Floats, Bools]:
    own, others, inside = np.asarray(target, np.float64), np.asarray(references, np.float64), np.asarray(members)
    if own.ndim != 1 or others.ndim != 2 or others.shape[1:] != own.shape or inside.shape != others.shape:
        raise UsageError(
            f"references: shape {others.shape} with members of {inside.shape} and a target of {own.shape}; "
            "give (models, examples) twice and (examples,)"
        )
    if not len(others) or inside.dtype != np.bool_:
        raise UsageError(f"members: {len(others)} models, of {inside.dtype}; give bools of at least one model")
    for name, values in (("target", own), ("references", others)):
        if not ((values >= 0.0) & (values <= 1.0)).all():
            raise UsageError(f"{name}: a value is not a probability; give those of the true label")
    return own, others, inside
