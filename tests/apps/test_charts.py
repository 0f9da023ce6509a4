"""What a chart is called and drawn from: its text alternative, and its table."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest

from tests.records import stored
from trustml.compare.table import read_measures
from trustml.record.store import RunDirectory
from trustml.report import figures
from trustml.report.explanations import figures as explained

APPS = Path(__file__).resolve().parents[2] / "apps"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def charts(monkeypatch):
    monkeypatch.syspath_prepend(str(APPS))
    import charts

    return charts


def test_a_chart_is_named_by_its_title_and_what_its_axes_stand_for(charts):
    table = read_measures(RunDirectory(stored("frameworks")))
    assert charts.chart_name(figures.accuracy_points(table)) == (
        "regime by accuracy on held-out examples, 95 % interval by framework"
    )
    private, plain = figures.privacy_accuracy(table)
    assert charts.chart_name(private) == (
        "with a guarantee for examples: accuracy, 95 % interval by epsilon (smaller is more private) by framework"
    )
    assert len(charts.chart_data(private)) == 3 and len(charts.chart_data(plain)) == 6
    assert charts.chart_name(explained.picture(np.zeros((2, 3)), title="input: 7")) == "input: 7"
    bars = explained.feature_bars(np.array([1.0, -2.0]), title="captum", limit=2.0, names=("age", "hours"))
    assert charts.chart_name(bars) == "captum: feature by attribution"
    assert charts.chart_data(bars).to_dict("list") == {"feature": ["age", "hours"], "value": [1.0, -2.0]}


def test_layers_with_rows_of_their_own_are_all_in_the_table(charts):
    one, other = pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [2], "y": [3]})
    layered = alt.layer(alt.Chart(one).mark_point(), alt.Chart(other).mark_rule())
    assert charts.chart_data(layered).x.tolist() == [1, 2]
    assert charts.chart_data(layered).part.tolist() == [1, 2]
    assert charts.chart_data(alt.Chart().mark_point()).empty
