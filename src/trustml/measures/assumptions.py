"""What the guarantee of one training rests on, each point met, not met or not checked in its run."""

from __future__ import annotations

from collections.abc import Sequence

from trustml.data.preparation import Categories, Classes, Preparation, Scaled
from trustml.measures.evidence import Evidence
from trustml.measures.sweeps import choices
from trustml.measures.wording import contribution_of, models_of
from trustml.models.tasks import DEFAULT_TASK, NextToken, Regression, Task
from trustml.plan.job import TrainJob
from trustml.privacy.ledger import UNAMPLIFIED, Charge
from trustml.privacy.statement import Assumption, AssumptionStatus, Contribution
from trustml.privacy.tails import FORMER, TAILS, total_variation
from trustml.scenario.federated import DPFedAvg, LocalDPFedAvg, PrivateClients, SiloDPFedAvg
from trustml.scenario.partition import NaturalKey
from trustml.scenario.regimes import DPSGD, PrivateRegime

BOTH_TAILS = "noise reaches as far as a normal distribution does"
EXACT_NOISE = "noise is cryptographic and exact in floating point"
PREPROCESSING = "preprocessing uses no statistics of the private data"
OF_THIS_DATA = "the ledger is of this data"
NO_ROWS = "explanations show no training rows"
DELTA = "delta is below 1/n"
HYPERPARAMETERS = "hyperparameters were not chosen on this data"
NOTHING_ELSE = "nothing else trained on this data is released"


def own_assumptions(
    evidence: Evidence,
    job: TrainJob,
    regime: PrivateRegime,
    charges: Sequence[Charge],
    *,
    before: Sequence[Charge] = (),
) -> tuple[Assumption, ...]:
    """List what one training rests on, whatever it started from; `before` are charges that its epsilon holds too."""
    return (
        _sampling(regime, charges),
        secrecy(regime, charges),
        _delta(evidence, regime, charges, before),
        Assumption(
            name="every executed step was charged",
            status="met",
            why="charges are on disk before the steps they pay for; steps done again are charged again",
        ),
        Assumption(
            name="no layer mixes examples",
            status="met",
            why="the architecture has none; BatchNorm is refused",
        )
        if contribution_of(regime) in ("example gradient", "silo gradient")
        else _alike(regime),
        *_clients(regime),
        Assumption(
            name="clipping and noise are what they are said to be",
            status="not checked",
            why=_checked_elsewhere(regime, job.backend),
        ),
        _data(evidence, charges),
        preprocessing_assumption(
            evidence.manifest.data.preparation,
            evidence.task,
            chosen=evidence.manifest.scenario.get("chosen_from_data", ()),
        ),
        _rows_of_explanations(evidence),
        _other_models(evidence),
        _hyperparameters(evidence, regime),
        _one_person(regime, charges),
        noise_reach(job, charges, before),
        Assumption(
            name=EXACT_NOISE,
            status="not met",
            why="it is not: generators are not cryptographic, and the noisy sum is rounded in float32, which attacks "
            "on low bits make use of (docs/privacy_noise.md)",
        ),
    )


def _alike(regime: PrivateRegime) -> Assumption:
    """Say what makes the sum over users, or clients, move by the clipping norm at the most."""
    if isinstance(regime, DPFedAvg):
        return Assumption(
            name="clients weigh alike, and the divisor is no secret of theirs",
            status="met",
            why="each clipped update counts once; the sum is divided by the declared number of clients",
        )
    if isinstance(regime, PrivateClients):
        return Assumption(
            name="clients weigh alike, and the divisor is no secret of theirs",
            status="met",
            why="each update has noise of its own; their mean is over all that were sent, which everybody sees",
        )
    return Assumption(
        name="a user's rows make one gradient, and no layer mixes users",
        status="met",
        why="the mean over a user's rows is clipped as one; no other layer than BatchNorm, which is refused, would mix",
    )


