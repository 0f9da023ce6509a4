"""What a study answers: whether privacy changes explanations, and whether it is privacy that does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trustml.compare.contrast import holm
from trustml.compare.floor import MEAN
from trustml.measures.measure import shown_in
from trustml.privacy.statement import at_most
from trustml.record.schema import Manifest
from trustml.report.documents import templates

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05
_KINDS = ("Private", "Stopped-early", "Federated")
_PRIVATE = ("DPSGD", "DPFedAvg")


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

    def kind(self, title: str) -> str:
        """What a regime is in the study; empty for plain training."""
        regimes = {one.get("name") or one["kind"]: one for one in self.manifest.scenario["training"]}
        found = regimes.get(title, {"kind": "Plain"})
        if found["kind"] == "Plain":
            return "Stopped-early" if found.get("stop_at") else ""
        return "Private" if found["kind"] in _PRIVATE else "Federated"


def study_markdown(parts: Sequence[StudyPart]) -> str:
    """Answer in Markdown: what was trained, then one table and one verdict a question."""
    pages = templates("study")
    pages.filters |= {"signed": "{:+.3f}".format, "at_most": at_most}
    facts = {
        "trained": [row for part in parts for row in _trained(part)],
        "effect": _question(adjusted(parts, "explanation_effect")),
        "beyond": _question(adjusted(parts, "explanation_effect_beyond_accuracy")),
        "steadiness": _steadiness(adjusted(parts, "explanation_steadiness")),
        "changes": list(shown_in("study")),
        "faithfulness": [row for part in parts for row in _faithfulness(part)],
        "level": LEVEL,
    }
    return pages.get_template("study.md.j2").render(facts)


def adjusted(parts: Sequence[StudyPart], measure: str) -> pd.DataFrame:
    """Rows of one measure over all parts, with `part`, `kind` of the regime, `p` and `p_holm` (over all rows) added."""
    import pandas as pd

    found = []
    for part in parts:
        rows = part.table[(part.table.measure == measure) & part.table.value.notna()]
        p_values = part.table[part.table.measure == f"{measure}_p"]
        keys = ["regime", "method", "subject", "backend"]
        rows = rows.merge(p_values[[*keys, "value"]].rename(columns={"value": "p"}), on=keys)
        found.append(rows.assign(part=part.name, kind=rows.regime.map(part.kind)))
    rows = pd.concat(found, ignore_index=True)
    return rows.assign(p_holm=holm(rows.p.to_numpy(np.float64)))


def _trained(part: StudyPart) -> Iterator[dict[str, Any]]:
    accuracy = part.table[(part.table.measure == "accuracy") & part.table.value.notna()]
    epsilons = part.table[part.table.measure == "epsilon"]
    for regime, group in accuracy.groupby("regime", sort=False):
        epsilon, values = epsilons[epsilons.regime == regime].value, group.value
        yield {
            "part": part.name,
            "regime": regime,
            "seeds": len(group),
            "mean": values.mean(),
            "least": values.min(),
            "most": values.max(),
            "epsilon": epsilon.max(skipna=False) if len(epsilon) else None,
        }


def _question(rows: pd.DataFrame) -> dict[str, Any]:
    """Cells of one effect on the mean of methods, each with what single methods say; and how many are significant."""
    together = rows[rows.method == MEAN].assign(p_holm=lambda found: holm(found.p.to_numpy(np.float64)))
    cells: list[dict[Any, Any]] = []
    for row in together.to_dict("records"):
        group = rows[(rows.part == row["part"]) & (rows.regime == row["regime"]) & (rows.method != MEAN)]
        methods = {"least": group.value.min(), "most": group.value.max(), "methods": len(group), **_signs(group)}
        cells.append(row | methods)
    verdicts = [
        {"kind": kind, "cells": len(group), "significant": _significant(group), **_signs(group)}
        for kind in _KINDS
        if len(group := together[together.kind == kind])
    ]
    return {"verdicts": verdicts, "rows": cells}


def _steadiness(rows: pd.DataFrame) -> dict[str, Any]:
    return {"rows": rows.to_dict("records"), "significant": _significant(rows), **_signs(rows)}


def _faithfulness(part: StudyPart) -> Iterator[dict[str, Any]]:
    measures = shown_in("study")
    rows = part.table[part.table.measure.isin([f"change_of_{name}" for name in measures])].dropna(subset="value")
    for (regime, against), group in rows.groupby(["regime", "first"], sort=False):
        cells = []
        for name, measure in measures.items():
            own = group[group.measure == f"change_of_{name}"]
            signs = _signs(own)
            lower = measure.better == "lower"
            better, worse = (signs["below"], signs["above"]) if lower else (signs["above"], signs["below"])
            cells.append({"value": own.value.mean(), "better": better, "worse": worse, "methods": len(own)})
        yield {"part": part.name, "regime": regime, "against": against, "cells": cells}


def _signs(rows: pd.DataFrame) -> dict[str, int]:
    """How many 95 % intervals lie below 0, and how many above."""
    return {"below": int((rows.high < 0).sum()), "above": int((rows.low > 0).sum())}


def _significant(rows: pd.DataFrame) -> int:
    return int((rows.p_holm < LEVEL).sum())
