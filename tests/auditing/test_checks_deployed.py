"""What an audit says of a file beside its model: every verdict from rows and statements made up."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.report.test_summary import row
from trustml.auditing.checks_deployed import check_deployed
from trustml.data.preparation import Preparation
from trustml.deployment.against import added_fields
from trustml.measures.deployed import HeldAgainst
from trustml.models.tasks import DEFAULT_TASK
from trustml.record.exports import ExportedStatement, ExportRecord, statement_text

EXPECTED = ExportedStatement(
    run="r",
    model="train.torch.Plain.s0",
    weights="0" * 64,
    task=DEFAULT_TASK,
    input_shape=(2,),
    layout="channels last",
    preparation=Preparation(),
    class_names=("a", "b"),
    feature_names=(),
)
EXPORTED = ExportRecord(
    model=EXPECTED.model,
    target="tflite",
    backend="tensorflow",
    file="model.tflite",
    digest="",
    size=1,
    statement="",
    statement_kept=True,
    versions={},
    explained=0,
    held_out=100,
    attributions="occlusion",
    first_call=0.1,
)


def held(gap: float, differ: float = 0.0, least: float | None = 1.0, **fields: Any) -> HeldAgainst:
    facts = (
        {"reason": "nothing varies"}
        if least is None
        else {"least_agreement": least, "largest_difference": fields.pop("moved", 0.0)}
    )
    rows = (
        row("deployed_logit_difference", gap, subject="tflite"),
        row("deployed_disagreement", differ, subject="tflite"),
        row(
            "deployed_score_difference",
            0.0,
            subject="tflite",
            low=fields.pop("low", -0.1),
            high=fields.pop("high", 0.1),
        ),
        row("deployed_attribution_agreement", least, subject="tflite", method="occlusion", facts=facts),  # type: ignore[arg-type]
    )
    exported = replace(EXPORTED, quantised=fields.pop("quantised", ""))
    elsewhere = {"drawn_gap": fields.pop("drawn_gap", 0.0), "rounded": bool(exported.quantised)}
    inside = fields.pop("inside", EXPECTED)
    return HeldAgainst(
        run="r", model=EXPECTED.model, exported=exported, rows=rows, inside=inside, expected=EXPECTED, **elsewhere
    )


@pytest.mark.parametrize(
    ("file", "severity", "words"),
    [
        (held(1e-6), "pass", "logits differ by 1.0e-06 of the largest, and 0 of 100 predictions"),
        (held(2e-3, 0.03), "risk", "another model than the one that was audited"),
        (held(2e-3, 0.03, quantised="int8"), "note", "rounded (int8) and is not quite what was audited"),
        (held(2e-3, 0.03, quantised="int8", low=-0.2, high=-0.01), "risk", "scores less than the model"),
        (held(math.nan, quantised="int8"), "risk", "what is no number"),
        (held(2.0, 0.6, quantised="int8"), "risk", "more often than rounding explains"),
        (held(1e-6, drawn_gap=0.5), "risk", "otherwise on inputs that were drawn"),
        (held(1e-6, drawn_gap=math.nan), "risk", "what is no number"),
    ],
)
def test_answers(file, severity, words):
    finding = check_deployed(file)[0]
    assert finding.severity == severity and words in finding.title


@pytest.mark.parametrize(
    ("file", "severity"),
    [
        (held(0.0), "pass"),
        (held(0.0, least=0.9), "risk"),
        (held(0.0, moved=0.5), "risk"),
        (held(0.0, least=0.9, quantised="int8"), "note"),
        (held(0.0, least=None), "not checked"),
    ],
)
def test_explanations(file, severity):
    assert check_deployed(file)[1].severity == severity


@pytest.mark.parametrize(
    ("inside", "severity", "words"),
    [
        (EXPECTED, "pass", "as the run has it now"),
        (None, "note", "no privacy statement"),
        (replace(EXPECTED, weights="1" * 64), "violation", "of another model"),
        (replace(EXPECTED, model="train.torch.DPSGD.s0"), "violation", "of another model"),
        (replace(EXPECTED, class_names=("b", "a")), "risk", "other inputs"),
    ],
)
def test_the_statement_inside(inside, severity, words):
    finding = check_deployed(held(0.0, inside=inside))[2]
    assert finding.severity == severity and words in finding.title


@pytest.mark.parametrize(
    ("change", "lacking", "severity"),
    [
        (lambda told: told.pop("calibration"), ("calibration",), "pass"),  # as it is where nothing is said
        (lambda told: told["preparation"].pop("scaling"), ("scaling",), "note"),
        (lambda told: None, (), "pass"),
        (lambda told: told.update(class_names=["b", "a"]), None, "risk"),
        (lambda told: [told["preparation"].pop("scaling"), told.update(weights="1" * 64)], None, "violation"),
    ],
)
def test_a_statement_of_an_earlier_version_lacks_fields_and_is_no_other(change, lacking, severity):
    expected = replace(EXPECTED, preparation=Preparation(scaling="training statistics"))
    told = json.loads(statement_text(expected))
    change(told)
    content = json.dumps(told).encode()
    assert added_fields(content, expected) == lacking
    inside = msgspec.json.decode(content, type=ExportedStatement)
    file = dataclasses.replace(held(0.0, inside=inside), expected=expected, added_since=lacking or ())
    finding = check_deployed(file)[2]
    assert finding.severity == severity
    assert severity != "note" or all(name in finding.title for name in lacking)
