"""Whether a file still is the model of the run that it is said to be: its answers, explanations and statement."""

from __future__ import annotations

import math

import msgspec

from trustml.auditing.result import Finding, Measurement, Severity
from trustml.auditing.run_wording import measured
from trustml.measures.deployed import MOST_APART, HeldAgainst
from trustml.measures.measure import MEASURES
from trustml.measures.row import Row
from trustml.privacy.statement import contributed
from trustml.record.exports import ExportedStatement

MOST_DIFFER = 0.1
"""Share of predictions that rounding to 8 bits is taken to change at the most."""
MOST_MOVED = 1e-3
"""Of an attribution of an unrounded file, over the largest; of its logits on inputs that no data have."""
JUMPS = 3.0
"""Times the largest change of the model's own gradients, where inputs are moved as little as rounding does: another
example may be at another kink."""
_AGAIN = "a file exported again, by `trustml export`"


def check_deployed(held: HeldAgainst) -> list[Finding]:
    """Judge a file by what it answered beside the model, and by what it carries.

    Parameters
    ----------
    held : HeldAgainst
    """
    rows = {row.measure: row for row in held.rows}
    explained = [row for row in held.rows if row.measure == "deployed_attribution_agreement"]
    return [_answers(held, rows), _explanations(held, explained), _statement(held)]


def _answers(held: HeldAgainst, rows: dict[str, Row]) -> Finding:
    gap = rows["deployed_logit_difference"]
    differ, score = rows.get("deployed_disagreement"), rows.get("deployed_score_difference")
    shown = (differ, gap, score, rows.get("deployed_roc_auc_difference"))
    figures = tuple(_measurement(row) for row in shown if row is not None)
    severity, title = _judged(held, gap, differ, score)
    asked = "held-out" if held.exported.held_out else "explained"
    return Finding(
        id="deployed.answers",
        check="deployed",
        severity=severity,
        title=title,
        claim=f"the file is {held.model} of {held.run}",
        measured=figures,
        how=f"File and model were asked the same {gap.n} {asked} examples, the file in a fresh process of its runtime, "
        "and inputs drawn in the range of the data and five times as wide. What it answers elsewhere is not known.",
        would_change=_AGAIN,
    )


def _judged(held: HeldAgainst, gap: Row, differ: Row | None, score: Row | None) -> tuple[Severity, str]:
    value = math.nan if gap.value is None else gap.value
    if not math.isfinite(value) or not math.isfinite(held.drawn_gap):
        return "risk", "The file answers with what is no number"
    count = 0 if differ is None or differ.value is None else round(differ.value * differ.n)
    told = f"logits differ by {value:.1e} of the largest"
    if differ is not None:
        told += f", and {count} of {differ.n} predictions"
    if not held.exported.quantised and value > MOST_APART:
        return "risk", f"The file is another model than the one that was audited: {told}"
    if held.exported.quantised and differ is not None and count > MOST_DIFFER * differ.n:
        return "risk", f"The file says something else than the model, more often than rounding explains: {told}"
    if not held.exported.quantised and held.drawn_gap > MOST_MOVED:
        return (
            "risk",
            "The file answers as the model on the examples that were asked, and otherwise on inputs that were drawn: "
            f"logits differ by {held.drawn_gap:.1e} of the largest there",
        )
    if score is not None and score.high is not None and score.high < 0:
        return "risk", f"The file scores less than the model that was audited: {told}"
    if held.exported.quantised:
        return "note", f"The file is rounded ({held.exported.quantised}) and is not quite what was audited: {told}"
    return "pass", f"The file answers as the model that was audited, on what was asked: {told}"


