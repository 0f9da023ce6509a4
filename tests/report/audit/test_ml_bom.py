"""The bill of materials has the form of CycloneDX; tests/evidence/test_others_tools.py has its own reader judge it."""

from __future__ import annotations

import json
import re

import msgspec

from tests.report.audit.examples import CLAIM, empty_audit, example_audit, hostile_audit
from trustml.auditing.result import AuditedModel, AuditRecord, Finding, Measurement, ModelIdentity
from trustml.report.audit.ml_bom import ml_bom

DIGEST = "ab" * 32


def test_models_figures_and_limits_are_told():
    audit = example_audit()
    identity = ModelIdentity(kind="file", sha256=DIGEST, source="model.onnx")
    model = msgspec.structs.replace(audit.models[0], identity=identity, claim=CLAIM)
    audit = msgspec.structs.replace(audit, models=(model,))
    found = json.loads(ml_bom(audit))
    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found["serialNumber"])
    (model,) = found["components"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": DIGEST}] and model["type"] == "machine-learning-model"
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    about = [one for one in audit.findings if one.subject in ("", audit.models[0].name)]
    figures = [one for finding in about for one in finding.measured if one.value is not None]
    told = [one for one in metrics if one["type"] != "accuracy" or one["slice"] not in ("training", "held out")]
    assert [one["type"] for one in told] == [one.measure for one in figures]
    assert [float(one["value"]) for one in told] == [float(f"{one.value:.6g}") for one in figures]
    limits = model["modelCard"]["considerations"]["technicalLimitations"]
    assert len(limits) == sum(one.severity != "pass" for one in about) > 0
    claim = {one["name"]: one["value"] for one in model["properties"]}
    assert float(claim["trustml:claim:epsilon"]) == CLAIM.epsilon


def test_what_could_only_be_asked_has_no_hash():
    audit = example_audit()
    identity = ModelIdentity(kind="answers", sha256=DIGEST, shape=(2, 3))
    audit = msgspec.structs.replace(audit, models=(msgspec.structs.replace(audit.models[0], identity=identity),))
    (model,) = json.loads(ml_bom(audit))["components"]
    assert "hashes" not in model


def test_a_figure_is_of_its_own_model_and_what_is_of_all_is_told_once():
    figures = [
        Measurement(measure="attribution_completeness_error", value=value, label=f"{name} IG", subject=name)
        for name, value in (("plain", 0.00455), ("private", 0.0101))
    ]
    whole = Measurement(measure="accuracy", value=0.5)
    run_wide = {"check": "explanations", "severity": "note"}
    audit = AuditRecord(
        id="audit-1",
        title="",
        created="",
        models=tuple(AuditedModel(name=name, kind="run") for name in ("plain", "private")),
        findings=(
            Finding(id="completeness", title="All errors.", measured=(*figures, whole), **run_wide),
            Finding(id="pooled", title="All models.", subject="DPSGD (jax)", measured=(whole,), **run_wide),
        ),
    )
    found = json.loads(ml_bom(audit))
    told = [one["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] for one in found["components"]]
    assert [[(one["value"], one["slice"]) for one in each] for each in told] == [
        [("0.00455", "completeness plain IG")],
        [("0.0101", "completeness private IG")],
    ]
    assert [each["properties"] for each in found["components"]] == [[], []]
    properties = {one["name"]: one["value"] for one in found["metadata"]["properties"]}
    assert properties["trustml:finding:completeness"] == "note: All errors."
    assert properties["trustml:figure:completeness:accuracy"] == "0.5 (the whole run)"
    assert properties["trustml:figure:pooled:accuracy"] == "0.5 (DPSGD (jax))"


def test_any_audit_is_json_and_the_same_each_time():
    for audit in (empty_audit(), hostile_audit()):
        assert json.loads(ml_bom(audit)) and ml_bom(audit) == ml_bom(audit)
