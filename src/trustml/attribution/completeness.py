"""Completeness: whether attributions add up to what they explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.data.dataset import Floats


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What is missing, and of how much; in logits.

    Attributes
    ----------
    errors : float64 array of shape (n,)
        ``|sum of attributions - (logit of the input - logit of the baseline)|``; the lower, the better.
    changes : float64 array of shape (n,)
        ``|logit of the input - logit of the baseline|``, the scale to read the errors by.
    """

    errors: Doubles
    changes: Doubles


def completeness(attributions: Floats, *, logits: Floats, baseline_logits: Floats) -> Gap:
    """Compare the sum of attributions with the change of the target logit (Sundararajan et al., arXiv 1703.01365).

    Parameters
    ----------
    attributions : float array of shape (n, *x)
        Or of a layer's shape, for layer methods with the same property.
    logits, baseline_logits : float arrays of shape (n,)
        Target logit of the input and of the baseline.

    Returns
    -------
    Gap
    """
    change = logits.astype(np.float64) - baseline_logits.astype(np.float64)
    total = attributions.reshape(len(attributions), -1).sum(axis=1, dtype=np.float64)
    return Gap(errors=np.abs(total - change), changes=np.abs(change))
