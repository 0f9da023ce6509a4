"""What notebooks show of runs and audits, and how far a run is."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

import trustml
from tests.records import copy_of, stored
from tests.report.audit.examples import example_audit
from trustml.audits import Audit
from trustml.errors import UsageError
from trustml.report.notebook import MOST_FINDINGS, audit_html_in_short
from trustml.report.progress import Progress, shown_progress

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # altair's own
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def run() -> trustml.Run:
    return trustml.load(stored("attacked"))


def test_a_notebook_shows_what_a_run_answers_and_its_table(run):
    shown = run._repr_html_()
    assert f"<b>{run.id}</b>: success" in shown
    for answer in run.summary():
        assert answer.sentence.split(";")[0].replace("'", "&#39;") in shown
    assert shown.count("<tr>") == 1 + len(run.overview())
    assert "trustml report" in shown
    assert repr(run) == f"<Run {run.id}: success, {len(run.manifest.jobs)} of {len(run.manifest.jobs)} jobs ended well>"


def test_what_a_record_says_is_escaped_and_what_is_damaged_is_told(tmp_path):
    run = copy_of("private", tmp_path)
    run.directory.write_manifest(replace(run.manifest, run=HOSTILE))
    assert HOSTILE not in run._repr_html_() and "&lt;script&gt;" in run._repr_html_()
    (run.path / "measures.parquet").unlink()
    assert "jobs ended well" in run._repr_html_() and "<table>" not in run._repr_html_()
    (run.path / "audit.html").touch()
    assert f'<a href="{(run.path / "audit.html").as_uri()}">' in run._repr_html_()
    (run.path / "manifest.json").write_text("no JSON")
    assert "cannot be read" in run._repr_html_() and "cannot be read" in repr(run)


def test_the_overview_is_the_table_of_the_dashboard_as_texts(run):
    frame = run.overview()
    assert list(frame.columns[:3]) == ["regime", "framework", "accuracy"]
    assert frame.map(lambda cell: isinstance(cell, str)).all(axis=None)


def test_figures_are_those_of_the_pages(run, tmp_path):
    assert len(run.figures.pareto().to_dict()["hconcat"]) == 2
    assert run.figures.accuracy().to_dict()["layer"]
    models = {record.id for record in run.manifest.jobs if record.kind == "train"}
    assert run.figures.roc().to_dict()["title"] in models
    with pytest.raises(UsageError, match=r"nobody: no attack on it in .*; choose among train"):
        run.figures.roc("nobody")
    with pytest.raises(UsageError, match=r"guess: no such attack on .*; choose among"):
        run.figures.roc(attacks=("guess",))
    explained = trustml.load(stored("frameworks"))
    charts = explained.figures.attributions(model="train.torch.Plain.s0", backend="tensorflow").to_dict()
    assert len(charts["concat"]) == 4  # the image; as the library returns it, completed, and common
    with pytest.raises(UsageError, match=r"^method: .* has no 'guess'; choose among"):
        explained.figures.attributions(method="guess")
    with pytest.raises(UsageError, match=r"^example: 9999 is none of"):
        explained.figures.attributions(example=9999)
    with pytest.raises(UsageError, match="no model was attacked"):
        explained.figures.roc()


def test_figures_say_what_they_need(run, monkeypatch):
    monkeypatch.setattr("trustml.report.run_figures.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"figures: need altair; pip install 'trustml\[notebook\]'"):
        _ = run.figures


def test_an_audit_is_shown_with_its_gravest_findings_first():
    record = example_audit()
    shown = Audit(record)._repr_html_()
    assert "not passed" in shown and f"1 {record.worst}" in shown
    assert shown.index(record.worst) < shown.index("<td>pass</td>")
    many = replace(record, findings=record.findings * 30, title=HOSTILE)
    assert HOSTILE not in audit_html_in_short(many)
    assert f"{len(many.findings) - MOST_FINDINGS} more in .findings" in audit_html_in_short(many)


EVENTS = (
    {"event": "run", "run": "r", "jobs": 2},
    {"event": "job-start", "job": "a"},
    {"event": "step", "job": "a", "step": 1, "steps": 5},
    {"event": "job-end", "job": "a", "status": "ok"},
    {"event": "job-start", "job": "b"},
    {"event": "job-end", "job": "b", "status": "error", "reason": HOSTILE},
    {"event": "done"},
)


def told(wanted: bool | None, stream: io.StringIO) -> str:
    with shown_progress(wanted, stream=stream) as listen:
        for event in EVENTS:
            listen(event)
    return stream.getvalue()


def test_progress_is_shown_where_somebody_looks():
    assert told(None, io.StringIO()) == ""
    assert told(True, io.StringIO()).splitlines() == ["r: 0 of 2 jobs", "r: 1 of 2 jobs", "r: 2 of 2 jobs"]
    resumed = Progress(lambda shown: None)
    resumed.listen({"event": "run", "run": "r", "jobs": 3, "finished": 2})
    assert resumed.line == "r: 2 of 3 jobs"
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    written = told(None, terminal)
    assert "\rr: 1 of 2 jobs" in written and written.endswith("\n")
    assert told(False, terminal) == written  # nothing more


def test_a_notebook_has_one_bar_that_moves(monkeypatch):
    shown = []
    handle = SimpleNamespace(update=shown.append)
    display = SimpleNamespace(HTML=str, display=lambda content, display_id: (shown.append(content), handle)[1])
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object())))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    stream = io.StringIO()
    assert told(None, stream) == ""
    assert 'max="2" value="0"' in shown[0] and 'max="2" value="2"' in shown[-1]
    assert HOSTILE not in shown[-1] and "b error: &lt;script&gt;" in shown[-1]
    count = len(shown)
    told(False, stream)
    assert len(shown) == count


def test_steps_are_not_shown_one_by_one():
    lines = []
    progress = Progress(lambda now: lines.append(now.line))
    progress.listen(EVENTS[0])
    for step in range(1000):
        progress.listen({"event": "step", "job": "a", "step": step, "steps": 1000})
    assert len(lines) < 10


def test_a_path_is_no_run_and_the_error_names_what_takes_one(tmp_path):
    with pytest.raises(trustml.UsageError, match=r"directory: .*trustml\.load takes a path"):
        trustml.Run(str(tmp_path))
