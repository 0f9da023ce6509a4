"""The table of measures, asked by every reader.

A new measure is an entry here, or in a table of one subject beside this, and a function that gives its rows.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from trustml.measures.deployed_table import DEPLOYED_MEASURES
from trustml.measures.entry import Family, Measure, Place
from trustml.measures.explanation_table import EXPLANATION_MEASURES
from trustml.measures.performance_table import PERFORMANCE_MEASURES
from trustml.measures.privacy_table import PRIVACY_MEASURES
from trustml.measures.remembered_table import REMEMBERED_MEASURES

_speed = partial(
    Measure,
    family="speed",
    rows=("trustml.measures.speed:speed_rows",),
    unit="s",
    better="lower",
)
_federated = partial(
    Measure,
    family="federated",
    rows=("trustml.measures.federated:federated_rows",),
    unit="1",
    better="lower",
    kind="exact",
)
_audited = partial(
    Measure,
    family="audited",
    rows=("trustml.measures.audited:audited_rows",),
    unit="nats",
    better="neither",
)
_membership = partial(
    Measure,
    family="membership",
    rows=("trustml.measures.membership:attacked_rows",),
    unit="1",
    better="lower",
)


# Figures of attacks stand in the order of the model card: the strongest, what was audited, then rates.
MEASURES: dict[str, Measure] = {
    **PRIVACY_MEASURES,
    **PERFORMANCE_MEASURES,
    **EXPLANATION_MEASURES,
    "step_time_median": _speed(
        title="step time",
        meaning="Median wall time of a training step (a round, if federated) after the first; quartiles.",
        words="time of one step after the first",
        heading="step ms",
        spread="quartiles",
        form="milliseconds",
        shown=("overview", "federated page", "speed page"),
    ),
    "step_time_first": _speed(
        title="first step",
        meaning="Wall time of the first step, with tracing and compiling.",
        kind="exact",
        words="time of the first step",
        heading="first s",
        shown=("wide overview", "speed page"),
    ),
    "examples_per_second": _speed(
        unit="1/s",
        better="higher",
        title="examples per second",
        meaning="Examples of all steps after the first over their wall time.",
        heading="examples/s",
        shown=("wide overview", "speed page"),
    ),
    "peak_memory": _speed(
        unit="bytes",
        title="peak memory",
        meaning="Most memory held at once by the worker and its children, interpreter and framework included.",
        words="peak memory of the worker",
        heading="peak MiB",
        shown=("overview", "speed page"),
    ),
    "work_memory": _speed(
        unit="bytes",
        title="memory of the work",
        meaning="Most memory that the worker's process held, less what it held once its framework was loaded and "
        "before it read the data: interpreter and framework, which every job pays, are not in it.",
        words="memory of the work, without interpreter and framework",
        heading="work MiB",
        shown=("speed page",),
    ),
    "explain_time": _speed(
        title="explanation time",
        meaning="Wall time of the library's second call on all explained examples (the first compiles).",
        kind="exact",
        words="time to explain all examples",
        form="milliseconds",
        shown=("speed page",),
    ),
    "client_accuracy_mean": _federated(
        better="higher",
        title="client accuracy, mean",
        meaning="Mean over clients of the accuracy on the held-out examples that stand for each: those of its key, or "
        "dealt out by its share of each class.",
        kind="estimate",
        heading="clients, mean",
        shown=("federated", "federated page"),
    ),
    "client_accuracy_tenth": _federated(
        better="higher",
        title="client accuracy, 10th percentile",
        meaning="Accuracy below which a tenth of the clients lie.",
        kind="estimate",
        heading="10th percentile",
        shown=("federated", "federated page"),
    ),
    "client_accuracy_worst": _federated(
        better="higher",
        title="client accuracy, worst",
        meaning="Accuracy of the worst-served client.",
        kind="estimate",
        heading="worst",
        shown=("federated", "federated page"),
    ),
    "rounds_to_target": _federated(
        unit="rounds",
        title="rounds to target",
        meaning="First round after which the held-out accuracy is the regime's target accuracy or more.",
        shown=("federated", "federated page"),
    ),
    "held_out_loss": _federated(
        unit="nats",
        title="held-out loss",
        meaning="Mean cross-entropy on held-out examples after the last round.",
        kind="estimate",
        form="proportion",
    ),
    "client_update_norm": _federated(
        better="neither",
        title="client drift",
        meaning="L2 norm of a client's update, mean over the clients of a round: how far clients drift from the "
        "global model before they are averaged.",
        heading="drift",
        form="norm",
        shown=("federated",),
    ),
    "bytes_down": _federated(
        unit="bytes",
        title="bytes down",
        meaning="Sent from the server to the clients in a round.",
        words="down, to the clients",
        heading="MB down",
        form="megabytes",
    ),
    "bytes_up": _federated(
        unit="bytes",
        title="bytes up",
        meaning="Sent from the clients to the server in a round.",
        words="up, to the server",
        heading="MB up",
        form="megabytes",
        shown=("federated", "federated page"),
    ),
    "round_ratio": _federated(
        title="round against central",
        meaning="Median time of a round over the time that the same backend's plain training takes for as many "
        "examples.",
        kind="estimate",
        heading="round/central",
        form="ratio",
        shown=("federated", "federated page"),
    ),
    "claimed_epsilon": _audited(
        title="claimed epsilon",
        meaning="What was promised for that which an audit looked at: a model's epsilon, or that of one private step.",
        kind="upper bound",
        words="epsilon as claimed",
        heading="claim",
        shown=("attacks", "audit"),
    ),
    "epsilon_estimate": _audited(
        better="lower",
        title="epsilon, estimated",
        meaning="What epsilon would be were the attacker's scores Gaussian. An estimate: no bound on anything.",
        words="estimate of epsilon, no bound",
        heading="estimate",
        shown=("attacks", "audit"),
    ),
    "training_accuracy": _membership(
        better="neither",
        title="training accuracy",
        meaning="Share of training examples whose largest logit is the true class; what it is above the held-out "
        "accuracy is overfitting. No epsilon covers it.",
        kind="exact",
    ),
    "membership_auc": _membership(
        title="membership AUC",
        meaning="Area under the ROC curve of a membership inference attack; 0.5 is guessing. DeLong 95 % interval.",
        words="AUC (guessing: 0.5)",
        label="AUC",
        shown=("audit", "model card"),
    ),
    "membership_auc_at_least": _membership(
        title="membership AUC, at least",
        meaning="One-sided lower bound of the AUC, corrected (Bonferroni) for all attacks tried on that model. Above "
        "0.5 the model is at risk.",
        kind="lower bound",
        words="AUC, a lower bound over all attacks together",
        label="AUC",
        shown=("audit",),
    ),
    "membership_auc_of_class": _membership(
        title="membership AUC, one class",
        meaning="AUC among the examples of one class, by the attack that is strongest on the model as a whole; classes "
        "with at least 20 members and 20 non-members. Not corrected for the number of classes.",
    ),
    "audited_epsilon": _audited(
        better="lower",
        title="audited epsilon, at least",
        meaning="Lower bound (>=) on epsilon that an attack has shown, at the confidence in the note. Above the "
        "claimed epsilon the claim is false.",
        kind="lower bound",
        words="audited epsilon, a lower bound",
        heading="audited",
        shown=("attacks", "audit", "model card"),
    ),
    "ceiling_all_correct": _audited(
        title="most this audit could show",
        meaning="The lower bound had every guess been right, with as many canaries or trials.",
        kind="exact",
        words="ceiling, if every guess had been right",
        heading="ceiling",
        shown=("attacks", "audit"),
    ),
    "attainable_at_claim": _audited(
        title="attainable at the claim",
        meaning="The bound that an ideal attacker of a Gaussian mechanism of exactly the claimed epsilon would get "
        "with as many canaries or trials: median and 90 % range of simulations.",
        words="attainable, by an ideal attacker if the claim is exact",
        heading="attainable",
        shown=("attacks", "audit"),
    ),
    "membership_auc_of_group": Measure(
        family="membership",
        rows=("trustml.measures.attacked_groups:attacked_group_rows",),
        unit="1",
        better="lower",
        title="membership AUC, one group",
        meaning="The same among examples of one group of a column of the scenario's `slices`. Not corrected either.",
    ),
    "membership_tpr_at_1_percent_fpr": _membership(
        title="TPR at 1 % FPR",
        meaning="Share of members found while at most 1 % of non-members are taken for members; Clopper-Pearson 95 % "
        "interval. Absent with fewer than 1,000 non-members.",
        words="TPR at 1 % FPR (guessing: 0.01)",
        shown=("audit of a regime", "model card"),
    ),
    "membership_tpr_at_0_1_percent_fpr": _membership(
        title="TPR at 0.1 % FPR",
        meaning="As above, at 0.1 %. Absent with fewer than 10,000 non-members.",
        words="TPR at 0.1 % FPR (guessing: 0.001)",
        shown=("audit of a regime", "model card"),
    ),
    "membership_advantage": _membership(
        title="membership advantage",
        meaning="TPR less FPR at the threshold that is best for one half of the examples, counted on the other: mean "
        "over 15 random halvings, with its Monte-Carlo error; medians of their Clopper-Pearson ends.",
        words="advantage, TPR minus FPR at a threshold chosen elsewhere (guessing: 0)",
        label="advantage",
    ),
    **REMEMBERED_MEASURES,
    **DEPLOYED_MEASURES,
}
"""By name, in the order in which tables, cards and pages list them."""


def shown_in(place: Place) -> dict[str, Measure]:
    """Give the measures that a reader lists in one place, in their order."""
    return {name: one for name, one in MEASURES.items() if place in one.shown}


def leading(measures: Collection[str]) -> str:
    """Give the measure that a table of these leads with: accuracy, or what stands for it."""
    found = [name for name, one in MEASURES.items() if one.rows == MEASURES["accuracy"].rows and name in measures]
    return found[0] if found else "accuracy"


def row_paths() -> tuple[str, ...]:
    """Give the functions that make the rows of all measures, each once, as ``module:name``."""
    return tuple(dict.fromkeys(path for one in MEASURES.values() for path in one.rows))


def made_by(path: str) -> set[str]:
    """Give the measures whose rows a function makes."""
    return {name for name, one in MEASURES.items() if path in one.rows}


def of_family(family: Family) -> dict[str, Measure]:
    """Give the measures of a family, in their order."""
    return {name: one for name, one in MEASURES.items() if one.family == family}
