"""Comparisons as tables for the terminal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from rich.console import Console

from trustml.compare.run_differences import RunDifference
from trustml.compare.table import fact_of
from trustml.measures.measure import MEASURES, leading, shown_in
from trustml.models.tasks import in_words
from trustml.privacy.statement import at_most
from trustml.record.schema import TYPED_ROWS, Manifest, failed_methods, regimes_of, task_of
from trustml.report.attacks.tables import print_attacks
from trustml.report.deployed.tables import print_deployed
from trustml.report.documents import Cell, titled_table
from trustml.report.explanations.tables import print_explanations
from trustml.report.federated.tables import print_federated
from trustml.report.speed.tables import print_load

if TYPE_CHECKING:
    import pandas as pd
_NOT_READ = (
    "this run was recorded before its table had columns for units of privacy and pairs, and not all of its notes could "
    "be read: some are empty here. Where private/ is at hand, take measures.parquet away (keep it) and resume the run"
)
_OVERVIEW = ("regime", "backend", "measure", "value", "low", "high", "privacy_unit", "job")
_UNITS = {"example": "", "user": " (user)", "": " (unit not recorded)"}


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the tidy table as plain data; what is absent or not finite is None, and facts are by name."""

    def plain(name: str, value: Any) -> Any:
        if name == "facts" and isinstance(value, str):
            return msgspec.json.decode(value)
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return [{str(name): plain(str(name), value) for name, value in row.items()} for row in table.to_dict("records")]


def overview_frame(manifest: Manifest, table: pd.DataFrame) -> pd.DataFrame:
    """What each regime costs in each framework, in cells ready to be shown and to be sorted."""
    import pandas as pd

    return pd.DataFrame(_overview_rows(manifest, table), columns=[name.removeprefix(">") for name in _heads(table)])


def print_comparison(out: Console, runs: Sequence[tuple[Manifest, pd.DataFrame]]) -> None:
    """Print accuracy, privacy, speed and explanations of one run, or of several side by side."""
    several = len(runs) > 1
    # Runs that lead with other measures have other columns.
    groups: dict[str, list[tuple[Manifest, pd.DataFrame]]] = {}
    for manifest, table in runs:
        groups.setdefault(leading(set(table.measure)), []).append((manifest, table))
    for group in groups.values():
        columns = _columns(group[0][1])
        kept = [True, True, *(not column.wide_only or out.width >= _WIDE for column in columns)]
        heads = itertools.compress(_heads(group[0][1]), kept)
        overview = titled_table("by regime and framework", *(["run"] if several else []), *heads)
        for manifest, table in group:
            for row in _overview_rows(manifest, table):
                overview.add_row(*([manifest.run] if several else []), *map(str, itertools.compress(row, kept)))
        out.print(overview)
    for manifest, table in runs:
        if several:
            out.print(f"\n{manifest.run}", style="bold")
        for skip in manifest.skips:
            if skip.method:
                out.print(f"left out: {skip.method} in {skip.backend}: {skip.reason}", soft_wrap=True, markup=False)
        if manifest.format < TYPED_ROWS and not _is_read(table):
            out.print(_NOT_READ, soft_wrap=True, markup=False)
        absent = table[(table.measure == leading(set(table.measure))) & table.value.isna()]
        absent = absent.assign(reason=fact_of(absent, "reason", default="the reason is in the table's note"))
        for cell in absent.drop_duplicates(["regime", "backend"]).itertuples():
            out.print(f"not run: {cell.regime} in {cell.backend}: {cell.reason}", soft_wrap=True, markup=False)
        out.print()
        lines, told = constant_lines(table)
        for line in lines:
            out.print(line, soft_wrap=True)
        for line in told:
            out.print(f"WARNING: {line}", style="red")
        _print_performance(out, manifest, table)
        _print_gaps(out, table)
        print_load(out, table)
        _print_privacy(out, table)
        print_federated(out, manifest, table)
        print_attacks(out, table)
        print_explanations(out, manifest, table)
        if not several:
            print_deployed(out, [(manifest.run, table)])
        for warning in manifest.warnings:
            out.print(f"warning: {warning}", soft_wrap=True, markup=False)
        for note in manifest.data.notes:
            out.print(f"data: {note}", soft_wrap=True, markup=False)
    if several:
        print_deployed(out, [(manifest.run, table) for manifest, table in runs])


