"""What a study answers: whether privacy changes explanations, and whether it is privacy that does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trustml.compare.contrast import holm
from trustml.compare.floor import MEAN
from trustml.measures.measure import shown_in
from trustml.record.schema import Manifest

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class StudyPart:
    """One run of a study.

    Attributes
    ----------
    manifest : Manifest
    table : DataFrame
        Its tidy table.
    """

    manifest: Manifest
    table: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of the scenario without what all parts share."""
        return str(self.manifest.scenario["name"]).removeprefix("privacy_and_explanations_")


def study_markdown(parts: Sequence[StudyPart]) -> str:
    """Answer in Markdown: what was trained, then one table and one verdict a question."""
    return "\n".join(
        [
            *_models(parts),
            "",
            *_question(
                parts,
                measure="explanation_effect",
                title="Does it change explanations beyond what another seed does?",
                meaning="Rank agreement with plain models of other seeds, minus that of plain models among themselves "
                "(the floor). 0 is what another seed does; below 0 explanations differ more.",
                verdict="differ from plain ones by more than the seed floor",
            ),
            "",
            *_question(
                parts,
                measure="explanation_effect_beyond_accuracy",
                title="Beyond what lower accuracy does?",
                meaning="The effect minus that of plain training stopped at the private model's accuracy. Below 0, "
                "privacy changes explanations more than stopping early does.",
                verdict="differ by more than training stopped at their accuracy",
            ),
            "",
            *_steadiness(parts),
            "",
            *_faithfulness(parts),
            "",
        ]
    )


def adjusted(parts: Sequence[StudyPart], measure: str) -> pd.DataFrame:
    """Rows of one measure over all parts, with `part`, `p` and `p_holm` (over all rows) added."""
    import pandas as pd

    found = []
    for part in parts:
        rows = part.table[(part.table.measure == measure) & part.table.value.notna()]
        p_values = part.table[part.table.measure == f"{measure}_p"]
        keys = ["regime", "method", "subject", "backend"]
        found.append(
            rows.merge(p_values[[*keys, "value"]].rename(columns={"value": "p"}), on=keys).assign(part=part.name)
        )
    rows = pd.concat(found, ignore_index=True)
    return rows.assign(p_holm=holm(rows.p.to_numpy(np.float64)))


def _models(parts: Sequence[StudyPart]) -> list[str]:
    lines = [
        "## What was trained",
        "",
        "Accuracy is the mean over seeds, with the smallest and largest; epsilon that of one model.",
        "",
        "| data | regime | seeds | accuracy | epsilon |",
        "|---|---|---|---|---|",
    ]
    for part in parts:
        accuracy = part.table[(part.table.measure == "accuracy") & part.table.value.notna()]
        epsilons = part.table[part.table.measure == "epsilon"]
        for regime, group in accuracy.groupby("regime", sort=False):
            epsilon = epsilons[epsilons.regime == regime].value
            values = group.value
            lines.append(
                f"| {part.name} | {regime} | {len(group)} | {values.mean():.3f} "
                f"({values.min():.3f}-{values.max():.3f}) | {f'{epsilon.mean():.2f}' if len(epsilon) else '-'} |"
            )
    return lines


def _question(parts: Sequence[StudyPart], *, measure: str, title: str, meaning: str, verdict: str) -> list[str]:
    rows = adjusted(parts, measure)
    together = rows[rows.method == MEAN].assign(p_holm=lambda found: holm(found.p.to_numpy(np.float64)))
    lines = [f"## {title}", "", meaning, "", *_verdicts(together, verdict), ""]
    lines += [
        "The mean of methods with its 95 % interval over seeds and permutation p (Holm over this table; S seeds "
        "allow none below 2^-S before it); then the range over methods, and how many have an interval below / above 0.",
        "",
        "| data | regime | mean of methods | p | p after Holm | range over methods | below / above 0 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in together.to_dict("records"):
        group = rows[(rows.part == row["part"]) & (rows.regime == row["regime"]) & (rows.method != MEAN)]
        lines.append(
            f"| {row['part']} | {row['regime']} | {_interval(row)} | {row['p']:.2g} | {row['p_holm']:.2g} | "
            f"{group.value.min():+.3f} to {group.value.max():+.3f} | {int((group.high < 0).sum())} / "
            f"{int((group.low > 0).sum())} of {len(group)} |"
        )
    return lines


def _verdicts(rows: pd.DataFrame, verdict: str) -> list[str]:
    """One line a kind of regime: in how many cells the interval lies below 0, and above."""
    lines = []
    for kind, title in (("DPSGD", "Private"), ("Stopped", "Stopped-early"), ("FedAvg", "Federated")):
        group = rows[rows.regime.str.startswith(kind)]
        if group.empty:
            continue
        below, above = int((group.high < 0).sum()), int((group.low > 0).sum())
        lines.append(
            f"- **{title}** models' explanations {verdict} in {below} of {len(group)} cells (data x regime) by the "
            f"95 % interval, by less in {above}; {int((group.p_holm < LEVEL).sum())} have p < {LEVEL} after Holm."
        )
    return lines


def _steadiness(parts: Sequence[StudyPart]) -> list[str]:
    rows = adjusted(parts, "explanation_steadiness")
    steadier, less = int((rows.low > 0).sum()), int((rows.high < 0).sum())
    lines = [
        "## Are perturbation methods steadier than gradient methods?",
        "",
        "Effect on perturbation methods minus that on gradient methods, means over methods. Above 0 they are steadier.",
        "",
        f"- In {steadier} of {len(rows)} cells (data x regime) perturbation methods are steadier by the 95 % interval, "
        f"in {less} gradient methods are; {int((rows.p_holm < LEVEL).sum())} cells are significant after Holm.",
        "",
        "| data | regime | perturbation minus gradient | p after Holm |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['part']} | {row['regime']} | {_interval(row)} | {row['p_holm']:.3g} |"
        for row in rows.to_dict("records")
    ]
    return lines


def _faithfulness(parts: Sequence[StudyPart]) -> list[str]:
    measures = shown_in("study")
    lines = [
        "## Does it make explanations less faithful?",
        "",
        "Change of each measure between models of the same seed, in the mean over methods; in brackets in how many of "
        "the methods the 95 % interval says better / worse. Against plain, and plain stopped at the same accuracy.",
        "",
        f"| data | regime | against | {' | '.join(measures)} |",
        "|---|---|---|" + "---|" * len(measures),
    ]
    for part in parts:
        changes = part.table[part.table.measure.isin([f"change_of_{name}" for name in measures])].dropna(subset="value")
        for (regime, subject), group in changes.groupby(["regime", "subject"], sort=False):
            cells = [_change(group[group.measure == f"change_of_{name}"], one.better) for name, one in measures.items()]
            lines.append(f"| {part.name} | {regime} | {str(subject).split(' ~ ')[0]} | {' | '.join(cells)} |")
    return lines


def _change(rows: pd.DataFrame, better: str) -> str:
    if rows.empty:
        return "-"
    up, down = int((rows.low > 0).sum()), int((rows.high < 0).sum())
    gains, losses = (down, up) if better == "lower" else (up, down)
    return f"{rows.value.mean():+.3f} ({gains} / {losses} of {len(rows)})"


def _interval(row: dict[Any, Any]) -> str:
    return f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
