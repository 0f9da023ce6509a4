"""A sweep in sentences and as a curve, on a table made up."""

from __future__ import annotations

import pytest

from tests.report.test_summary import manifest, row, table, texts
from trustml.report.parallel_coordinates import parallel_coordinates, parallel_frame
from trustml.report.summary import summary
from trustml.report.sweeps import sweep_charts, sweep_frame

SCORES = {"Plain": 0.9, "D1a": 0.5, "D1b": 0.7, "D8a": 0.6, "D8b": 0.8}


@pytest.fixture
def swept():
    found = manifest("Plain", *(4 * ["DPSGD"]))
    for regime, name in zip(found.scenario["training"][1:], list(SCORES)[1:], strict=True):
        regime["name"] = name
    found.scenario["sweep"] = [
        {"regime": f"D{epsilon}{letter}", "of": "DPSGD", "field": field, "value": value}
        for epsilon in (1, 8)
        for letter, rate in (("a", 0.05), ("b", 0.5))
        for field, value in (("epsilon", epsilon), ("optimizer.learning_rate", rate))
    ]
    rows = [row("accuracy", value, regime=name, low=value - 0.1, high=value + 0.1) for name, value in SCORES.items()]
    private = [name for name in SCORES if name != "Plain"]
    rows += [row("epsilon", float(name[1]), regime=name, delta=1e-5, privacy_unit="example") for name in private]
    rows.append(row("epsilon_all_releases", 10.821, regime="-", facts={"private_models": 4}, privacy_unit="example"))
    rows += [
        row("score_difference", SCORES[name] - 0.9, low=-0.5, high=-0.1, pair="two regimes", first="Plain", second=name)
        for name in private
    ]
    return found, table(*rows[1:])


def test_the_curve_tells_values_and_what_choosing_costs(swept):
    (text,) = texts(summary(*swept, ()), "sweep")
    assert text == (
        "over epsilon, DPSGD scores 0.500 at 1 with optimizer.learning_rate 0.05, 0.700 at 1 with "
        "optimizer.learning_rate 0.5, 0.600 at 8 with optimizer.learning_rate 0.05, 0.800 at 8 with "
        "optimizer.learning_rate 0.5 in torch; to choose among its 4 private models by what they score is to release "
        "them all: epsilon at most 10.83 for all of the run"
    )
    frame = sweep_frame(*swept)
    assert list(frame.value) == [1, 1, 8, 8] and set(frame.epsilon) == {1.0, 8.0}
    (chart,) = sweep_charts(*swept)
    layers = chart.to_dict()["layer"]
    assert layers[0]["encoding"]["y2"] == {"field": "high"} and "strokeDash" in layers[1]["encoding"]
    x = layers[1]["encoding"]["x"]
    assert (x["title"], x["scale"]["type"]) == ("epsilon of DPSGD", "log")


def test_settings_that_were_drawn_are_points_on_no_line():
    names = [f"D{number}" for number in range(12)]
    found = manifest(*(12 * ["DPSGD"]))
    for regime, name in zip(found.scenario["training"], names, strict=True):
        regime["name"] = name
    found.scenario["sweep"] = [
        {"regime": name, "of": "DPSGD", "field": field, "value": value + number}
        for number, name in enumerate(names)
        for field, value in (("epsilon", 1.5), ("optimizer.learning_rate", 0.01))
    ]
    rows = [row("accuracy", 0.5, regime=name, low=0.4, high=0.6) for name in names]
    (chart,) = sweep_charts(found, table(*rows))
    marks = [layer["mark"]["type"] for layer in chart.to_dict()["layer"]]
    assert marks == ["rule", "point"]


def test_every_swept_model_is_a_line_through_its_settings_and_measures(swept):
    frame = parallel_frame(*swept)
    assert list(dict.fromkeys(frame.axis)) == ["epsilon", "optimizer.learning_rate", "epsilon, charged", "accuracy"]
    lines = {line: dict(zip(rows.axis, rows.place, strict=True)) for line, rows in frame.groupby("line")}
    assert len(lines) == 4
    best = lines["D8b torch 0"]
    assert best == {"epsilon": 1, "optimizer.learning_rate": 1, "epsilon, charged": 1, "accuracy": 1}
    assert lines["D8a torch 0"]["accuracy"] == pytest.approx(1 / 3)
    (chart,) = parallel_coordinates(*swept)
    layers = chart.to_dict()["layer"]
    assert "strokeDash" in layers[1]["encoding"] and layers[1]["encoding"]["detail"]["field"] == "line"
    found, rows = swept
    assert parallel_frame(found, rows.assign(value=rows.value.where(rows.measure != "accuracy"))).empty
    assert parallel_coordinates(manifest("Plain"), table()) == []


def test_where_each_is_at_its_best_no_other_setting_is_held_against_plain(swept):
    found, rows = swept
    assert len(texts(summary(found, rows, ()), "privacy")) == 4
    facts = {"setting": "optimizer.learning_rate 0.5", "candidates": 2, "chosen_on": 50}
    tuned = [
        row("tuned_score_difference", -0.2, regime=f"D{epsilon}b", low=-0.3, high=-0.1, facts=facts)
        for epsilon in (1, 8)
    ]
    (text,) = texts(summary(found, table_with(rows, tuned), ()), "privacy")
    assert text.startswith("each at its own best setting, chosen on 50 of the held-out examples")
    assert "D1b scores -0.200 [-0.300, -0.100] in torch (optimizer.learning_rate 0.5), D8b" in text


def table_with(rows, more):
    import pandas as pd

    return pd.concat([rows, table(*more).iloc[1:]], ignore_index=True)


def test_without_a_sweep_nothing_is_said():
    one = manifest("Plain", "DPSGD")
    assert texts(summary(one, table(), ()), "sweep") == [] and sweep_charts(one, table()) == []
