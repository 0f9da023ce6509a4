"""The methods x libraries table of the documentation, from the catalogue and from a run that tried every cell.

``python -m trustml.report.explanations.methods RUN`` prints it; a cell that the catalogue claims and the run did not
fill is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trustml.catalogue.available import availability, why_unfit
from trustml.catalogue.methods import METHODS
from trustml.compare.table import read_measures
from trustml.errors import RecordError
from trustml.frameworks.implementation import Implementation
from trustml.models.outcome import Outcome
from trustml.record.store import RunDirectory, find_run
from trustml.report.documents import markdown_head, markdown_row
from trustml.scenario.methods import Method
from trustml.scenario.read import from_plain
from trustml.scenario.spec import BACKEND_NAMES, BackendName

if TYPE_CHECKING:
    import pandas as pd

_DEFINITION = "trustml-jax"
"""Library whose attributions are the definition; the others are compared with them."""


def methods_markdown(run: RunDirectory) -> str:
    """Tabulate every method of the catalogue: who has it, and what came of running it.

    Raises
    ------
    RecordError
        If the run left out a method of the catalogue, or a cell that the catalogue claims did not run.
    """
    scenario = from_plain(run.manifest().scenario)
    methods = scenario.explanations.methods
    missing = (
        set(METHODS) - {type(method) for method in methods} - {t for t in METHODS if t.__name__ == "RandomControl"}
    )
    if missing:
        names = ", ".join(sorted(kind.__name__ for kind in missing))
        raise RecordError(f"{run.path.name}: did not try {names}; run scenarios/all_methods.py")
    table = read_measures(run)
    shape = run.manifest().data.input_shape
    lines = [
        f"From run of `scenarios/{scenario.name}.py` on the same weights. In brackets: largest difference from JAX's, "
        "over the largest attribution (median over models; '~' marks methods that draw random numbers).",
        "",
        markdown_head(["method", "paper", *BACKEND_NAMES]),
    ]
    for method in methods:
        entry = METHODS[type(method)]
        name = f"`{method.title}`" + ("" if method.name is None else f" ({entry.title})")
        unfit = why_unfit(method, scenario.model, shape)
        cells = [_cell(run, table, backend, method, unfit=unfit) for backend in BACKEND_NAMES]
        lines.append(markdown_row([name, entry.paper, *cells]))
    lines += ["", "How what a library returns differs from the definition:", ""]
    lines += [f"- {line}" for line in _differences(methods)]
    lines += ["", *rules_markdown()]
    return "\n".join(lines) + "\n"


def rules_markdown() -> list[str]:
    """List the layers that methods with rules have none for, and why: these are left out of runs by name."""
    lines = [
        "Layers for which a method has no rule, so that it is left out of a run on models that have them, by name:",
        "",
    ]
    for kind, entry in METHODS.items():
        layers: dict[str, list[str]] = {}
        for layer, why in entry.no_rule_for.items():
            layers.setdefault(why, []).append("probabilities and losses" if layer is Outcome else layer.__name__)
        lines += [f"- `{kind.__name__}`, {', '.join(names)}: {why}" for why, names in layers.items()]
    return lines


def _cell(run: RunDirectory, table: pd.DataFrame, backend: BackendName, method: Method, *, unfit: str) -> str:
    found = availability(backend, method)
    if not isinstance(found, Implementation):
        return f"not available: {found.reason}"
    if unfit and METHODS[type(method)].unfit is not None:
        return f"{found.library} (not on this model: it {unfit})"
    done = [
        one.ok
        for record in run.manifest().jobs
        if record.kind == "explain" and record.backend == backend and record.result
        for one in record.result.methods
        if one.method == method.title
    ]
    if unfit or not done or not all(done):
        raise RecordError(f"{run.path.name}: {method.title} by {found.function} is claimed and did not run")
    if found.library == _DEFINITION:
        return found.library
    rows = table[(table.measure == "attribution_max_abs_difference") & (table.method == method.title)]
    parts = []
    for name in (found.library, f"{found.library} (completed)"):
        sides = rows[["first", "second"]]
        values = rows[(sides == _DEFINITION).any(axis=1) & (sides == name).any(axis=1)].value.dropna()
        if len(values):
            mark = "~" if METHODS[type(method)].sampled else ""
            parts.append(f"{name} ({mark}{values.median():.1g})")
    return "; ".join(parts) or found.library


def _differences(methods: tuple[Method, ...]) -> Iterator[str]:
    for method in methods:
        for backend in BACKEND_NAMES:
            found = availability(backend, method)
            if isinstance(found, Implementation) and found.differs:
                yield f"`{method.title}`, {found.function}: {found.differs}"


if __name__ == "__main__":
    sys.stdout.write(methods_markdown(find_run(sys.argv[1], root=Path("runs"))))