def _explanations(held: HeldAgainst, rows: list[Row]) -> Finding:
    """Judge by the way of explaining that agrees least, of those that rank anything; others are said to be unjudged."""
    ranked = [row for row in rows if row.value is not None]
    reasons = [
        f"{row.method}: {row.facts.get('reason', '')}" if row.method else str(row.facts.get("reason", ""))
        for row in rows
        if row.value is None
    ]
    base = Finding(
        id="deployed.explanations",
        check="deployed",
        severity="not checked",
        title="Not checked: nothing could be ranked",
        claim=f"explanations of {held.model} hold for the file",
        reason="; ".join(reasons),
        would_change=_AGAIN,
    )
    if not ranked:
        return base
    row = min(ranked, key=lambda one: float(one.facts["least_agreement"]))
    least, moved = float(row.facts["least_agreement"]), _moved(row)
    other = max(ranked, key=_moved)
    largest = _moved(other)
    alike = all(_alike(one, rounded=held.rounded) for one in ranked)
    severity: Severity = "pass" if alike else "note" if held.exported.quantised else "risk"
    words = "agree with those of the model" if alike else "are not those of the model"
    title = (
        f"Explanations of the file {words}: by {row.method}, rank correlation {row.value:.4f}, of the worst example "
    )
    title += f"{least:.4f}, largest difference {moved:.1e} of the largest"
    if largest > moved:
        title += f", by {other.method} {largest:.1e}"
    # What was asked and could not be ranked is no pass.
    if alike and reasons:
        severity, title = "note", f"{title}; not all ways of explaining could be ranked"
    how = f"Both explained anew by {' and by '.join(one.method for one in ranked)} on the same {row.n} examples."
    return Finding(
        id=base.id,
        check=base.check,
        severity=severity,
        title=title,
        claim=base.claim,
        measured=tuple(_measurement(one) for one in ranked),
        how=" ".join([how, *(f"Nothing could be ranked by {reason}." for reason in reasons)]),
        would_change=_AGAIN,
    )


def _alike(row: Row, *, rounded: bool) -> bool:
    """Whether explanations differ by no more than rounding makes, or than the model's own do where rounding decides."""
    own = float(row.facts.get("own_agreement", 1.0)), float(row.facts.get("own_difference", 0.0))
    # A rank correlation falls with the square of what is added.
    least, most = min(1 - MOST_APART, 1 - JUMPS**2 * (1 - own[0])), max(MOST_MOVED, JUMPS * own[1])
    return float(row.facts["least_agreement"]) > least and (rounded or _moved(row) <= most)


def _moved(row: Row) -> float:
    """Largest difference of an attribution; infinite where the file has no number."""
    moved = float(row.facts["largest_difference"])
    return math.inf if math.isnan(moved) else moved


def _statement(held: HeldAgainst) -> Finding:
    """What the file carries, beside what it would carry were it exported now."""
    inside, expected = held.inside, _as_now(held.expected)
    severity: Severity
    if inside is None:
        severity, title = "note", "The file carries no privacy statement of trustml's that can be read"
    elif (inside.run, inside.model, inside.weights) != (expected.run, expected.model, expected.weights):
        severity, title = "violation", "The statement in the file is of another model"
    elif inside.privacy is None and expected.privacy is not None:
        severity, title = "violation", "The statement in the file names no epsilon, and the run's ledger gives one"
    elif _as_now(inside).privacy != expected.privacy:
        severity, title = "violation", "The privacy statement in the file is not what the run's ledger gives now"
    elif held.rounded != bool(inside.quantised) or inside.quantised != expected.quantised:
        severity, title = "risk", "The statement in the file does not say how its weights are rounded"
    elif inside == held.expected:
        severity, title = "pass", "The statement in the file is that of the model as the run has it now"
    elif _as_now(inside) == expected:
        severity, title = (
            "note",
            "The statement in the file is that of the model, by an earlier version of trustml, which does not say "
            "what is clipped",
        )
    else:
        severity, title = "risk", "The statement in the file describes other inputs than the model takes"
    return Finding(
        id="deployed.statement",
        check="deployed",
        severity=severity,
        title=title,
        claim=f"the file is {held.model} of {held.run}",
        how="The statement is read out of the file's own metadata and compared field by field.",
        would_change=_AGAIN,
    )


def _as_now(statement: ExportedStatement) -> ExportedStatement:
    """Say what is clipped in a statement of before it was said.

    Of the fields that came after the first exports it alone follows from the others; what else is absent was taken out,
    or is of a model that no earlier version could train.
    """
    told = statement.privacy
    if told is None:
        return statement
    return msgspec.structs.replace(statement, privacy=msgspec.structs.replace(told, contribution=contributed(told)))


def _measurement(row: Row) -> Measurement:
    title = MEASURES[row.measure].title
    return msgspec.structs.replace(measured(row), label=f"{title} by {row.method}" if row.method else title)
