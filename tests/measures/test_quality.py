"""Whether explanations beat random numbers: what is said, and the marks that follow from it."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from tests.report.test_figures import rows
from trustml.measures.measure import MEASURES
from trustml.measures.quality import _against_random
from trustml.report.explanation_tables import _worth

CONTROL = np.linspace(0.4, 0.6, 50)
HIGHER, LOWER = "insertion_auc", "deletion_auc"


def test_the_measures_here_have_the_directions_that_the_cases_assume():
    assert (MEASURES[HIGHER].better, MEASURES[LOWER].better) == ("higher", "lower")


@pytest.mark.parametrize(
    ("measure", "shift", "words", "mark"),
    [
        (HIGHER, 0.2, "better than random by 0.2 ", ""),
        (HIGHER, -0.2, "worse than random by 0.2 ", " !"),
        (LOWER, -0.2, "better than random by 0.2 ", ""),
        (LOWER, 0.2, "worse than random by 0.2 ", " !"),
        (HIGHER, 0.0, "no better than random (+0 ", " ="),
        (LOWER, 0.0, "no better than random (+0 ", " ="),
    ],
)
def test_better_and_worse_than_random_follow_the_direction_of_the_measure(measure, shift, words, mark):
    said = _against_random(measure, CONTROL + shift, CONTROL)
    assert said.startswith(words)
    assert _worth(rows({"measure": measure, "value": 0.5, "note": f"{said}; bootstrap"})) == f"0.5{mark}"


def test_the_interval_of_a_loss_is_in_order_and_holds_the_loss():
    gains = np.random.default_rng(0).normal(-0.3, 0.1, size=200)
    said = _against_random(HIGHER, CONTROL.mean() + gains, np.full(200, CONTROL.mean()))
    loss, low, high = map(float, re.findall(r"[0-9.]+", said.removeprefix("worse than random by ")))
    assert 0.0 < low < loss < high
    assert loss == pytest.approx(-gains.mean(), rel=0.01)


def test_chance_within_the_noise_is_no_better():
    noise = np.random.default_rng(1).normal(0.0, 0.3, size=50)
    assert _against_random(HIGHER, CONTROL + noise - noise.mean(), CONTROL).startswith("no better than random")


def test_where_nothing_is_better_nothing_is_said():
    neither = next(name for name, measure in MEASURES.items() if measure.better == "neither")
    assert _against_random(neither, CONTROL + 1, CONTROL) == ""
    assert _against_random(HIGHER, CONTROL, None) == "" and _against_random(HIGHER, CONTROL, CONTROL[:9]) == ""


def test_a_value_without_a_control_has_no_mark():
    score = {"measure": "max_sensitivity"}
    assert _worth(rows({**score, "value": 0.123, "note": "bootstrap 95 % over examples"})) == "0.12"
    assert _worth(pd.DataFrame()) == "-" and _worth(rows({**score, "value": 123.4, "note": ""})) == "123"
