"""What must be said with every epsilon: a statement that an auditor can check line by line."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

from trustml.privacy.bound_kinds import BoundKind
from trustml.privacy.ledger import Drawn, NeighboringRelation, PrivacyUnit

_NAMED = 8
"""Weights that a line names."""
Contribution: TypeAlias = Literal["example gradient", "user gradient", "client update", "silo gradient", "sent update"]
"""What is clipped, and adds to the sum that noise is added to; the last two by the client that holds them, before it
sends anything."""
Group: TypeAlias = Literal["", "largest user", "median user", "median client", "client that takes part least"]
AssumptionStatus: TypeAlias = Literal["met", "not met", "not checked"]


Coverage: TypeAlias = Literal["epsilon", "public", "disclosed", "not covered"]
"""Whether the guarantee speaks of something released: it does; it tells nothing of the data; it shows held-out
examples as they are; it follows training examples, or may, and no epsilon says how far."""
ReleaseName: TypeAlias = Literal[
    "final weights",
    "predictions on held-out examples",
    "accuracy by round",
    "scores in training",
    "held-out labels",
    "groups of held-out examples",
    "explained inputs",
    "attributions",
    "probes of explanations",
    "results of attacks",
    "other models",
    "ledger",
    "progress events",
    "times and memory",
    "fingerprint of the data",
    "sizes and names",
    "choices of the scenario",
    "starting weights",
    "rows shared with the start",
    "settings chosen in a sweep",
    "how jobs ended",
    "largest participation",
    "rows of users",
    "partition of the clients",
    "measures of the clients",
]


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of thing that lies outside ``private/``.

    Parameters
    ----------
    name : ReleaseName
    coverage : Coverage
    why : str
    """

    name: ReleaseName
    coverage: Coverage
    why: str


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """Something the guarantee rests on.

    Parameters
    ----------
    name : str
    status : {"met", "not met", "not checked"}
    why : str
    """

    name: str
    status: AssumptionStatus
    why: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Another epsilon for the same charges, which is no claim of its own.

    Parameters
    ----------
    name : str
        The measure, such as ``epsilon_unamplified``.
    value : float, optional
        None where there is none; `note` says why.
    bound : {"at most", "at least"}
    relation : NeighboringRelation or ""
    accountant : str
    note : str
    agrees : bool, optional
        Of another accountant: whether its number fits what is proved from below and from above.
    drawn : Drawn or ""
        How batches were drawn, or are supposed to be for this number; empty in statements of earlier versions.
    secret_sampling : bool
        Whether the batches are secret, or supposed to be.
    not_at_hand : bool
        Whether there is no value because what it needs was left out of this copy of the run.
    own : bool
        Whether it is of this training's charges alone, while epsilon is composed with those of an earlier one or void
        by one.
    group : {"", "largest user", "median user", "median client", "client that takes part least"}
        For all examples of which user together it is, where it is no number of single ones; of which client, where each
        is private by itself.
    """

    name: str
    value: float | None
    bound: Literal["at most", "at least"] = "at most"
    relation: Literal[""] | NeighboringRelation = ""
    accountant: str = ""
    note: str = ""
    agrees: bool | None = None
    drawn: Literal[""] | Drawn = ""
    secret_sampling: bool = False
    not_at_hand: bool = False
    own: bool = False
    group: Group = ""


class TrainedWeights(msgspec.Struct, frozen=True, kw_only=True):
    """What a regime trained of a model; the rest is as it was at the start, and follows from no example of this data.

    Parameters
    ----------
    names : tuple of str
        Of the weights that moved; of a pair of LoRA both.
    count, weights : int
        Numbers in them, and in the whole model with its pairs.
    start : str
        File or job that training started from; empty where starting weights follow from the seed.
    """

    names: tuple[str, ...]
    count: int
    weights: int
    start: str = ""


class CyclicGroups(msgspec.Struct, frozen=True, kw_only=True):
    """The groups that cyclic Poisson batches were drawn from in turn, one for each band of the noise.

    Parameters
    ----------
    count : int
    visits : int
        Steps, over all attempts, in which one example can be drawn: so often the Gaussian at the sample rate, which is
        that within its group, is composed.
    asked : int, optional
        Bands that the scenario asked for; None where it left them to be chosen.
    """

    count: int
    visits: int
    asked: int | None = None


class PrivacyCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Epsilon as steps add up, under three assumptions on how batches are drawn.

    Parameters
    ----------
    steps : tuple of int
    poisson, unamplified : tuple of float
        Upper bounds if all batches were secret Poisson batches; if nothing were amplified. With what the statement is
        composed with.
    shuffle_lower : tuple of float
        Lower bounds if the batches were shuffled epochs; none where the statement is composed.
    """

    steps: tuple[int, ...]
    poisson: tuple[float | None, ...]
    shuffle_lower: tuple[float | None, ...]
    unamplified: tuple[float | None, ...]


