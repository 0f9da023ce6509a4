"""Partial dependence: one feature is changed and nothing else, and means are means."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.data.given import Feature
from trustml.models.tasks import Binary, Classes, Regression
from trustml.report.explanations.dependence import dependence_frame, dependence_lines, values_over, varied_inputs

ROWS = np.array([[-1.0, 0, 1, 0.5], [1.0, 1, 0, -0.5]], np.float32)
AGE = Feature(name="age", columns=(0,), span=(20.0, 60.0))
COLOUR = Feature(name="colour", columns=(1, 2), categories=("red", "green"))


def test_one_feature_goes_over_its_range_and_all_else_stays():
    ages = values_over(AGE, ROWS)
    assert ages[0] == 20 and ages[-1] == 60 and len(ages) == 15
    varied = varied_inputs(AGE, ROWS, ages).reshape(2, 15, 4)
    assert varied[:, :, 0] == pytest.approx(np.tile(np.linspace(-1, 1, 15), (2, 1)), abs=1e-5)  # of six digits
    assert (varied[:, :, 1:] == ROWS[:, None, 1:]).all()
    colours = varied_inputs(COLOUR, ROWS, values_over(COLOUR, ROWS))
    assert colours[:, 1:3].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert (colours[:, 3] == [0.5, 0.5, -0.5, -0.5]).all()


@pytest.mark.parametrize(
    ("task", "outputs", "answer", "expected"),
    [
        (Classes(), [[0.0, np.log(3)], [0, 0], [0, 0], [0.0, np.log(3)]], 1, [0.75, 0.5, 0.5, 0.75]),
        (Binary(), [[np.log(3)], [0.0], [0.0], [np.log(3)]], 0, [0.25, 0.5, 0.5, 0.25]),
        (Regression(), [[1.0], [2.0], [3.0], [8.0]], 0, [1, 2, 3, 8]),
    ],
)
def test_the_thick_line_is_the_mean_of_the_thin_ones(task, outputs, answer, expected):
    frame = dependence_frame(np.array(outputs, np.float32), ["red", "green"], task=task, answer=answer)
    assert frame.answer.tolist() == pytest.approx(expected, rel=1e-6)
    assert frame.example.tolist() == [0, 0, 1, 1] and frame.value.tolist() == ["red", "green"] * 2
    means = [(expected[0] + expected[2]) / 2, (expected[1] + expected[3]) / 2]
    assert frame["mean"].tolist() == pytest.approx(means * 2)
    drawn = dependence_lines(frame, feature="colour", answer="p").to_dict()
    assert [layer["encoding"]["y"]["field"] for layer in drawn["layer"]] == ["answer", "mean"]
    assert drawn["layer"][0]["encoding"]["x"]["sort"] == ["red", "green"]
