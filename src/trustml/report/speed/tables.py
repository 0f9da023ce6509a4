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
    explained = table[(table.measure == "explain_time") & table.value.notna()].drop_duplicates("job")
    found = [*_busy_words(timed, "training"), *_busy_words(explained, "explain job")]
    if fact_of(timed, "unequal_nodes", default=False).astype(bool).any():
        found.append("jobs of this run had nodes of several kinds: do not compare their times")
    apart = timed[fact_of(timed, "quartiles_apart", default=0.0).astype(float) > 0]
    if len(apart):
        names = ", ".join(sorted({f"{row.regime} in {row.backend}" for row in apart.itertuples()}))
        found.append(f"quartiles of the step time span more than twice: {names}")
    return found


def _busy_words(timed: pd.DataFrame, what: str) -> list[str]:
    """What to say of jobs of one kind, a row each."""
    found = []
    others = fact_of(timed, "others_share", default=0.0).astype(float)
    if (others > BUSY).any():
        load = max(fact_of(timed, name, default=0.0).astype(float).max() for name in ("load_before", "load_after"))
        cores = int(fact_of(timed, "cores", default=0).astype(int).max())
        found.append(
            f"the machine was busy: others used up to {others.max():.0%} of its {cores} cores beside "
            f"{(others > BUSY).sum()} of {len(timed)} {what}s (load up to {load:.1f}): do not compare their times"
        )
    held = fact_of(timed, "throttled_share", default=0.0).astype(float)
    if (held > BUSY).any():
        found.append(
            f"the system held back {(held > BUSY).sum()} of {len(timed)} {what}s, in up to {held.max():.0%} of their "
            "periods, by a quota of processors: do not compare their times"
        )
    return found


def print_load(out: Console, table: pd.DataFrame) -> None:
    """Print what must be said beside the times of a run."""
    for text in load_words(table):
        out.print(f"speed: {text}", soft_wrap=True)
