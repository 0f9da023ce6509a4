"""Whether gradient explanations of a model can be relied on: do they add up, hold still, and show what was learned."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.attribution.completeness import Gap, completeness
from trustml.attribution.sensitivity import distances, max_sensitivity, neighbours
from trustml.attribution.similarity import spearman_of_magnitudes
from trustml.auditing.explained import FEWEST, Explained, Finished
from trustml.auditing.findings import not_checked, reason
from trustml.auditing.result import Finding, Measurement, Severity
from trustml.backends.contract import LiveModel
from trustml.data.dataset import Floats
from trustml.measures.bootstrap import median_ends, ratio_ends

STEPS, MORE_STEPS = 50, 300
LARGEST_GAP = 0.05
"""Share of the change explained that may be missing."""
DRAWS, NEIGHBOURS, RADIUS = 10, 8, 0.02
SANE = 0.5


def check_explanations(explained: Explained) -> list[Finding]:
    """Put integrated gradients and gradients of a model to the tests; one that fails to run does not stop the others.

    Where time runs out, or the user wants no more, what is finished is concluded from, and says of how much.

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
    return checked(explained, checks)


def checked(explained: Explained, checks: Mapping[str, Callable[[Explained], Finding]]) -> list[Finding]:
    """Run checks within the budget, each by itself: one that fails stops no other."""
    findings = []
    for number, (name, check) in enumerate(checks.items()):
        explained.budget.begin(len(checks) - number)
        try:
            findings.append(check(explained))
        except KeyboardInterrupt:
            explained.budget.interrupted = True
            findings.append(not_checked("explanations", name, why="interrupted before anything of it was finished"))
        except Exception as error:  # whatever a stranger's model raises
            findings.append(not_checked("explanations", name, why=reason(error)))
    return findings


def _completeness(explained: Explained) -> Finding:
    gap, finished = _gaps(explained, STEPS)
    if finished.done < FEWEST:
        return unfinished("completeness", finished)
    if gap.changes.sum() == 0:
        return not_checked("explanations", "completeness", why="the outputs do not differ from the baseline's")
    steps, share = STEPS, float(gap.errors.sum() / gap.changes.sum())
    if share > LARGEST_GAP:
        more, then = _gaps(explained, MORE_STEPS)
        if then.done >= FEWEST and more.changes.sum() > 0:
            gap, finished, steps = more, then, MORE_STEPS
            share = float(gap.errors.sum() / gap.changes.sum())
    good, tried = share <= LARGEST_GAP, steps == MORE_STEPS
    low, high = ratio_ends(gap.errors, gap.changes, confidence=explained.confidence)
    return Finding(
        id="explanations.completeness",
        check="explanations",
        severity=("note" if tried else "pass") if good else ("risk" if tried else "note"),
        title=(
            f"Integrated gradients add up to the change they explain but for {share:.2%}, at {steps} steps"
            if good
            else f"Integrated gradients miss {share:.1%} of the change they should explain, "
            + (f"even at {steps} steps" if tried else f"at {steps} steps; there was no time for {MORE_STEPS}")
        )
        + beside(finished),
        measured=(
            Measurement(
                measure="completeness_gap",
                value=share,
                low=low,
                high=high,
                confidence=explained.confidence,
                unit="share",
                n=len(gap.errors),
                note="sum of errors over sum of changes; exact bootstrap over examples",
            ),
        ),
        how=f"Outputs of the label, from the mean training example, {steps} Gauss-Legendre points (Sundararajan et "
        "al., arXiv 1703.01365).",
        would_change=f"a gap above {LARGEST_GAP:.0%}, another baseline"
        if good
        else "gradients that belong to the function that predicts: look for steps, rounding, clipping and custom "
        "gradients in the model",
    )


def _gaps(explained: Explained, steps: int) -> tuple[Gap, Finished]:
    """How far integrated gradients are from adding up, of as many examples as there is time for."""

    def part(mine: Explained) -> Gap:
        return completeness(
            mine.integrated(mine.inputs, steps=steps),
            logits=mine.scores(mine.inputs).astype(np.float32),
            baseline_logits=mine.scores(mine.baseline).astype(np.float32),
        )

    found, finished = explained.in_parts(f"explanations, completeness at {steps} steps", part)
    errors, changes = ([getattr(one, name) for one in found] for name in ("errors", "changes"))
    return Gap(errors=np.concatenate([np.zeros(0), *errors]), changes=np.concatenate([np.zeros(0), *changes])), finished


