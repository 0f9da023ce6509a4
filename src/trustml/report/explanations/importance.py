"""What counts over all explained examples: the mean magnitude of every feature's attribution, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from trustml.errors import UsageError
from trustml.measures.importance import magnitudes_by_feature, mapped_groups
from trustml.measures.means import mean_with_interval
from trustml.plan.job import short_model
from trustml.record.explained import explained_model
from trustml.record.store import HELDOUT, RunDirectory
from trustml.report.documents import titled_table
from trustml.report.explanations.selection import PanelRequest, attributed, explained_by, method_title

if TYPE_CHECKING:
    import pandas as pd

Doubles = npt.NDArray[np.float64]
TOP = 20
"""Features that are shown of more."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Mean magnitudes of one model's attributions by one library.

    Attributes
    ----------
    model, library : str
    magnitudes : float64 array of shape (n, features)
        Of each example, at the features of `names`.
    names : tuple of str
        Of features; of an image or a series, places.
    shape : tuple of int
        Of the mean: (features,), (rows, columns) of an image or (steps,) of a series.
    in_logits : bool
        Whether it can share a scale with the others.
    """

    model: str
    library: str
    magnitudes: Doubles
    names: tuple[str, ...]
    shape: tuple[int, ...]
    in_logits: bool

    @property
    def means(self) -> Doubles:
        """Mean over examples, in that shape."""
        means: Doubles = self.magnitudes.mean(axis=0)
        return means.reshape(self.shape)

    def top(self, count: int = TOP) -> list[dict[str, Any]]:
        """Give the features that count most, with bootstrap intervals over examples."""
        order = np.argsort(-self.magnitudes.mean(axis=0), kind="stable")[:count]
        found = []
        for place in order:
            mean = mean_with_interval(self.magnitudes[:, place])
            assert mean is not None  # what is not finite was never recorded
            found.append(
                {"feature": self.names[place], "value": mean.value, "low": mean.low, "high": mean.high, "n": mean.n}
            )
        return found


def importances(run: RunDirectory, wanted: PanelRequest) -> list[Importance]:
    """Summarise the explanations of all examples by one method; `wanted.example` does not matter.

    Raises
    ------
    UsageError
        If the run has no such method, model or backend, or the method attributes to a layer.
    """
    manifest = run.manifest()
    shape, mapped = run.mapped(HELDOUT)["inputs"].shape, mapped_groups(run, manifest)
    found = []
    for record, done in explained_by(run, wanted):
        for one in attributed(run, record, done):
            if one.values.shape != shape:
                raise UsageError(f"--method: {done.method} attributes to a layer, not to features; name another method")
            magnitudes, names, whole = magnitudes_by_feature(manifest, one.values, one.combine, mapped=mapped)
            found.append(
                Importance(
                    model=explained_model(run, record),
                    library=one.library,
                    magnitudes=magnitudes,
                    names=names,
                    shape=whole,
                    in_logits=one.in_logits,
                )
            )
    return found


def importance_frame(found: Sequence[Importance], *, count: int = TOP) -> pd.DataFrame:
    """Tabulate the features that count most: ``explanation``, ``feature``, ``value``, ``low``, ``high``, ``n``."""
    import pandas as pd

    rows = [{"explanation": one.library, **row} for one in found for row in one.top(count)]
    return pd.DataFrame(rows)


def importance_table(run: RunDirectory, wanted: PanelRequest, found: Sequence[Importance]) -> Table:
    """Tabulate the features that count most for the terminal."""
    count = len(found[0].magnitudes)
    title = f"{method_title(run, wanted.method)}: mean magnitude of attributions over {count} examples, bootstrap 95 %"
    table = titled_table(title, "model", "library", "largest means")
    for one in found:
        cells = [_cell(row) for row in one.top(5)]
        table.add_row(short_model(one.model), one.library, ", ".join(cells))
    return table


def plain_importance(run: RunDirectory, wanted: PanelRequest, found: Sequence[Importance]) -> dict[str, Any]:
    """Return it as plain data, all features in full."""
    return {
        "run": run.manifest().run,
        "method": method_title(run, wanted.method),
        "importances": [
            {"model": one.model, "library": one.library, "features": one.top(len(one.names))} for one in found
        ],
    }


def _cell(row: dict[str, Any]) -> str:
    ends = "" if row["low"] is None else f" [{row['low']:.3g}, {row['high']:.3g}]"
    return f"{row['feature']} {row['value']:.3g}{ends}"
