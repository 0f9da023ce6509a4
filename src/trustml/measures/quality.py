"""Rows on how good explanations are, from what was tried with them; each beside the random control.

A measure on which random numbers do as well as a method says nothing about that method, and its row says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.attribution.complexity import entropy, gini
from trustml.attribution.removal import area
from trustml.measures.evidence import Evidence, Explanation
from trustml.measures.means import mean_with_interval, redraw_error
from trustml.measures.measure import MEASURES
from trustml.measures.notes import absent
from trustml.measures.row import About, Facts, Row
from trustml.models.tasks import Regression, facts_of
from trustml.record.array_names import arrays_below

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How one measure is read from the probes.

    Attributes
    ----------
    quantity : str
        Name of the recorded array.
    each : callable
        That array, and the shares of features that curves go over, to one number an example.
    note : str
    of_probability : bool
        Whether its values are what stands for the probability of the target in the task at hand.
    of_weights : bool
        Whether all examples share what was drawn: random weights.
    again : str
        Name of the recorded array of another draw of those, where there is one.
    """

    quantity: str
    each: Callable[[Floats, Floats], Floats]
    note: str = ""
    of_probability: bool = False
    of_weights: bool = False
    again: str = ""


def _area(curve: Floats, fractions: Floats) -> Floats:
    return area(fractions.astype(np.float64), curve.astype(np.float64))


def _as_it_is(values: Floats, _: Floats) -> Floats:
    return values


def _last(stages: Floats, _: Floats) -> Floats:
    return stages[-1]


def _mean_of_stages(stages: Floats, _: Floats) -> Floats:
    return stages.mean(axis=0)


_TARGET = "probability of the target"
_TOP = "AOPC over the top 1, 5, 10, 20 and 50 %"

QUALITIES: dict[str, Quality] = {
    "deletion_auc": Quality(quantity="deletion", each=_area, note=_TARGET, of_probability=True),
    "insertion_auc": Quality(quantity="insertion", each=_area, note=_TARGET, of_probability=True),
    "sufficiency": Quality(quantity="sufficiency", each=_as_it_is, note=_TOP),
    "comprehensiveness": Quality(quantity="comprehensiveness", each=_as_it_is, note=_TOP),
    "infidelity": Quality(
        quantity="infidelity", each=_as_it_is, note="50 random fifths of the features removed; best scale an example"
    ),
    "max_sensitivity": Quality(quantity="max_sensitivity", each=_as_it_is),
    "local_lipschitz": Quality(quantity="local_lipschitz", each=_as_it_is),
    "mprt_similarity": Quality(
        quantity="mprt_cascading.magnitude",
        each=_last,
        note="magnitudes",
        of_weights=True,
        again="mprt_again.magnitude",
    ),
    "mprt_signed_similarity": Quality(
        quantity="mprt_cascading.signed", each=_last, note="signed", of_weights=True, again="mprt_again.signed"
    ),
    "mprt_independent_similarity": Quality(
        quantity="mprt_independent.magnitude", each=_mean_of_stages, note="magnitudes", of_weights=True
    ),
    "smooth_mprt_similarity": Quality(quantity="smprt.magnitude", each=_last, note="magnitudes", of_weights=True),
    "efficient_mprt": Quality(quantity="emprt", each=_as_it_is, of_weights=True, again="emprt_again"),
}


SURVIVES = {"mprt_similarity": 0.5, "smooth_mprt_similarity": 0.5, "mprt_signed_similarity": 0.1}
"""Similarity with the explanation of random weights above which a method is flagged, with its whole interval.

Adebayo et al. judge by eye. Methods that multiply by the input keep its zeros whatever the weights, so on images with
an empty background their magnitudes are flagged, as the paper found for gradient x input; their signs are not.
"""


def quality_rows(evidence: Evidence) -> list[Row]:
    """Rows of every explanation that was judged, of every variant."""
    controls = {e.record.id: e for e in evidence.explanations if e.is_control}
    rows: list[Row] = []
    for explanation in evidence.explanations:
        for variant in explanation.attributions:
            found = per_example(explanation, variant)
            control = controls.get(explanation.record.id)
            against = per_example(control, "native") if control is not None else {}
            for measure, values in found.items():
                rows += _row(evidence, explanation, variant, measure, values, against.get(measure))
    return rows


def per_example(explanation: Explanation, variant: str) -> dict[str, Floats]:
    """Value of each measure for each example."""
    probes = arrays_below(explanation.probes, variant)
    fractions = probes.get("fractions", np.zeros(0)).astype(float)
    found = {
        measure: quality.each(probes[quality.quantity].astype(float), fractions)
        for measure, quality in QUALITIES.items()
        if quality.quantity in probes
    }
    if "road_morf" in probes:
        morf, lerf = (probes[f"road_{order}"].astype(float) for order in ("morf", "lerf"))
        found["road"] = (lerf - morf).mean(axis=1)
    attributions = explanation.attributions[variant]
    found["attribution_gini"] = gini(attributions)
    found["attribution_entropy"] = entropy(attributions)
    return found


def _row(
    evidence: Evidence,
    explanation: Explanation,
    variant: str,
    measure: str,
    values: Floats,
    control: Floats | None,
) -> list[Row]:
    mean = mean_with_interval(values)
    quality = QUALITIES.get(measure)
    note = quality.note if quality else ""
    if quality and quality.of_probability and isinstance(evidence.task, Regression):
        note = facts_of(evidence.task).probability
    about = About(verdict="random control") if explanation.is_control else _against_random(measure, values, control)
    if mean is not None and mean.low is not None and mean.low > SURVIVES.get(measure, np.inf):
        about = About(verdict="fails the sanity check", facts={"limit": SURVIVES[measure]})
    if mean is None:
        about = absent("not defined for any example")
    facts = {**about.facts, "variant": variant} | ({"read_as": note} if note else {})
    if mean is not None and quality and quality.of_weights:
        facts |= _by_weights(values, arrays_below(explanation.probes, variant).get(quality.again))
    about = msgspec.structs.replace(about, facts=facts)
    if mean is not None:
        about = msgspec.structs.replace(about, interval="exact bootstrap over examples", confidence=0.95)
    return [
        evidence.row(
            measure,
            mean.value if mean else None,
            record=explanation.record,
            subject=explanation.name(variant),
            method=explanation.title,
            n=mean.n if mean else 0,
            interval=mean.interval if mean else None,
            about=about,
        )
    ]


def _by_weights(values: Floats, again: Floats | None) -> Facts:
    """Tell how far another draw of random weights would move the mean, which an interval over examples does not."""
    error = None if again is None else redraw_error(values, again.astype(float))
    return {"one_draw": True} if error is None else {"monte_carlo_error": error}


def _against_random(measure: str, values: Floats, control: Floats | None) -> About:
    """Say whether the method does better than random numbers on the same examples."""
    better = MEASURES[measure].better
    if control is None or better == "neither" or len(control) != len(values):
        return About()
    gain = mean_with_interval((values - control) * (1 if better == "higher" else -1))
    if gain is None or gain.interval is None:
        return About()
    low, high = gain.interval
    if high < 0:
        return About(verdict="worse than random", facts={"loss": -gain.value, "loss_low": -high, "loss_high": -low})
    return About(
        verdict="better than random" if low > 0 else "no better than random",
        facts={"gain": gain.value, "gain_low": low, "gain_high": high},
    )
