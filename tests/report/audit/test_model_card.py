"""The model card says what was measured and claimed, and its front matter is YAML whatever names there are."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.audit.examples import HOSTILE, empty_audit, example_audit, hostile_audit
from trustml.auditing.claim import Claim
from trustml.auditing.result import AuditedModel, AuditRecord, Finding, Measurement
from trustml.errors import UsageError
from trustml.report.audit.model_card import model_card, write_model_card
from trustml.report.audit.prose import environment
from trustml.report.audit.words import printable
from trustml.report.documents import markdown_text

SECTIONS = (
    *("Model details", "Intended use", "Training data", "Evaluation", "Privacy: what is claimed"),
    *("Privacy: what the audit found", "Limitations", "How it was made"),
)


def split(card: str) -> tuple[str, str]:
    match = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL)
    assert match, "no front matter"
    return match[1], match[2]


def parse(front: str) -> Any:
    """Read the little of YAML that a front matter needs; anything else is an error.

    Block mappings and sequences by indentation; plain words, numbers and double-quoted strings.
    """
    lines = front.split("\n")

    def block(place: int, indent: int) -> tuple[Any, int]:
        found: Any = [] if lines[place].startswith(" " * indent + "- ") else {}
        while place < len(lines) and len(lines[place]) - len(lines[place].lstrip(" ")) == indent:
            line = lines[place][indent:]
            if line.startswith("- ") != isinstance(found, list):
                break
            if isinstance(found, list):
                if re.match(r"- [a-z_-]+:( |$)", line):
                    lines[place] = " " * (indent + 2) + line[2:]
                    item, place = block(place, indent + 2)
                else:
                    item, place = scalar(line[2:]), place + 1
                found.append(item)
                continue
            key, value = re.fullmatch(r"([a-z_-]+):(?: (.+))?", line).groups()
            assert key not in found
            if value is not None:
                found[key], place = scalar(value), place + 1
            else:
                deeper = len(lines[place + 1]) - len(lines[place + 1].lstrip(" "))
                assert deeper > indent or lines[place + 1].startswith(" " * indent + "- ")
                found[key], place = block(place + 1, deeper)
        return found, place

    def scalar(text: str) -> Any:
        if text.startswith('"'):
            return json.loads(text)
        if re.fullmatch(r"-?\d+(\.\d+)?", text):
            return float(text)
        assert re.fullmatch(r"[a-z][a-z-]*", text), text
        return text

    value, place = block(0, 0)
    assert place == len(lines), f"not read: {lines[place]}"
    return value


@pytest.mark.parametrize("make", [lambda: example_audit(2, 3), hostile_audit, empty_audit])
def test_the_card_has_front_matter_and_its_sections(make):
    front, text = split(model_card(make()))
    data = parse(front)
    assert data["license"] == "other" and data["license_name"] == "operator-input-required"
    assert "trustml" in data["tags"]
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == SECTIONS
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    assert text.count("**operator input required**") >= 6


def test_the_index_holds_what_was_measured_and_nothing_else():
    index = {one["name"]: one for one in parse(split(model_card(example_audit(1, 1)))[0])["model-index"]}
    assert set(index) == {"Plain seed 0", "DPSGD seed 0", "planted: no clipping"}
    (result,) = index["Plain seed 0"]["results"]
    metrics = {one["type"]: one["value"] for one in result["metrics"]}
    assert metrics == {
        "accuracy": 0.954, "membership_auc": pytest.approx(0.689, abs=1e-6), "membership_tpr_at_1_percent_fpr": 0.08
    }  # fmt: skip
    assert result["dataset"] == {"type": "operator-input-required", "name": "digits"}
    planted = index["planted: no clipping"]["results"][0]["metrics"]
    assert [(one["type"], one["value"]) for one in planted] == [("audited_epsilon", 5.312)]


def test_claims_and_findings_are_told():
    record = example_audit(2, 3)
    text = split(model_card(record))[1]
    assert "**epsilon at most 3, delta 1e-05**, for one example, neighbours by add-or-remove-one" in text
    assert "batches drawn: poisson (in the code: shuffle)" in text
    verdicts = environment().get_template("texts.j2").module.VERDICTS
    assert f"**Violation.** {verdicts['violation']}" in text
    assert "✖ violation F1: The mechanism without clipping leaks more than it claims." in text
    assert "≥ 5.312, confidence 99 %, n = 40,000" in text
    for finding in record.findings:
        assert markdown_text(finding.title) in text
    for model in record.models:
        assert f"| {model.name} |" in text


def test_hostile_names_stay_text():
    front, text = split(model_card(hostile_audit()))
    shown = printable(AuditRecord(id=HOSTILE, title="", created="", models=(), findings=())).id
    assert {one["name"] for one in parse(front)["model-index"]} == {shown}
    assert "<" not in text and not re.search(r"(?<!\\)[\[`|]", re.sub(r"^\|.*\|$", "", text, flags=re.MULTILINE))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", re.sub(r"\\\\", "", line))) for line in rows} <= {3, 4, 6}


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@settings(max_examples=40)
@given(name=names, value=st.floats(min_value=0, max_value=1e6))
def test_any_name_and_any_value_give_a_front_matter_that_parses(name, value):
    measured = Measurement(measure="audited_epsilon", value=value)
    finding = Finding(id=name, check="canaries", severity="note", title=name, subject=name, measured=(measured,))
    model = AuditedModel(name=name, kind=name, claim=Claim(epsilon=1.0, delta=1e-5))
    record = AuditRecord(id=name, title=name, created="", models=(model,), findings=(finding,), data={"name": name})
    (entry,) = parse(split(model_card(record))[0])["model-index"]
    shown = printable(record)
    assert entry["name"] == shown.models[0].name
    assert entry["results"][0]["dataset"]["name"] == shown.data["name"]
    found = entry["results"][0]["metrics"][0]["value"]
    assert value - 1.1e-6 <= found <= value


@pytest.mark.parametrize(
    ("kind", "library"),
    [
        ("torch.nn.Module", "pytorch"),
        ("Keras model", "keras"),
        ("scikit-learn estimator", "sklearn"),
        ("callable", None),
    ],
)
def test_the_library_is_named_where_the_kind_says_it(kind, library):
    record = AuditRecord(id="a", title="", created="", models=(AuditedModel(name="m", kind=kind),), findings=())
    assert parse(split(model_card(record))[0]).get("library_name") == library


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    assert write_model_card(empty_audit(), tmp_path / "README.md").read_text(encoding="utf-8").startswith("---\n")
    with pytest.raises(UsageError, match="cannot be written"):
        write_model_card(empty_audit(), tmp_path / "nothing" / "README.md")
