"""The measures of explanations."""

from __future__ import annotations

from functools import partial

from trustml.measures.entry import Measure

_LIBRARIES = ("trustml.measures.between_libraries:library_rows",)
_complete = partial(
    Measure,
    family="explanations",
    rows=("trustml.measures.completeness:completeness_rows",),
    unit="1",
    better="lower",
    form="score",
)
_quality = partial(
    Measure,
    family="explanations",
    rows=("trustml.measures.quality:quality_rows",),
    unit="1",
    better="neither",
    form="score",
)
_agreement = partial(
    Measure,
    family="agreement",
    rows=(*_LIBRARIES, "trustml.measures.between_models:model_rows"),
    unit="1",
    better="neither",
)
_difference = partial(
    Measure,
    family="agreement",
    rows=_LIBRARIES,
    better="lower",
    kind="exact",
    form="difference",
)
_effect = partial(
    Measure,
    family="effects",
    rows=("trustml.compare.floor:floor_rows",),
    unit="1",
    better="neither",
)
_change = partial(
    Measure,
    family="effects",
    rows=("trustml.compare.quality_change:worth_rows",),
    better="neither",
)

EXPLANATION_MEASURES: dict[str, Measure] = {
    "attribution_completeness_error": _complete(
        title="completeness error",
        meaning="Mean |sum of attributions - change of the logit| over the mean |change of the logit| "
        "(completeness: Sundararajan et al. 2017); interval: 5th and 95th percentile over examples.",
        words="attribution completeness error",
        shown=("explanations", "audit"),
    ),
    "explain_passes": _complete(
        title="passes",
        meaning="Forward and backward passes that integrated gradients took for an example: mean; interval: 5th and "
        "95th percentile over examples. To be read beside the completeness error.",
        kind="exact",
        words="passes an example",
        shown=("explanations", "explanations page", "speed page"),
    ),
    "mean_absolute_attribution": Measure(
        family="explanations",
        rows=("trustml.measures.importance:importance_rows",),
        unit="1",
        better="neither",
        form="amount",
        title="mean |attribution|",
        meaning="Mean over explained examples of the magnitude of a feature's attribution, of the ten features of a "
        "table that count most by each explanation; exact bootstrap 95 % interval over examples.",
        since=5,
    ),
    "attribution_monte_carlo_error": Measure(
        family="explanations",
        rows=("trustml.measures.completeness:draws_rows",),
        unit="1",
        better="lower",
        form="score",
        title="Monte-Carlo error",
        meaning="Standard error of an attribution by the random numbers that its method draws, over the size of "
        "attributions (root mean squares over features), mean over examples; from two explanations by other draws, "
        "where a call takes less than ten seconds and timing is wanted. Interval: 5th and 95th percentile over "
        "examples.",
        words="Monte-Carlo error",
        shown=("explanations",),
        since=3,
    ),
    "deletion_auc": _quality(
        better="lower",
        title="deletion",
        meaning="Area under the target's probability as features are removed, the most important first (RISE, Petsiuk "
        "et al., arXiv 1806.07421).",
        shown=("explanations", "explanations page", "study"),
    ),
    "insertion_auc": _quality(
        better="higher",
        title="insertion",
        meaning="Area under the target's probability as features are added to the baseline, the most important first "
        "(RISE, arXiv 1806.07421).",
        shown=("explanations", "explanations page", "study"),
    ),
    "sufficiency": _quality(
        better="lower",
        title="sufficiency",
        meaning="Fall of the target's probability when only the top features are kept (ERASER, arXiv 1911.03429).",
        shown=("explanations page",),
    ),
    "comprehensiveness": _quality(
        better="higher",
        title="comprehensiveness",
        meaning="Fall of the target's probability when the top features are removed (ERASER, arXiv 1911.03429).",
        shown=("explanations page", "study"),
    ),
    "infidelity": _quality(
        better="lower",
        title="infidelity",
        meaning="Mean squared error of the changes of the logit that attributions foretell for random removals, at "
        "their best scale above 0, over the mean square of the changes: 0 exact, 1 nothing foretold, or the opposite "
        "(Yeh et al., arXiv 1901.09392, whose scale may be negative).",
        shown=("explanations", "explanations page", "study"),
    ),
    "road": _quality(
        better="higher",
        title="ROAD",
        meaning="Accuracy with the least important pixels imputed minus that with the most important ones, mean over "
        "shares (Rong et al., arXiv 2202.00449).",
        shown=("explanations", "explanations page", "study"),
    ),
    "max_sensitivity": _quality(
        better="lower",
        title="max-sensitivity",
        words="max sensitivity",
        meaning="Largest relative change of the attribution within a small box around the input (Yeh et al., arXiv "
        "1901.09392).",
        shown=("explanations", "explanations page"),
    ),
    "local_lipschitz": _quality(
        better="lower",
        title="local Lipschitz estimate",
        meaning="Largest change of the attribution over the change of the input nearby (Alvarez-Melis and Jaakkola, "
        "arXiv 1806.08049).",
        shown=("explanations page",),
    ),
    "attribution_gini": _quality(
        title="sparseness",
        meaning="Gini index of the magnitudes: 0 spread evenly, towards 1 all on one feature (Chalasani et al., arXiv "
        "1810.06583).",
        kind="exact",
        shown=("explanations page",),
    ),
    "attribution_entropy": _quality(
        unit="nats",
        title="complexity",
        meaning="Entropy of the shares of the magnitudes (Bhatt et al., arXiv 2005.00631).",
        kind="exact",
    ),
    "mprt_similarity": _quality(
        title="similarity, all weights randomised",
        meaning="Rank correlation with the explanation of the same network with random weights; near 1 means that the "
        "method does not look at the model (Adebayo et al., arXiv 1810.03292).",
        shown=("explanations", "explanations page"),
    ),
    "mprt_signed_similarity": _quality(
        title="signed similarity, all weights randomised",
        meaning="The same with signed attributions (Adebayo et al., arXiv 1810.03292).",
    ),
    "mprt_independent_similarity": _quality(
        title="similarity, one layer randomised",
        meaning="As above with one layer randomised at a time, mean over layers (Adebayo et al., arXiv 1810.03292).",
    ),
    "smooth_mprt_similarity": _quality(
        title="similarity, smoothed, all weights randomised",
        meaning="As above with explanations averaged over noisy inputs first (Hedström et al., 2023).",
        shown=("explanations page",),
    ),
    "efficient_mprt": _quality(
        better="higher",
        title="rise of complexity",
        meaning="Relative rise of the explanation's histogram entropy when all weights are randomised (Hedström et "
        "al., 2023).",
        shown=("explanations page",),
    ),
    "logit_relative_difference": _difference(
        unit="1",
        title="logit difference",
        meaning="Largest |difference| of two frameworks' logits on the same weights, over max(1, largest |logit|).",
    ),
    "attribution_agreement_spearman": _agreement(
        title="rank agreement",
        meaning="Spearman correlation of two signed attributions over the features of an example. Mean over "
        "examples; bootstrap 95 % interval.",
        shown=("agreement",),
    ),
    "attribution_agreement_kendall": _agreement(
        title="Kendall agreement",
        meaning="Kendall's tau-b of two signed attributions. Mean over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_pairwise_rank": _agreement(
        title="pairwise rank agreement",
        meaning="Share of feature pairs in the same order by magnitude (Krishna et al., arXiv 2202.01602). Mean "
        "over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_feature": _agreement(
        title="top-10 % overlap",
        meaning="Share of the 10 % largest features that two attributions have in common (Krishna et al., arXiv "
        "2202.01602). Mean over examples; bootstrap 95 % interval.",
        shown=("agreement",),
    ),
    "attribution_agreement_rank": _agreement(
        title="top-10 % rank agreement",
        meaning="Share of the 10 % top places that hold the same feature (Krishna et al., arXiv 2202.01602). "
        "Mean over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_sign": _agreement(
        title="top-10 % sign agreement",
        meaning="Share of the 10 % largest features in common with the same sign (Krishna et al., arXiv "
        "2202.01602). Mean over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_signed_rank": _agreement(
        title="top-10 % signed rank agreement",
        meaning="Same feature, place and sign, among the 10 % largest (Krishna et al., arXiv 2202.01602). Mean "
        "over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_cosine": _agreement(
        title="cosine",
        meaning="Cosine of the angle between two attributions. Mean over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_ssim": _agreement(
        title="SSIM",
        meaning="Structural similarity of two maps over their largest magnitude (Wang et al., 2004). Mean over "
        "examples; bootstrap 95 % interval.",
    ),
    "attribution_max_abs_difference": _difference(
        unit="of largest",
        title="largest difference",
        meaning="Largest |difference| of two attributions over the largest |attribution| of the first.",
        shown=("agreement",),
    ),
    "explanation_effect": _effect(
        title="effect on explanations",
        meaning="Rank agreement of a regime's models with plain ones of other seeds, minus that of plain models of "
        "different seeds: 0 is what another seed does; jackknife 95 % over seeds.",
        heading="beyond another seed",
        shown=("study figure",),
    ),
    "explanation_effect_top": _effect(
        title="effect on top features",
        meaning="The same with the overlap of the 10 % largest features.",
    ),
    "explanation_floor": _effect(
        title="noise floor",
        meaning="Rank agreement of plain models of different seeds, mean over pairs; jackknife 95 % over seeds.",
    ),
    "explanation_same_seed": _effect(
        title="agreement, same seed",
        meaning="Rank agreement of a regime's model with the plain one of the same seed, which share starting weights.",
    ),
    "explanation_within_regime": _effect(
        title="agreement within the regime",
        meaning="Rank agreement of a regime's models of different seeds with each other.",
    ),
    "explanation_effect_beyond_accuracy": _effect(
        title="effect beyond accuracy",
        meaning="Effect of a regime minus that of plain training stopped at the same accuracy; jackknife 95 % over "
        "seeds.",
        heading="beyond lower accuracy",
        shown=("study figure",),
    ),
    "explanation_effect_of_part": _effect(
        title="effect of a part",
        meaning="Effect of a regime minus that of one whose steps lack one part of private training alone, clipping or "
        "noise; jackknife 95 % over seeds.",
        heading="clipping or noise alone",
        shown=("study figure",),
    ),
    "explanation_trend": _effect(
        title="trend over epsilon",
        meaning="Rise of the rank agreement with plain models of other seeds for each doubling of epsilon, by least "
        "squares over regimes that differ in epsilon alone; jackknife 95 % over seeds.",
        heading="a doubling of epsilon",
        shown=("study figure",),
    ),
    "accuracy_trend": _effect(
        better="higher",
        title="trend of accuracy over epsilon",
        meaning="Rise of the held-out accuracy for each doubling of epsilon, by least squares over regimes that differ "
        "in epsilon alone; jackknife 95 % over seeds.",
    ),
    "explanation_steadiness": _change(
        unit="1",
        title="perturbation minus gradient",
        meaning="Effect on perturbation methods minus that on gradient methods, means over the methods: above 0 "
        "perturbation methods are steadier; jackknife 95 % over seeds.",
    ),
}

CHANGES = ("infidelity", "deletion_auc", "insertion_auc", "comprehensiveness", "sufficiency", "road")
"""Measures of faithfulness of which the change between regimes is given, as ``change_of_<measure>``."""

TESTED = (
    "explanation_effect",
    "explanation_effect_top",
    "explanation_effect_beyond_accuracy",
    "explanation_effect_of_part",
    "explanation_trend",
    "accuracy_trend",
    "explanation_steadiness",
)
"""Measures with a permutation test of their own, given as ``<measure>_p``; so have all changes."""

EXPLANATION_MEASURES |= {
    f"change_of_{name}": _change(
        unit=EXPLANATION_MEASURES[name].unit,
        better=EXPLANATION_MEASURES[name].better,
        title=f"change of {EXPLANATION_MEASURES[name].title}",
        meaning=f"Difference between two regimes' models of the same seed in: {EXPLANATION_MEASURES[name].title}; mean "
        "over seeds, jackknife 95 %.",
    )
    for name in CHANGES
}

EXPLANATION_MEASURES |= {
    f"{name}_p": Measure(
        family="effects",
        rows=EXPLANATION_MEASURES[name].rows,
        unit="1",
        better="neither",
        title=f"p, {EXPLANATION_MEASURES[name].title}",
        meaning=f"Two-sided permutation test within seeds that this is 0: {EXPLANATION_MEASURES[name].title}.",
    )
    for name in (*TESTED, *(f"change_of_{measure}" for measure in CHANGES))
}
