"""Whether explanations beat random numbers: what is said, and the marks that follow from it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.report.test_figures import rows
from trustml.measures.measure import MEASURES
from trustml.measures.notes import note_of
from trustml.measures.quality import QUALITIES, _against_random, _by_weights
from trustml.measures.row import About
from trustml.report.explanations.tables import _worth

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
    about = _against_random(measure, CONTROL + shift, CONTROL)
    assert words.startswith(about.verdict) and note_of(about).startswith(words)
    assert _worth(rows({"measure": measure, "value": 0.5, "verdict": about.verdict})) == f"0.5{mark}"
    # What stands in the note decides nothing.
    assert _worth(rows({"measure": measure, "value": 0.5, "note": note_of(about)})) == "0.5"


def test_the_interval_of_a_loss_is_in_order_and_holds_the_loss():
    gains = np.random.default_rng(0).normal(-0.3, 0.1, size=200)
    about = _against_random(HIGHER, CONTROL.mean() + gains, np.full(200, CONTROL.mean()))
    loss, low, high = (about.facts[name] for name in ("loss", "loss_low", "loss_high"))
    assert 0.0 < low < loss < high
    assert loss == pytest.approx(-gains.mean(), rel=1e-9)
    assert note_of(about) == f"worse than random by {loss:.3g} [{low:.3g}, {high:.3g}]"


def test_chance_within_the_noise_is_no_better():
    noise = np.random.default_rng(1).normal(0.0, 0.3, size=50)
    assert _against_random(HIGHER, CONTROL + noise - noise.mean(), CONTROL).verdict == "no better than random"


def test_where_nothing_is_better_nothing_is_said():
    neither = next(name for name, measure in MEASURES.items() if measure.better == "neither")
    nothing = About()
    assert _against_random(neither, CONTROL + 1, CONTROL) == nothing
    assert _against_random(HIGHER, CONTROL, None) == nothing == _against_random(HIGHER, CONTROL, CONTROL[:9])


def test_a_value_without_a_control_has_no_mark():
    score = {"measure": "max_sensitivity"}
    assert _worth(rows({**score, "value": 0.123, "note": "bootstrap 95 % over examples"})) == "0.12"
    assert _worth(pd.DataFrame()) == "-" and _worth(rows({**score, "value": 123.4, "note": ""})) == "123"


def test_what_another_draw_of_random_weights_would_change_is_told_or_said_not_to_be_known():
    generator = np.random.default_rng(3)
    values = generator.random(40)
    moved = _by_weights(values, values + 0.2)
    assert moved == {"monte_carlo_error": pytest.approx(0.2 / 2**0.5)}
    assert note_of(About(facts=moved)) == "+-0.1 by its own draws (Monte-Carlo)"
    unknown = _by_weights(values, None)
    assert note_of(About(facts=unknown)) == "one draw of random weights, of which its interval knows nothing"
    shared = {name for name, quality in QUALITIES.items() if quality.of_weights}
    assert shared == {name for name in QUALITIES if "mprt" in name}
