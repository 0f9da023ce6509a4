"""What a study answers: whether privacy changes explanations, and whether it is privacy that does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from trustml.compare.contrast import holm
from trustml.compare.floor import MEAN
from trustml.compare.table import fact_of
from trustml.measures.measure import shown_in
from trustml.privacy.statement import at_most
from trustml.record.schema import Manifest, regimes_of
from trustml.report.documents import templates

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05
_ABLATED = {"schedule": "Same-schedule", "clipping": "Clipped, noiseless", "noise": "Noisy, unclipped"}
_KINDS = ("Private", *_ABLATED.values(), "Stopped-early", "Federated")
_PRIVATE = ("DPSGD", "DPFedAvg", "SiloDPFedAvg", "LocalDPFedAvg")


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
        regimes = regimes_of(self.manifest)
        found = regimes.get(title, {"kind": "Plain"})
        if found["kind"] == "Plain":
            if ablation := found.get("ablation"):
                return _ABLATED[ablation.get("keeps", "schedule")]
            return "Stopped-early" if found.get("stop_at") else ""
        return "Private" if found["kind"] in _PRIVATE else "Federated"


def study_markdown(parts: Sequence[StudyPart]) -> str:
    """Answer in Markdown: what was trained, then one table and one verdict a question."""
    pages = templates("study")
    pages.filters |= {"signed": "{:+.3f}".format, "at_most": at_most}
    facts = {
        "trained": [row for part in parts for row in _trained(part)],
        "effect": _question(adjusted(parts, "explanation_effect")),
        "parts": _parts(parts),
        "trends": _trends(parts),
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
    together = _jointly(rows[rows.method == MEAN])
    cells: list[dict[Any, Any]] = []
    for row in together.to_dict("records"):
        same = (rows.part == row["part"]) & (rows.subject == row["subject"])
        group = rows[same & (rows.method != MEAN)]
        methods = {"least": group.value.min(), "most": group.value.max(), "methods": len(group), **_signs(group)}
        cells.append(row | methods)
    verdicts = [
        {
            "kind": kind,
            "cells": len(group),
            "significant": _significant(group),
            **_signs(group),
            "below_together": int((group.high_together < 0).sum()),
            "above_together": int((group.low_together > 0).sum()),
        }
        for kind in _KINDS
        if len(group := together[together.kind == kind])
    ]
    return {"verdicts": verdicts, "rows": cells}


def _jointly(rows: pd.DataFrame) -> pd.DataFrame:
    """Adjust for the number of rows: p-values by Holm, intervals by Bonferroni, so that all hold together at 95 %.

    Permutation tests cannot fall below a floor that few seeds set; the intervals, of Student's t, have none.
    """
    degrees = rows.n.to_numpy(np.float64) - 1
    wider = stats.t.ppf(1 - LEVEL / 2 / max(1, len(rows)), degrees) / stats.t.ppf(1 - LEVEL / 2, degrees)
    reach = (rows.high - rows.low) / 2 * wider
    return rows.assign(
        p_holm=holm(rows.p.to_numpy(np.float64)), low_together=rows.value - reach, high_together=rows.value + reach
    )


def _parts(parts: Sequence[StudyPart]) -> dict[str, Any] | None:
    """What clipping and noise do, each without the other and beside it; and both ways from plain to private.

    Each of the four questions is a family of tests of its own.
    """
    rows = adjusted(parts, "explanation_effect_of_part")
    if rows.empty:
        return None
    rows = rows.assign(
        alone=fact_of(rows, "part", default=""), from_kind=[_kind(parts, one) for one in rows.itertuples()]
    )
    questions = [
        {"part": part, "beside": beside, **_question(group)}
        for part, beside, kind in (
            ("clipping", "without noise", _ABLATED["schedule"]),
            ("noise", "without clipping", _ABLATED["schedule"]),
            ("noise", "on clipped gradients", _ABLATED["clipping"]),
            ("clipping", "with the noise", _ABLATED["noise"]),
        )
        if len(group := rows[(rows.alone == part) & (rows.from_kind == kind)])
    ]
    return {"questions": questions, "ways": _ways(adjusted(parts, "explanation_effect"), rows)}


def _kind(parts: Sequence[StudyPart], row: Any) -> str:
    return next(part for part in parts if part.name == row.part).kind(row.first)


def _ways(effects: pd.DataFrame, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The effect of each private regime as a sum along both ways from plain training to it."""
    effects, rows = effects[effects.method == MEAN], rows[rows.method == MEAN]
    found = []
    for whole in effects[effects.kind == "Private"].to_dict("records"):
        own = rows[(rows.part == whole["part"]) & (rows.regime == whole["regime"])]
        shared = rows[rows.part == whole["part"]]
        schedule = effects[(effects.part == whole["part"]) & (effects.kind == _ABLATED["schedule"])]
        ways = {}
        for kind in ("clipping", "noise"):
            last = own[own.from_kind == _ABLATED[kind]]
            first = shared[(shared.from_kind == _ABLATED["schedule"]) & shared.regime.isin(last["first"])]
            if len(last) and len(first):
                ways[kind] = (first.to_dict("records")[0], last.to_dict("records")[0])
        if len(ways) == len(_ABLATED) - 1 and len(schedule):
            found.append({"whole": whole, "schedule": schedule.to_dict("records")[0], **ways})
    return found


def _trends(parts: Sequence[StudyPart]) -> dict[str, Any] | None:
    """Trends over epsilon, of explanations and beside it of accuracy."""
    rows = adjusted(parts, "explanation_trend")
    if rows.empty:
        return None
    found = _question(rows.assign(epsilons=fact_of(rows, "epsilons", default="")))
    accuracy = adjusted(parts, "accuracy_trend")
    for row in found["rows"]:
        own = accuracy[(accuracy.part == row["part"]) & (accuracy.subject == row["subject"])].to_dict("records")
        row["accuracy"] = own[0] if own else None
    return found


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
