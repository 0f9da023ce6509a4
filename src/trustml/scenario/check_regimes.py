"""What cannot work in a regime, said before anything runs."""

from __future__ import annotations

import math

from trustml.errors import ScenarioError
from trustml.scenario.optimizers import SGD, Adam, Optimizer, Schedule
from trustml.scenario.regimes import DPSGD, Adaptive, Augmentation, FedAvg, Flat, Plain, Regime


def check_regime(regime: Regime, field: str) -> None:
    """Check one regime; `field` is its path in the scenario.

    Raises
    ------
    ScenarioError
        For the first impossible value.
    """
    positive(regime.batch_size, f"{field}.batch_size")
    match regime:
        case Plain():
            positive(regime.epochs, f"{field}.epochs")
            _check_optimizer(regime.optimizer, f"{field}.optimizer")
            _check_schedule(regime.schedule, f"{field}.schedule")
        case DPSGD():
            _check_private(regime, field)
        case FedAvg():
            for name in ("clients", "rounds", "local_epochs", "server_learning_rate"):
                positive(getattr(regime, name), f"{field}.{name}")
            _check_optimizer(regime.client_optimizer, f"{field}.client_optimizer")


def positive(value: float, field: str) -> None:
    """Refuse what is not positive and finite."""
    if not (math.isfinite(value) and value > 0):
        raise ScenarioError(field, f"{value} is not positive and finite", fix="use a value above 0")


def _check_private(regime: DPSGD, field: str) -> None:
    if regime.epochs is not None and regime.steps is not None:
        raise ScenarioError(f"{field}.steps", "is given, and epochs too", fix="give one of the two")
    for name in ("epochs", "steps"):
        if getattr(regime, name) is not None:
            positive(getattr(regime, name), f"{field}.{name}")
    _check_optimizer(regime.optimizer, f"{field}.optimizer")
    _check_schedule(regime.schedule, f"{field}.schedule")
    _check_privacy(regime, field)
    if regime.ema_decay is not None and not 0 < regime.ema_decay < 1:
        raise ScenarioError(f"{field}.ema_decay", f"{regime.ema_decay} is out of range", fix="use 0 < ema_decay < 1")
    if isinstance(regime.clipping, Adaptive):
        _check_adaptive(regime.clipping, f"{field}.clipping")
    if regime.augmentation is not None:
        _check_augmentation(regime.augmentation, f"{field}.augmentation")
    if regime.engine != "core":
        _check_stock(regime, field)


def _check_privacy(regime: DPSGD, field: str) -> None:
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


def _check_adaptive(clipping: Adaptive, field: str) -> None:
    if not 0 < clipping.quantile < 1:
        raise ScenarioError(f"{field}.quantile", f"{clipping.quantile} is out of range", fix="use 0 < quantile < 1")
    positive(clipping.learning_rate, f"{field}.learning_rate")
    if not (math.isfinite(clipping.count_noise) and clipping.count_noise >= 0):
        raise ScenarioError(
            f"{field}.count_noise", f"{clipping.count_noise} is negative or not finite", fix="use 0 for the default"
        )


def _check_augmentation(augmentation: Augmentation, field: str) -> None:
    if augmentation.multiplicity < 1:
        raise ScenarioError(f"{field}.multiplicity", f"{augmentation.multiplicity} is below 1", fix="use 1 or more")
    if augmentation.shift < 0:
        raise ScenarioError(f"{field}.shift", f"{augmentation.shift} is negative", fix="use 0 or more")


def _check_stock(regime: DPSGD, field: str) -> None:
    """Stock engines do what their library's documentation shows, no more."""
    lacking = {
        "clipping": not isinstance(regime.clipping, Flat),
        "augmentation": regime.augmentation is not None,
        "ema_decay": regime.ema_decay is not None,
        "schedule": regime.schedule != Schedule(),
        "sampling_seed": regime.sampling_seed is not None,
        "steps": regime.steps is not None,
    }
    for name, wanted in lacking.items():
        if wanted:
            raise ScenarioError(
                f"{field}.{name}", f"is not there with engine {regime.engine!r}", fix='remove it, or use engine="core"'
            )


def _check_optimizer(optimizer: Optimizer, field: str) -> None:
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


def _check_schedule(schedule: Schedule, field: str) -> None:
    if schedule.warmup < 0:
        raise ScenarioError(f"{field}.warmup", f"{schedule.warmup} is negative", fix="use 0 or more steps")
    if not 0 <= schedule.final <= 1:
        raise ScenarioError(f"{field}.final", f"{schedule.final} is out of range", fix="use 0 <= final <= 1")
