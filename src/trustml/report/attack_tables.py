"""What attacks came to, as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from trustml.measures.measure import shown_in
from trustml.report.attack_frames import audited_frame, membership_frame, strongest_frame
from trustml.report.explanation_tables import titled_table

if TYPE_CHECKING:
    import pandas as pd

_IN_OWN_WORDS = frozenset({"audited", "estimate", "claim", "ceiling", "attainable"})


def print_attacks(out: Console, table: pd.DataFrame) -> None:
    """Print membership inference by regime and attack, then every audit beside its claim; nothing where none was."""
    models = membership_frame(table)
    if not models.empty:
        _print_membership(out, table)
    audits = audited_frame(table)
    if not audits.empty:
        _print_audits(out, audits)


def _print_membership(out: Console, table: pd.DataFrame) -> None:
    risky = table[(table.measure == "membership_auc_at_least") & (table.value > 0.5)]
    flagged = risky.groupby(["regime", "method"]).job.nunique()
    shown = titled_table(
        "membership inference: AUC over the models, and how many are shown to be at risk",
        "regime", "attack", ">models", ">at risk", ">AUC, median", ">least", ">most", ">TPR at 1 % FPR", "interval",
    )  # fmt: skip
    for row in strongest_frame(table).to_dict("records"):
        rate = float(row["tpr_at_1_percent_fpr"])
        shown.add_row(
            row["regime"],
            row["attack"],
            str(row["models"]),
            str(flagged.get((row["regime"], row["attack"]), 0)),
            *(f"{row[name]:.3f}" for name in ("auc_median", "auc_least", "auc_most")),
            f"{rate:.2%}" if rate == rate else "-",
            f"{row['tpr_low']:.2%}-{row['tpr_high']:.2%}" if rate == rate else "not estimable",
        )
    out.print(shown)
    out.print(
        "at risk: a lower bound of the AUC, corrected for all attacks on the model, is above 0.5; 0.5 is guessing",
        soft_wrap=True,
        markup=False,
    )


def _print_audits(out: Console, audits: pd.DataFrame) -> None:
    more = [one.head for one in shown_in("attacks").values() if one.head not in _IN_OWN_WORDS]
    shown = titled_table(
        "epsilon: promised, and shown by audits",
        "audit", ">at least", ">estimate", ">claim", ">ideal attacker, 90 %", ">all guesses right",
        *(f">{head}" for head in more), "verdict",
    )  # fmt: skip
    for row in audits.to_dict("records"):
        verdict = "VIOLATION" if row["violation"] else ("not refuted" if row["audited"] >= 0 else "-")
        reach = f"{_number(row['attainable_low'])}-{_number(row['attainable_high'])}"
        shown.add_row(
            row["audit"],
            _number(row["audited"]),
            _number(row["estimate"]),
            _number(row["claim"]),
            reach,
            _number(row["ceiling"]),
            *(_number(row[head]) for head in more),
            verdict,
        )
    out.print(shown)
    out.print(
        "'at least' is a lower bound at the confidence in the table of measures; an estimate bounds nothing; an ideal "
        "attacker shows no more than the range, even of a mechanism with exactly the claimed epsilon",
        soft_wrap=True,
        markup=False,
    )


def _number(value: float) -> str:
    return f"{value:.2f}" if value == value else "-"
