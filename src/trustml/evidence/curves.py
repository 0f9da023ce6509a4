"""What published ROC curves give: AUC and TPR of an attack from counts alone, without anybody's score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from trustml.attacks.estimates import AttackEstimate
from trustml.attacks.roc import auc_estimate, auc_lower_bound, tpr_at_fpr
from trustml.errors import TrustmlError, UsageError
from trustml.evidence.checks import Check, Outcome, text_of
from trustml.measures.evidence import Evidence
from trustml.measures.membership import TPRS, wanted_attacks
from trustml.measures.row import Row
from trustml.record.curves import RocCounts, read_curves

Figures: TypeAlias = Mapping[tuple[str, str, str], AttackEstimate]
"""By model, attack and measure: what a curve gives."""


def curve_figures(evidence: Evidence) -> tuple[dict[tuple[str, str, str], AttackEstimate], list[Check]]:
    """Compute every figure that follows from a published curve.

    Returns
    -------
    figures : dict
    checks : list of Check
        What is no curve.
    """
    figures: dict[tuple[str, str, str], AttackEstimate] = {}
    checks: list[Check] = []
    try:
        curves, wanted = read_curves(evidence.run), wanted_attacks(evidence)
    except TrustmlError as error:
        return {}, [_check("curves.json", "differs", str(error))]
    attacks = Counter(curve.subject for curve in curves)
    for curve in curves:
        try:
            roc = curve.roc
        except UsageError as error:
            checks.append(_check(_name(curve), "differs", f"is no curve ({error})"))
            continue
        place = (curve.subject, curve.attack)
        if (*place, "membership_auc") in figures:
            checks.append(_check(_name(curve), "differs", "is there twice"))
            continue
        figures[*place, "membership_auc"] = auc_estimate(roc)
        figures |= {(*place, name): tpr_at_fpr(roc, rate) for rate, name in TPRS.items()}
        if wanted is not None:
            each = 1.0 - (1.0 - wanted.confidence) / attacks[curve.subject]
            low = auc_lower_bound(roc, confidence=each)
            n = roc.members + roc.non_members
            figures[*place, "membership_auc_at_least"] = AttackEstimate(value=low, confidence=each, n=n, note="")
    return figures, checks


def curve_checks(figures: Figures, table: Sequence[Row]) -> list[Check]:
    """Look for the row of every curve; the rows themselves are compared with the other measures."""
    stated = {(row.job, row.method, row.measure) for row in table}
    checks = []
    for (subject, attack, measure), estimate in figures.items():
        if measure == "membership_auc":
            there = (subject, attack, measure) in stated
            message = f"AUC {text_of(estimate.value)}" + ("" if there else "; the table has no row for it")
            checks.append(_check(f"curve of {attack} on {subject}", "ok" if there else "differs", message))
    return checks


def _name(curve: RocCounts) -> str:
    return f"curve of {curve.attack} on {curve.subject}"


def _check(subject: str, outcome: Outcome, message: str) -> Check:
    return Check(area="audit", subject=subject, outcome=outcome, message=message)
