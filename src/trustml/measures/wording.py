"""How a private mechanism is put into words, for examples and for users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trustml.frameworks.table import entry_of, is_known
from trustml.plan.job import TrainJob
from trustml.privacy.ledger import Charge, Drawn
from trustml.privacy.statement import Contribution
from trustml.privacy.tails import NoiseSource
from trustml.scenario.clipping import Adaptive, Flat, PerLayer
from trustml.scenario.federated import DPFedAvg, FederatedSpec, LocalDPFedAvg, PrivateClients, SiloDPFedAvg
from trustml.scenario.regimes import DPSGD, PrivateRegime, Regime

_GENERATORS: dict[NoiseSource, str] = {
    "jax": "Threefry with a key of 64 bits",
    "torch": "Mersenne Twister, its whole state filled (on a GPU Philox with a seed of 64 bits)",
    "torch.sfc64": "numpy's SFC64 with a seed of 128 bits (on a GPU PyTorch's Philox with one of 64 bits)",
    "numpy": "numpy's SFC64 with a seed of 128 bits",
    "tff": "TensorFlow's stateless Philox with a seed of 128 bits",
}
_CORRELATED = {
    "tree aggregation": "DP-FTRL by tree aggregation: Gaussian noise on every node of a binary tree over the {steps}, "
    "whose leaves are sums of clipped {parts}",
    "banded matrix factorisation": "DP-FTRL by banded matrix factorisation: Gaussian noise on the sums of clipped "
    "{parts}, correlated over the {steps} between two visits of {one}",
    "buffered linear Toeplitz": "DP-FTRL by a buffered linear Toeplitz matrix: Gaussian noise on the sums of clipped "
    "{parts}, correlated over all {steps}",
}


@dataclass(frozen=True, kw_only=True)
class _Words:
    """How the parts of a mechanism are called."""

    step: str
    parts: str
    one: str
    counted: str
    drawn: str


_WORDS: dict[Contribution, _Words] = {
    "example gradient": _Words(
        step="step", parts="per-example gradients", one="an example", counted="examples", drawn=""
    ),
    "user gradient": _Words(
        step="step", parts="per-user gradients", one="a user", counted="users", drawn=" (batches of users)"
    ),
    "client update": _Words(
        step="round", parts="client updates", one="a client", counted="clients", drawn=" (cohorts of clients)"
    ),
    "silo gradient": _Words(
        step="step",
        parts="per-example gradients",
        one="an example",
        counted="examples",
        drawn=" (batches of each client by itself)",
    ),
    "sent update": _Words(
        step="round", parts="client updates", one="a client", counted="clients", drawn=" (cohorts of clients)"
    ),
}


def contribution_of(regime: PrivateRegime) -> Contribution:
    """Say what is clipped and added up."""
    if isinstance(regime, DPFedAvg):
        return "client update"
    if isinstance(regime, PrivateClients):
        return "silo gradient" if isinstance(regime, SiloDPFedAvg) else "sent update"
    return "user gradient" if regime.unit == "user" else "example gradient"


def mechanism_text(first: Charge, regime: PrivateRegime) -> str:
    """What noise is added to."""
    words = _WORDS[contribution_of(regime)]
    if isinstance(regime, SiloDPFedAvg):
        return f"Gaussian noise on the sums of clipped {words.parts}, at every step of each client by itself"
    if isinstance(regime, LocalDPFedAvg):
        return "Gaussian noise on every clipped client update, by the client itself before it is sent"
    if first.noise != "independent":
        return _CORRELATED[first.noise].format(steps=f"{words.step}s", parts=words.parts, one=words.one)
    count = f" and on the count of unclipped {words.counted}" if first.quantile_noise_multiplier else ""
    return f"Gaussian noise on the sum of clipped {words.parts}, at every {words.step}{count}"


def sampling_text(charges: Sequence[Charge], contribution: Contribution) -> str:
    """How batches or cohorts are drawn, and whether that amplifies."""
    return sampling_words(
        charges[0].sampling,
        contribution=contribution,
        secret=all(charge.secret_sampling for charge in charges),
        most=max(charge.largest_participation for charge in charges),
    )


def sampling_words(sampling: Drawn, *, contribution: Contribution, secret: bool, most: int) -> str:
    """Put a way of drawing into words; `most` is the largest participation, where the draws are not secret."""
    clients = contribution in ("client update", "sent update")
    if sampling == "shuffle":
        return "shuffled epochs, no amplification claimed"
    if sampling == "all":
        what = "all clients in every round" if clients else "all examples in every batch"
        return f"{what}, so no amplification"
    if sampling == "unknown":
        return "unknown: somebody else's loader, so no amplification"
    if sampling == "in turn":
        what = "clients" if clients else "batches in one order,"
        return f"{what} in turn, no amplification claimed"
    if secret:
        ways = {"poisson": "Poisson", "cyclic poisson": "Poisson from one group after another"}
        what = f"{ways.get(sampling, 'fixed size without replacement')}, secret"
        return what + _WORDS[contribution].drawn
    return f"{sampling}, not secret, so no amplification (largest participation {most})"


def clipping_text(regime: PrivateRegime) -> str:
    """How one contribution is bounded."""
    clipping = Flat() if isinstance(regime, PrivateClients) else regime.clipping
    what = "client update" if isinstance(regime, DPFedAvg) else "gradient"
    match clipping:
        case PerLayer():
            return "per layer (each weight tensor to its share of the norm)"
        case Adaptive(quantile=quantile):
            return f"adaptive (quantile {quantile:g} of the {what} norms, its noise charged), from"
        case _:
            flat = {"client update": "client update", "sent update": "client update", "user gradient": "user"}
            return f"flat, per {flat.get(contribution_of(regime), 'example')}"


def released_text(regime: PrivateRegime) -> str:
    """What epsilon covers."""
    if isinstance(regime, DPFedAvg):
        return "the global model of every round, and what is listed below; no client's update"
    if isinstance(regime, PrivateClients):
        return "every update as it is sent, the global model of every round, and what is listed below"
    return "the final model, and what is listed below; no checkpoint, no training loss"


def trust_text(regime: PrivateRegime) -> str:
    """Who sees what before noise is added."""
    if isinstance(regime, DPFedAvg):
        return "central: the server sees every client's update and is trusted"
    if isinstance(regime, SiloDPFedAvg):
        return "in each silo: the client that holds an example is trusted with it, and nobody else, the server included"
    if isinstance(regime, LocalDPFedAvg):
        return "local: every client adds the noise itself and trusts nobody, the server included"
    return "central: whoever trains sees the examples and is trusted"


def times_tell(regime: Regime, *, secret: bool) -> str:
    """Name what times and memory follow, beside the number of steps."""
    if secret:
        return "the secret cohorts" if isinstance(regime, DPFedAvg) else "the secret batches"
    return "what clients hold" if isinstance(regime, FederatedSpec) else "the data"


def noise_source_text(job: TrainJob, regime: PrivateRegime, source: NoiseSource) -> str:
    """Name the generator of the noise, as the ledger does."""
    if isinstance(regime, DPSGD) and regime.engine != "core":
        return (
            f"default generator of {job.backend}, shared with everything else that is random; not a cryptographic one"
        )
    noise = entry_of(job.backend).noise if is_known(job.backend) else None
    if not source and isinstance(regime, DPFedAvg) and noise is not None and noise.former_users:
        return f"{noise.former_users}; not a cryptographic one"
    name = _GENERATORS.get(source, f"pseudo-random generator of {job.backend}")
    return f"{name}, seeded from operating-system entropy; not a cryptographic one"


def models_of(count: int, *, kind: str = "") -> str:
    """Count models in words: ``1 model``, ``3 private models``."""
    return f"{count} {kind}{'model' if count == 1 else 'models'}"
