"""What cannot work in a regime, said before anything runs."""

from __future__ import annotations

from trustml.errors import ScenarioError
from trustml.scenario.check_federated import check_federated, check_mechanism
from trustml.scenario.check_values import check_adaptive, check_optimizer, check_privacy, positive
from trustml.scenario.clipping import Adaptive, Flat
from trustml.scenario.federated import IndependentNoise
from trustml.scenario.optimizers import Schedule
from trustml.scenario.regimes import DPSGD, Augmentation, Plain, Regime


def check_regime(regime: Regime, field: str) -> None:
    """Check one regime; `field` is its path in the scenario.

    Raises
    ------
    ScenarioError
        For the first impossible value.
    """
    if isinstance(regime, Plain | DPSGD):
        positive(regime.batch_size, f"{field}.batch_size")
    match regime:
        case Plain():
            positive(regime.epochs, f"{field}.epochs")
            check_optimizer(regime.optimizer, f"{field}.optimizer")
            _check_schedule(regime.schedule, f"{field}.schedule")
        case DPSGD():
            _check_private(regime, field)
        case _:
            check_federated(regime, field)


def _check_private(regime: DPSGD, field: str) -> None:
    if regime.epochs is not None and regime.steps is not None:
        raise ScenarioError(f"{field}.steps", "is given, and epochs too", fix="give one of the two")
    for name in ("epochs", "steps"):
        if getattr(regime, name) is not None:
            positive(getattr(regime, name), f"{field}.{name}")
    check_optimizer(regime.optimizer, f"{field}.optimizer")
    _check_schedule(regime.schedule, f"{field}.schedule")
    check_privacy(regime, field)
    if regime.ema_decay is not None and not 0 < regime.ema_decay < 1:
        raise ScenarioError(f"{field}.ema_decay", f"{regime.ema_decay} is out of range", fix="use 0 < ema_decay < 1")
    if isinstance(regime.clipping, Adaptive):
        check_adaptive(regime.clipping, f"{field}.clipping")
    if regime.augmentation is not None:
        _check_augmentation(regime.augmentation, f"{field}.augmentation")
    if not isinstance(regime.mechanism, IndependentNoise):
        _check_correlated(regime, field)
    if regime.engine != "core":
        _check_stock(regime, field)


def _check_correlated(regime: DPSGD, field: str) -> None:
    """Refuse what the sensitivity of correlated noise does not speak of."""
    check_mechanism(regime.mechanism, f"{field}.mechanism")
    if regime.sampling != "in turn":
        raise ScenarioError(
            f"{field}.sampling",
            f"{regime.sampling!r} leaves open when an example comes again, on which correlated noise rests",
            fix='use sampling="in turn"',
        )
    if isinstance(regime.clipping, Adaptive):
        raise ScenarioError(f"{field}.clipping", "does not adapt under correlated noise", fix="use Flat()")


def _check_augmentation(augmentation: Augmentation, field: str) -> None:
    if augmentation.multiplicity < 1:
        raise ScenarioError(f"{field}.multiplicity", f"{augmentation.multiplicity} is below 1", fix="use 1 or more")
    if augmentation.shift < 0:
        raise ScenarioError(f"{field}.shift", f"{augmentation.shift} is negative", fix="use 0 or more")


def _check_stock(regime: DPSGD, field: str) -> None:
    """Stock engines do what their library's documentation shows, no more."""
    lacking = {
        "clipping": not isinstance(regime.clipping, Flat),
        "mechanism": not isinstance(regime.mechanism, IndependentNoise),
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


def _check_schedule(schedule: Schedule, field: str) -> None:
    if schedule.warmup < 0:
        raise ScenarioError(f"{field}.warmup", f"{schedule.warmup} is negative", fix="use 0 or more steps")
    if not 0 <= schedule.final <= 1:
        raise ScenarioError(f"{field}.final", f"{schedule.final} is out of range", fix="use 0 <= final <= 1")