def print_differences(out: Console, manifests: Sequence[Manifest], differences: Sequence[RunDifference]) -> None:
    """Print in what several runs differ, before what they measured."""
    if len(manifests) < 2:
        return
    if not differences:
        out.print("asked the same, of the same data, with the same versions on the same machine", soft_wrap=True)
        out.print()
        return
    table = titled_table("in what the runs differ", "part", "field", *(manifest.run for manifest in manifests))
    for one in differences:
        table.add_row(one.part, one.field, *one.values)
    out.print(table)
    out.print()


def print_jobs(out: Console, manifest: Manifest) -> None:
    """Print how every job ended."""
    out.print(f"{manifest.run}: {manifest.status}; created {manifest.created}, ended {manifest.ended or '-'}")
    data = manifest.data
    out.print(
        f"data: {data.train_examples} training and {data.test_examples} held-out examples of shape "
        f"{data.input_shape}, {in_words(task_of(manifest), len(data.class_names))}, sha256 {data.fingerprint[:16]}"
    )
    table = titled_table("jobs", "job", "status", ">seconds", ">peak MiB", "library", "reason")
    for record in manifest.jobs:
        library = record.result.library if record.result else ""
        if record.result and record.result.engine:
            library += f", {record.result.engine.name}"
        memory = f"{record.peak_memory / 2**20:.0f}" if record.peak_memory else "-"
        why = f"taken over from {record.reused_from}" if record.reused_from else record.reason
        table.add_row(record.id, record.status, f"{record.seconds:.1f}", memory, library, why)
    out.print(table)