class Understated(msgspec.Struct, frozen=True, kw_only=True):
    """That the record says less than its ledger, which is what counts.

    Parameters
    ----------
    recorded : float, optional
        Epsilon as it was recorded; None where none was.
    stated : bool
        Whether there was a statement.
    readable : bool
        Whether the ledger can be read. Without it no epsilon can be stated.
    """

    recorded: float | None
    stated: bool = True
    readable: bool = True


class PrivacyStatement(msgspec.Struct, frozen=True, kw_only=True):
    """The guarantee of one private model, what it rests on, and what it does not cover.

    Parameters
    ----------
    model : str
        Identifier of the train job.
    epsilon : float
        Upper bound in nats.
    epsilon_at_least : float, optional
        No smaller epsilon holds for what this training was charged; None where nothing is proved from below.
    contribution : Contribution or ""
        What is clipped; empty in statements of earlier versions.
    composed_with : str
        Model of an earlier run that training started from and whose charges are in epsilon, as they are of the same
        rows; empty where there is none, and in statements of earlier versions.
    delta : float
    unit_of_privacy : {"example", "user"}
    neighboring_relation : {"add or remove one", "zero out one", "replace one"}
    accountant : str
        In words, with version.
    mechanism, clipping, sampling : str
        In words.
    drawn : Drawn or ""
        How batches or cohorts were drawn, as the ledger says; empty in statements of earlier versions.
    secret_sampling : bool
        Whether all of them were secret.
    largest_participation : int
        Most batches that an example is in, where they are not.
    cyclic : CyclicGroups, optional
        Where batches are drawn from one group after another; None in statements of earlier versions.
    trained : TrainedWeights, optional
        Which weights were trained, where not all of them; None in statements of earlier versions.
    accounted_by : BoundKind or ""
        Which bound epsilon is; empty in statements of earlier versions.
    noise_multiplier, clipping_norm, sample_rate : float
    expected_batch_size, steps, attempts : int
    data_size : int
    data_size_public : bool
    released : str
    releases : tuple of Release
        Everything that the run releases, by kind; empty in statements of earlier versions.
    hyperparameter_tuning : str
    trust_setting : str
    source_of_noise : str
    comparisons : tuple of Comparison
    assumptions : tuple of Assumption
    not_covered : tuple of str
    curve : PrivacyCurve, optional
    ledger : str
        SHA-256 of the ledger that all this follows from; empty in records of earlier versions.
    understated : Understated, optional
        Where the record was behind its ledger when it was read. Never in a file.
    """

    model: str
    epsilon: float | None
    delta: float
    unit_of_privacy: PrivacyUnit
    neighboring_relation: NeighboringRelation
    accountant: str
    mechanism: str
    clipping: str
    clipping_norm: float
    noise_multiplier: float
    sampling: str
    sample_rate: float
    expected_batch_size: int
    steps: int
    attempts: int
    data_size: int
    data_size_public: bool = True
    released: str
    hyperparameter_tuning: str
    trust_setting: str
    source_of_noise: str
    comparisons: tuple[Comparison, ...]
    assumptions: tuple[Assumption, ...]
    not_covered: tuple[str, ...]
    releases: tuple[Release, ...] = ()
    curve: PrivacyCurve | None = None
    ledger: str = ""
    understated: Understated | None = None
    epsilon_at_least: float | None = None
    drawn: Literal[""] | Drawn = ""
    secret_sampling: bool = False
    largest_participation: int = 0
    accounted_by: Literal[""] | BoundKind = ""
    trained: TrainedWeights | None = None
    cyclic: CyclicGroups | None = None
    composed_with: str = ""
    contribution: Literal[""] | Contribution = ""


def contributed(statement: PrivacyStatement) -> Contribution:
    """Say what is clipped; statements of earlier versions know clients alone as users."""
    if statement.contribution:
        return statement.contribution
    return "client update" if statement.unit_of_privacy == "user" else "example gradient"


def at_most(epsilon: float, digits: int) -> str:
    """Write an upper bound with so many digits, rounded up: a rounded-down one would claim too much."""
    scale = 10**digits
    return f"{math.ceil(epsilon * scale - 1e-9) / scale:.{digits}f}" if math.isfinite(epsilon) else "inf"


def at_least(epsilon: float, digits: int) -> str:
    """Write a lower bound with so many digits, rounded down."""
    scale = 10**digits
    return f"{math.floor(epsilon * scale + 1e-9) / scale:.{digits}f}" if math.isfinite(epsilon) else "inf"


