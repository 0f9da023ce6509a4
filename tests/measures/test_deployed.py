"""What is measured of an exported file beside its model, from answers made up."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tests.measures.test_deployed_attacks import MODEL, RECORD
from tests.records import copy_of
from tests.report.deployed.test_tables import SECONDS
from trustml.compare.table import table_of
from trustml.measures.deployed import deployed_rows
from trustml.measures.evidence import Evidence
from trustml.record.exports import EXPORTS
from trustml.record.files import encode_arrays
from trustml.report.deployed.frames import deployed_frame


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return copy_of("attacked", tmp_path_factory.mktemp("runs")).directory


def own_answers(run):
    return run.arrays(f"jobs/{MODEL}/predictions.npz")["test_logits"], run.arrays("heldout.npz")["test_labels"]


def rows_of(run, *, record=RECORD, **arrays):
    place = run.file(f"{EXPORTS}/{record.name}")
    place.mkdir(parents=True, exist_ok=True)
    (place / "export.json").write_bytes(msgspec.json.encode(record))
    (place / "answers.npz").write_bytes(encode_arrays({**SECONDS, **arrays}))
    return deployed_rows(Evidence(run))


def area(scores, positive):
    """Of pairs of a positive and another, the share in which it scores higher; ties count half."""
    above = scores[positive][:, None] - scores[~positive][None]
    return float(((above > 0) + (above == 0) / 2).mean())


def macro_area(logits, labels):
    shares = np.exp(logits.astype(float) - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return np.mean([area(shares[:, k], labels == k) for k in np.unique(labels)])


def test_a_file_that_ranks_worse_has_a_smaller_area(run):
    logits, labels = own_answers(run)
    noisy = logits + np.random.default_rng(0).normal(scale=2 * np.abs(logits).max(), size=logits.shape)
    rows = {row.measure: row for row in rows_of(run, **{"file.held_out_logits": noisy.astype(np.float32)})}
    row = rows["deployed_roc_auc_difference"]
    assert row.value == pytest.approx(macro_area(noisy.astype(np.float32), labels) - macro_area(logits, labels))
    assert row.low < row.value < row.high < 0 and row.n == len(labels) and row.interval == "bootstrap over examples"


def test_a_file_that_answers_alike_has_the_same_area_and_one_that_answers_no_numbers_has_none(run):
    logits, _ = own_answers(run)
    rows = {row.measure: row for row in rows_of(run, **{"file.held_out_logits": logits})}
    assert rows["deployed_roc_auc_difference"].value == 0
    broken = logits.copy()
    broken[0, 0] = np.inf
    measures = {row.measure for row in rows_of(run, **{"file.held_out_logits": broken})}
    assert "deployed_roc_auc_difference" not in measures and "deployed_logit_difference" in measures


def test_explanations_by_forward_passes_have_a_row_each_and_stand_side_by_side(run):
    logits, _ = own_answers(run)
    explained = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    turned = {"file.occlusion": explained, "file.kernel_shap": -explained}
    same = {"model.occlusion": explained, "model.kernel_shap": explained}
    record = msgspec.structs.replace(RECORD, explained=3, attributions="occlusion")
    rows = rows_of(run, record=record, **{"file.held_out_logits": logits}, **turned, **same)
    found = {row.method: row.value for row in rows if row.measure == "deployed_attribution_agreement"}
    assert found == {"occlusion": pytest.approx(1), "KernelSHAP": pytest.approx(-1)}
    (line,) = deployed_frame(table_of(rows)).to_dict("records")
    assert line["attributions"] == "1.000, -1.000" and line["attributions by"] == "occlusion, KernelSHAP"


def test_gradients_stand_beside_the_models_own_where_rounding_moves_them(run):
    logits, _ = own_answers(run)
    gradients = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    moved = gradients.copy()
    moved[1] = np.roll(gradients[1], 1)  # one example is at a kink
    given = {"file.held_out_logits": logits, "file.input_gradients": gradients, "model.input_gradients": gradients}
    record = msgspec.structs.replace(RECORD, explained=3, attributions="input gradients")
    for arrays in (given, given | {"model.moved_gradients": moved}):
        (row,) = [row for row in rows_of(run, record=record, **arrays) if row.method == "input gradients"]
        assert row.value == pytest.approx(1) and row.facts["largest_difference"] == 0
        assert ("own_difference" in row.facts) == (len(arrays) > len(given))
    assert row.facts["own_agreement"] < 0.9
    largest = np.abs(moved - gradients).max() / np.abs(gradients).max()
    assert row.facts["own_difference"] == pytest.approx(float(largest))
    assert "the model's own agree at" in row.note


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([0.0, 0.0, 0.0], "are constant,"),
        ([np.nan, np.inf, np.nan], "are not finite,"),
        ([np.nan, 0.0, 0.0], "are constant or not finite,"),
    ],
)
def test_why_explanations_rank_nothing_is_what_the_models_are(run, bad, reason):
    logits, _ = own_answers(run)
    explained = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    model = explained * 0 + np.array(bad, np.float32)[:, None]
    given = {"file.held_out_logits": logits, "file.occlusion": explained, "model.occlusion": model}
    record = msgspec.structs.replace(RECORD, explained=3, attributions="occlusion")
    (row,) = [row for row in rows_of(run, record=record, **given) if row.method == "occlusion"]
    assert row.value is None and reason in row.facts["reason"]


def test_a_model_whose_explanation_is_no_number_is_left_out_and_such_a_file_is_not(run):
    logits, _ = own_answers(run)
    explained = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    broken = explained.copy()
    broken[0, 0] = np.nan
    record = msgspec.structs.replace(RECORD, explained=3, attributions="occlusion")
    for file, model, count, least in ((explained, broken, 2, 1), (broken, explained, 3, 0)):
        given = {"file.held_out_logits": logits, "file.occlusion": file, "model.occlusion": model}
        (row,) = [row for row in rows_of(run, record=record, **given) if row.method == "occlusion"]
        assert row.n == count and row.facts["least_agreement"] == pytest.approx(least)
