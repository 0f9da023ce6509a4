"""What cannot work in a regime, said before anything runs; the range of each value by itself is its type's."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from trustml.errors import ScenarioError
from trustml.scenario.clipping import Adaptive, Flat
from trustml.scenario.federated import (
    BandedMatrix,
    DPFedAvg,
    FedAvg,
    FederatedRegime,
    IndependentNoise,
    LocalDPFedAvg,
    PrivateClients,
    PrivateClientsSpec,
    SiloDPFedAvg,
)
from trustml.scenario.masked_cohorts import check_masked_cohort
from trustml.scenario.optimizers import Schedule
from trustml.scenario.partition import Dirichlet, Everyone, NaturalKey
from trustml.scenario.partition import InTurn as InTurnCohort
from trustml.scenario.regimes import DPSGD, MOST_OF_ONE, Plain, PrivateRegime, Regime
from trustml.scenario.spec import Scenario

FEWEST_FOR_PRIVACY = (1000, 100)
"""Clients, and clients a round, below which privacy for users costs so much that a run is only a warning."""
_FEWEST_FOR_ADAPTIVE = 30


def check_regime(regime: Regime, field: str) -> None:
    """Check one regime; `field` is its path in the scenario.

    Raises
    ------
    ScenarioError
        For the first impossible value.
    """
    match regime:
        case DPSGD():
            _check_private(regime, field)
        case DPFedAvg():
            _check_private_rounds(regime, field)
        case PrivateClientsSpec():
            _check_private_clients(regime, field)
        case FedAvg():
            _check_sums(regime, field)


def check_cohorts(scenario: Scenario, clients: Mapping[str, int]) -> list[str]:
    """Check cohorts, or batches of users, against the number there is for each regime, by title; return warnings.

    Raises
    ------
    ScenarioError
        If more are asked for than there are.
    """
    warnings = []
    for index, regime in enumerate(scenario.training):
        if regime.title not in clients:
            continue
        field, count = f"training.{index}", clients[regime.title]
        if isinstance(regime, DPSGD) and regime.unit == "user":
            warnings += _check_batches_of_users(regime, field, users=count)
        if not isinstance(regime, FederatedRegime | PrivateClients):
            continue
        asked = count if isinstance(regime.cohort, Everyone) else regime.cohort.clients
        if asked > count:
            raise ScenarioError(
                f"{field}.cohort.clients",
                f"{asked} participants a round are more than the {count} clients",
                fix=f"use {count} or fewer",
            )
        if isinstance(regime, FedAvg) and regime.aggregation == "masked":
            warnings += check_masked_cohort(regime.cohort, f"{field}.cohort", asked=asked, clients=count)
        if isinstance(regime, LocalDPFedAvg):
            warnings += _delta_warnings(regime, field, count, what="client")
        if not isinstance(regime, DPFedAvg):
            continue
        if isinstance(regime.clipping, Adaptive) and asked < _FEWEST_FOR_ADAPTIVE:
            raise ScenarioError(
                f"{field}.clipping",
                f"{asked} clients a round are too few to tell a quantile of their norms privately",
                fix=f"ask {_FEWEST_FOR_ADAPTIVE} or more a round, or use Flat()",
            )
        fewest, fewest_asked = FEWEST_FOR_PRIVACY
        if count < fewest or asked < fewest_asked:
            warnings.append(
                f"{field}: privacy for users with {count} clients, {asked} a round, says little: noise drowns so few "
                f"updates; use {fewest} clients and {fewest_asked} a round or more"
            )
        warnings += _delta_warnings(regime, field, count, what="client")
    return warnings


def check_silos(scenario: Scenario, held: Mapping[str, tuple[int, int]]) -> list[str]:
    """Check the batches of clients that are private by themselves; return warnings.

    Parameters
    ----------
    scenario : Scenario
    held : mapping of str to (int, int)
        Clients of each federated regime, by title, and the examples that they hold together.

    Raises
    ------
    ScenarioError
        If batches are larger than a client of mean size.
    """
    warnings = []
    for index, regime in enumerate(scenario.training):
        if not isinstance(regime, SiloDPFedAvg):
            continue
        field, (clients, examples) = f"training.{index}", held[regime.title]
        mean = examples // clients
        if regime.batch_size > mean:
            raise ScenarioError(
                f"{field}.batch_size",
                f"{regime.batch_size} is more than the {mean} examples of a client of mean size",
                fix=f"use {mean} or less" if mean else "use fewer clients",
            )
        warnings += _delta_warnings(regime, field, examples, what="example")
    return warnings


def _check_batches_of_users(regime: DPSGD, field: str, *, users: int) -> list[str]:
    if regime.batch_size > users:
        raise ScenarioError(
            f"{field}.batch_size", f"{regime.batch_size} is more than the {users} users", fix=f"use {users} or fewer"
        )
    if isinstance(regime.clipping, Adaptive) and regime.batch_size < _FEWEST_FOR_ADAPTIVE:
        raise ScenarioError(
            f"{field}.clipping",
            f"{regime.batch_size} users a step are too few to tell a quantile of their norms privately",
            fix=f"use batches of {_FEWEST_FOR_ADAPTIVE} users or more, or Flat()",
        )
    return _delta_warnings(regime, field, users, what="user")


def _delta_warnings(regime: PrivateRegime, field: str, count: int, *, what: str) -> list[str]:
    if regime.delta < 1 / count:
        return []
    usual = 10 ** math.floor(math.log10(1 / count)) / 10
    return [
        f"{field}.delta: {regime.delta:g} is not below 1/{what}s = {1 / count:.2g}, so the guarantee allows "
        f"leaking a whole {what}; use {usual:.0e} or less"
    ]


def check_ablations(scenario: Scenario) -> None:
    """Check that every ablation names a private regime whose parts can be told apart, and sets nothing of its own.

    Raises
    ------
    ScenarioError
    """
    regimes = {regime.title: regime for regime in scenario.training}
    for index, regime in enumerate(scenario.training):
        if not isinstance(regime, Plain) or regime.ablation is None:
            continue
        field, of = f"training.{index}", regime.ablation.of
        _check_ablated(regimes.get(of), of, f"{field}.ablation.of", [t for t, r in regimes.items() if _has_parts(r)])
        own = msgspec.structs.replace(regime, name="", ablation=None)
        for name in Plain.__struct_fields__:
            if getattr(own, name) != getattr(Plain(), name):
                raise ScenarioError(
                    f"{field}.{name}", f"is given, and ablation too, which takes the steps of {of}", fix="leave it out"
                )


def _check_ablated(regime: Regime | None, title: str, field: str, choices: list[str]) -> None:
    if regime is not None and _has_parts(regime):
        return
    problem = f"{title!r} names no DPSGD"
    if isinstance(regime, DPSGD):
        problem = f"{title!r} has more parts than a schedule, a fixed clipping norm and fresh noise for each step"
        if regime.unit == "user":
            problem = f"{title!r} is private for users, whose rows an ablation does not put together"
    raise ScenarioError(
        field,
        problem,
        fix=f"choose {', '.join(choices)}"
        if choices
        else "name a DPSGD of the core's engine with a fixed clipping norm, independent noise, no augmentation and "
        "no ema_decay",
    )


def _has_parts(regime: Regime) -> bool:
    """Whether a regime is private by a schedule, a fixed clipping norm and independent noise, and nothing else."""
    return (
        isinstance(regime, DPSGD)
        and regime.engine == "core"
        and regime.unit == "example"
        and isinstance(regime.mechanism, IndependentNoise)
        and not isinstance(regime.clipping, Adaptive)
        and regime.augmentation is None
        and regime.ema_decay is None
    )


def _check_private(regime: DPSGD, field: str) -> None:
    if regime.epochs is not None and regime.steps is not None:
        raise ScenarioError(f"{field}.steps", "is given, and epochs too", fix="give one of the two")
    _check_guarantee(regime, field)
    _check_users(regime, field)
    if not isinstance(regime.mechanism, IndependentNoise):
        _check_correlated(regime, field)
    elif regime.sampling == "cyclic poisson":
        raise ScenarioError(
            f"{field}.sampling",
            "'cyclic poisson' draws from as many groups as the noise has bands, and independent noise has none",
            fix='use mechanism=BandedMatrix(), or sampling="poisson"',
        )
    if regime.engine != "core":
        _check_stock(regime, field)


def _check_users(regime: DPSGD, field: str) -> None:
    """Check what names users, and that nothing else makes several rows of an example."""
    columns = regime.key_columns
    if not all(columns) or len(set(columns)) < len(columns):
        raise ScenarioError(f"{field}.key", f"{list(columns)} is empty or repeats a column", fix="name each once")
    if regime.unit == "example":
        if regime.rows_per_user != DPSGD().rows_per_user:
            raise ScenarioError(
                f"{field}.rows_per_user",
                "is given, but the unit is an example, of which there is one row",
                fix='leave it out, or use unit="user"',
            )
        return
    if regime.rows_per_user > MOST_OF_ONE:
        raise ScenarioError(
            f"{field}.rows_per_user",
            f"{regime.rows_per_user} rows of a user are more than go through a network together",
            fix=f"use {MOST_OF_ONE} or less",
        )
    if not columns:
        raise ScenarioError(
            f"{field}.key", "is missing, so nothing tells users apart", fix="name a column that data.keys keeps"
        )
    if regime.augmentation is not None:
        raise ScenarioError(
            f"{field}.augmentation",
            "makes copies of a row, and several rows of a user take their place",
            fix='remove it, or use unit="example"',
        )
    if regime.engine != "core":
        raise ScenarioError(f"{field}.engine", f"{regime.engine!r} knows rows and no users", fix='use engine="core"')


def _check_correlated(regime: DPSGD, field: str) -> None:
    """Refuse what the sensitivity of correlated noise does not speak of."""
    if regime.sampling == "cyclic poisson":
        _check_amplified(regime, field)
    elif regime.sampling != "in turn":
        raise ScenarioError(
            f"{field}.sampling",
            f"{regime.sampling!r} leaves open when an example comes again, on which correlated noise rests",
            fix='use sampling="in turn"',
        )
    if isinstance(regime.clipping, Adaptive):
        raise ScenarioError(f"{field}.clipping", "does not adapt under correlated noise", fix="use Flat()")


def _check_amplified(regime: DPSGD, field: str) -> None:
    """Refuse what amplification is not proved of, and bands that nothing tells."""
    if not isinstance(regime.mechanism, BandedMatrix):
        raise ScenarioError(
            f"{field}.sampling",
            f"'cyclic poisson' amplifies a band alone: {type(regime.mechanism).__name__} correlates steps however far "
            "apart, of which nothing is proved",
            fix='use mechanism=BandedMatrix(), or sampling="in turn"',
        )
    if regime.mechanism.bands is None and regime.epsilon is None:
        raise ScenarioError(
            f"{field}.mechanism.bands",
            "is left out, and so is epsilon, at which the best number of bands is found",
            fix="give bands, or epsilon in place of noise_multiplier",
        )


def _check_guarantee(regime: PrivateRegime, field: str) -> None:
    if (regime.epsilon is None) == (regime.noise_multiplier is None):
        both = "both are given" if regime.epsilon is not None else "neither is given"
        raise ScenarioError(
            f"{field}.epsilon", f"of epsilon and noise_multiplier {both}", fix="give exactly one of the two"
        )


def _check_stock(regime: DPSGD, field: str) -> None:
    """A library's own training loop does what its documentation shows, no more."""
    lacking = {
        "clipping": not isinstance(regime.clipping, Flat),
        "mechanism": not isinstance(regime.mechanism, IndependentNoise),
        "augmentation": regime.augmentation is not None,
        "trainable": bool(regime.trainable),
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


def _check_private_clients(regime: PrivateClients, field: str) -> None:
    _check_guarantee(regime, field)
    silo, partition = isinstance(regime, SiloDPFedAvg), regime.partition
    if not isinstance(partition, NaturalKey | Dirichlet) or partition.minimum == 1:
        return
    fewer = f"leaves out whoever has fewer than {partition.minimum} examples: "
    problem, fix = "", "use 1, or DPFedAvg, which protects a client as a whole"
    if isinstance(partition, NaturalKey) and silo:
        problem = f"{fewer}one example more would bring in all others of its client, and privacy is that of one"
    elif isinstance(partition, NaturalKey):
        problem, fix = f"{fewer}so who is asked would follow from what a client holds, which is to be kept", "use 1"
    elif silo:
        problem = f"has clients drawn again until each has {partition.minimum} examples: one label could move all"
    if problem:
        raise ScenarioError(f"{field}.partition.minimum", problem, fix=fix)


def _check_sums(regime: FedAvg, field: str) -> None:
    """Check what masked sums need, and nothing else takes."""
    if regime.aggregation != "masked":
        if regime.clipping_norm is not None:
            reason = f'{regime.clipping_norm:g} clips nothing where aggregation is "{regime.aggregation}"'
            raise ScenarioError(f"{field}.clipping_norm", reason, fix='leave it out, or use aggregation="masked"')
        return
    if regime.clipping_norm is None:
        reason = "is missing, and masked words hold numbers of a range that all clients keep to"
        raise ScenarioError(f"{field}.clipping_norm", reason, fix="give a norm above those of updates, such as 16")
    if regime.weighting != "uniform":
        reason = "gives clients weights that a server would have to know, and it learns the sum of updates alone"
        raise ScenarioError(f"{field}.weighting", reason, fix='use weighting="uniform"')


def _check_private_rounds(regime: DPFedAvg, field: str) -> None:
    _check_guarantee(regime, field)
    if isinstance(regime.clipping, Adaptive):
        if not isinstance(regime.mechanism, IndependentNoise):
            raise ScenarioError(f"{field}.clipping", "does not adapt under correlated noise", fix="use Flat()")
    if not isinstance(regime.mechanism, IndependentNoise) and not isinstance(regime.cohort, InTurnCohort):
        raise ScenarioError(
            f"{field}.cohort",
            "leaves open when a client comes again, on which the correlated noise of DP-FTRL rests",
            fix="use InTurn(clients=...)",
        )
    if isinstance(regime.mechanism, BandedMatrix) and regime.server_momentum:
        raise ScenarioError(
            f"{field}.server_momentum", "is not what the banded matrix was made for", fix="use 0, or IndependentNoise()"
        )
