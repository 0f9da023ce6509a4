"""Attacks by one threshold on one signal of the target, or on its class alone: they need no other model."""

from __future__ import annotations

import numpy as np

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


def gap_scores(signals: Signals) -> Floats:
    """One where the answer is right, else zero.

    The gap attack of Yeom et al. (CSF 2018, 1709.01604): its advantage is the generalisation gap, and it is the
    baseline that a label-only attack has to beat (Choquette-Choo et al., ICML 2021, 2007.14321).
    """
    return signals.correct.astype(np.float64)