def _clients(regime: PrivateRegime) -> tuple[Assumption, ...]:
    """Say what lets the epsilon of one client be that of all, where examples are protected at their clients."""
    if not isinstance(regime, SiloDPFedAvg):
        return ()
    alike = Assumption(
        name="what a client does follows from nothing that it holds",
        status="met",
        why="steps of a round, sample rate and divisor are the same at all clients, and every update weighs alike",
    )
    natural = isinstance(regime.partition, NaturalKey)
    takes_part = (
        "cohorts follow from a public seed, and no amplification is claimed for them; the number of all examples, by "
        "which the sample rate is set, counts as public"
    )
    read_off = "clients were read off the rows: the list of them must be public, or the only row of one would show; "
    public = Assumption(
        name="who the clients are and who takes part is public",
        status="not checked" if natural else "met",
        why=f"{read_off if natural else ''}{takes_part}",
    )
    dealt = Assumption(
        name="an example that comes or goes moves no other to another client",
        status="met" if natural else "not met",
        why="a row says itself whose it is"
        if natural
        else "clients are simulated: the run dealt the examples out, all together, and the guarantee is for who holds "
        "them so",
    )
    return alike, public, dealt


def _is_stock(regime: PrivateRegime) -> bool:
    return isinstance(regime, DPSGD) and regime.engine != "core"


def _checked_elsewhere(regime: PrivateRegime, backend: str) -> str:
    if _is_stock(regime):
        return "a stock engine runs on its own"
    if isinstance(regime, LocalDPFedAvg):  # what conformance clips are gradients, and updates of a trusted server
        return "not by this run, and no update that a client makes private is checked by `trustml conformance`"
    return f"not by this run; `trustml conformance --backend {backend}` checks it on this machine"


def noise_reach(job: TrainJob, charges: Sequence[Charge], before: Sequence[Charge] = ()) -> Assumption:
    """Say whether the noise of a training reaches as far as is accounted for, over it and all that came before."""
    sources = {charge.noise_source for charge in charges}
    end = min(TAILS[source].largest if source else FORMER[job.backend] for source in sources)
    if any(not source or not TAILS[source].charged for source in sources):
        why = (
            f"the noise of this record is bounded at {end:g} standard deviations: an output beyond tells for certain, "
            "and epsilon does not count that"
        )
        return Assumption(name=BOTH_TAILS, status="not met", why=why)
    variation = total_variation((one.noise_source, one.steps * one.coordinates) for one in (*charges, *before))
    why = (
        f"up to {end:g} standard deviations; what is missing beyond is at most {1.05 * variation:.1e} of probability "
        "over all that was drawn, and delta pays for it"
    )
    return Assumption(name=BOTH_TAILS, status="met", why=why)


def _one_person(regime: PrivateRegime, charges: Sequence[Charge]) -> Assumption:
    if isinstance(regime, SiloDPFedAvg):
        why = "the unit is an example at one client; who gave several, there or at other clients, needs group privacy"
        return Assumption(name="one example is one person", status="not checked", why=why)
    if not isinstance(regime, DPSGD):
        name = "one client is one person"
        if not isinstance(regime.partition, NaturalKey):
            why = "clients are simulated: the run dealt the examples out, and the guarantee is for who holds them so"
            return Assumption(name=name, status="not met", why=why)
        key = " and ".join(regime.partition.columns)
        why = f"a client is all training examples of one {key}, protected together"
        return Assumption(name=name, status="not checked", why=why)
    if regime.unit == "user":
        why = f"a user is all training examples of one {' and '.join(regime.key_columns)}, protected together"
        return Assumption(name="one user is one person", status="not checked", why=why)
    return Assumption(
        name="one example is one person",
        status="not checked",
        why="the unit of privacy is an example; who gave several needs group privacy",
    )


_WHAT_WHEN: dict[Contribution, tuple[str, str]] = {
    "example gradient": ("example", "step"),
    "user gradient": ("user", "step"),
    "client update": ("client", "round"),
    "silo gradient": ("example", "step"),
    "sent update": ("client", "round"),
}