def _sanity(explained: Explained) -> Finding:
    def gradients(live: LiveModel | None) -> Floats:
        return explained.gradients(explained.inputs, explained.labels, live)

    return sanity(
        explained,
        gradients,
        identifier="explanations.sanity",
        name="sanity",
        what="Gradients",
        of="gradient magnitudes",
    )


def sanity(
    explained: Explained,
    attribute: Callable[[LiveModel | None], Floats],
    *,
    identifier: str,
    name: str,
    what: str,
    of: str,
) -> Finding:
    """Hold explanations against those of the model with shuffled weights.

    Parameters
    ----------
    explained : Explained
    attribute : callable
        Explains the model, or the other that it is given.
    identifier, name : str
        Of the finding, and its last part.
    what, of : str
        What is explained by, at the beginning of a sentence and within one.
    """
    if explained.budget.is_spent():
        return unfinished(name, Finished(done=0, of=DRAWS, why="within the time given"), verb="shuffled")
    original = attribute(None)
    answers = explained.outputs(explained.inputs)

    def shuffle(draw: int) -> tuple[bool, float]:
        with explained.live.randomised(explained.seed + draw) as other:
            changed = not np.array_equal(explained.outputs(explained.inputs, other), answers)
            alike = spearman_of_magnitudes(original, attribute(other))
        return changed, float(np.nanmean(alike)) if np.isfinite(alike).any() else math.nan

    found, why = explained.until_spent(
        f"explanations, {name}", (functools.partial(shuffle, draw) for draw in range(DRAWS)), of=DRAWS
    )
    finished = Finished(done=len(found), of=DRAWS, why=why)
    if finished.done < FEWEST:
        return unfinished(name, finished, verb="shuffled")
    changed, draws = any(one for one, _ in found), [value for _, value in found if math.isfinite(value)]
    if len(draws) < 2:
        return not_checked("explanations", name, why=f"{what.lower()} are constant over features and have no ranks")
    if not changed:
        return not_checked(
            "explanations",
            name,
            why="shuffling weights changed no output: there was nothing to shuffle",
            would_change="the trained arrays where they can be reached, such as the params of trustml.JaxModel",
        )
    mean, low, high = _mean_similarity(draws, confidence=explained.confidence)
    severity, title = _sane(low, high, mean, what=what)
    return Finding(
        id=identifier,
        check="explanations",
        severity=severity,
        title=title + beside(finished, verb="shuffled"),
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
        how=f"Rank correlation of {of} with those of {len(draws)} models whose weights were shuffled "
        "within each array (Adebayo et al., arXiv 1810.03292).",
        would_change=f"a correlation on the other side of {SANE:g}; weights drawn as at the start of training",
    )


def _mean_similarity(draws: list[float], *, confidence: float) -> tuple[float, float, float]:
    """Mean of rank correlations, and the ends of Student's interval over the draws, within [-1, 1]."""
    from scipy.stats import t

    mean, error = float(np.mean(draws)), float(np.std(draws, ddof=1) / np.sqrt(len(draws)))
    reach = float(t.ppf((1 + confidence) / 2, len(draws) - 1)) * error
    return mean, max(-1.0, mean - reach), min(1.0, mean + reach)


def _sane(low: float, high: float, mean: float, *, what: str = "Gradients") -> tuple[Severity, str]:
    if low > SANE:
        return "risk", f"{what} stay much the same when the weights are shuffled (rank correlation {mean:.2f})"
    if high < SANE:
        return "pass", f"{what} depend on what was learned: rank correlation {mean:.2f} with shuffled weights"
    return "note", f"Whether {what.lower()} depend on what was learned is not clear (rank correlation {mean:.2f})"


def _stability(explained: Explained) -> Finding:
    return stability(
        explained,
        lambda mine, inputs: mine.integrated(inputs, steps=20),
        identifier="explanations.stability",
        name="stability",
        neighbouring=NEIGHBOURS,
        what="explanations",
        method="integrated gradients (20 points)",
    )


