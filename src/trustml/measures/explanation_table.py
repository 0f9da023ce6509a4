"""The measures of explanations."""

from __future__ import annotations

from trustml.measures.described import Measure

EXPLANATION_MEASURES: dict[str, Measure] = {
    "attribution_completeness_error": Measure(
        unit="1",
        better="lower",
        title="completeness error",
        meaning="Mean |sum of attributions - change of the logit| over the mean |change of the logit| "
        "(completeness: Sundararajan et al. 2017); interval: 5th and 95th percentile over examples.",
    ),
    "explain_passes": Measure(
        unit="1",
        better="lower",
        title="passes",
        meaning="Forward and backward passes that integrated gradients took for an example: mean; interval: 5th and "
        "95th percentile over examples. To be read beside the completeness error.",
    ),
    "deletion_auc": Measure(
        unit="1",
        better="lower",
        title="deletion",
        meaning="Area under the target's probability as features are removed, the most important first (RISE, Petsiuk "
        "et al., arXiv 1806.07421).",
    ),
    "insertion_auc": Measure(
        unit="1",
        better="higher",
        title="insertion",
        meaning="Area under the target's probability as features are added to the baseline, the most important first "
        "(RISE, arXiv 1806.07421).",
    ),
    "sufficiency": Measure(
        unit="1",
        better="lower",
        title="sufficiency",
        meaning="Fall of the target's probability when only the top features are kept (ERASER, arXiv 1911.03429).",
    ),
    "comprehensiveness": Measure(
        unit="1",
        better="higher",
        title="comprehensiveness",
        meaning="Fall of the target's probability when the top features are removed (ERASER, arXiv 1911.03429).",
    ),
    "infidelity": Measure(
        unit="1",
        better="lower",
        title="infidelity",
        meaning="Mean squared error of the changes of the logit that attributions foretell for random removals, at "
        "their best scale, over the mean square of the changes: 0 exact, 1 nothing foretold (Yeh et al., arXiv "
        "1901.09392).",
    ),
    "road": Measure(
        unit="1",
        better="higher",
        title="ROAD",
        meaning="Accuracy with the least important pixels imputed minus that with the most important ones, mean over "
        "shares (Rong et al., arXiv 2202.00449).",
    ),
    "max_sensitivity": Measure(
        unit="1",
        better="lower",
        title="max-sensitivity",
        meaning="Largest relative change of the attribution within a small box around the input (Yeh et al., arXiv "
        "1901.09392).",
    ),
    "local_lipschitz": Measure(
        unit="1",
        better="lower",
        title="local Lipschitz estimate",
        meaning="Largest change of the attribution over the change of the input nearby (Alvarez-Melis and Jaakkola, "
        "arXiv 1806.08049).",
    ),
    "attribution_gini": Measure(
        unit="1",
        better="neither",
        title="sparseness",
        meaning="Gini index of the magnitudes: 0 spread evenly, towards 1 all on one feature (Chalasani et al., arXiv "
        "1810.06583).",
    ),
    "attribution_entropy": Measure(
        unit="nats",
        better="neither",
        title="complexity",
        meaning="Entropy of the shares of the magnitudes (Bhatt et al., arXiv 2005.00631).",
    ),
    "mprt_similarity": Measure(
        unit="1",
        better="neither",
        title="similarity, all weights randomised",
        meaning="Rank correlation with the explanation of the same network with random weights; near 1 means that the "
        "method does not look at the model (Adebayo et al., arXiv 1810.03292).",
    ),
    "mprt_signed_similarity": Measure(
        unit="1",
        better="neither",
        title="signed similarity, all weights randomised",
        meaning="The same with signed attributions (Adebayo et al., arXiv 1810.03292).",
    ),
    "mprt_independent_similarity": Measure(
        unit="1",
        better="neither",
        title="similarity, one layer randomised",
        meaning="As above with one layer randomised at a time, mean over layers (Adebayo et al., arXiv 1810.03292).",
    ),
    "smooth_mprt_similarity": Measure(
        unit="1",
        better="neither",
        title="similarity, smoothed, all weights randomised",
        meaning="As above with explanations averaged over noisy inputs first (Hedström et al., 2023).",
    ),
    "efficient_mprt": Measure(
        unit="1",
        better="higher",
        title="rise of complexity",
        meaning="Relative rise of the explanation's histogram entropy when all weights are randomised (Hedström et "
        "al., 2023).",
    ),
    "attribution_agreement_spearman": Measure(
        unit="1",
        better="neither",
        title="rank agreement",
        meaning="Spearman correlation of two signed attributions over the features of an example. Mean over "
        "examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_kendall": Measure(
        unit="1",
        better="neither",
        title="Kendall agreement",
        meaning="Kendall's tau-b of two signed attributions. Mean over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_pairwise_rank": Measure(
        unit="1",
        better="neither",
        title="pairwise rank agreement",
        meaning="Share of feature pairs in the same order by magnitude (Krishna et al., arXiv 2202.01602). Mean "
        "over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_feature": Measure(
        unit="1",
        better="neither",
        title="top-10 % overlap",
        meaning="Share of the 10 % largest features that two attributions have in common (Krishna et al., arXiv "
        "2202.01602). Mean over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_rank": Measure(
        unit="1",
        better="neither",
        title="top-10 % rank agreement",
        meaning="Share of the 10 % top places that hold the same feature (Krishna et al., arXiv 2202.01602). "
        "Mean over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_sign": Measure(
        unit="1",
        better="neither",
        title="top-10 % sign agreement",
        meaning="Share of the 10 % largest features in common with the same sign (Krishna et al., arXiv "
        "2202.01602). Mean over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_signed_rank": Measure(
        unit="1",
        better="neither",
        title="top-10 % signed rank agreement",
        meaning="Same feature, place and sign, among the 10 % largest (Krishna et al., arXiv 2202.01602). Mean "
        "over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_cosine": Measure(
        unit="1",
        better="neither",
        title="cosine",
        meaning="Cosine of the angle between two attributions. Mean over examples; bootstrap 95 % interval.",
    ),
    "attribution_agreement_ssim": Measure(
        unit="1",
        better="neither",
        title="SSIM",
        meaning="Structural similarity of two maps over their largest magnitude (Wang et al., 2004). Mean over "
        "examples; bootstrap 95 % interval.",
    ),
    "attribution_max_abs_difference": Measure(
        unit="of largest",
        better="lower",
        title="largest difference",
        meaning="Largest |difference| of two attributions over the largest |attribution| of the first.",
    ),
    "explanation_effect": Measure(
        unit="1",
        better="neither",
        title="effect on explanations",
        meaning="Rank agreement of a regime's models with plain ones of other seeds, minus that of plain models of "
        "different seeds: 0 is what another seed does; jackknife 95 % over seeds.",
    ),
    "explanation_effect_top": Measure(
        unit="1",
        better="neither",
        title="effect on top features",
        meaning="The same with the overlap of the 10 % largest features.",
    ),
    "explanation_floor": Measure(
        unit="1",
        better="neither",
        title="noise floor",
        meaning="Rank agreement of plain models of different seeds, mean over pairs; jackknife 95 % over seeds.",
    ),
    "explanation_same_seed": Measure(
        unit="1",
        better="neither",
        title="agreement, same seed",
        meaning="Rank agreement of a regime's model with the plain one of the same seed, which share starting weights.",
    ),
    "explanation_within_regime": Measure(
        unit="1",
        better="neither",
        title="agreement within the regime",
        meaning="Rank agreement of a regime's models of different seeds with each other.",
    ),
    "explanation_effect_beyond_accuracy": Measure(
        unit="1",
        better="neither",
        title="effect beyond accuracy",
        meaning="Effect of a regime minus that of plain training stopped at the same accuracy; jackknife 95 % over "
        "seeds.",
    ),
    "explanation_steadiness": Measure(
        unit="1",
        better="neither",
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
    "explanation_steadiness",
)
"""Measures with a permutation test of their own, given as ``<measure>_p``; so have all changes."""

EXPLANATION_MEASURES |= {
    f"change_of_{name}": Measure(
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
        unit="1",
        better="neither",
        title=f"p, {EXPLANATION_MEASURES[name].title}",
        meaning=f"Two-sided permutation test within seeds that this is 0: {EXPLANATION_MEASURES[name].title}.",
    )
    for name in (*TESTED, *(f"change_of_{measure}" for measure in CHANGES))
}
