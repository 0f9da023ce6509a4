"""What epsilon is, and what it is compared with: measures that follow from ledgers alone."""

from __future__ import annotations

from functools import partial

from trustml.measures.entry import Measure

_private = partial(
    Measure,
    family="privacy",
    rows=("trustml.measures.privacy:private_rows",),
    unit="nats",
    better="lower",
    kind="upper bound",
)
PRIVACY_MEASURES: dict[str, Measure] = {
    "epsilon": _private(
        title="epsilon",
        meaning="Upper bound on the privacy loss of one model, from all charges in its ledger.",
        words="epsilon, a proved upper bound",
        shown=("overview", "audit"),
        guarantee=True,
    ),
    "epsilon_if_poisson": _private(
        title="epsilon, were it Poisson",
        meaning="What would hold had every batch been a secret Poisson batch. No claim about what was done.",
        words="epsilon if batches were secret Poisson ones, an upper bound",
        shown=("audit",),
    ),
    "epsilon_shuffle_lower": _private(
        title="epsilon if shuffled, at least",
        meaning="Lower bound (>=) on epsilon had the batches been shuffled epochs (Chua et al., ICML 2024). Never "
        "the epsilon of anything.",
        kind="lower bound",
        words="epsilon if batches are shuffled epochs, a lower bound",
        shown=("audit",),
    ),
    "epsilon_unamplified": _private(
        title="epsilon, unamplified",
        meaning="Gaussian mechanism over the most batches that one example really was in: what holds if the batches "
        "become known.",
        words="epsilon without amplification by sampling, an upper bound",
        shown=("audit",),
    ),
    "epsilon_of_group": _private(
        title="epsilon for all rows of a user",
        meaning="What the charges for single examples come to for all rows of one user together, who is told by the "
        "columns that the regime names as key (group privacy): of the user with the most rows, and of the median.",
        words="epsilon for all rows of a user together, an upper bound",
        shown=("audit",),
    ),
    "epsilon_of_client": _private(
        title="epsilon of one client",
        meaning="Where clients are private themselves, epsilon is that of the client that takes part most; this is the "
        "epsilon of the median client, and of the one that takes part least.",
        words="epsilon of a client that takes part less than others, an upper bound",
        shown=("audit",),
    ),
    "epsilon_rdp": _private(
        title="epsilon by RDP",
        meaning="The same charges by Renyi DP: a looser upper bound, as a check from above.",
        words="epsilon by Rényi accounting",
        shown=("audit",),
    ),
    "epsilon_prv": _private(
        title="epsilon by PRV",
        meaning="The same charges by Opacus's PRV accountant, an independent implementation, with its error.",
        kind="estimate",
        words="epsilon by the PRV accountant",
        shown=("audit",),
    ),
    "epsilon_single_run": _private(
        title="epsilon of one run",
        meaning="Of a run that is the best of a Poisson number of runs: what it would have, had it been the only one. "
        "No claim: `epsilon` pays for the choice (Papernot and Steinke, ICLR 2022).",
        words="epsilon had the run been the only one",
        shown=("audit",),
        since=4,
    ),
    "epsilon_all_releases": _private(
        title="epsilon, all releases",
        meaning="Upper bound for all private models of the run together, composed as their batches were shared.",
        words="epsilon of all released models together, an upper bound",
        guarantee=True,
    ),
}
