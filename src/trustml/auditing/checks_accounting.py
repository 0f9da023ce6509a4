"""Whether the figures that a claimant states give the epsilon that is claimed."""

from __future__ import annotations

import math

from trustml.auditing.claim import Claim, ClaimedSampling, claim_words
from trustml.auditing.claimed_epsilon import ClaimedBound, Figures, epsilon_bounds, three_bounds
from trustml.auditing.findings import not_checked
from trustml.auditing.result import Finding, Measurement, Severity, Verdict, verdict_of
from trustml.errors import UsageError
from trustml.privacy.statement import at_least, at_most

_FIELDS = ("noise_multiplier", "sample_rate", "steps")
_CERTAIN = "arithmetic: certain, given the figures stated"
_WAYS: dict[ClaimedSampling, str] = {
    "poisson": "Poisson batches",
    "shuffle": "shuffled batches",
    "fixed": "batches of fixed size",
    "in turn": "batches taken in turn",
    "full batch": "full batches",
    "unknown": "batches drawn in no stated way",
}
_SAME: tuple[ClaimedSampling, ...] = ("poisson", "in turn", "full batch")
"""Ways of drawing whose epsilon is known but for our own arithmetic."""


def check_claim(claim: Claim) -> None:
    """Refuse a claim that cannot be meant.

    Raises
    ------
    UsageError
        Naming field and value.
    """
    noise = claim.noise_multiplier
    rules = (
        ("epsilon", claim.epsilon, claim.epsilon >= 0 and math.isfinite(claim.epsilon), "a finite number, 0 or more"),
        ("delta", claim.delta, 0 < claim.delta < 1, "between 0 and 1, such as 1e-5"),
        ("noise_multiplier", noise, noise == 0 or _none_or(noise, 1e-6, 1e9), "0, or between 1e-6 and 1e9"),
        ("sample_rate", claim.sample_rate, _none_or(claim.sample_rate, 1e-12, 1), "above 0 and at most 1"),
        ("steps", claim.steps, _none_or(claim.steps, 1, 10**12), "1 or more"),
    )
    for field, value, good, wanted in rules:
        if not good:
            raise UsageError(f"claim.{field}: {value!r} cannot be; it must be {wanted}")


def check_accounting(claim: Claim) -> list[Finding]:
    """Recompute epsilon from what is stated, and look at how batches are said to be and are really drawn.

    Parameters
    ----------
    claim : Claim

    Returns
    -------
    list of Finding
        ``accounting.recomputed`` on the sampling that is stated, ``sampling.loader`` on the one of the loader.
    """
    words = claim_words(claim)
    missing = [name for name in _FIELDS if getattr(claim, name) is None]
    if claim.sampling == "unknown":
        missing.append("sampling")
    elif claim.sampling == "full batch" and "sample_rate" in missing:
        missing.remove("sample_rate")
    if [name for name in missing if name != "sampling"]:
        fields = ", ".join(missing)
        return [
            not_checked(
                "accounting",
                "recomputed",
                why=f"the claim does not state {fields}",
                would_change=f"state {fields} in the claim",
                claim=words,
            )
        ]
    figures = Figures(
        noise_multiplier=float(claim.noise_multiplier or 0.0),
        sample_rate=float(claim.sample_rate or 1.0),
        steps=int(claim.steps or 0),
        delta=claim.delta,
        replace=claim.relation == "replace-one",
    )
    try:
        findings = [_recomputed(claim, figures, words)]
    except (AttributeError, ImportError, TypeError):
        why = "dp-accounting is missing here or too old; 0.6 is needed"
        return [not_checked("accounting", "recomputed", why=why, claim=words)]
    if claim.sampling != "full batch":
        findings.append(_loader(claim, figures, words))
    return findings


def _recomputed(claim: Claim, figures: Figures, words: str) -> Finding:
    three = _three(figures)
    if claim.sampling == "unknown":
        found = not_checked(
            "accounting",
            "recomputed",
            why="the claim does not state sampling; what would follow from each way stands beside",
            would_change="say how batches are drawn: sampling='poisson', 'shuffle', 'fixed', 'in turn' or 'full batch'",
            claim=words,
        )
        return _with(found, three)
    bound = epsilon_bounds(figures, claim.sampling)
    measured = (
        Measurement(
            measure="epsilon",
            value=_finite(bound.high),
            low=_finite(bound.low),
            high=_finite(bound.high),
            note=f"{_WAYS[claim.sampling]}, {claim.relation}; {_CERTAIN}" + _infinite_note(bound.high),
        ),
        Measurement(measure="claimed_epsilon", value=claim.epsilon),
        *(() if claim.sampling == "full batch" else three),
    )
    verdict, title = _judge(claim, bound, _WAYS[claim.sampling])
    return Finding(
        id="accounting.recomputed",
        check="accounting",
        severity=_severity(verdict, claim.sampling),
        title=title,
        claim=words,
        measured=measured,
        verdict=verdict,
        how=f"Epsilon was recomputed from noise multiplier {figures.noise_multiplier:g}, sample rate "
        f"{figures.sample_rate:g}, {figures.steps} steps and delta {figures.delta:g}; the figures themselves were not "
        "verified, and nothing is said of the code.",
        would_change="other figures; more releases of the same data, which add up; a sampler other than the one stated",
    )