def print_problems(out: Console, manifest: Manifest) -> None:
    """Print which jobs did not end well, and why; the same reason once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for record in manifest.jobs:
        if record.status not in ("ok", "pending", "running", "blocked"):
            reasons.setdefault((record.status, record.reason), []).append(record.id)
    for (status, reason), jobs in reasons.items():
        more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        out.print(f"{status}: {jobs[0]}{more}: {reason}", soft_wrap=True, markup=False)
    for record in manifest.jobs:
        for method in failed_methods(record):
            out.print(f"failed: {method.method} in {record.id}: {method.reason}", soft_wrap=True, markup=False)
    blocked = [record.id for record in manifest.jobs if record.status == "blocked"]
    if blocked:
        which = "job that needs" if len(blocked) == 1 else "jobs that need"
        out.print(f"blocked: {len(blocked)} {which} one of these", soft_wrap=True)


_WIDE = 110
"""Columns that a narrower terminal leaves out are in the table of measures all the same."""


class _Column(NamedTuple):
    """One column of the overview: values of a measure, or how far they spread."""

    head: str
    measure: str
    spread: bool
    wide_only: bool


def _heads(table: pd.DataFrame) -> list[str]:
    return ["regime", "framework", *(column.head for column in _columns(table))]


def _columns(table: pd.DataFrame) -> list[_Column]:
    """Columns of the overview after regime and framework: those of the table of measures, one measure leading."""
    first = leading(set(table.measure))
    found = []
    for name, one in MEASURES.items():
        if one.rows == MEASURES[first].rows and name != first:
            continue
        wide = "wide overview" in one.shown
        if wide or "overview" in one.shown:
            found.append(_Column(f">{one.head}", name, spread=False, wide_only=wide))
            if one.spread:
                found.append(_Column(one.spread, name, spread=True, wide_only=one.spread == "quartiles"))
    return sorted(found, key=lambda column: column.measure != first)


def _overview_rows(manifest: Manifest, table: pd.DataFrame) -> list[list[str | Cell]]:
    """A regime in a framework, one row each; one without the leading measure was not run."""
    columns = _columns(table)
    regimes = table.regime[table.measure == columns[0].measure]
    order = {name: at for at, name in enumerate(dict.fromkeys([*regimes_of(manifest), *regimes]))}
    cells: dict[tuple[str, str], dict[str, list[Any]]] = {}
    shown = table[table.measure.isin([column.measure for column in columns])]
    for row in shown[list(_OVERVIEW)].itertuples(index=False):
        cells.setdefault((str(row.regime), str(row.backend)), {}).setdefault(str(row.measure), []).append(row)
    waited_for: set[str] = set()
    if manifest.status == "running":
        waited_for = {record.id for record in manifest.jobs if record.status in ("pending", "running")}
    several = table[(table.measure == "epsilon") & table.value.notna()].privacy_unit.nunique() > 1
    return [
        [regime, backend, *_overview_cells(cells[regime, backend], columns, waited_for, several_units=several)]
        for regime in sorted(set(regimes), key=order.__getitem__)
        for backend in manifest.scenario["backends"]
        if (regime, backend) in cells
    ]


def _overview_cells(
    cell: dict[str, list[Any]], columns: list[_Column], waited_for: set[str], *, several_units: bool
) -> list[Cell]:
    known = {measure: [row for row in rows if not math.isnan(row.value)] for measure, rows in cell.items()}
    if not known.get(columns[0].measure):
        jobs = {row.job for rows in cell.values() for row in rows}
        return [Cell("not yet" if jobs & waited_for else "not run"), *[Cell("")] * (len(columns) - 1)]
    return [_overview_cell(known.get(one.measure, []), one, several_units=several_units) for one in columns]


def _is_read(table: pd.DataFrame) -> bool:
    """Whether the notes of an old table said what each epsilon protects, and what all pairs are to each other."""
    epsilons = (table.measure == "epsilon") & table.value.notna() & (table.privacy_unit == "")
    pairs = table.measure.isin(list(shown_in("agreement"))) & table.value.notna() & (table.pair == "")
    return not (epsilons | pairs).any()


def _overview_cell(rows: list[Any], column: _Column, *, several_units: bool) -> Cell:
    measure = MEASURES[column.measure]
    if column.measure == "epsilon":
        return _epsilon(rows, several_units=several_units)
    if not rows:
        return Cell("")
    values = [row.value for row in rows]
    if not column.spread:
        value = float(np.mean(values) if measure.spread == "interval" else np.median(values))
        return Cell(measure.text(value), value)
    if measure.spread == "quartiles":
        low, high, seeds = _median([row.low for row in rows]), _median([row.high for row in rows]), ""
    elif len(rows) == 1:
        low, high, seeds = rows[0].low, rows[0].high, ""
    else:
        low, high, seeds = min(values), max(values), f" ({len(rows)} seeds)"
    return Cell(f"{measure.text(low)}-{measure.text(high)}{seeds}", float(low))


def _epsilon(rows: list[Any], *, several_units: bool) -> Cell:
    """Epsilon of one model; a guarantee for users says so, as it is no other number of the same kind."""
    if not rows:
        return Cell("none", math.inf)
    value, unit = float(np.median([row.value for row in rows])), rows[0].privacy_unit
    text = MEASURES["epsilon"].text(value)
    ranked = not (several_units and unit == "user")
    return Cell(f"{text}{_UNITS[unit]}", value if ranked else math.nan)


def _median(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


def performance_frame(manifest: Manifest, table: pd.DataFrame) -> pd.DataFrame:
    """How good models are by all that is measured of their task, in cells; mean over seeds, empty of old tables."""
    import pandas as pd

    shown = {name: one for name, one in shown_in("performance").items() if name in set(table.measure)}
    rows = table[table.measure.isin(list(shown))]
    several = rows.subject.nunique() > 1
    order = {title: number for number, title in enumerate(regimes_of(manifest))}
    averaged = rows.groupby(["regime", "backend", "subject", "measure"], sort=False).value.mean()
    means: dict[Any, Any] = averaged.to_dict()
    models = dict.fromkeys(key[:3] for key in means)
    found = []
    for model in sorted(models, key=lambda one: order.get(one[0], len(order))):
        regime, backend, subject = model
        cells: dict[str, object] = {"regime": regime, "framework": backend, **({"of": subject} if several else {})}
        for name, one in shown.items():
            mean = float(means.get((*model, name), math.nan))
            cells[one.head] = Cell("") if math.isnan(mean) else Cell(one.text(mean), mean)
        found.append(cells)
    return pd.DataFrame(found)


def _print_performance(out: Console, manifest: Manifest, table: pd.DataFrame) -> None:
    frame = performance_frame(manifest, table)
    if frame.empty:
        return
    names = ("regime", "framework", "of")
    found = titled_table("on held-out examples", *(name if name in names else f">{name}" for name in frame.columns))
    for row in frame.to_dict("records"):
        found.add_row(*map(str, row.values()))
    out.print(found)
    out.print()


def _print_gaps(out: Console, table: pd.DataFrame) -> None:
    """Print how far groups are apart, column by column; nothing where no slices were asked for."""
    if not (table.measure == "slice_gap").any():
        return
    from trustml.report.accuracy.frames import gap_frame, slice_columns

    for column in slice_columns(table):
        frame = gap_frame(table, column)
        found = titled_table(f"between groups of {column}", *map(str, frame.columns))
        for row in frame.to_dict("records"):
            found.add_row(*map(str, row.values()))
        out.print(found)
    out.print()


def constant_lines(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Say what always answering the same comes to, and which models do no more.

    Returns
    -------
    lines, warnings : lists of str
    """
    leads = leading(set(table.measure))
    rows = table[(table.measure == leads) & table.value.notna()]
    lines, warnings = _majority_lines(rows) if leads == "accuracy" else _constant_lines(table, rows)
    texts = table[(table.measure == "perplexity") & table.value.notna()]
    for value in list(fact_of(texts, "of_unigram", default=0.0))[:1]:
        text = MEASURES["perplexity"].text(value)
        lines.append(f"perplexity: giving each token its share among those held out comes to {text}")
    return lines, warnings


