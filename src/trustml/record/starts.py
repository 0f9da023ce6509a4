"""What a model's start from an earlier one costs: charges that compose, or the guarantee itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from trustml.privacy.ledger import Charge
from trustml.privacy.statement import Assumption
from trustml.scenario.federated import FederatedSpec, SiloDPFedAvg
from trustml.scenario.partition import NaturalKey
from trustml.scenario.regimes import DPSGD, Plain, Regime

if TYPE_CHECKING:
    from trustml.record.schema import Manifest


SharedRows: TypeAlias = Literal["none", "some", "unknown"]
"""Whether rows that an earlier training used are training rows again."""
_WORSE: tuple[SharedRows, ...] = ("none", "unknown", "some")


class EarlierTraining(msgspec.Struct, frozen=True, kw_only=True):
    """A private training whose charges compose with those of what started from it.

    Parameters
    ----------
    run, job : str
        Its run, and its train job there.
    assumptions : tuple of Assumption
        What its own guarantee rests on, as its record told when it was started from; empty where none did.
    chosen_among : int
        Private models of a sweep of its run, of which it is one; 0 where it is of none.
    """

    run: str
    job: str
    assumptions: tuple[Assumption, ...] = ()
    chosen_among: int = 0

    @property
    def title(self) -> str:
        """Name of its model."""
        return f"{self.run}:{self.job}"


class StartRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A model of an earlier run from which training starts.

    Parameters
    ----------
    run, job : str
        Its run, and its train job there.
    weights : str
        SHA-256 of its file of weights.
    shared : {"none", "some", "unknown"}
        Whether it, or what it started from itself, was trained on rows that are trained on again.
    charges : tuple of Charge
        Of the ledgers of those trainings that were private and may have used such rows: they compose with this run's.
    uncharged : {"none", "some", "unknown"}, optional
        Whether rows that those trainings used without such charges are trained on again; None in earlier records.
    tuned_runs : float, optional
        Mean number of runs of which it was the best, where it was; its charges do not say so.
    chosen_among : int
        Private models of a sweep of its run, of which it is one, in earlier records; now its training says so.
    earlier : str
        What it started from itself; empty where its weights were drawn.
    trainings : tuple of EarlierTraining
        Those whose charges these are, the first one first; empty in earlier records.
    held_out_seen : int, optional
        Held-out rows of this run that it, or what it started from, was trained on; None where that cannot be told.
    scored : {"none", "some", "unknown"}, optional
        Whether rows that were held out then, and that models were scored on, are training rows now; None in earlier
        records.
    chosen : str
        Which of the models that it comes from was chosen, among several runs or models of a sweep, by such a score.
    """

    run: str
    job: str
    weights: str
    shared: SharedRows
    charges: tuple[Charge, ...] = ()
    uncharged: SharedRows | None = None
    tuned_runs: float | None = None
    chosen_among: int = 0
    earlier: str = ""
    trainings: tuple[EarlierTraining, ...] = ()
    held_out_seen: int | None = None
    scored: SharedRows | None = None
    chosen: str = ""


class Starting(Protocol):
    """What may start from a model of an earlier run: a run's manifest, or a plan of one."""

    @property
    def start(self) -> StartRecord | None:
        """The model, where it does."""


def worst(*found: SharedRows) -> SharedRows:
    """Give what has to be taken for true of several trainings together."""
    return max(found, key=_WORSE.index)


def start_of(manifest: Starting, regime: Regime) -> StartRecord | None:
    """Give the model of an earlier run that a regime starts from."""
    return None if isinstance(regime, Plain | DPSGD) and regime.from_seed else manifest.start


def start_title(manifest: Manifest, regime: Regime) -> str:
    """Name what a regime starts from, a file or a model of a run; empty where its weights follow from the seed."""
    drawn = isinstance(regime, Plain | DPSGD) and regime.from_seed
    return "" if drawn else Path(manifest.scenario.get("start", "")).name


def chosen_start(manifest: Starting, regime: Regime) -> str:
    """Name the earlier model that was chosen by rows that are trained on now; empty where none is known."""
    start = start_of(manifest, regime)
    return "" if start is None else start.chosen


def seen_by_start(manifest: Starting, regime: Regime) -> int:
    """Count the held-out rows that the earlier model is known to have been trained on, and so may know by heart."""
    start = start_of(manifest, regime)
    return 0 if start is None else start.held_out_seen or 0


def earlier_charges(manifest: Starting, regime: Regime) -> list[list[Charge]]:
    """Give the charges of the earlier training as one more release, where it used rows of this data too."""
    start = start_of(manifest, regime)
    composes = protects_examples(regime) and not is_void(manifest, regime)
    return [list(start.charges)] if start is not None and start.charges and composes else []


def composed_trainings(manifest: Starting, regime: Regime) -> tuple[EarlierTraining, ...]:
    """Give the trainings whose charges :func:`earlier_charges` are."""
    start = start_of(manifest, regime)
    return trainings_of(start) if start is not None and earlier_charges(manifest, regime) else ()


def trainings_of(start: StartRecord) -> tuple[EarlierTraining, ...]:
    """Give the trainings that a start was charged for; an earlier record knows but one, and not what it rests on."""
    untold = EarlierTraining(run=start.run, job=start.job, chosen_among=start.chosen_among)
    return start.trainings or ((untold,) if start.charges else ())


def once(earlier: Iterable[list[list[Charge]]]) -> list[list[Charge]]:
    """Give the charges of the earlier training that several models start from, of which some may not."""
    return next((found for found in earlier if found), [])


def composed_with(manifest: Starting, regime: Regime) -> str:
    """Name the model of an earlier run whose charges compose with those of a regime; empty where there is none."""
    start = start_of(manifest, regime)
    return f"{start.run}:{start.job}" if start is not None and earlier_charges(manifest, regime) else ""


def is_void(manifest: Starting, regime: Regime) -> bool:
    """Whether rows of this data were trained on without privacy before, so that no epsilon holds for them."""
    return uncharged_rows(manifest, regime) == "some"


def uncharged_rows(manifest: Starting, regime: Regime) -> SharedRows:
    """Tell whether rows of this data were trained on before without charges that compose with a regime's."""
    start = start_of(manifest, regime)
    if start is None:
        return "none"
    if _for_users(regime):  # with whose charges those of examples do not compose
        return worst(start.shared, "unknown") if holds_keys(regime) else start.shared
    if start.uncharged is not None:
        return start.uncharged
    return start.shared if not start.charges else "unknown" if start.earlier else "none"


def holds_keys(regime: Regime) -> bool:
    """Whether clients, or users, are who a column names: they may have given other rows to an earlier training."""
    if not _for_users(regime):
        return False
    return not isinstance(regime, FederatedSpec) or isinstance(regime.partition, NaturalKey)


def protects_examples(regime: Regime) -> bool:
    """Whether a regime is private for single examples, wherever they are: charges of such compose."""
    return isinstance(regime, SiloDPFedAvg) or (isinstance(regime, DPSGD) and regime.unit == "example")


def _for_users(regime: Regime) -> bool:
    return isinstance(regime, FederatedSpec | DPSGD) and not protects_examples(regime)


def unpaid_rows(manifest: Manifest, regime: Regime) -> SharedRows:
    """Give the same, where a file of weights, of which nothing is known, counts too."""
    if start_of(manifest, regime) is None:
        return "unknown" if start_title(manifest, regime) else "none"
    return uncharged_rows(manifest, regime)