def _loader(claim: Claim, figures: Figures, words: str) -> Finding:
    if claim.loader == "unknown":
        return not_checked(
            "sampling",
            "loader",
            why="it is not stated how the code really draws its batches",
            would_change="look at the code's data loader and state it in the claim as loader",
            claim=words,
        )
    if claim.loader == claim.sampling:
        return Finding(
            id="sampling.loader",
            check="sampling",
            severity="pass",
            title=f"The loader is said to draw batches as the accountant assumes: {_WAYS[claim.loader]}",
            claim=words,
            how="The two statements of the claim were compared; the code was not read.",
            would_change="a loader that does something else",
        )
    bound = epsilon_bounds(figures, claim.loader)
    verdict, title = _judge(claim, bound, _WAYS[claim.loader])
    severity = _severity(verdict, claim.loader)
    return Finding(
        id="sampling.loader",
        check="sampling",
        severity="note" if severity == "pass" else severity,
        title=f"The accountant assumes {_WAYS[claim.sampling]} but the loader draws {_WAYS[claim.loader]}. {title}",
        claim=words,
        measured=_three(figures),
        verdict=verdict,
        how="Epsilon of the same noise, rate and steps under three ways of drawing: secret Poisson batches, a lower "
        "bound for shuffled epochs (Chua et al., arXiv 2403.17673), and no amplification at all.",
        would_change=f"a loader that draws {_WAYS[claim.sampling]}, or an accountant for {_WAYS[claim.loader]}",
    )


def _judge(claim: Claim, bound: ClaimedBound, way: str) -> tuple[Verdict, str]:
    verdict = verdict_of(claim.epsilon, low=bound.low, high=bound.high)
    low, high = _shown(bound.low, up=False), _shown(bound.high, up=True)
    if verdict == "broken":
        sign = "" if bound.low == bound.high else "at least "
        return verdict, f"With {way} epsilon is {sign}{low}, above the {claim.epsilon:g} claimed"
    if verdict == "holds":
        rounded = "" if bound.high <= claim.epsilon else ", which may be rounded by 0.1 %"
        return verdict, f"With {way} epsilon is at most {high}, within the {claim.epsilon:g} claimed{rounded}"
    return verdict, (
        f"Not decided: with {way} nothing proves the {claim.epsilon:g} claimed, and nothing refutes it: epsilon lies "
        f"between {low} and {high}"
    )


def _severity(verdict: Verdict, sampling: ClaimedSampling) -> Severity:
    """What a verdict is worth: where only our arithmetic stands between the bounds, an open one accuses nobody."""
    if verdict == "broken":
        return "violation"
    if verdict == "holds":
        return "pass"
    return "note" if sampling in _SAME else "risk"


def _three(figures: Figures) -> tuple[Measurement, ...]:
    if figures.noise_multiplier == 0:
        return ()
    three = three_bounds(figures)
    return (
        Measurement(measure="epsilon_if_poisson", value=_finite(three.poisson), note="at most, secret Poisson batches"),
        Measurement(
            measure="epsilon_shuffle_lower", low=_finite(three.shuffle_low), note="at least, shuffled whole epochs"
        ),
        Measurement(measure="epsilon_unamplified", value=_finite(three.unamplified), note="at most, no amplification"),
    )


def _with(finding: Finding, measured: tuple[Measurement, ...]) -> Finding:
    import msgspec

    return msgspec.structs.replace(finding, measured=measured)


def _none_or(value: float | None, low: float, high: float) -> bool:
    return value is None or low <= value <= high


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _infinite_note(value: float) -> str:
    return "" if math.isfinite(value) else "; infinite"


def _shown(value: float, *, up: bool) -> str:
    """Write a bound with four significant digits or four decimals, whichever is more, rounded to its safe side."""
    if not math.isfinite(value):
        return "infinite"
    digits = 4 if value <= 0 else min(12, max(4, 3 - math.floor(math.log10(value))))
    return (at_most if up else at_least)(value, digits).rstrip("0").rstrip(".")
