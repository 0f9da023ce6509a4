"""Whether the figures that a claimant states give the epsilon that is claimed."""

from __future__ import annotations

import math

import numpy as np

from trustml.attacks.membership import Verdict as Attacked
from trustml.auditing.claim import Claim, ClaimedSampling, claim_words
from trustml.auditing.claimed_epsilon import ClaimedBound, Figures, epsilon_bounds, three_bounds
from trustml.auditing.findings import not_checked
from trustml.auditing.result import Finding, Measurement, Severity, Verdict, verdict_of
from trustml.errors import UsageError
from trustml.privacy.statement import at_least, at_most

LARGEST_EPSILON = 10.0
"""Above it an epsilon is noted to promise little."""
_FIELDS = ("noise_multiplier", "sample_rate", "steps")
_CERTAIN = "arithmetic: certain, given the figures stated"
_WAYS: dict[ClaimedSampling, str] = {
    "poisson": "Poisson batches",
    "cyclic poisson": "Poisson batches of one group after another",
    "shuffle": "shuffled batches",
    "fixed": "batches of fixed size",
    "in turn": "batches taken in turn",
    "full batch": "full batches",
    "published": "published batches",
    "unknown": "batches drawn in no stated way",
}
_SAME: tuple[ClaimedSampling, ...] = ("poisson", "cyclic poisson", "in turn", "full batch")
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


def auc_allowed(epsilon: float, delta: float, *, non_members: int) -> float:
    """Largest AUC that (epsilon, delta) allows an attack on average, where sets and training are drawn anew.

    Parameters
    ----------
    epsilon, delta : float
    non_members : int
        The fewer there are, the more is allowed: `non_members` without end gives 1 - (1 - delta)^2 / (1 + e^epsilon).

    Returns
    -------
    float

    Notes
    -----
    Let members and m non-members be drawn at random from one source. That a member stands above all but k
    non-members is an event of the model's output. Were that member left out, it would be one of m + 1 non-members, all
    alike, and the event have the chance a = (k + 1) / (m + 1). With it, the chance is at most 1 - f(a), where
    f(a) = max(0, 1 - delta - e^epsilon a, e^-epsilon (1 - delta - a)) is what (epsilon, delta) allows any test
    (Kairouz, Oh & Viswanath, ICML 2015, arXiv 1311.0776; Dong, Roth & Su, arXiv 1905.02383). The AUC is its mean over k
    below m. Where one example is replaced by another, the same holds with m - 1.
    """
    odds = math.exp(min(epsilon, 700.0))
    chance = np.arange(1, non_members + 1) / (non_members + 1)
    rest = np.maximum(1 - delta - odds * chance, (1 - delta - chance) / odds)
    return float(np.mean(1 - np.maximum(0.0, rest)))


def attacked_claim(claim: Claim, attacked: Attacked, *, auc: float, subject: str) -> Finding | None:
    """Put what an attack shows beside what the claim allows; None where the claim is not of single examples.

    Parameters
    ----------
    claim : Claim
    attacked : trustml.attacks.membership.Verdict
    auc : float
        Of its strongest attack.
    subject : str
        Name of the model.
    """
    if claim.unit != "example":
        return None
    attack, low = attacked.strongest, attacked.lower
    non_members = attacked.tops[attack].of_non_members
    most = auc_allowed(claim.epsilon, claim.delta, non_members=max(1, non_members - (claim.relation == "replace-one")))
    beyond = low > most
    shown = f"{attack} shows {auc:.3f}, at least {at_least(low, 3)}"
    claimed = _shown(claim.epsilon, up=True)
    return Finding(
        id="accounting.attacked",
        check="accounting",
        severity="risk" if beyond else "note",
        title=f"The claim and an attack contradict each other: epsilon {claimed} allows an AUC of at most "
        f"{_shown(most, up=True)} on sets drawn at random, and {shown}"
        if beyond
        else f"No attack goes beyond what the claim allows: epsilon {claimed} allows an AUC of at most "
        f"{_shown(most, up=True)} on sets drawn at random, and {shown}",
        subject=subject,
        claim=claim_words(claim),
        measured=(
            Measurement(measure="auc_allowed", value=most, n=non_members, note="at most, on average over trainings"),
            Measurement(measure="membership_auc", value=auc, low=low, label=attack),
        ),
        how="The bound is on the average over trainings, and assumes that training and hold-out examples were drawn at "
        "random from one source and that nothing else of the training depends on them. One model on sets that were "
        "not drawn for this audit does not refute the claim; sets that differ, or are exchanged, break the assumption.",
        would_change="sets drawn at random, several trainings, or an audit with canaries, which would decide"
        if beyond
        else "a stronger attack: no attack that fails proves privacy",
    )


def check_claim_terms(claim: Claim, *, members: int = 0) -> list[Finding]:
    """Note what a claim is worth by its own terms, whatever was done.

    Parameters
    ----------
    claim : Claim
    members : int
        Training examples; 0 where that is not known.
    """
    words, notes = claim_words(claim), []
    if members and claim.unit == "example" and claim.delta >= 1 / members:
        notes.append(
            (
                "delta",
                f"Delta {claim.delta:g} is not below 1/n: n is {members:,} here",
                "With delta of 1/n a mechanism may publish one example as it is, whatever epsilon is.",
                f"a delta well below {1 / members:.1g}",
            )
        )
    if claim.epsilon > LARGEST_EPSILON:
        notes.append(
            (
                "epsilon",
                f"Epsilon {_shown(claim.epsilon, up=True)} promises next to nothing: an attacker may be right with a "
                f"probability of {1 / (1 + math.exp(-min(claim.epsilon, 700.0))):.6f}",
                f"Above {LARGEST_EPSILON:g} a guarantee is called weak or none (Ponomareva et al., JAIR 2023, arXiv "
                "2303.00654); the probability is of telling whether one example was there, both being as likely.",
                "more noise, fewer steps or smaller batches",
            )
        )
    if claim.unit == "user":
        notes.append(
            (
                "unit",
                "The claim is for users: its figures count only if they are those of users",
                "Sample rate and steps must be of users drawn, and each user's whole contribution clipped and noised. "
                "Figures of batches of examples give an epsilon for examples, which is smaller. Which they are is not "
                "stated, and was not checked; attacks on single examples say nothing of users.",
                "figures of users, or unit='example'",
            )
        )
    return [
        Finding(
            id=f"accounting.{name}",
            check="accounting",
            severity="note",
            title=title,
            claim=words,
            how=how,
            would_change=would_change,
        )
        for name, title, how, would_change in notes
    ]


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
    claimed = _shown(claim.epsilon, up=True)
    if verdict == "broken":
        sign = "" if bound.low == bound.high else "at least "
        return verdict, f"With {way} epsilon is {sign}{low}, above the {claimed} claimed"
    if verdict == "holds":
        rounded = "" if bound.high <= claim.epsilon else ", which may be rounded by 0.1 %"
        return verdict, f"With {way} epsilon is at most {high}, within the {claimed} claimed{rounded}"
    return verdict, (
        f"Not decided: with {way} nothing proves the {claimed} claimed, and nothing refutes it: epsilon lies "
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
