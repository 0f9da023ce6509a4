"""Explanations as tables for the terminal: what they are worth, who agrees, what regimes do to them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from trustml.catalogue.available import CONTROL_LIBRARY
from trustml.measures.measure import MEASURES, shown_in
from trustml.record.schema import Manifest

if TYPE_CHECKING:
    import pandas as pd

_BEYOND = "explanation_effect_beyond_accuracy"
_BETWEEN_MODELS = "two regimes|trained apart|noise floor"


def print_explanations(out: Console, manifest: Manifest, table: pd.DataFrame) -> None:
    """Print all tables that the run has rows for."""
    jobs = [job for job in dict.fromkeys(table[table.measure == "explain_time"].job)]
    models = list(dict.fromkeys(job.split(".of.")[1] for job in jobs))
    if not models:
        return
    _print_worth(out, table, model=models[0])
    _print_libraries(out, table)
    if (table.measure == "explanation_effect").any():
        _print_effects(out, table)
    else:
        _print_models(out, table)


def _print_worth(out: Console, table: pd.DataFrame, *, model: str) -> None:
    """What explanations of one model are worth; '=' marks what is no better than random."""
    listed = shown_in("explanations")
    rows = table[table.job.str.endswith(f".of.{model}") & table.measure.isin(list(listed))].dropna(subset="value")
    measures = {name: one for name, one in listed.items() if (rows.measure == name).any()}
    if rows.empty:
        return
    found = titled_table(
        f"what explanations are worth (train.{model})",
        "method",
        "library",
        *(f">{one.head}" for one in measures.values()),
    )
    for (method, library), group in rows.groupby(["method", "subject"], sort=False):
        cells = [_worth(group[group.measure == measure]) for measure in measures]
        found.add_row(str(method), "-" if library == CONTROL_LIBRARY else str(library), *cells)
    out.print(found)
    arrows = ", ".join(f"{one.head} {one.better}" for one in measures.values() if one.better != "neither")
    out.print(f"better is: {arrows}; '=' no better than the random control, '!' worse", soft_wrap=True)


def _worth(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "-"
    row = rows.iloc[0]
    mark = " =" if "no better than random" in row.note else " !" if "worse than random" in row.note else ""
    return f"{MEASURES[row.measure].text(row.value)}{mark}"


def _print_libraries(out: Console, table: pd.DataFrame) -> None:
    """Same weights, other library: the first model that several libraries explained."""
    pairs = table[table.note.str.startswith("same weights") & (table.method != "")]
    pairs = pairs[~pairs.subject.str.contains("common", regex=False)]
    if pairs.empty:
        return
    job = pairs.job.iloc[0]
    chosen = pairs[pairs.job == job]
    found = titled_table(
        f"the same weights explained by several libraries ({job})",
        "method",
        "pair",
        *(f">{one.head}" for one in shown_in("agreement").values()),
    )
    for (method, subject), group in chosen.groupby(["method", "subject"], sort=False):
        cells = [_value(group, measure) for measure in shown_in("agreement")]
        found.add_row(str(method), str(subject), *cells)
    out.print(found)
    logits = table[(table.measure == "logit_relative_difference") & (table.job == job)]
    for row in logits.itertuples():
        value = MEASURES[row.measure].text(row.value)
        out.print(f"logits of the same weights, {row.subject}: {value} relative difference")
    for note in dict.fromkeys(chosen[chosen.subject.str.contains("tf-explain")].note):
        text = note.removeprefix("same weights; ").removesuffix("; bootstrap 95 % over examples")
        if text.startswith(("tf-explain", "what is left")) and "bootstrap" in note:
            out.print(f"note: {text}", soft_wrap=True, markup=False)


def _value(rows: pd.DataFrame, measure: str) -> str:
    rows = rows[rows.measure == measure].dropna(subset="value")
    if rows.empty:
        return "-"
    row = rows.iloc[0]
    write = MEASURES[measure].text
    return write(row.value) if row.isna()["low"] else f"{write(row.value)} [{write(row.low)}, {write(row.high)}]"


def _print_effects(out: Console, table: pd.DataFrame) -> None:
    """What every regime does to explanations, against the seed noise floor."""
    found = titled_table(
        "what a regime does to explanations, beyond what another seed does (0 is the noise floor)",
        "method",
        "regime",
        ">floor",
        ">effect",
        "p",
        ">beyond accuracy",
    )
    effects = table[table.measure == "explanation_effect"].dropna(subset="value")
    for row in effects.to_dict("records"):
        same = table[
            (table.method == row["method"]) & (table.regime == row["regime"]) & (table.backend == row["backend"])
        ]
        floor = same[same.measure == "explanation_floor"].value.iloc[0]
        note = str(row["note"])
        found.add_row(
            str(row["method"]),
            f"{row['regime']} ({row['backend']})",
            f"{floor:.3f}",
            _with_interval(row),
            note.split("p = ")[1].split(";")[0] if "p = " in note else "-",
            *[_with_interval(one) for one in same[same.measure == _BEYOND].to_dict("records")] or ["-"],
        )
    out.print(found)


def _with_interval(row: dict[Hashable, Any]) -> str:
    return f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def _print_models(out: Console, table: pd.DataFrame) -> None:
    """Other regime, other framework, other seed, pair by pair."""
    rows = table[(table.measure == "attribution_agreement_spearman") & table.note.str.contains(_BETWEEN_MODELS)].dropna(
        subset="value"
    )
    if rows.empty:
        return
    found = titled_table("explanations of different models", "method", "pair", ">rank agreement", "what it shows")
    rows = rows.assign(
        pair=rows.subject.str.replace(r"seed \d+ ~ seed \d+", "two seeds", regex=True),
        regimes=rows.regime.where(rows.subject.str.contains("seed|common"), ""),
    )
    for (method, pair, regime), group in rows.groupby(["method", "pair", "regimes"], sort=False):
        note = group.note.iloc[0].removesuffix("; bootstrap 95 % over examples")
        found.add_row(str(method), f"{pair} {regime}".strip(), f"{group.value.mean():.3f}", note)
    out.print(found)


def titled_table(title: str, *columns: str) -> Table:
    """Make an empty table; columns that begin with ``>`` are right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return table
