"""Privacy statements as lines of tables, for pages."""

from __future__ import annotations

from trustml.plan.job import short_model
from trustml.privacy.statement import PrivacyStatement, at_least, at_most

SIGNS = {"met": "✓ met", "not met": "✗ not met", "not checked": "? not checked"}
"""Of an assumption: never a colour alone."""


def promise(statement: PrivacyStatement) -> dict[str, str]:
    """Give the line of one model in the table of promises."""
    return {
        "model": short_model(statement.model),
        "epsilon, at most": "none" if statement.epsilon is None else at_most(statement.epsilon, 3),
        "delta": f"{statement.delta:g}",
        "unit": statement.unit_of_privacy,
        "relation": statement.neighboring_relation,
        "sampling": statement.sampling,
        "accountant": statement.accountant,
        "steps (attempts)": f"{statement.steps} ({statement.attempts})",
    }


def comparison(statement: PrivacyStatement) -> list[dict[str, object]]:
    """Give the other epsilons of one model, each with what it rests on."""
    rows: list[dict[str, object]] = []
    for other in statement.comparisons:
        sign, rounded = ("≥", at_least) if other.bound == "at least" else ("≤", at_most)
        value = "-" if other.value is None else f"{sign} {rounded(other.value, 3)}"
        rows.append({"": other.name, "value": value, "relation": other.relation, "what it is": other.note})
    return rows
