"""The measures of exported models, a part of :data:`trustml.measures.measure.MEASURES`."""

from __future__ import annotations

from functools import partial

from trustml.measures.entry import Measure

_deployed = partial(
    Measure,
    family="deployed",
    rows=("trustml.measures.deployed:deployed_rows",),
    unit="1",
    better="lower",
    since=4,
)
_latency = partial(_deployed, unit="s", spread="quartiles", form="milliseconds", shown=("deployed",))

_attacked = partial(
    _deployed,
    family="deployed attacks",
    rows=("trustml.measures.deployed_attacks:deployed_attack_rows",),
    since=6,
)

DEPLOYED_MEASURES: dict[str, Measure] = {
    "deployed_logit_difference": _deployed(
        title="logit difference",
        meaning="Largest difference between the logits of an exported file, asked in a fresh process of its runtime, "
        "and those of the model that was audited, over the largest logit (at least 1).",
        kind="exact",
        form="difference",
        shown=("deployed",),
    ),
    "deployed_disagreement": _deployed(
        title="predictions that differ",
        meaning="Share of held-out examples for which an exported file says something else than the model that was "
        "audited; Wilson 95 % interval.",
        heading="differ",
        spread="interval",
        shown=("deployed",),
    ),
    "deployed_score_difference": _deployed(
        better="higher",
        title="score difference",
        meaning="Accuracy of an exported file less that of the model that was audited, on the same held-out examples; "
        "Newcombe's paired 95 % interval.",
        heading="score",
        spread="interval",
        shown=("deployed",),
    ),
    "deployed_roc_auc_difference": _deployed(
        better="higher",
        title="difference of ROC-AUC",
        meaning="Area under the ROC curve (`roc_auc`) of an exported file less that of the model that was audited, on "
        "the same held-out examples; paired bootstrap over examples, 95 %, without width where both rank all alike.",
        heading="ROC-AUC",
        spread="interval",
        shown=("deployed",),
        since=7,
    ),
    "deployed_attribution_agreement": _deployed(
        better="higher",
        title="attribution agreement",
        meaning="Rank correlation (Spearman) of attributions of an exported file with those of the model, both made "
        "anew in the same way, mean over explained examples: input gradients where the runtime has them, else "
        "occlusion (Zeiler and Fergus 2014) and KernelSHAP (Lundberg and Lee 2017), of the same coalitions.",
        heading="attributions",
        shown=("deployed",),
    ),
    "deployed_size": _deployed(
        unit="bytes",
        title="size",
        meaning="Bytes of an exported file, or of all files of a folder.",
        kind="exact",
        heading="MB",
        form="megabytes",
        shown=("deployed",),
    ),
    "deployed_first_call": _deployed(
        unit="s",
        title="first call",
        meaning="Wall time from opening an exported file in a fresh process to its first answer; imports left out.",
        kind="exact",
        heading="first s",
        shown=("deployed",),
    ),
    "deployed_latency_1": _latency(
        title="latency, batch of 1",
        meaning="Median wall time of a call with one example, in turns with the framework's own; quartiles.",
        heading="ms at 1",
    ),
    "deployed_latency_64": _latency(
        title="latency, batch of 64",
        meaning="The same with 64 examples.",
        heading="ms at 64",
    ),
    "deployed_membership_auc": _attacked(
        title="membership AUC of the file",
        meaning="Area under the ROC curve of the membership attack that is strongest on an exported file, on all "
        "training and held-out examples; the model's by the same attack is told beside it. DeLong 95 % interval.",
        heading="membership",
        spread="interval",
        shown=("deployed",),
    ),
    "deployed_membership_auc_at_least": _attacked(
        title="membership AUC of the file, at least",
        meaning="One-sided lower bound of it, corrected (Bonferroni) for all attacks tried on the file; the model's is "
        "told beside it. Above 0.5 the file is at risk.",
        kind="lower bound",
        heading="at least",
        shown=("deployed",),
    ),
}