def _sampling(regime: PrivateRegime, charges: Sequence[Charge]) -> Assumption:
    name = "batches were drawn as the accountant assumes"
    if _is_stock(regime):
        return Assumption(name=name, status="not checked", why="the library drew them itself")
    what, when = _WHAT_WHEN[contribution_of(regime)]
    ways = {
        "poisson": f"the core drew every {what} on its own at every {when}",
        "cyclic poisson": f"the core put every {what} in a group on its own, whoever else is there, and drew it on its "
        f"own at every {when} of its group",
        "shuffle": f"nothing is assumed but that {'an' if what == 'example' else 'a'} {what} is in one batch an epoch",
        "fixed": f"the core drew a fresh subset of fixed size at every {when}",
        "all": "nothing is assumed: every client is in every round",
        "unknown": "nothing is assumed but that an example is in a batch once at the most",
        "in turn": f"the core asked the {what}s in one fixed order, so the {when}s between two visits are known",
    }
    return Assumption(name=name, status="met", why=ways[charges[0].sampling])


def secrecy(regime: PrivateRegime, charges: Sequence[Charge]) -> Assumption:
    """Say whether the batches are as secret as the epsilon that is claimed needs them to be."""
    name = "batches are secret"
    if charges[0].sampling in UNAMPLIFIED:
        return Assumption(name=name, status="met", why="not needed: no amplification is claimed")
    if _is_stock(regime):
        why = "drawn by the library's default generator, which holds 32 bits of seed on a CPU"
        return Assumption(name=name, status="not checked", why=why)
    if all(charge.secret_sampling for charge in charges):
        return Assumption(name=name, status="met", why="drawn from operating-system entropy, kept in private/")
    if isinstance(regime, PrivateClients):
        return Assumption(
            name=name, status="met", why="not needed: the server sees who takes part, and nothing is amplified"
        )
    why = f"not needed: sampling_seed {regime.sampling_seed} is in the record, so epsilon is the unamplified one"
    return Assumption(name=name, status="met", why=why)


def _delta(
    evidence: Evidence, regime: PrivateRegime, charges: Sequence[Charge], before: Sequence[Charge]
) -> Assumption:
    everybody = isinstance(regime, SiloDPFedAvg)  # a ledger counts the examples of one client
    own = evidence.manifest.data.train_examples if everybody else charges[0].examples
    limit = 1 / max(own, *(charge.examples for charge in before), 1)
    met = regime.delta < limit
    words: dict[Contribution, str] = {"client update": "client", "sent update": "client", "user gradient": "user"}
    record = words.get(contribution_of(regime), "record")
    return Assumption(
        name=DELTA,
        status="met" if met else "not met",
        why=f"{regime.delta:g} against {limit:.3g}"
        + ("" if met else f": a mechanism that leaks a whole {record} would pass"),
    )


def _data(evidence: Evidence, charges: Sequence[Charge]) -> Assumption:
    same = all(charge.data == evidence.manifest.data.fingerprint for charge in charges)
    return Assumption(
        name=OF_THIS_DATA,
        status="met" if same else "not met",
        why="fingerprints agree" if same else "the ledger names other data than the manifest",
    )


def preprocessing_assumption(
    preparation: Preparation, task: Task = DEFAULT_TASK, *, chosen: Sequence[str] = ()
) -> Assumption:
    """Say whether the preparation, or the loss, used the private data; the worst of its points decides.

    `chosen` are fields of the scenario that it says were chosen from the data.
    """
    read = [field for field in chosen if field.partition(".")[0] in ("data", "task")]
    point: tuple[AssumptionStatus, str] = ("not met", f"{', '.join(read)} were read from the data")
    points = (
        point if read else ("met", ""),
        _SCALING[preparation.scaling],
        _CATEGORIES[preparation.categories],
        _CLASSES[preparation.classes],
        _WEIGHTS[not isinstance(task, Regression | NextToken) and bool(task.class_weights)],
    )
    order: tuple[AssumptionStatus, ...] = ("not met", "not checked", "met")
    status = next(one for one in order if any(found == one for found, _ in points))
    why = "; ".join(why for found, why in points if found == status and why)
    return Assumption(name=PREPROCESSING, status=status, why=why)


