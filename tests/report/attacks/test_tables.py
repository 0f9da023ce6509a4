"""What attacks came to, in the terminal: bounds are rounded to their own side."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.test_figures import rows
from tests.report.test_tables import printed
from trustml.report.attacks.frames import audited_frame
from trustml.report.attacks.tables import print_attacks

AUDIT = {"job": "game.jax", "subject": "game", "regime": "-", "seed": -1}
epsilons = st.floats(min_value=0.0, max_value=900.0)


def line(table, start: str) -> list[str]:
    (found,) = [one for one in printed(print_attacks, table).splitlines() if one.startswith(start)]
    return found.split()


@given(epsilons, epsilons, epsilons)
@settings(max_examples=40, deadline=None)
def test_audits_show_no_more_than_was_shown_and_claims_no_less(audited, claim, ceiling):
    measures = {"audited_epsilon": audited, "claimed_epsilon": claim, "ceiling_all_correct": ceiling}
    table = rows(*({**AUDIT, "measure": name, "value": value} for name, value in measures.items()))
    _, _, least, estimate, claimed, reach, most, *verdict = line(table, "game (torch)")
    assert audited - 0.01 <= float(least) <= audited + 1e-9
    assert claim - 1e-9 <= float(claimed) <= claim + 0.01
    assert ceiling - 1e-9 <= float(most) <= ceiling + 0.01
    assert (estimate, reach) == ("-", "---")
    assert verdict == (["VIOLATION"] if audited > claim else ["not", "refuted"])
    assert audited_frame(table).violation.tolist() == [audited > claim]


def test_membership_counts_models_and_those_at_risk():
    values = {"membership_auc": (0.5, 0.6, 0.7), "membership_auc_at_least": (0.5, 0.51, 0.6)}
    models = [
        {"measure": measure, "job": f"m{turn}", "seed": turn, "value": value}
        for measure, those in values.items()
        for turn, value in enumerate(those)
    ]
    pooled = {"measure": "membership_tpr_at_1_percent_fpr", "seed": -1, "value": 0.0512, "low": 0.04, "high": 0.06}
    table = rows(*({**one, "method": "lira"} for one in (*models, pooled)))
    assert line(table, "Plain")[1:] == ["lira", "3", "2", "0.600", "0.500", "0.700", "5.12%", "4.00%-6.00%"]
