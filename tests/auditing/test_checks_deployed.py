"""What an audit says of a file beside its model: every verdict from rows and statements made up."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from msgspec.structs import replace

from tests.auditing.test_run_wording import statement
from tests.report.test_summary import row
from trustml.auditing.checks_deployed import check_deployed
from trustml.data.preparation import Preparation
from trustml.deployment.against import read_statement
from trustml.measures.deployed import HeldAgainst
from trustml.models.tasks import DEFAULT_TASK
from trustml.privacy.statement import Comparison, PrivacyCurve, PrivacyStatement, Release, TrainedWeights
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
    ("own", "severity"),
    [
        ({"own_agreement": 0.98, "own_difference": 0.02}, "pass"),
        ({"own_agreement": 0.999, "own_difference": 0.02}, "risk"),  # its order differs more than the model's own
        ({"own_agreement": 0.98, "own_difference": 1e-4}, "risk"),
        ({"own_agreement": 1.0, "own_difference": 1e-7}, "risk"),
        ({"own_agreement": math.nan, "own_difference": math.nan}, "risk"),
    ],
)
def test_gradients_may_differ_where_rounding_decides_those_of_the_model(own, severity):
    """A file of a ResNet-20 had two of forty examples beyond a kink, and so had the model with moved weights."""
    facts = {"least_agreement": 0.97, "largest_difference": 0.02} | own
    explained = row("deployed_attribution_agreement", 0.99, subject="tflite", method="input gradients", facts=facts)  # type: ignore[arg-type]
    file = dataclasses.replace(held(0.0), rows=(*held(0.0).rows[:-1], explained))
    assert check_deployed(file)[1].severity == severity


def test_the_way_of_explaining_that_agrees_least_is_judged_and_all_are_shown():
    file = held(0.0)
    facts = {"least_agreement": 0.7, "largest_difference": 0.2}
    other = row("deployed_attribution_agreement", 0.9, subject="tflite", method="KernelSHAP", facts=facts)  # type: ignore[arg-type]
    for rows in ((*file.rows, other), (other, *file.rows)):
        finding = check_deployed(dataclasses.replace(file, rows=rows))[1]
        assert finding.severity == "risk" and "of the worst example 0.7000" in finding.title
        assert {one.label for one in finding.measured} == {
            "attribution agreement by occlusion", "attribution agreement by KernelSHAP",
        }  # fmt: skip


def way(method, least, moved=0.0):
    """A row of one way of explaining; of None nothing could be ranked."""
    facts = {"reason": "R"} if least is None else {"least_agreement": least, "largest_difference": moved}
    return row("deployed_attribution_agreement", least, subject="tflite", method=method, facts=facts)


@pytest.mark.parametrize(
    ("least", "severity", "words"),
    [(0.0, "risk", "are not those of the model"), (1.0, "note", "not all ways of explaining could be ranked")],
)
def test_what_could_not_be_ranked_hides_no_other_way_of_explaining(least, severity, words):
    ways = (way("KernelSHAP", None), way("occlusion", least))
    for rows in (ways, ways[::-1]):
        finding = check_deployed(dataclasses.replace(held(0.0), rows=(*held(0.0).rows[:-1], *rows)))[1]
        assert finding.severity == severity and words in finding.title
        assert "Nothing could be ranked by KernelSHAP: R." in finding.how
        assert [one.label for one in finding.measured] == ["attribution agreement by occlusion"]


@pytest.mark.parametrize("moved", [0.25, math.nan])
def test_every_figure_of_the_title_is_of_the_way_that_it_names(moved):
    ways = (way("occlusion", 0.7, 0.01), way("KernelSHAP", 0.9, moved))
    for rows in (ways, ways[::-1]):
        finding = check_deployed(dataclasses.replace(held(0.0), rows=(*held(0.0).rows[:-1], *rows)))[1]
        assert "by occlusion, rank correlation 0.7000, of the worst example 0.7000, largest difference 1.0e-02" in (
            finding.title
        )
        assert finding.title.endswith(f", by KernelSHAP {'inf' if math.isnan(moved) else '2.5e-01'}")


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


def privately(**fields: Any) -> PrivacyStatement:
    other = Comparison(name="epsilon_second_opinion", value=3.0, agrees=True, secret_sampling=True)
    fields = {"contribution": "example gradient", "comparisons": (other,)} | fields
    return replace(statement(low=None, high=3.0), **fields)


def judged(expected: ExportedStatement, change: Any, *, rounded: bool = False) -> Any:
    """Finding on a file whose statement is the expected one, changed."""
    told = json.loads(statement_text(expected))
    change(told)
    inside = read_statement(json.dumps(told).encode())
    file = dataclasses.replace(held(0.0, inside=inside), expected=expected, rounded=rounded)
    return check_deployed(file)[2]


@pytest.mark.parametrize("name", ["scaling", "categories", "classes"])
def test_a_statement_whose_preparation_was_taken_out_describes_other_inputs(name):
    expected = replace(EXPECTED, preparation=Preparation(scaling="none", categories="none", classes="public"))
    assert judged(expected, lambda told: told["preparation"].pop(name)).severity == "risk"


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        (lambda told: None, "pass"),
        (lambda told: told.pop("calibration"), "pass"),  # as it is where nothing is said
        (lambda told: told["privacy"].pop("contribution"), "note"),  # it follows from the unit of privacy
        (lambda told: told.pop("privacy"), "violation"),
        (lambda told: told.update(privacy=None), "violation"),
        (lambda told: told["privacy"].update(epsilon=0.1), "violation"),
        *(
            (lambda told, name=name: told["privacy"].pop(name), "violation")
            for name in ("releases", "curve", "composed_with", "trained", "secret_sampling", "epsilon_at_least")
        ),
        *(
            (lambda told, name=name: told["privacy"]["comparisons"][0].pop(name), "violation")
            for name in ("agrees", "secret_sampling")
        ),
        (lambda told: [told["privacy"].pop("contribution"), told.update(weights="1" * 64)], "violation"),
        (lambda told: [told["privacy"].pop("contribution"), told.update(class_names=["b", "a"])], "risk"),
    ],
)
def test_only_what_an_earlier_version_did_not_say_may_be_absent(change, severity):
    """Else whoever passes a private file on could take out of its statement what it says of privacy."""
    private = privately(
        releases=(Release(name="final weights", coverage="epsilon", why="trained privately"),),
        curve=PrivacyCurve(steps=(1,), poisson=(1.0,), shuffle_lower=(0.5,), unamplified=(2.0,)),
        composed_with="train.torch.DPSGD.s1",
        trained=TrainedWeights(names=("w",), count=1, weights=2),
        secret_sampling=True,
        epsilon_at_least=1.0,
    )
    assert judged(replace(EXPECTED, privacy=private), change).severity == severity


@pytest.mark.parametrize("contribution", ["silo gradient", "sent update", "user gradient"])
def test_what_is_clipped_may_be_absent_only_where_it_follows(contribution):
    expected = replace(EXPECTED, privacy=privately(contribution=contribution))
    assert judged(expected, lambda told: told["privacy"].pop("contribution")).severity == "violation"


def test_a_run_recorded_by_an_earlier_version_and_its_file_say_the_same():
    assert judged(replace(EXPECTED, privacy=privately(contribution="")), lambda told: None).severity == "pass"


@pytest.mark.parametrize(
    ("said", "rounded", "severity"), [("", True, "risk"), ("int8", False, "risk"), ("int8", True, "pass")]
)
def test_a_statement_says_how_the_file_is_rounded(said, rounded, severity):
    expected = replace(EXPECTED, quantised="int8" if said and rounded else "")
    assert judged(expected, lambda told: told.update(quantised=said), rounded=rounded).severity == severity


@pytest.mark.parametrize("more", [b'"\xff"', b"1e999", b"9" * 5000, b"[" * 100_000, b'"\\ud800"'])
def test_a_stranger_s_statement_may_hold_anything(more):
    """It is read once, by its fields: what cannot be read is none, and whatever else it holds is nobody's."""
    inside = read_statement(statement_text(EXPECTED).encode()[:-1] + b',"x":' + more + b"}")
    assert inside in (EXPECTED, None)
    assert check_deployed(held(0.0, inside=inside))[2].severity == ("note" if inside is None else "pass")
