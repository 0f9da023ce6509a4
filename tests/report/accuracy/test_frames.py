"""What is drawn of how good models are, against counts by hand; and where it is shown."""

from __future__ import annotations

import numpy as np
import pytest

from tests.measures.test_slices import sliced
from tests.report.test_charts import BACKGROUNDS, contrast
from trustml.compare.table import table_of
from trustml.measures.accuracy import outputs_of
from trustml.measures.classification import classification_statistics
from trustml.measures.evidence import Evidence
from trustml.measures.slices import slice_rows
from trustml.models.tasks import Classes
from trustml.report.accuracy import figures
from trustml.report.accuracy.frames import (
    class_frame,
    confusion_counts,
    confusion_frame,
    gap_frame,
    gap_lines,
    judged_models,
    reliability_frame,
    slice_columns,
    slice_frame,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # altair's own


@pytest.fixture(scope="module")
def evidence(tmp_path_factory) -> Evidence:
    return Evidence(sliced(tmp_path_factory.mktemp("sliced")).directory)


@pytest.fixture(scope="module")
def table(evidence):
    return table_of(slice_rows(evidence))


def test_a_confusion_matrix_counts_true_against_answered():
    outputs = np.array([[2.0, 1, 0], [0, 1, 0], [0, 3, 1], [0, 0, 9]])
    counts = confusion_counts(Classes(), outputs, np.array([0, 0, 1, 2]), classes=3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_frames_of_a_model_agree_with_its_predictions(evidence):
    record = judged_models(evidence)[0]
    outputs, labels = outputs_of(evidence, record)
    matrix = confusion_frame(evidence, record)
    assert matrix["count"].sum() == len(labels)
    right = (outputs.argmax(axis=1) == labels).sum()
    assert matrix[matrix.true == matrix.answered]["count"].sum() == right
    curve = reliability_frame(evidence, record)
    assert curve.n.sum() == len(labels) and (curve.right * curve.n).sum() == pytest.approx(right)
    assert ((curve.low <= curve.right) & (curve.right <= curve.high)).all()
    of_curve = (np.abs(curve.confidence - curve.right) * curve.n).sum() / curve.n.sum()
    statistics, _ = classification_statistics(evidence.task, outputs, labels)
    error = statistics["calibration_error"](np.ones((1, len(labels))))[0]
    assert of_curve == pytest.approx(error)  # the curve shows what the number says
    classes = class_frame(evidence, record)
    assert [cell.rank for cell in classes["held-out examples"]] == np.bincount(labels).tolist()
    first = classes.iloc[0]
    hits = ((labels == 0) & (outputs.argmax(axis=1) == 0)).sum()
    assert first.recall.rank == pytest.approx(hits / (labels == 0).sum())


def test_groups_and_their_gap_are_shown_with_what_privacy_does(table):
    assert slice_columns(table) == ["who"]
    frame = slice_frame(table, "who")
    assert list(dict.fromkeys(frame.group)) == ["a", "b", "tiny"]
    gaps = gap_frame(table, "who")
    assert list(gaps.regime) == ["Plain", "DPSGD", "FedAvg", "DPFedAvg"]
    assert str(gaps["change against plain"].iloc[0]) == "" and str(gaps["change against plain"].iloc[1]).startswith("-")
    lines = gap_lines(table)
    assert len(lines) == 3 and lines[0].startswith("with DPSGD the gap between the best and the worst group of who")
    assert "groups are changed differently (permutation p = 0.0005)" in lines[0]
    worst = {
        regime: frame[(frame.regime == regime) & (frame.group != "tiny")].value.min() for regime in ("Plain", "DPSGD")
    }
    assert f"the worst group comes to {worst['DPSGD']:.3f} after {worst['Plain']:.3f}" in lines[0]
    alike = gap_lines(table.assign(low=0.1, high=1.0, p_value=0.06))  # an interval of a gap proves nothing
    assert all(line.endswith("told apart from a change that is the same in all groups") for line in alike)
    assert str(gaps["p, changed alike"].iloc[0]) == "" and gaps["p, changed alike"].iloc[1].rank < 0.05


def test_charts_can_be_seen_on_white_and_on_dark_pages(evidence, table):
    record = judged_models(evidence)[0]
    frame = slice_frame(table, "who")
    charts = [
        figures.reliability_curve(reliability_frame(evidence, record), title="t"),
        figures.confusion_matrix(confusion_frame(evidence, record), title="t"),
        figures.slice_points(frame[frame.regime == "DPSGD"], title="t"),
    ]
    for chart in charts:
        text = str(chart.to_dict())
        marks = [part.split("'")[0] for part in text.split("'color': '#")[1:]]
        for mark in marks:
            assert min(contrast(f"#{mark}", page) for page in BACKGROUNDS) >= 2.0
        assert "labelOverlap" in text or "'x'" in text