def understated_line(recorded: float | None) -> str:
    """Say that a ledger holds more than was recorded."""
    said = "no epsilon" if recorded is None or math.isnan(recorded) else f"epsilon {at_most(recorded, 4)}"
    return f"WARNING: the record says {said}, and the ledger holds more, which counts; go on with the run to fix it"


def statement_line(statement: PrivacyStatement) -> str:
    """Delta, unit of privacy, neighbouring relation, sampling assumption and accountant, in one line."""
    again = f"; {statement.attempts} attempts composed" if statement.attempts > 1 else ""
    groups = "" if statement.cyclic is None else f"; groups: {groups_line(statement.cyclic)}"
    return (
        f"delta={statement.delta:g}; unit: {statement.unit_of_privacy}; relation: {statement.neighboring_relation}; "
        f"sampling: {statement.sampling}{groups}; accountant: {statement.accountant}{again}"
    )


def trained_line(trained: TrainedWeights) -> str:
    """Say which weights were trained, and where all others come from."""
    names = ", ".join(trained.names[:_NAMED])
    more = f" and {len(trained.names) - _NAMED} more" if len(trained.names) > _NAMED else ""
    start = trained.start or "random weights of the seed"
    return f"{trained.count:,} of {trained.weights:,} weights ({names}{more}); the rest is that of {start}"


def groups_line(cyclic: CyclicGroups) -> str:
    """Say how many groups there are, how often one is drawn from, and whose number that is."""
    visits = f"{cyclic.count} in turn, each drawn from in {cyclic.visits} steps at the most, at the sample rate"
    if cyclic.asked is None:
        return f"{visits}; as many bands, chosen for the least error of running sums"
    cut = f" of the {cyclic.asked} asked for: groups must hold what is drawn, and be reached"
    return f"{visits}; as many bands{cut if cyclic.count < cyclic.asked else ', as asked for'}"


_NAMES: dict[Contribution, tuple[str, str, str]] = {
    "example gradient": ("batch", "steps", "data size"),
    "user gradient": ("batch", "steps", "users"),
    "client update": ("cohort", "rounds", "clients"),
    "silo gradient": ("batch", "steps", "a client's mean size"),
    "sent update": ("cohort", "rounds", "clients"),
}


def statement_text(statement: PrivacyStatement) -> str:
    """Write the whole statement as text."""
    size = "public, in the manifest" if statement.data_size_public else "not public"
    epsilon = "no finite epsilon" if statement.epsilon is None else f"epsilon at most {at_most(statement.epsilon, 4)}"
    batch, step, data = _NAMES[contributed(statement)]
    lines = [
        f"Privacy statement: {statement.model}",
        f"  {epsilon} at delta {statement.delta:g}",
        *([] if statement.understated is None else [f"  {understated_line(statement.understated.recorded)}"]),
        f"  unit of privacy         one {statement.unit_of_privacy}",
        f"  neighbouring relation   {statement.neighboring_relation}",
        f"  mechanism               {statement.mechanism}",
        f"  noise multiplier        {statement.noise_multiplier:.6g}",
        f"  clipping                {statement.clipping}, norm {statement.clipping_norm:g}",
        f"  sampling                {statement.sampling}",
        f"  sample rate             {statement.sample_rate:.6g} (expected {batch} {statement.expected_batch_size})",
        *([] if statement.cyclic is None else [f"  groups                  {groups_line(statement.cyclic)}"]),
        f"  {f'{step} charged':24s}{statement.steps} in {statement.attempts} attempt(s)",
        f"  accountant              {statement.accountant}",
        *([f"  composed with           {statement.composed_with}"] if statement.composed_with else []),
        f"  {data:24s}{statement.data_size} ({size})",
        *([] if statement.trained is None else [f"  trained                 {trained_line(statement.trained)}"]),
        f"  released                {statement.released}",
        f"  hyperparameter tuning   {statement.hyperparameter_tuning}",
        f"  trust setting           {statement.trust_setting}",
        f"  source of noise         {statement.source_of_noise}",
        "  for comparison, not claims of this model:",
    ]
    for other in statement.comparisons:
        value = "-"
        if other.value is not None:
            value = f">= {at_least(other.value, 4)}" if other.bound == "at least" else f"<= {at_most(other.value, 4)}"
        own = "of this training alone" if other.own else ""
        about = "; ".join(part for part in (other.relation, other.accountant, other.note, own) if part)
        lines.append(f"    {other.name:24s}{value:>14s}   {about}")
    lines.append("  released, and what covers it:")
    lines += [f"    [{one.coverage:^11s}] {one.name}: {one.why}" for one in statement.releases]
    lines.append("  assumptions:")
    lines += [f"    [{one.status:^11s}] {one.name}: {one.why}" for one in statement.assumptions]
    lines.append("  not covered by epsilon:")
    lines += [f"    - {one}" for one in statement.not_covered]
    return "\n".join(lines)
