"""What attacks came to, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console

from trustml.measures.entry import Measure
from trustml.measures.measure import MEASURES, shown_in
from trustml.privacy.statement import at_least, at_most
from trustml.report.attacks.frames import audited_frame, remembered_frame, strongest_frame
from trustml.report.documents import Cell, titled_table

if TYPE_CHECKING:
    import pandas as pd

_AUCS = {"AUC, median": "auc_median", "least": "auc_least", "most": "auc_most"}
_IN_OWN_WORDS = frozenset({"audited", "estimate", "claim", "ceiling", "attainable"})


REMEMBERED = (
    "exposure in bits: 1.44 is what a sequence has that is not remembered; extracted: the share of texts that the "
    "model goes on with word for word; guessed column: the share of rows whose value comes out; row made again: the "
    "share of updates whose row is told from others; typical input: likeness to rows; property: the share of models of "
    "which it is told, half by guessing; 'not trained on' is the control"
)


def print_attacks(out: Console, table: pd.DataFrame) -> None:
    """Print membership inference by regime and attack, then every audit beside its claim; nothing where none was."""
    models = membership_cells(table)
    if not models.empty:
        _print_membership(out, models)
    audits = audited_frame(table)
    if not audits.empty:
        _print_audits(out, audits)
    remembered = remembered_cells(table)
    if not remembered.empty:
        _print_cells(out, remembered, title="remembered: canaries, texts, columns and rows of training data")
        out.print(REMEMBERED, soft_wrap=True, markup=False)


def membership_cells(table: pd.DataFrame) -> pd.DataFrame:
    """What attacks on membership came to by regime and attack, in cells ready to be shown and to be sorted."""
    import pandas as pd

    risky = table.loc[(table.measure == "membership_auc_at_least") & (table.value > 0.5), ["regime", "method", "job"]]
    flagged = risky.groupby(["regime", "method"]).job.nunique()
    found = []
    for row in strongest_frame(table).to_dict("records"):
        rate, at_risk = float(row["tpr_at_1_percent_fpr"]), int(flagged.get((row["regime"], row["attack"]), 0))
        known = rate == rate
        interval = f"{row['tpr_low']:.2%}-{row['tpr_high']:.2%}"
        found.append(
            {
                "regime": row["regime"],
                "attack": row["attack"],
                "models": Cell(str(row["models"]), float(row["models"])),
                "at risk": Cell(str(at_risk), float(at_risk)),
                **{head: Cell(f"{row[name]:.3f}", row[name]) for head, name in _AUCS.items()},
                "TPR at 1 % FPR": Cell(f"{rate:.2%}", rate) if known else Cell("-"),
                "interval": Cell(interval, row["tpr_low"]) if known else Cell("not estimable"),
            }
        )
    return pd.DataFrame(found)


def remembered_cells(table: pd.DataFrame) -> pd.DataFrame:
    """What models remember, in cells ready to be shown and to be sorted; empty where nobody looked."""
    import pandas as pd

    found = []
    for row in remembered_frame(table).to_dict("records"):
        measure = MEASURES[row["measure"]]

        def cell(value: float, measure: Measure = measure) -> Cell:
            return Cell(measure.text(value), value) if value == value else Cell("-")

        known, open_ = row["low"] == row["low"], row["high"] != row["high"]
        interval = f"at least {cell(row['low'])}" if open_ else f"{cell(row['low'])}-{cell(row['high'])}"
        found.append(
            {
                "what": measure.title,
                "regime": row["regime"],
                "backend": row["backend"],
                "of": row["subject"],
                "trained on": cell(row["value"]),
                "interval": Cell(interval, row["low"]) if known else Cell("-"),
                "not trained on": cell(row["untrained"]),
                "n": Cell(str(row["n"]), float(row["n"])),
                "verdict": row["verdict"] or "-",
            }
        )
    return pd.DataFrame(found)


def audit_cells(audits: pd.DataFrame) -> pd.DataFrame:
    """What audits have shown beside what was promised, in cells ready to be shown and to be sorted."""
    import pandas as pd

    more = [one.head for one in shown_in("attacks").values() if one.head not in _IN_OWN_WORDS]
    found = []
    for row in audits.to_dict("records"):
        verdict = "VIOLATION" if row["violation"] else ("not refuted" if row["audited"] >= 0 else "-")
        low = row["attainable_low"]
        found.append(
            {
                "audit": row["audit"],
                "at least": _number(row["audited"], at_least),
                "estimate": _number(row["estimate"]),
                "claim": _number(row["claim"], at_most),
                "ideal attacker, 90 %": Cell(f"{_number(low)}-{_number(row['attainable_high'])}", low),
                "all guesses right": _number(row["ceiling"], at_most),
                **{head: _number(row[head]) for head in more},
                "verdict": verdict,
            }
        )
    return pd.DataFrame(found)


def _print_membership(out: Console, models: pd.DataFrame) -> None:
    title = "membership inference: AUC over the models, and how many are shown to be at risk"
    _print_cells(out, models, title=title)
    out.print(
        "at risk: a lower bound of the AUC, corrected for all attacks on the model, is above 0.5; 0.5 is guessing",
        soft_wrap=True,
        markup=False,
    )


def _print_audits(out: Console, audits: pd.DataFrame) -> None:
    _print_cells(out, audit_cells(audits), title="epsilon: promised, and shown by audits")
    out.print(
        "'at least' is a lower bound at the confidence in the table of measures; an estimate bounds nothing; an ideal "
        "attacker shows no more than the range, even of a mechanism with exactly the claimed epsilon",
        soft_wrap=True,
        markup=False,
    )


def _print_cells(out: Console, cells: pd.DataFrame, *, title: str) -> None:
    """Print cells; what is sorted by a number stands at the right, but an interval."""
    right = {name for name in cells.columns if cells[name].map(lambda one: isinstance(one, Cell)).all()}
    shown = titled_table(title, *(f">{name}" if name in right - {"interval"} else str(name) for name in cells.columns))
    for row in cells.to_dict("records"):
        shown.add_row(*map(str, row.values()))
    out.print(shown)


def _number(value: float, rounded: Callable[[float, int], str] = "{:.{}f}".format) -> Cell:
    return Cell(rounded(value, 2), value) if value == value else Cell("-")
