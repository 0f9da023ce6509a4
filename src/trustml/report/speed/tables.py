"""What must be said beside times: how busy the machine was, and which of them vary too much to be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from trustml.compare.table import fact_of
from trustml.measures.row import BUSY

if TYPE_CHECKING:
    from rich.console import Console


def load_words(table: pd.DataFrame) -> list[str]:
    """Sentences on the times of a run; none where nobody else used the machine, or the record does not tell."""
    timed = table[(table.measure == "step_time_median") & table.value.notna()]
    found = []
    others = fact_of(timed, "others_share", default=float("nan")).astype(float)
    if (others > BUSY).any():
        load = fact_of(timed, "load_before", default=0.0).astype(float).max()
        cores = int(fact_of(timed, "cores", default=0).astype(int).max())
        found.append(
            f"the machine was busy: others used up to {others.max():.0%} of its {cores} cores beside "
            f"{(others > BUSY).sum()} of {len(timed)} trainings (load up to {load:.1f}): do not compare their times"
        )
    if fact_of(timed, "unequal_nodes", default=False).astype(bool).any():
        found.append("jobs of this run had nodes of several kinds: do not compare their times")
    apart = timed[fact_of(timed, "quartiles_apart", default=0.0).astype(float) > 0]
    if len(apart):
        names = ", ".join(sorted({f"{row.regime} in {row.backend}" for row in apart.itertuples()}))
        found.append(f"quartiles of the step time span more than twice: {names}")
    return found


def print_load(out: Console, table: pd.DataFrame) -> None:
    """Print what must be said beside the times of a run."""
    for text in load_words(table):
        out.print(f"speed: {text}", soft_wrap=True)
