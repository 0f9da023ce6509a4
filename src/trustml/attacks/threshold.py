"""Attacks by one threshold on one signal of the target: they need no other model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.signals import Floats, Signals


def loss_scores(signals: Signals) -> Floats:
    """Minus the loss (Yeom et al., CSF 2018, 1709.01604), ranked by log-odds so that tiny losses stay apart."""
    return signals.scaled_confidence


def confidence_scores(signals: Signals) -> Floats:
    """Largest probability of any class, as log-odds: needs no label (Salem et al., NDSS 2019, 1806.01246)."""
    return signals.top_confidence


def entropy_scores(signals: Signals) -> Floats:
    """Minus the entropy of the output: needs no label (Shokri et al., 1610.05820; Song & Mittal, 2003.10595)."""
    return -signals.entropy


def modified_entropy_scores(signals: Signals) -> Floats:
    """Minus the modified entropy (Song & Mittal, USENIX Security 2021, 2003.10595)."""
    return -signals.modified_entropy


def within_class(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Floats:
    """Turn scores into ranks among the examples of the same label, so that one threshold is one for every class.

    Song & Mittal fit a threshold a class on shadow models. Ranks need none and do not look at membership either: they
    take each class to have the same share of members.

    Parameters
    ----------
    scores, labels : numpy.ndarray
        Shape (n,).

    Returns
    -------
    numpy.ndarray
        Mid-ranks between 0 and 1, of shape (n,).
    """
    from scipy.stats import rankdata

    ranks = np.empty(len(scores), np.float64)
    for label in np.unique(labels):
        own = labels == label
        ranks[own] = (rankdata(scores[own]) - 0.5) / own.sum()
    return ranks