def stability(
    explained: Explained,
    explain: Callable[[Explained, Floats], Floats],
    *,
    identifier: str,
    name: str,
    neighbouring: int,
    what: str,
    method: str,
) -> Finding:
    """Look how far explanations move where inputs hardly do (Yeh et al., arXiv 1901.09392).

    Parameters
    ----------
    explained : Explained
    explain : callable
        Part of the examples and their changed inputs, to explanations.
    identifier, name : str
        Of the finding: whole, and without its family.
    neighbouring : int
        Changed inputs of each example.
    what, method : str
        In words.
    """
    axes = tuple(range(1, explained.inputs.ndim))
    spread = float((explained.inputs.max(axis=axes) - explained.inputs.min(axis=axes)).mean())
    around = neighbours(
        explained.inputs,
        radius=RADIUS * spread,
        samples=neighbouring,
        generator=np.random.default_rng(explained.seed),
    )
    places = iter(around)  # a part takes its own

    def part(mine: Explained) -> Doubles:
        near = np.stack([next(places) for _ in range(len(mine.inputs))])
        return max_sensitivity(distances(lambda inputs: explain(mine, inputs), inputs=mine.inputs, around=near))

    found, finished = explained.in_parts(f"explanations, {name}", part)
    if finished.done < FEWEST:
        return unfinished(name, finished)
    moved = np.concatenate(found)
    moved = moved[np.isfinite(moved)]
    if len(moved) < 2:
        return not_checked("explanations", name, why="the explanations are zero, or no numbers")
    low, high = median_ends(moved, confidence=explained.confidence)
    median = float(np.median(moved))
    return Finding(
        id=identifier,
        check="explanations",
        severity="risk" if low > 1 else ("pass" if high <= 1 else "note"),
        title=f"Under changes of {RADIUS:.0%} of the range of inputs, {what} move by {median:.0%} of their size"
        + beside(finished),
        measured=(
            Measurement(
                measure="max_sensitivity",
                value=median,
                low=low,
                high=high,
                confidence=explained.confidence,
                n=len(moved),
                note=f"median over examples, largest of {neighbouring} neighbours; exact bootstrap over examples",
            ),
        ),
        how=f"Largest move of {method} among neighbours, over its own norm (Yeh et al., "
        "arXiv 1901.09392); 1 is a move as large as the explanation itself.",
        would_change="another radius: the measure grows with it",
    )


def _agreement(explained: Explained) -> Finding:
    def part(mine: Explained) -> tuple[str, float, float]:
        columns = np.zeros_like(mine.labels) if mine.single else mine.labels
        found = mine.live.library_attributions(
            mine.inputs, columns, baseline=mine.baseline, n_steps=STEPS, rows=mine.rows
        )
        if not found:
            return "", 0.0, 0.0
        signs = np.where(mine.labels == 1, 1.0, -1.0) if mine.single else np.ones(len(columns))
        own = mine.integrated(mine.inputs, steps=STEPS)
        name, other = next(iter(found.items()))
        signed = other * signs.reshape(-1, *[1] * (own.ndim - 1))
        return name, float(np.abs(own - signed).max()), float(np.abs(own).max())

    found, finished = explained.in_parts("explanations, agreement", part)
    if finished.done < FEWEST:
        return unfinished("agreement", finished)
    name = found[0][0]
    if not name:
        return not_checked("explanations", "agreement", why="no second library was found that explains this model")
    gap = max(one[1] for one in found) / max(1e-12, *(one[2] for one in found))
    return Finding(
        id="explanations.agreement",
        check="explanations",
        severity="pass" if gap <= 0.01 else "risk",
        title=f"Integrated gradients of {name} and of trustml differ by at most {gap:.2g} of the largest attribution"
        + beside(finished),
        measured=(Measurement(measure="attribution_gap", value=gap, unit="share", n=finished.done),),
        how=f"The same examples, baseline and {STEPS} Gauss-Legendre points in both.",
        would_change="a difference above 1%",
    )


def beside(finished: Finished, *, verb: str = "explained") -> str:
    """Say in brackets what was left out."""
    return f" ({words})" if (words := finished.words(verb)) else ""


def unfinished(name: str, finished: Finished, *, verb: str = "explained") -> Finding:
    """Say that too little of a check was finished to conclude anything."""
    return not_checked(
        "explanations", name, why=finished.words(verb), would_change="more time: explain_seconds, --explain-seconds"
    )