_SCALING: dict[Scaled, tuple[AssumptionStatus, str]] = {
    "none": ("met", "inputs are taken as they are"),
    "public constants": ("met", "inputs are scaled by public constants"),
    "declared constants": ("not checked", "constants given by the user: where they come from is not in the record"),
    "training statistics": ("not met", "inputs are standardised with the mean and deviation of the training data"),
    "given tokenizer": (
        "not checked",
        "the tokenizer is of the user: what it learned from is not in the record",
    ),
    "each example": ("met", "each example is scaled by its own values alone"),
    "given code": ("not checked", "inputs are made by code of the user: what it uses is not in the record"),
    "unknown": ("not checked", "the record does not say how inputs were scaled"),
}
_CATEGORIES: dict[Categories, tuple[AssumptionStatus, str]] = {
    "none": ("met", ""),
    "declared": ("met", "categories are declared"),
    "marks not declared": ("not checked", "a row that lacks a number would add a mark: data.marked declares them"),
    "of the data": ("not met", "categories, marks or orders of dates are of the data: one row can change columns"),
    "unknown": ("not checked", "the record does not say where categories come from"),
}
_CLASSES: dict[Classes, tuple[AssumptionStatus, str]] = {
    "public": ("met", ""),
    "of the data": ("not checked", "the classes are those that the labels hold: one that a single row has would show"),
    "targets as they are": ("met", ""),
    "targets by a given range": ("not checked", "targets are mapped by a range given by the user"),
    "unknown": ("not checked", "the record does not say where the classes come from"),
}
_WEIGHTS: dict[bool, tuple[AssumptionStatus, str]] = {
    False: ("met", ""),
    True: ("not checked", "class weights are constants given by the user: were they counts of labels, they would tell"),
}


def _hyperparameters(evidence: Evidence, regime: PrivateRegime) -> Assumption:
    """Say whether what the scenario sets was chosen on the data; what it says itself comes first."""
    scenario = evidence.manifest.scenario
    name = HYPERPARAMETERS
    chosen = scenario.get("chosen_from_data")
    if chosen:
        why = f"the scenario says that {', '.join(chosen)} were read from it"
        return Assumption(name=name, status="not met", why=why)
    choice = evidence.once(choices).get(regime.title)
    if choice is not None:
        why = f"the run tries {choice.models} models of {choice.of} on it; what holds once one is chosen is said above"
        return Assumption(name=name, status="not met", why=why)
    if scenario.get("tuning"):
        return Assumption(name=name, status="met", why="a declared sweep is accounted for above")
    return Assumption(name=name, status="not checked", why="nothing in the record can tell")


def _rows_of_explanations(evidence: Evidence) -> Assumption:
    shown = evidence.shown_rows["training"]
    return Assumption(
        name=NO_ROWS,
        status="not met" if shown else "met",
        why=f"baselines of {', '.join(shown)} are training rows, which can be computed from the attributions: no "
        "epsilon holds for the released explanations"
        if shown
        else "baselines and backgrounds are constants, public or held-out rows, or there are no explanations",
    )


def _other_models(evidence: Evidence) -> Assumption:
    plain = [job for _, job in evidence.trained() if not isinstance(job.regime, PrivateRegime)]
    return Assumption(
        name=NOTHING_ELSE,
        status="not met" if plain else "not checked",
        why=f"this run also trained {models_of(len(plain))} without privacy; releasing "
        f"{'it' if len(plain) == 1 else 'any of them'} voids the guarantee"
        if plain
        else "nothing in the record can tell",
    )
