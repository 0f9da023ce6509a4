"""Explanations as tables for the terminal: what they are worth, who agrees, what regimes do to them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console

from trustml.compare.table import fact_of, rows_of
from trustml.frameworks.implementation import CONTROL_LIBRARY
from trustml.measures.measure import MEASURES, shown_in
from trustml.measures.notes import note_of
from trustml.measures.row import PairKind, Verdict
from trustml.record.schema import Manifest
from trustml.report.documents import titled_table

if TYPE_CHECKING:
    import pandas as pd

_BEYOND = "explanation_effect_beyond_accuracy"
BETWEEN_MODELS: tuple[PairKind, ...] = ("two regimes", "trained apart", "two seeds")
MARKS: dict[Verdict, str] = {"no better than random": " =", "worse than random": " !"}


def print_explanations(out: Console, manifest: Manifest, table: pd.DataFrame) -> None:
    """Print all tables that the run has rows for."""
    models = [model for model in dict.fromkeys(table[table.measure == "explain_time"].model) if model]
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
    rows = rows_of_model(table, model)
    rows = rows[rows.measure.isin(list(listed))].dropna(subset="value")
    measures = {name: one for name, one in listed.items() if (rows.measure == name).any()}
    if rows.empty:
        return
    found = titled_table(
        f"what explanations are worth ({model})",
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


def rows_of_model(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """What was measured of explanations of one model, a train job, whoever explained it."""
    return table[(table.kind == "explain") & (table.model == model)]


def _worth(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "-"
    row = rows.iloc[0]
    return f"{MEASURES[row.measure].text(row.value)}{MARKS.get(row.verdict, '')}"


def _print_libraries(out: Console, table: pd.DataFrame) -> None:
    """Same weights, other library: the first model that several libraries explained."""
    pairs = table[(table.pair == "same weights") & (table.method != "")]
    variants = [fact_of(pairs, f"{side}_variant", default="") for side in ("first", "second")]
    pairs = pairs[(variants[0] != "common") & (variants[1] != "common")]
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
        out.print(
            f"logits of the same weights, {row.subject}: {MEASURES[row.measure].text(row.value)} relative difference"
        )
    for text in dict.fromkeys(fact_of(chosen, "caveat", default="")):
        if text:
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
        found.add_row(
            str(row["method"]),
            f"{row['regime']} ({row['backend']})",
            f"{floor:.3f}",
            _with_interval(row),
            f"{row['p_value']:.3g}" if row["p_value"] == row["p_value"] else "-",
            *[_with_interval(one) for one in same[same.measure == _BEYOND].to_dict("records")] or ["-"],
        )
    out.print(found)


def _with_interval(row: dict[Hashable, Any]) -> str:
    return f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def _print_models(out: Console, table: pd.DataFrame) -> None:
    """Other regime, other framework, other seed, pair by pair."""
    rows = table[(table.measure == "attribution_agreement_spearman") & table.pair.isin(BETWEEN_MODELS)].dropna(
        subset="value"
    )
    if rows.empty:
        return
    found = titled_table("explanations of different models", "method", "pair", ">rank agreement", "what it shows")
    rows = rows.assign(
        sides=(rows["first"] + " ~ " + rows.second).where(rows.pair != "two seeds", "two seeds"),
        explained=fact_of(rows, "explained_by", default=""),
        regimes=rows.regime.where(rows.pair != "two regimes", ""),
    )
    groups = rows.groupby(["method", "sides", "explained", "regimes", "pair"], sort=False)
    for (method, sides, library, regime, _), group in groups:
        pair = f"{sides} ({library}) {regime}".strip()
        about = rows_of(group[:1])[0].about
        shows = note_of(msgspec.structs.replace(about, interval=""))
        found.add_row(str(method), pair, f"{group.value.mean():.3f}", shows)
    out.print(found)