def _constant_lines(table: pd.DataFrame, rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    lines = []
    for name, fact, what in (("rmse", "of_mean", "mean"), ("mae", "of_median", "median")):
        of_constant = fact_of(table[(table.measure == name) & table.value.notna()], fact, default=0.0)
        for value in list(of_constant)[:1]:
            text = f"{MEASURES[name].title}: always answering the {what} of the held-out targets comes to"
            lines.append(f"{text} {MEASURES[name].text(value)}")
    return lines, _dead_lines(constant_models(rows), "answers one value")


def _majority_lines(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    majority = [share for share in fact_of(rows, "majority", default=0.0) if share]
    if not majority:
        return [], []  # recorded before this was
    what, several = best_constant(rows)
    dead = constant_models(rows)
    told = _dead_lines(dead, "answers the same labels" if several else "answers one class")
    return [f"accuracy: always answering {what} comes to {majority[0]:.3f}"], told


def constant_models(rows: pd.DataFrame) -> pd.DataFrame:
    """Give the rows of models that answer the same for every example."""
    one_class = (fact_of(rows, "classes_answered", default=2) == 1).to_numpy(bool)
    return rows[one_class | fact_of(rows, "one_value", default=False).to_numpy(bool)]


def best_constant(rows: pd.DataFrame) -> tuple[str, bool]:
    """Say which constant answer accuracies are held against, and whether it is one of several labels."""
    several = max(fact_of(rows, "labels", default=0), default=0) > 0
    if max(fact_of(rows, "tokens", default=0), default=0):
        return "the commonest token", False
    return "what holds for most, label by label," if several else "the largest class", several


def _dead_lines(dead: pd.DataFrame, what: str) -> list[str]:
    return [
        f"{regime} ({', '.join(dict.fromkeys(group.backend))}) {what} for every example: it has learned nothing"
        for regime, group in dead.groupby("regime", sort=False)
    ]


def _print_privacy(out: Console, table: pd.DataFrame) -> None:
    every = table[table.measure == "epsilon"].dropna(subset="value")
    for note in dict.fromkeys(every.note):
        out.print(f"epsilon: {note}", soft_wrap=True, markup=False)
    for row in table[table.measure == "epsilon_all_releases"].to_dict("records"):
        text = f"epsilon of all releases together: {at_most(row['value'], 2)}; {row['note']}"
        out.print(text, soft_wrap=True, markup=False)
    if len(every):
        trained = table[(table.measure == leading(set(table.measure))) & table.value.notna()]
        if not set(trained.regime) <= set(every.regime):
            out.print("epsilon 'none': trained without privacy, so no finite epsilon holds")
        if (every.privacy_unit == "user").any():
            out.print(
                "epsilon '(user)': holds for all examples of a client together; never to be ranked with the others"
            )
