"""Whether the figures that a claimant states give the epsilon that is claimed."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from trustml.auditing.claim import Claim, ClaimedSampling
from trustml.auditing.findings import claim_words, not_checked
from trustml.auditing.result import Finding, Measured, Severity
from trustml.errors import UsageError

ROUNDING = 1e-3
"""A claim may be rounded down by this share of it."""
_FIELDS = ("noise_multiplier", "sample_rate", "steps")
_CERTAIN = "arithmetic: certain, given the figures stated"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The mechanism as stated, complete.

    Attributes
    ----------
    noise_multiplier, sample_rate : float
    steps : int
    delta : float
    replace : bool
        Whether one example is replaced by another, which counts twice.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int
    delta: float
    replace: bool

    @property
    def batches_an_epoch(self) -> int:
        """Number of batches that hold every example once."""
        return math.ceil(1 / self.sample_rate - 1e-9)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What is known of the true epsilon.

    Attributes
    ----------
    low : float
        No smaller epsilon holds.
    high : float
        This one is proved.
    """

    low: float
    high: float


def check_claim(claim: Claim) -> None:
    """Refuse a claim that cannot be meant.

    Raises
    ------
    UsageError
        Naming field and value.
    """
    rules = (
        ("epsilon", claim.epsilon, claim.epsilon >= 0 and math.isfinite(claim.epsilon), "a finite number, 0 or more"),
        ("delta", claim.delta, 0 < claim.delta < 1, "between 0 and 1, such as 1e-5"),
        ("noise_multiplier", claim.noise_multiplier, _none_or(claim.noise_multiplier, 0, math.inf), "0 or more"),
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


def epsilon_bounds(figures: Figures, sampling: ClaimedSampling) -> Bound:
    """What is known of epsilon if batches are drawn in this way.

    Poisson: a privacy loss distribution, exact but for its discretisation. Full batch: the closed form of the
    Gaussian mechanism. Shuffle: Chua et al.'s lower bound (arXiv 2403.17673) and the unamplified composition. Fixed
    size: Renyi DP (Wang et al., AISTATS 2019) or the unamplified composition, whichever is less; no lower bound.
    """
    if figures.noise_multiplier == 0:
        return Bound(low=math.inf, high=math.inf)
    if sampling == "full batch":
        exact = _gaussian(figures, figures.steps)
        return Bound(low=exact, high=exact)
    if sampling == "poisson":
        exact = _poisson(figures)
        return Bound(low=exact, high=exact)
    if sampling == "fixed":
        return Bound(low=0.0, high=_fixed(figures))
    return Bound(low=_shuffle_low(figures), high=_unamplified(figures))


def _recomputed(claim: Claim, figures: Figures, words: str) -> Finding:
    three = _three(figures)
    if claim.sampling == "unknown":
        found = not_checked(
            "accounting",
            "recomputed",
            why="the claim does not state sampling; what would follow from each way stands beside",
            would_change="state how batches are drawn: sampling='poisson', 'shuffle', 'fixed' or 'full batch'",
            claim=words,
        )
        return _with(found, three)
    bound = epsilon_bounds(figures, claim.sampling)
    measured = (
        Measured(
            measure="epsilon",
            value=_finite(bound.high),
            low=_finite(bound.low) if bound.low == bound.high else None,
            note=f"{claim.sampling} batches, {claim.relation}; {_CERTAIN}" + _infinite_note(bound.high),
        ),
        Measured(measure="claimed_epsilon", value=claim.epsilon),
        *(() if claim.sampling == "full batch" else three),
    )
    severity, title = _judge(claim, bound, f"{claim.sampling} batches")
    return Finding(
        id="accounting.recomputed",
        check="accounting",
        severity=severity,
        title=title,
        claim=words,
        measured=measured,
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
            title=f"The loader is said to draw batches as the accountant assumes: {claim.loader}",
            claim=words,
            how="The two statements of the claim were compared; the code was not read.",
            would_change="a loader that does something else",
        )
    bound = epsilon_bounds(figures, claim.loader)
    severity, title = _judge(claim, bound, f"{claim.loader} batches")
    return Finding(
        id="sampling.loader",
        check="sampling",
        severity="note" if severity == "pass" else severity,
        title=f"The accountant assumes {claim.sampling} batches but the loader draws {claim.loader} ones. {title}",
        claim=words,
        measured=_three(figures),
        how="Epsilon of the same noise, rate and steps under three ways of drawing: secret Poisson batches, a lower "
        "bound for shuffled epochs (Chua et al., arXiv 2403.17673), and no amplification at all.",
        would_change=f"a loader that draws {claim.sampling} batches, or an accountant for {claim.loader} ones",
    )


def _judge(claim: Claim, bound: Bound, way: str) -> tuple[Severity, str]:
    allowed = claim.epsilon * (1 + ROUNDING)
    if bound.low > allowed:
        sign = "" if bound.low == bound.high else "at least "
        return (
            "violation",
            f"With {way} epsilon is {sign}{_shown(bound.low, up=False)}, above the {claim.epsilon:g} claimed",
        )
    if bound.high <= allowed:
        return (
            "pass",
            f"With {way} epsilon is at most {_shown(bound.high, up=True)}, within the {claim.epsilon:g} claimed",
        )
    return "risk", (
        f"With {way} nothing proves the {claim.epsilon:g} claimed: epsilon lies between {_shown(bound.low, up=False)} "
        f"and {_shown(bound.high, up=True)}"
    )


def _three(figures: Figures) -> tuple[Measured, ...]:
    if figures.noise_multiplier == 0:
        return ()
    return (
        Measured(
            measure="epsilon_if_poisson", value=_finite(_poisson(figures)), note="at most, secret Poisson batches"
        ),
        Measured(
            measure="epsilon_shuffle_lower", low=_finite(_shuffle_low(figures)), note="at least, shuffled whole epochs"
        ),
        Measured(measure="epsilon_unamplified", value=_finite(_unamplified(figures)), note="at most, no amplification"),
    )


@functools.lru_cache(maxsize=64)
def _poisson(figures: Figures) -> float:
    import dp_accounting
    from dp_accounting.pld import privacy_loss_distribution

    relations = dp_accounting.NeighboringRelation
    step = privacy_loss_distribution.from_gaussian_mechanism(
        standard_deviation=figures.noise_multiplier,
        value_discretization_interval=1e-4,
        sampling_prob=figures.sample_rate,
        neighboring_relation=relations.REPLACE_ONE if figures.replace else relations.ADD_OR_REMOVE_ONE,
    )
    return float(step.self_compose(figures.steps).get_epsilon_for_delta(figures.delta))


def _gaussian(figures: Figures, times: int) -> float:
    from trustml.privacy.accounting import gaussian_epsilon

    return gaussian_epsilon((4 if figures.replace else 1) * times / figures.noise_multiplier**2, delta=figures.delta)


def _unamplified(figures: Figures) -> float:
    """Every example is in one batch an epoch; a begun epoch counts whole."""
    return _gaussian(figures, math.ceil(figures.steps / figures.batches_an_epoch))


@functools.lru_cache(maxsize=64)
def _shuffle_low(figures: Figures) -> float:
    from trustml.privacy.shuffle_bound import shuffle_lower_bound

    return shuffle_lower_bound(
        noise_multiplier=figures.noise_multiplier,
        steps_per_epoch=figures.batches_an_epoch,
        epochs=figures.steps // figures.batches_an_epoch,
        delta=figures.delta,
    )


def _fixed(figures: Figures) -> float:
    from trustml.privacy.accounting import epsilon_without_replacement
    from trustml.privacy.events import Mechanism

    million = 10**6  # only the ratio of the two counts enters
    mechanism = Mechanism(
        kind="without replacement",
        noise_multiplier=figures.noise_multiplier,
        count=figures.steps,
        batch_size=max(1, math.ceil(figures.sample_rate * million)),
        examples=million,
    )
    return epsilon_without_replacement([mechanism], delta=figures.delta).value


def _with(finding: Finding, measured: tuple[Measured, ...]) -> Finding:
    import msgspec

    return msgspec.structs.replace(finding, measured=measured)


def _none_or(value: float | None, low: float, high: float) -> bool:
    return value is None or low <= value <= high


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _infinite_note(value: float) -> str:
    return "" if math.isfinite(value) else "; infinite"


def _shown(value: float, *, up: bool) -> str:
    """Write a bound with four digits, rounded to its safe side."""
    if not math.isfinite(value):
        return "infinite"
    scaled = value * 1e4
    return f"{(math.ceil(scaled - 1e-9) if up else math.floor(scaled + 1e-9)) / 1e4:g}"
