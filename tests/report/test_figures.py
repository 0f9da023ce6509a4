"""Charts hold what was measured: absent values are left out, not drawn as zero."""

from __future__ import annotations

import msgspec
import numpy as np
import pandas as pd
import pytest

from trustml.measures.row import About
from trustml.report import figures
from trustml.report.explanations import figures as explanation_figures
from trustml.report.speed import figures as speed_figures

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # altair's own


def rows(*cells: dict) -> pd.DataFrame:
    usual = {
        "run": "r", "job": "j", "backend": "torch", "regime": "Plain", "seed": 0, "subject": "held-out", "method": "",
        "measure": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6, "unit": "1", "n": 10, "note": "",
        "kind": "", "model": "", **msgspec.structs.asdict(About()), "facts": "{}",
    }  # fmt: skip
    return pd.DataFrame([{**usual, **cell} for cell in cells])


def sides(first: str, second: str) -> dict[str, str]:
    return {"subject": f"{first} ~ {second}", "first": first, "second": second}


def data_of(*charts) -> list[dict]:
    return [row for chart in charts for rows in chart.to_dict()["datasets"].values() for row in rows]


def test_absent_values_are_left_out():
    table = rows({"value": 0.9}, {"backend": "jax", "value": None, "low": None, "high": None})
    drawn = data_of(figures.accuracy_points(table))
    assert [row["backend"] for row in drawn] == ["torch"]


def test_models_without_a_guarantee_have_no_place_on_the_axis_of_epsilon():
    table = rows(
        {"regime": "Plain"},
        {"regime": "DPSGD"},
        {"regime": "DPSGD", "measure": "epsilon", "value": 8.0, "low": None, "high": None},
    )
    drawn = data_of(*figures.privacy_accuracy(table))
    assert {(row["regime"], row["label"]) for row in drawn} == {("DPSGD", "8.00"), ("Plain", "Plain")}


def test_step_times_are_shown_in_milliseconds_with_quartiles():
    table = rows({"measure": "step_time_median", "subject": "step", "value": 0.002, "low": 0.001, "high": 0.004})
    (row,) = data_of(*speed_figures.measure_bars(table, "step_time_median"))
    assert (row["value"], row["low"], row["high"], row["end"]) == (2.0, 1.0, 4.0, 4.0)


def test_the_agreement_matrix_is_symmetric():
    table = rows(
        {"measure": "attribution_agreement_spearman", **sides("captum", "tf-explain"), "pair": "same weights"},
        {"measure": "attribution_agreement_spearman", **sides("a", "b"), "pair": "two regimes"},
    )
    chart = explanation_figures.agreement_matrix(table, job="j", method="")
    drawn = {(row["first"], row["second"]): row["value"] for row in data_of(chart)}
    assert drawn == {("captum", "tf-explain"): 0.5, ("tf-explain", "captum"): 0.5}


def test_a_heat_map_has_zero_in_the_middle_of_its_colours():
    chart = explanation_figures.heat_map(np.array([[-1.0, 0.5]]), title="t", limit=2.0).to_dict()
    assert chart["encoding"]["color"]["scale"]["domain"] == [-2.0, 2.0]
    assert [row["value"] for row in chart["datasets"].popitem()[1]] == [-1.0, 0.5]


def test_guarantees_for_users_and_for_examples_share_no_axis():
    cells = [{"regime": regime, "value": 0.9} for regime in ("DPSGD", "DPFedAvg", "Plain")]
    epsilon = {"measure": "epsilon", "value": 3.001, "low": None, "high": None}
    cells += [{**epsilon, "regime": "DPSGD", "privacy_unit": "example"}]
    cells += [{**epsilon, "regime": "DPFedAvg", "privacy_unit": "user"}]
    cells += [{"regime": "old"}, {**epsilon, "regime": "old"}]
    panels = {}
    for panel in figures.privacy_accuracy(rows(*cells)):
        title = panel.to_dict().get("title") or panel.to_dict()["layer"][0]["title"]
        panels[title] = [(row["regime"], row["label"]) for row in data_of(panel)]
    assert panels == {
        "with a guarantee for examples": [("DPSGD", "3.01")],
        "with a guarantee for users": [("DPFedAvg", "3.01")],
        "with a guarantee whose unit was not recorded": [("old", "3.01")],
        "without: no finite epsilon": [("Plain", "Plain")],
    }
