"""Checks of single values that several kinds of regimes share."""

from __future__ import annotations

import math

from trustml.errors import ScenarioError
from trustml.scenario.clipping import Adaptive
from trustml.scenario.federated import DPFedAvg
from trustml.scenario.optimizers import SGD, Adam, Optimizer
from trustml.scenario.regimes import DPSGD


def positive(value: float, field: str) -> None:
    """Refuse what is not positive and finite."""
    if not (math.isfinite(value) and value > 0):
        raise ScenarioError(field, f"{value} is not positive and finite", fix="use a value above 0")


def check_optimizer(optimizer: Optimizer, field: str) -> None:
    """Check an optimizer."""
    positive(optimizer.learning_rate, f"{field}.learning_rate")
    match optimizer:
        case SGD():
            rates = {"momentum": optimizer.momentum}
        case Adam():
            rates = {"beta1": optimizer.beta1, "beta2": optimizer.beta2}
            positive(optimizer.stabilizer, f"{field}.stabilizer")
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ScenarioError(f"{field}.{name}", f"{rate} is out of range", fix=f"use 0 <= {name} < 1")


def check_privacy(regime: DPSGD | DPFedAvg, field: str) -> None:
    """Check what any private regime says of its guarantee."""
    if (regime.epsilon is None) == (regime.noise_multiplier is None):
        both = "both are given" if regime.epsilon is not None else "neither is given"
        raise ScenarioError(
            f"{field}.epsilon", f"of epsilon and noise_multiplier {both}", fix="give exactly one of the two"
        )
    if regime.epsilon is not None:
        positive(regime.epsilon, f"{field}.epsilon")
    if regime.noise_multiplier is not None:
        positive(regime.noise_multiplier, f"{field}.noise_multiplier")
    if not 0 < regime.delta < 1:
        raise ScenarioError(f"{field}.delta", f"{regime.delta} is no probability", fix="use 0 < delta < 1/n")
    positive(regime.clipping_norm, f"{field}.clipping_norm")
    if regime.sampling_seed is not None and regime.sampling_seed < 0:
        raise ScenarioError(f"{field}.sampling_seed", f"{regime.sampling_seed} is negative", fix="use 0 or more")


def check_adaptive(clipping: Adaptive, field: str) -> None:
    """Check adaptive clipping."""
    if not 0 < clipping.quantile < 1:
        raise ScenarioError(f"{field}.quantile", f"{clipping.quantile} is out of range", fix="use 0 < quantile < 1")
    positive(clipping.learning_rate, f"{field}.learning_rate")
    if not (math.isfinite(clipping.count_noise) and clipping.count_noise >= 0):
        raise ScenarioError(
            f"{field}.count_noise", f"{clipping.count_noise} is negative or not finite", fix="use 0 for the default"
        )
