"""Attacks that see nothing but the predicted class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.signals import Floats
from trustml.errors import UsageError


def gap_scores(predicted: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Floats:
    """One where the predicted class is right, else zero.

    The gap attack of Yeom et al. (CSF 2018, 1709.01604): its advantage is the generalisation gap, and it is the
    baseline that a label-only attack has to beat (Choquette-Choo et al., ICML 2021, 2007.14321).

    Parameters
    ----------
    predicted, labels : numpy.ndarray
        Classes, of shape (n,).
    """
    if predicted.shape != labels.shape or predicted.ndim != 1:
        raise UsageError(f"predicted: shape {predicted.shape} beside labels of {labels.shape}; give one class each")
    return (predicted == labels).astype(np.float64)
