"""Charts of federated training show what was measured, and no private data where it must stay secret."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trustml.report.federated import figures
from trustml.report.federated.partition import partition_bars

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # altair's own

ORDER = ["FedAvg", "FedAdam"]


def data_of(*charts) -> list[dict]:
    return [row for chart in charts for rows in chart.to_dict()["datasets"].values() for row in rows]


def by_round(**columns: list[float]) -> pd.DataFrame:
    """Two seeds of FedAvg in two frameworks, one round a value."""
    own = [{"regime": "FedAvg", "backend": backend, "seed": seed} for backend in ("jax", "torch") for seed in (0, 1)]
    frames = [pd.DataFrame(columns).assign(**one, round=range(1, len(next(iter(columns.values()))) + 1)) for one in own]
    return pd.concat(frames)


def epsilons(**changes: object) -> pd.DataFrame:
    row = {"models": "jax.DP.s0", "regime": "FedAvg", "delta": 1e-5, "whole": False, "round": 5, "epsilon": 2.0}
    return pd.DataFrame([{**row, **changes}])


def test_accuracy_is_a_mean_over_seeds_with_one_line_a_regime_and_framework():
    history = by_round(accuracy=[0.2, 0.6])
    history.loc[history.seed == 1, "accuracy"] += 0.2
    targets = pd.DataFrame({"regime": ORDER, "target": [0.9, 0.9]})
    chart = figures.accuracy_by_round(history, targets=targets, order=ORDER)
    lines = [row for row in data_of(chart) if "backend" in row]
    assert [(row["backend"], row["accuracy"], row["seeds"]) for row in lines] == [
        ("torch", pytest.approx(0.3), 2), ("torch", pytest.approx(0.7), 2),
        ("jax", pytest.approx(0.3), 2), ("jax", pytest.approx(0.7), 2),
    ]  # fmt: skip
    assert [row["label"] for row in data_of(chart) if "label" in row] == ["target 0.9"]


def test_different_targets_are_told_apart():
    targets = pd.DataFrame({"regime": ORDER, "target": [0.9, 0.8]})
    chart = figures.accuracy_by_round(by_round(accuracy=[0.5]), targets=targets, order=ORDER)
    assert [row["label"] for row in data_of(chart) if "label" in row] == ["target 0.8: FedAdam", "target 0.9: FedAvg"]


def test_the_band_of_clients_goes_from_the_tenth_percentile_to_the_best():
    (chart,) = figures.client_spread(by_round(mean=[0.5], tenth=[0.1], best=[0.9]), order=ORDER)
    band, line = chart.to_dict()["layer"]
    assert (band["encoding"]["y"]["field"], band["encoding"]["y2"]["field"]) == ("tenth", "best")
    assert line["encoding"]["y"]["field"] == "mean"


def test_few_clients_have_a_bar_each_from_the_largest_on():
    counts = np.array([[1, 0], [3, 4], [0, 2]])
    rows = data_of(*partition_bars(counts, names=["a", "b", "c"], labels=["no", "yes"]))
    assert [(row["place"], row["client"], row["label"], row["examples"]) for row in rows] == [
        (1, "b", "no", 3), (1, "b", "yes", 4), (2, "c", "yes", 2), (3, "a", "no", 1)
    ]  # fmt: skip


def test_many_clients_are_a_histogram_of_all_and_both_ends():
    counts = np.column_stack([np.arange(1, 101), np.ones(100, int)])
    charts = partition_bars(counts, names=[str(number) for number in range(100)], labels=["no", "yes"])
    rows = data_of(*charts)
    assert sum(row["clients"] for row in rows if "clients" in row) == 100
    places = {row["place"] for row in rows if "place" in row}
    assert places == {*range(1, 31), *range(71, 101)}
    assert [chart.title for chart in charts] == ["all clients", "the 30 largest", "the 30 smallest"]


def test_a_part_of_a_bar_says_its_label_where_it_is_long_enough():
    counts = np.array([[90, 3], [50, 50]])
    short, long = (
        partition_bars(counts, names=["a", "b"], labels=labels)[0] for labels in (["no", "yes"], ["cat", "aeroplane"])
    )
    assert [row["short"] for row in data_of(short)] == ["no", "yes", "no", "yes"]
    assert [(row["label"], row["short"]) for row in data_of(long)][:2] == [("0 cat", "0"), ("1 aeroplane", "1")]
    _, words = short.to_dict()["layer"]
    assert words["transform"] == [{"filter": "datum.examples >= 5"}]  # of 100, the longest


def test_lines_of_regimes_have_marks_at_a_dozen_rounds_at_most_and_at_the_last():
    chart = figures.norm_by_round(by_round(norm=list(range(1, 101))), "norm", title="norm", order=ORDER).to_dict()
    line, marks = chart["layer"]
    assert marks["encoding"]["shape"]["field"] == "regime" and line["encoding"]["strokeDash"]["field"] == "backend"
    marked = {row["round"] for row in chart["datasets"][marks["data"]["name"]]}
    assert max(marked) == 100 and 10 <= len(marked) <= 12


def test_clients_of_one_size_are_one_bin():
    rows = data_of(*partition_bars(np.full((70, 1), 9), names=["x"] * 70, labels=["only"]))
    assert [(row["sizes"], row["clients"]) for row in rows if "sizes" in row] == [("9", 70)]


def test_bytes_are_named_in_human_units():
    row = {"regime": "FedAvg", "backend": "jax", "measure": "bytes_up", "value": 1_234_000.0}
    table = pd.DataFrame([row, {**row, "measure": "bytes_down", "value": None}])
    (drawn,) = data_of(figures.bytes_by_regime(table))
    assert (drawn["way"], drawn["size"]) == ("up, to the server", "1.23 MB")
    assert [figures.human_bytes(value) for value in (0, 999, 1e3, 2e13)] == ["0 B", "999 B", "1 kB", "20 TB"]


def test_epsilon_names_its_unit_and_delta_and_is_labelled_at_its_end():
    curves = pd.concat([epsilons(round=2, epsilon=1.0), epsilons()])
    chart = figures.user_epsilon(curves, order=ORDER)
    assert chart.to_dict()["layer"][0]["encoding"]["y"]["title"] == "epsilon at user level, delta 1e-05"
    *_, texts = chart.to_dict()["layer"]
    assert [row["label"] for row in chart.to_dict()["datasets"][texts["data"]["name"]]] == ["2.00"]


def test_an_epsilon_of_the_whole_training_is_a_mark_and_no_line():
    chart = figures.user_epsilon(epsilons(whole=True), order=ORDER).to_dict()
    line, points, mark, texts = chart["layer"]
    assert line["transform"] == points["transform"] == [{"filter": "!datum.whole"}]
    assert mark["transform"] == [{"filter": "datum.whole"}]
    assert chart["datasets"][texts["data"]["name"]][0]["label"] == "2.00, for the whole training"


def test_participants_are_drawn_once_for_all_frameworks():
    (chart,) = figures.participants_by_round(by_round(asked=[10, 10], participants=[8, 9]), order=ORDER)
    assert [(row["round"], row["clients"], row["count"]) for row in data_of(chart)] == [
        (1, "asked", 10), (2, "asked", 10), (1, "answered", 8), (2, "answered", 9)
    ]  # fmt: skip


def test_norms_that_no_library_tells_are_left_out():
    rounds = by_round(update_norm=[0.5, np.nan])
    chart = figures.norm_by_round(rounds, "update_norm", title="L2 norm", order=ORDER)
    assert {row["round"] for row in data_of(chart)} == {1}
