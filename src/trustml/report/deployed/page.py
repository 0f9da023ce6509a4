"""``python -m trustml.report.deployed.page RUN``: the measured table of docs/deployment.md, from a run's exports."""

from __future__ import annotations

import sys
from pathlib import Path

from trustml.compare.table import read_measures
from trustml.measures.measure import MEASURES, of_family
from trustml.record.store import find_run

_SHOWN = (
    "deployed_logit_difference",
    "deployed_disagreement",
    "deployed_score_difference",
    "deployed_attribution_agreement",
    "deployed_size",
)


def measured_markdown(run: str) -> str:
    """Table of every exported file of a run, without times, which are the machine's."""
    table = read_measures(find_run(run, root=Path("runs")))
    rows = table[table.measure.isin(list(of_family("deployed")))]
    lines = [
        "| model | file | " + " | ".join(MEASURES[name].head for name in _SHOWN) + " | attributions by |",
        "|" + "---|" * (len(_SHOWN) + 3),
    ]
    for (model, target), cell in rows.groupby(["model", "subject"], sort=False):
        values = cell.set_index("measure").value
        cells = [MEASURES[name].text(values[name]) if values.notna().get(name, False) else "-" for name in _SHOWN]
        (how,) = cell[cell.measure == "deployed_attribution_agreement"].method
        lines.append(f"| {model} | {target} | " + " | ".join(cells) + f" | {how or '-'} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(measured_markdown(sys.argv[1]))
