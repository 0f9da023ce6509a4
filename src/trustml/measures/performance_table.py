"""The measures of how good models are on held-out examples, a part of :data:`trustml.measures.measure.MEASURES`."""

from __future__ import annotations

from functools import partial

from trustml.measures.entry import Measure

_accuracy = partial(
    Measure,
    family="accuracy",
    rows=("trustml.measures.accuracy:accuracy_rows",),
    unit="1",
    better="higher",
)
_performance = partial(
    Measure,
    family="accuracy",
    rows=("trustml.measures.accuracy:performance_rows",),
    unit="1",
    better="higher",
    shown=("performance",),
    since=1,
)

PERFORMANCE_MEASURES: dict[str, Measure] = {
    "accuracy": _accuracy(
        title="accuracy",
        meaning="Share of held-out examples whose largest logit is the true class; Wilson 95 % interval. Of several "
        "labels, the share that is right, and of texts that of the tokens that follow; bootstrap over examples.",
        spread="interval",
        shown=("overview", "federated page"),
    ),
    "r2": _accuracy(
        title="R²",
        meaning="Share of the variance of the held-out targets that predictions explain: 1 less their squared error "
        "over that of the best constant. Bootstrap over examples, as all intervals below.",
        spread="interval",
        shown=("overview", "federated page"),
        since=1,
    ),
    "score_difference": _performance(
        rows=("trustml.measures.score_differences:difference_rows",),
        title="score difference",
        meaning="Accuracy, or R², of the second of two models less that of the first on the same held-out examples: "
        "what a regime costs in one framework, or one framework against another in one regime. Paired interval "
        "(Newcombe, method 10); bootstrap over examples of several labels and of R².",
        shown=(),
        since=2,
    ),
    "slice_accuracy": _performance(
        rows=("trustml.measures.slices:slice_rows",),
        title="accuracy by group",
        meaning="Accuracy on the held-out examples of one group of a column that the scenario's `slices` names; Wilson "
        "95 % interval.",
        shown=(),
        since=4,
    ),
    "slice_gap": _performance(
        rows=("trustml.measures.slices:slice_rows",),
        better="lower",
        title="gap between groups",
        meaning="Largest accuracy over the groups of a column less the smallest, of groups of 10 held-out examples or "
        "more. Resampling adds to it, so its interval lies high and is no test: the p-value is of a permutation of "
        "who is in which group.",
        shown=(),
        since=4,
    ),
    "slice_gap_change": _performance(
        rows=("trustml.measures.slices:slice_rows",),
        better="lower",
        title="change of the gap",
        meaning="Gap between groups of a model less that of the plain model of its framework and seed, on the same "
        "resamples of held-out examples: what a regime does to groups. A gap grows with the spread of what is "
        "averaged, so the interval is no test: the p-value, by permutation of who is in which group, is of the claim "
        "that a regime changes all groups alike.",
        shown=(),
        since=4,
    ),
    "tuned_score": _performance(
        rows=("trustml.measures.sweeps:tuned_rows",),
        title="score, tuned",
        meaning="Accuracy, or R², of a swept regime with its own best setting: chosen on half of the held-out "
        "examples, as the mean over seeds, and measured on the other half. Settings that promise another "
        "epsilon are not chosen among.",
        shown=(),
        since=4,
    ),
    "tuned_score_difference": _performance(
        rows=("trustml.measures.sweeps:tuned_rows",),
        title="score difference, tuned",
        meaning="Accuracy, or R², of a regime with its own best setting less that of the plain regime with its own, on "
        "the half of the held-out examples that nothing was chosen on. Choosing a private setting by what its models "
        "score releases all that were tried: epsilon_all_releases composes them.",
        shown=(),
        since=4,
    ),
    "rmse": _performance(
        unit="of target",
        better="lower",
        title="RMSE",
        meaning="Root of the mean squared error on held-out examples, in the unit of the target; beside it that of "
        "always answering their mean.",
    ),
    "mae": _performance(
        unit="of target",
        better="lower",
        title="MAE",
        meaning="Mean absolute error on held-out examples, in the unit of the target; beside it that of always "
        "answering their median.",
    ),
    "perplexity": _performance(
        better="lower",
        title="perplexity",
        meaning="Exponential of the mean cross-entropy of the tokens that follow in held-out texts, over all steps; "
        "beside it that of always giving each token its share among them. Bootstrap over texts.",
        form="norm",
        since=4,
    ),
    "balanced_accuracy": _performance(
        title="balanced accuracy",
        meaning="Mean over the classes of the share of each that is right; over both sides of each of several labels.",
    ),
    "roc_auc": _performance(
        title="ROC-AUC",
        meaning="Area under the ROC curve of the second of two classes; of each of more classes against the rest, or "
        "of each label, averaged.",
    ),
    "pr_auc": _performance(
        title="PR-AUC",
        meaning="Area under the precision-recall curve (average precision), of the same curves.",
    ),
    "log_loss": _performance(
        unit="nats",
        better="lower",
        title="log loss",
        meaning="Mean cross-entropy on held-out examples, without class weights; of several labels the mean over them.",
        form="proportion",
    ),
    "calibration_error": _performance(
        better="lower",
        title="calibration error",
        meaning="Expected calibration error: how far the confidence in answers is from the share that is right, over "
        "15 bins of confidence (Guo et al., ICML 2017). Resampling adds to it, so its interval lies high.",
        heading="ECE",
    ),
    "f1": _performance(
        title="F1",
        meaning="Harmonic mean of precision and recall of one of several labels.",
    ),
}
"""By name. Those that lead tables are made by one function, one of them for every task."""
