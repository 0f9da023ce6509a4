"""The literal table of measures."""

from __future__ import annotations

from trustml.measures.attack_table import ATTACK_MEASURES
from trustml.measures.described import Measure
from trustml.measures.explanation_table import EXPLANATION_MEASURES
from trustml.measures.federated_table import FEDERATED_MEASURES
from trustml.measures.row import Row as Row

MEASURES: dict[str, Measure] = {
    **EXPLANATION_MEASURES,
    **FEDERATED_MEASURES,
    **ATTACK_MEASURES,
    "accuracy": Measure(
        unit="1",
        better="higher",
        title="accuracy",
        meaning="Share of held-out examples whose largest logit is the true class; Wilson 95 % interval.",
    ),
    "epsilon": Measure(
        unit="nats",
        better="lower",
        title="epsilon",
        meaning="Upper bound on the privacy loss of one model, from all charges in its ledger.",
    ),
    "epsilon_if_poisson": Measure(
        unit="nats",
        better="lower",
        title="epsilon, were it Poisson",
        meaning="What would hold had every batch been a secret Poisson batch. No claim about what was done.",
    ),
    "epsilon_shuffle_lower": Measure(
        unit="nats",
        better="lower",
        title="epsilon if shuffled, at least",
        meaning="Lower bound (>=) on epsilon had the batches been shuffled epochs (Chua et al., ICML 2024). Never "
        "the epsilon of anything.",
    ),
    "epsilon_unamplified": Measure(
        unit="nats",
        better="lower",
        title="epsilon, unamplified",
        meaning="Gaussian mechanism over the most batches that one example really was in: what holds if the batches "
        "become known.",
    ),
    "epsilon_rdp": Measure(
        unit="nats",
        better="lower",
        title="epsilon by RDP",
        meaning="The same charges by Renyi DP: a looser upper bound, as a check from above.",
    ),
    "epsilon_prv": Measure(
        unit="nats",
        better="lower",
        title="epsilon by PRV",
        meaning="The same charges by Opacus's PRV accountant, an independent implementation, with its error.",
    ),
    "epsilon_all_releases": Measure(
        unit="nats",
        better="lower",
        title="epsilon, all releases",
        meaning="Upper bound for all private models of the run together, composed as their batches were shared.",
    ),
    "logit_relative_difference": Measure(
        unit="1",
        better="lower",
        title="logit difference",
        meaning="Largest |difference| of two frameworks' logits on the same weights, over max(1, largest |logit|).",
    ),
    "step_time_median": Measure(
        unit="s",
        better="lower",
        title="step time",
        meaning="Median wall time of a training step (a round, if federated) after the first; quartiles.",
    ),
    "step_time_first": Measure(
        unit="s",
        better="lower",
        title="first step",
        meaning="Wall time of the first step, with tracing and compiling.",
    ),
    "examples_per_second": Measure(
        unit="1/s",
        better="higher",
        title="examples per second",
        meaning="Examples of all steps after the first over their wall time.",
    ),
    "explain_time": Measure(
        unit="s",
        better="lower",
        title="explanation time",
        meaning="Wall time of the library's second call on all explained examples (the first compiles).",
    ),
    "peak_memory": Measure(
        unit="bytes",
        better="lower",
        title="peak memory",
        meaning="Most memory held at once by the worker and its children, interpreter and framework included.",
    ),
}
