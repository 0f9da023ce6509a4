"""A new measure is one entry and one function: every reader then has it, and nothing else was edited."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from streamlit.testing.v1 import AppTest

import trustml
from tests.conftest import made_once
from trustml.auditing.run_audit import audit_run
from trustml.compare.rows import write_measures
from trustml.measures.entry import Measure
from trustml.measures.evidence import Evidence
from trustml.measures.measure import MEASURES
from trustml.measures.row import Row
from trustml.models.layers import Architecture, Flatten
from trustml.models.zoo import mlp
from trustml.report.audit.html import audit_html
from trustml.report.audit.model_card import model_card
from trustml.report.measures_page import measures_markdown
from trustml.report.tables import print_comparison
from trustml.scenario.methods import Saliency
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Execution, Explanations, Scenario

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # streamlit's and altair's own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # AppTest leaves an event loop behind
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OF_MODELS = Measure(
    family="accuracy",
    rows=("tests.measures.test_adding:confidence_rows",),
    unit="1",
    better="neither",
    title="mean confidence",
    meaning="Mean over held-out examples of the largest probability.",
    shown=("overview", "audit"),
)
OF_EXPLANATIONS = Measure(
    family="explanations",
    rows=("tests.measures.test_adding:peak_rows",),
    unit="1",
    better="lower",
    title="share of the peak",
    meaning="Share of all magnitudes that lies on one feature, mean over examples.",
    form="score",
    shown=("explanations", "explanations page", "audit"),
)


def confidence_rows(evidence: Evidence) -> list[Row]:
    """One row a trained model."""
    rows = []
    for record, _ in evidence.trained():
        logits = evidence.run.arrays(f"jobs/{record.id}/predictions.npz")["test_logits"].astype(float)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        value = float((shares.max(axis=1) / shares.sum(axis=1)).mean())
        rows.append(evidence.row("confidence", value, record=record, subject="held-out", n=len(logits)))
    return rows


def peak_rows(evidence: Evidence) -> list[Row]:
    """One row an explanation."""
    rows = []
    for one in evidence.explanations:
        sizes = np.abs(one.attributions["native"].reshape(len(one.targets), -1))
        value = float((sizes.max(axis=1) / sizes.sum(axis=1)).mean())
        rows.append(evidence.row("peak", value, record=one.record, subject=one.library, method=one.title, n=len(sizes)))
    return rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> trustml.Run:
    """A small run with an explanation; only to be copied."""
    scenario = Scenario(
        name="measured",
        data=Digits(test_fraction=0.8),
        model=Architecture(layers=(Flatten(), *mlp([16], classes=10).layers)),
        training=(Plain(epochs=1, batch_size=64, optimizer=SGD(learning_rate=0.05)),),
        explanations=Explanations(methods=(Saliency(),), examples=4),
        backends=("torch",),
        execution=Execution(threads=1),
    )

    def make(folder: Path) -> None:
        assert trustml.run(scenario, out=folder).status == "success"

    return made_once(tmp_path_factory, "measured", make)


@pytest.fixture(scope="module")
def measured(finished, tmp_path_factory):
    """The run, measured with both new measures, which stay in the table as long as this file is tested."""
    folder = tmp_path_factory.mktemp("measured")
    shutil.copytree(finished.path, folder / finished.id)
    run = trustml.load(folder / finished.id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MEASURES, "confidence", OF_MODELS)
        patch.setitem(MEASURES, "peak", OF_EXPLANATIONS)
        write_measures(run.directory)
        yield run


def test_it_is_in_the_table_and_on_the_terminal(measured, finished):
    table = measured.measures()
    (confidence,) = table[table.measure == "confidence"].value
    peaks = table[table.measure == "peak"]
    assert 0.1 < confidence <= 1 and len(peaks) and (peaks.value > 0).all()
    assert set(table.measure) - set(finished.measures().measure) == {"confidence", "peak"}
    out = Console(file=io.StringIO(), width=240, color_system=None)
    print_comparison(out, [(measured.manifest, table)])
    text = out.file.getvalue()
    assert OF_MODELS.title in text and f"{confidence:.3f}" in text
    assert OF_EXPLANATIONS.title in text and f"{OF_EXPLANATIONS.title} lower" in text
    assert f"{peaks.value.iloc[0]:.2g}" in text


def test_it_is_in_the_report_the_card_and_the_page(measured):
    record = audit_run(measured.directory)
    found = {one.measure: one for finding in record.findings for one in finding.measured}
    assert found.keys() >= {"confidence", "peak"}
    for text in (audit_html(record), model_card(record)):
        assert OF_MODELS.title in text and OF_EXPLANATIONS.title in text
    page = measures_markdown()
    for name, measure in (("confidence", OF_MODELS), ("peak", OF_EXPLANATIONS)):
        assert f"| `{name}` |" in page and measure.meaning in page


@pytest.mark.timeout(600)
def test_it_is_on_the_dashboard(measured, monkeypatch):
    monkeypatch.setenv("TRUSTML_RUNS", str(measured.path.parent))
    entry = Path(__file__).resolve().parents[2] / "apps" / "dashboard.py"
    app = AppTest.from_file(str(entry), default_timeout=60).run()
    assert not app.exception
    table = measured.measures()
    (shown,) = app.dataframe[0].value[OF_MODELS.title]
    assert shown == table[table.measure == "confidence"].value.iloc[0]  # what it is sorted by
    app.switch_page("views/explanations.py").run()
    app.session_state["explanations tab"] = "What they are worth"  # only the open one is drawn
    app.run()
    assert not app.exception
    assert any(OF_EXPLANATIONS.title in frame.value.columns for frame in app.dataframe)


def test_without_the_entries_nothing_has_them(finished, monkeypatch):
    for name in ("confidence", "peak"):
        monkeypatch.delitem(MEASURES, name, raising=False)
    assert not {"confidence", "peak"} & set(finished.measures().measure)
    assert OF_MODELS.title not in measures_markdown()
    assert OF_MODELS.title not in audit_html(audit_run(finished.directory))
