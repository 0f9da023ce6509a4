"""Numbers and marks of the terminal's tables, from rows made by hand."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.report.test_figures import rows
from trustml.report.attacks.frames import audited_frame
from trustml.report.attacks.tables import _print_audits
from trustml.report.tables import _print_privacy, constant_lines, overview_frame, plain_rows

MANIFEST = SimpleNamespace(
    status="success", scenario={"training": [{"kind": "DPSGD", "name": ""}], "backends": ["jax"]}
)


def model(measure, *values, **cell):
    """One row a seed."""
    return [
        {"regime": "DPSGD", "backend": "jax", "seed": seed, "measure": measure, "value": value, **cell}
        for seed, value in enumerate(values)
    ]


def overview(*cells) -> dict:
    (row,) = overview_frame(MANIFEST, rows(*model("accuracy", 0.9, 0.8, 0.7), *cells)).map(str).to_dict("records")
    return row


def printed(show, *arguments) -> str:
    out = Console(file=io.StringIO(), width=200, color_system=None)
    show(out, *arguments)
    return out.file.getvalue()


def test_epsilon_over_seeds_is_the_median_rounded_up():
    assert overview(*model("epsilon", 1.0, 3.001, 8.0, privacy_unit="example"))["epsilon"] == "3.01"
    assert overview(*model("epsilon", 8.0, 1.0, 3.0, privacy_unit="example"))["epsilon"] == "3.00"
    assert overview()["epsilon"] == "none"
    assert overview(*model("epsilon", float("inf"), privacy_unit="example"))["epsilon"] == "inf"


def test_epsilon_for_users_is_marked():
    assert overview(*model("epsilon", 3.0, privacy_unit="user"))["epsilon"] == "3.00 (user)"
    assert overview(*model("epsilon", 3.0, privacy_unit="example"))["epsilon"] == "3.00"
    assert overview(*model("epsilon", 3.0, note="unit: user"))["epsilon"] == "3.00 (unit not recorded)"
    told = "never to be ranked with the others"
    assert told in printed(_print_privacy, rows(*model("epsilon", 3.0, privacy_unit="user")))
    assert told not in printed(_print_privacy, rows(*model("epsilon", 3.0, privacy_unit="example")))


def test_plain_rows_hold_facts_by_name_and_nothing_that_is_no_number():
    (row,) = plain_rows(rows({"value": float("nan"), "high": float("inf"), "facts": '{"seeds":3}'}))
    assert (row["value"], row["high"], row["facts"], row["low"]) == (None, None, {"seeds": 3}, 0.4)
    assert plain_rows(rows({})[["value"]]) == [{"value": 0.5}]


def test_times_are_in_milliseconds_and_memory_in_mebibytes():
    found = overview(
        *model("step_time_median", 0.002, 0.004, 0.003, low=0.001, high=0.0055),
        *model("step_time_first", 1.5),
        *model("examples_per_second", 12345.6),
        *model("peak_memory", 3 * 2.0**20),
    )
    assert (found["step ms"], found["quartiles"]) == ("3.00", "1.00-5.50")
    assert (found["first s"], found["examples/s"], found["peak MiB"]) == ("1.50", "12,346", "3")
    assert (found["accuracy"], found["interval"]) == ("0.800", "0.700-0.900 (3 seeds)")


@pytest.mark.parametrize(
    ("shown", "violation", "word"),
    [(1.99, False, "not refuted"), (2.0, False, "not refuted"), (2.01, True, "VIOLATION"), (None, False, "-")],
)
def test_an_audit_is_a_violation_from_just_above_the_claim(shown, violation, word):
    audit = {"job": "game.jax", "subject": "game", "regime": "-", "seed": -1}
    cells = [{**audit, "measure": "claimed_epsilon", "value": 2.0}]
    cells += [] if shown is None else [{**audit, "measure": "audited_epsilon", "value": shown}]
    frame = audited_frame(rows(*cells))
    assert frame.violation.tolist() == [violation]
    assert printed(_print_audits, frame).splitlines()[2].rstrip().endswith(word)


def test_a_model_that_answers_one_class_is_named_beside_the_largest_class():
    found = {"measure": "accuracy", "subject": "held-out", "value": 0.649}
    table = rows(
        {**found, "regime": "Plain", "facts": '{"majority": 0.649, "classes_answered": 1}'},
        {**found, "regime": "DPSGD", "facts": '{"majority": 0.649, "classes_answered": 2}'},
    )
    (line,), (told,) = constant_lines(table)
    assert line == "accuracy: always answering the largest class comes to 0.649"
    assert told.startswith("Plain (") and "DPSGD" not in told


def test_a_model_of_several_labels_or_of_a_number_is_told_in_its_own_words():
    found = {"measure": "accuracy", "subject": "held-out", "value": 0.7, "regime": "Plain"}
    (line,), (told,) = constant_lines(rows({**found, "facts": '{"majority": 0.7, "classes_answered": 1, "labels": 2}'}))
    assert "what holds for most, label by label" in line and "answers the same labels" in told
    of_number = rows(
        {**found, "measure": "r2", "value": -0.1, "facts": '{"one_value": true}'},
        {**found, "measure": "rmse", "value": 2.0, "facts": '{"of_mean": 1.5}'},
        {**found, "measure": "mae", "value": 1.0, "facts": '{"of_median": 0.5}'},
    )
    (first, second), (told,) = constant_lines(of_number)
    assert first.endswith("always answering the mean of the held-out targets comes to 1.5")
    assert "MAE" in second and "answers one value" in told
