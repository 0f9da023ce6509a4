"""The table of all held-out examples, and where outputs lie in a plane."""

from __future__ import annotations

import numpy as np
import pytest

from tests.records import copy_of
from trustml.measures.accuracy import outputs_of
from trustml.measures.evidence import Evidence
from trustml.report.accuracy.examples import examples_frame, projection_frame, projection_points
from trustml.report.accuracy.frames import judged_models


@pytest.fixture(scope="module")
def evidence(tmp_path_factory) -> Evidence:
    return Evidence(copy_of("frameworks", tmp_path_factory.mktemp("examples")).directory)


def test_every_held_out_example_stands_once_with_its_answer(evidence):
    record = judged_models(evidence)[0]
    outputs, labels = outputs_of(evidence, record)
    frame = examples_frame(evidence, record)
    assert frame["held-out example"].tolist() == list(range(len(labels)))
    assert frame.right.tolist() == (outputs.argmax(axis=1) == labels).tolist()
    names = evidence.manifest.data.class_names
    assert frame.true.tolist() == [names[label] for label in labels]
    chosen = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    assert frame.confidence.to_numpy() == pytest.approx((chosen / chosen.sum(axis=1, keepdims=True)).max(axis=1))
    sure_and_right = frame[frame.right & (frame.confidence > 0.9)]
    assert (sure_and_right.loss < -np.log(0.9)).all()
    explained = len(evidence.heldout["inputs"])
    assert frame["explained as"].dropna().tolist() == list(range(explained))


def test_a_projection_keeps_what_differs_most_and_is_always_the_same(evidence, monkeypatch):
    record = judged_models(evidence)[0]
    outputs, labels = outputs_of(evidence, record)
    frame, share = projection_frame(evidence, record)
    centred = outputs - outputs.mean(axis=0)
    values = np.sort(np.linalg.eigvalsh(centred.T.astype(float) @ centred.astype(float)))[::-1]
    assert share == pytest.approx(values[:2].sum() / values.sum())
    assert (frame["first"].to_numpy() ** 2).sum() == pytest.approx(values[0])
    assert frame.answer.eq("wrong").sum() == (outputs.argmax(axis=1) != labels).sum()
    monkeypatch.setattr("trustml.report.accuracy.examples.outputs_of", lambda *_: (outputs[:, ::-1], labels))
    turned, _ = projection_frame(evidence, record)
    assert turned["first"].to_numpy() == pytest.approx(frame["first"].to_numpy())  # whatever the order of classes
    encoding = projection_points(frame, title="t").to_dict()["encoding"]
    assert encoding["shape"]["field"] == encoding["color"]["field"] == "true"
