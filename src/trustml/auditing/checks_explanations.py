"""Whether gradient explanations of a model can be relied on: do they add up, hold still, and show what was learned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.attribution.completeness import completeness
from trustml.attribution.sensitivity import distances, max_sensitivity, neighbours
from trustml.attribution.similarity import spearman_of_magnitudes
from trustml.auditing.explained import Explained
from trustml.auditing.findings import not_checked, reason
from trustml.auditing.result import Finding, Measurement, Severity
from trustml.data.dataset import Ints

STEPS, MORE_STEPS = 50, 300
LARGEST_GAP = 0.05
"""Share of the change explained that may be missing."""
DRAWS, NEIGHBOURS, RADIUS = 10, 8, 0.02
SANE = 0.5


def check_explanations(explained: Explained) -> list[Finding]:
    """Put integrated gradients and gradients of a model to the tests; one that fails to run does not stop the others.

    Returns
    -------
    list of Finding
        ``explanations.completeness``, ``.sanity``, ``.stability``, ``.agreement``.
    """
    checks: dict[str, Callable[[Explained], Finding]] = {
        "completeness": _completeness,
        "sanity": _sanity,
        "stability": _stability,
        "agreement": _agreement,
    }
    findings = []
    for name, check in checks.items():
        try:
            findings.append(check(explained))
        except Exception as error:  # whatever a stranger's model raises
            findings.append(not_checked("explanations", name, why=reason(error)))
    return findings


def _completeness(explained: Explained) -> Finding:
    for steps in (STEPS, MORE_STEPS):
        gap = completeness(
            explained.integrated(explained.inputs, steps=steps),
            logits=explained.scores(explained.inputs).astype(np.float32),
            baseline_logits=explained.scores(explained.baseline).astype(np.float32),
        )
        if gap.changes.sum() == 0:
            return not_checked("explanations", "completeness", why="the outputs do not differ from the baseline's")
        share = float(gap.errors.sum() / gap.changes.sum())
        if share <= LARGEST_GAP:
            break
    good = share <= LARGEST_GAP
    low, high = _ratio_interval(gap.errors, gap.changes, explained)
    return Finding(
        id="explanations.completeness",
        check="explanations",
        severity=("pass" if steps == STEPS else "note") if good else "risk",
        title=f"Integrated gradients add up to the change they explain but for {share:.2%}, at {steps} steps"
        if good
        else f"Integrated gradients miss {share:.1%} of the change they should explain, even at {steps} steps",
        measured=(
            Measurement(
                measure="completeness_gap",
                value=share,
                low=low,
                high=high,
                confidence=explained.confidence,
                unit="share",
                n=len(gap.errors),
                note="sum of errors over sum of changes; percentile bootstrap over examples",
            ),
        ),
        how=f"Outputs of the label, from the mean training example, {steps} Gauss-Legendre points (Sundararajan et "
        "al., arXiv 1703.01365).",
        would_change=f"a gap above {LARGEST_GAP:.0%}, another baseline"
        if good
        else "gradients that belong to the function that predicts: look for steps, rounding, clipping and custom "
        "gradients in the model",
    )


def _sanity(explained: Explained) -> Finding:
    original = explained.gradients(explained.inputs, explained.labels)
    answers, changed = explained.live.outputs(explained.inputs), False
    draws = []
    for draw in range(DRAWS):
        with explained.live.randomised(explained.seed + draw) as other:
            changed = changed or not np.array_equal(other.outputs(explained.inputs), answers)
            found = explained.gradients(explained.inputs, explained.labels, other)
        alike = spearman_of_magnitudes(original, found)
        if np.isfinite(alike).any():
            draws.append(float(np.nanmean(alike)))
    if len(draws) < 2:
        return not_checked("explanations", "sanity", why="gradients are constant over features and have no ranks")
    if not changed:
        return not_checked(
            "explanations",
            "sanity",
            why="shuffling weights changed no output: there was nothing to shuffle",
            would_change="the trained arrays where they can be reached, such as the params of trustml.JaxModel",
        )
    from scipy.stats import t

    mean, error = float(np.mean(draws)), float(np.std(draws, ddof=1) / np.sqrt(len(draws)))
    reach = float(t.ppf((1 + explained.confidence) / 2, len(draws) - 1)) * error
    low, high = max(-1.0, mean - reach), min(1.0, mean + reach)
    severity, title = _sane(low, high, mean)
    return Finding(
        id="explanations.sanity",
        check="explanations",
        severity=severity,
        title=title,
        measured=(
            Measurement(
                measure="similarity_to_randomised",
                value=mean,
                low=low,
                high=high,
                confidence=explained.confidence,
                n=len(draws),
                note="mean rank correlation; Student's t over draws of weights",
            ),
        ),
        how=f"Rank correlation of gradient magnitudes with those of {DRAWS} models whose weights were shuffled within "
        "each array (Adebayo et al., arXiv 1810.03292).",
        would_change=f"a correlation on the other side of {SANE:g}; weights drawn as at the start of training",
    )


def _sane(low: float, high: float, mean: float) -> tuple[Severity, str]:
    if low > SANE:
        return "risk", f"Gradients stay much the same when the weights are shuffled (rank correlation {mean:.2f})"
    if high < SANE:
        return "pass", f"Gradients depend on what was learned: rank correlation {mean:.2f} with shuffled weights"
    return "note", f"Whether gradients depend on what was learned is not clear (rank correlation {mean:.2f})"


def _stability(explained: Explained) -> Finding:
    axes = tuple(range(1, explained.inputs.ndim))
    spread = float((explained.inputs.max(axis=axes) - explained.inputs.min(axis=axes)).mean())
    around = neighbours(
        explained.inputs,
        radius=RADIUS * spread,
        samples=NEIGHBOURS,
        generator=np.random.default_rng(explained.seed),
    )
    moved = max_sensitivity(
        distances(lambda inputs: explained.integrated(inputs, steps=20), inputs=explained.inputs, around=around)
    )
    moved = moved[np.isfinite(moved)]
    if len(moved) < 2:
        return not_checked("explanations", "stability", why="the explanations are zero")
    low, high = _median_interval(moved, explained)
    median = float(np.median(moved))
    return Finding(
        id="explanations.stability",
        check="explanations",
        severity="risk" if low > 1 else ("pass" if high <= 1 else "note"),
        title=f"Under changes of {RADIUS:.0%} of the range of inputs, explanations move by {median:.0%} of their size",
        measured=(
            Measurement(
                measure="max_sensitivity",
                value=median,
                low=low,
                high=high,
                confidence=explained.confidence,
                n=len(moved),
                note=f"median over examples, largest of {NEIGHBOURS} neighbours; percentile bootstrap",
            ),
        ),
        how="Largest move of integrated gradients (20 points) among neighbours, over their own norm (Yeh et al., "
        "arXiv 1901.09392); 1 is a move as large as the explanation itself.",
        would_change="another radius: the measure grows with it",
    )


def _agreement(explained: Explained) -> Finding:
    columns = np.zeros_like(explained.labels) if explained.single else explained.labels
    found = explained.live.library_attributions(explained.inputs, columns, baseline=explained.baseline, n_steps=STEPS)
    if not found:
        return not_checked("explanations", "agreement", why="no second library was found that explains this model")
    signs = np.where(explained.labels == 1, 1.0, -1.0) if explained.single else np.ones(len(columns))
    own = explained.integrated(explained.inputs, steps=STEPS)
    name, other = next(iter(found.items()))
    signed = other * signs.reshape(-1, *[1] * (own.ndim - 1))
    gap = float(np.abs(own - signed).max() / max(float(np.abs(own).max()), 1e-12))
    return Finding(
        id="explanations.agreement",
        check="explanations",
        severity="pass" if gap <= 0.01 else "risk",
        title=f"Integrated gradients of {name} and of trustml differ by at most {gap:.2g} of the largest attribution",
        measured=(Measurement(measure="attribution_gap", value=gap, unit="share", n=len(own)),),
        how=f"The same examples, baseline and {STEPS} Gauss-Legendre points in both.",
        would_change="a difference above 1%",
    )


def _ratio_interval(above: Doubles, below: Doubles, explained: Explained) -> tuple[float, float]:
    rows = _resampled(len(above), explained)
    return _ends(above[rows].sum(axis=1) / np.maximum(below[rows].sum(axis=1), 1e-300), explained)


def _median_interval(values: Doubles, explained: Explained) -> tuple[float, float]:
    return _ends(np.median(values[_resampled(len(values), explained)], axis=1), explained)


def _resampled(count: int, explained: Explained) -> Ints:
    return np.random.default_rng(explained.seed).integers(0, count, (2000, count))


def _ends(values: Doubles, explained: Explained) -> tuple[float, float]:
    outside = (1 - explained.confidence) / 2
    low, high = np.quantile(values, (outside, 1 - outside))
    return float(low), float(high)
