"""Every page of the dashboard on a real, partial run, without a browser."""

from __future__ import annotations

import json
import math
import shutil

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from msgspec.structs import replace
from streamlit.testing.v1 import AppTest

from tests.conftest import measured_copy
from tests.measures.test_deployed_attacks import RECORD
from tests.records import copy_of
from tests.report.deployed.test_tables import SECONDS
from trustml.deployment.export import _renew
from trustml.privacy.statement import at_most
from trustml.record.exports import EXPORTS
from trustml.record.files import encode_arrays
from trustml.record.usage import write_usage

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # streamlit's and altair's own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # AppTest leaves an event loop behind
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PAGES = ["models", "attacks", "deployment", "audit", "compare"]
"""Those that no other test opens for this run."""


def opened(entry, folder, monkeypatch, *, run: str | None = None, page: str = "overview") -> AppTest:
    monkeypatch.setenv("TRUSTML_RUNS", str(folder))
    app = AppTest.from_file(str(entry), default_timeout=60)
    if page != "overview":
        app.switch_page(f"views/{page}.py")
    if run is not None:
        app.query_params["run"] = run
    return app.run()


def assert_whole(app: AppTest) -> None:
    assert not app.exception, [error.value for error in app.exception]
    assert not [error.value for error in app.error if "cannot be shown" in error.value]


def shown_cells(frame) -> list[list[str]]:
    """Texts of a table that is sorted by numbers."""
    display = pa.ipc.open_stream(frame.proto.arrow_data.styler.display_values).read_pandas()
    return display.astype(str).to_numpy().tolist()


def text_of(app: AppTest) -> str:
    parts = [*app.markdown, *app.caption, *app.info, *app.warning, *app.error, *app.success, *app.code]
    return "\n".join(str(part.value) for part in parts)


def assert_shows(app: AppTest, run) -> None:
    assert_whole(app)
    assert app.query_params["run"] in (run.id, [run.id])
    assert app.title[0].value


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_the_run(entry, partial_run, monkeypatch, page):
    assert_shows(opened(entry, partial_run.path.parent, monkeypatch, page=page), partial_run)


def test_the_overview_says_what_failed_and_how_to_mend_it(entry, partial_run, monkeypatch):
    app = opened(entry, partial_run.path.parent, monkeypatch)
    assert_shows(app, partial_run)
    text = text_of(app)
    assert "trustml setup tensorflow" in text
    assert "delta=1e-05; unit: example; relation: add or remove one" in text
    table = app.dataframe[0].value
    cells = table.set_index(["regime", "framework"])
    assert 0 < cells.epsilon["DPSGD", "torch"] == cells.epsilon["DPSGD", "jax"] < math.inf
    assert cells.epsilon["Plain", "torch"] == math.inf
    texts = {(row[0], row[1]): row for row in shown_cells(app.dataframe[0])}
    place = list(table.columns).index("epsilon")
    assert texts["Plain", "torch"][place] == "none"
    assert texts["Plain", "tensorflow"][2] == "not run"
    assert texts["DPSGD", "torch"][place] == at_most(cells.epsilon["DPSGD", "torch"], 2)


def test_the_privacy_page_keeps_epsilons_apart_from_no_guarantee(entry, partial_run, monkeypatch):
    app = opened(entry, partial_run.path.parent, monkeypatch, page="privacy")
    assert_shows(app, partial_run)
    one, everything = (float(metric.value) for metric in app.metric)
    assert everything > one > 0
    assert "no finite epsilon" in text_of(app)


def test_the_deployment_page_asks_its_questions_and_names_a_file_that_must_not_be_deployed(
    entry, tmp_path_factory, tmp_path, monkeypatch
):
    run = measured_copy(tmp_path_factory, "frameworks", tmp_path)
    record = replace(RECORD, model="train.torch.DPSGD.s0", attacked=False)
    place = run.path / EXPORTS / record.name
    place.mkdir(parents=True)
    (place / "export.json").write_bytes(msgspec.json.encode(record))
    answers = {"file.held_out_logits": run.predictions(record.model)["logits"] * np.float32(1.1), **SECONDS}
    (place / "answers.npz").write_bytes(encode_arrays(answers))
    _renew(run.directory)
    app = opened(entry, tmp_path, monkeypatch, page="deployment")
    assert_shows(app, run)
    assert "Not to be deployed as the model that was audited" in app.error[0].value
    assert "another model" in app.error[0].value
    assert [one.value for one in app.subheader] == [
        "Does it say the same?",
        "What does it cost?",
    ]  # nothing was attacked
    assert list(app.dataframe[0].value.columns)[2:] == [
        "logit difference", "differ", "score", "ROC-AUC", "attributions", "attributions by",
    ]  # fmt: skip
    assert list(app.dataframe[1].value.columns)[2:] == ["MB", "first s", "ms at 1", "ms at 64"]


def test_the_record_page_shows_reasons(entry, partial_run, monkeypatch):
    app = opened(entry, partial_run.path.parent, monkeypatch, page="record")
    assert_shows(app, partial_run)
    labels = [expander.label for expander in app.expander]
    assert any("train.tensorflow.Plain.s0" in label and "trustml setup tensorflow" in label for label in labels)


def test_the_federated_page_shows_who_holds_what_only_where_private_is_at_hand(
    entry, partial_run, tmp_path, monkeypatch
):
    shown = opened(entry, partial_run.path.parent, monkeypatch, page="federated")
    shown.session_state["federated tab"] = "Who holds what"
    assert_shows(shown.run(), partial_run)
    assert "4 clients; smallest" in text_of(shown)
    assert partial_run.manifest.partitions[0].fingerprint[:12] in text_of(shown)
    shutil.copytree(partial_run.path, tmp_path / partial_run.id, ignore=shutil.ignore_patterns("private"))
    app = opened(entry, tmp_path, monkeypatch, page="federated")
    app.session_state["federated tab"] = "Who holds what"
    app.run()
    assert not app.exception, [error.value for error in app.exception]
    assert "not at hand here" in text_of(app)
    assert "4 clients; smallest" not in text_of(app)


def test_the_federated_page_makes_one_part_at_a_time(entry, tmp_path, monkeypatch):
    copy_of("federated", tmp_path)
    app = opened(entry, tmp_path, monkeypatch, page="federated")
    parts = {
        "Accuracy by round": "frameworks that agree lie on one another",
        "Who holds what": "Every framework trains on this same partition",
        "Bytes": "Payload alone",
        "Privacy for users": "The unit of privacy is a user",
        "Participants and drift": "stays private",
    }
    assert [tab.label for tab in app.tabs] == list(parts)
    for label in parts:
        app.session_state["federated tab"] = label
        assert_whole(app.run())
        text = text_of(app)
        assert [one for one, words in parts.items() if words in text] == [label]


def test_a_run_without_clients_says_so_on_the_federated_page(entry, partial_run, tmp_path, monkeypatch):
    shutil.copytree(partial_run.path, tmp_path / partial_run.id, ignore=shutil.ignore_patterns("private"))
    path = tmp_path / partial_run.id / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "partitions": []}))
    app = opened(entry, tmp_path, monkeypatch, page="federated")
    assert not app.exception
    assert [info.value for info in app.info] == [
        "This run has no federated regime: nothing here was trained by clients."
    ]


def test_another_example_and_model_can_be_chosen(entry, partial_run, monkeypatch):
    app = opened(entry, partial_run.path.parent, monkeypatch, page="explanations")
    assert_shows(app, partial_run)
    app.number_input[0].set_value(5).run()
    models = app.selectbox
    assert not app.exception
    chooser = next(box for box in models if box.label == "Model")
    chooser.set_value("train.jax.DPSGD.s0").run()
    assert not app.exception, [error.value for error in app.exception]


def test_an_unknown_run_is_a_message(entry, partial_run, monkeypatch):
    app = opened(entry, partial_run.path.parent, monkeypatch, run="../../etc")
    assert not app.exception
    assert "There is no run '../../etc'" in app.error[0].value


def test_no_runs_is_a_message(entry, tmp_path, monkeypatch):
    app = opened(entry, tmp_path, monkeypatch)
    assert not app.exception
    assert "There are no runs" in app.info[0].value
    assert "trustml run digits" in " ".join(one.value for one in app.code)


def test_the_overview_says_what_the_terminal_says_of_constant_answers(entry, partial_run, tmp_path, monkeypatch):
    path = shutil.copytree(partial_run.path, tmp_path / partial_run.id) / "measures.parquet"
    table = pd.read_parquet(path)
    several = '{"majority": 0.7, "classes_answered": 1, "labels": 2}'
    table.loc[table.measure == "accuracy", "facts"] = several
    table.to_parquet(path)
    app = opened(entry, tmp_path, monkeypatch)
    text = text_of(app)
    assert "always answering what holds for most, label by label" in text and "largest class" not in text
    assert "answers the same labels for every example" in text
    app.switch_page("views/privacy.py").run()  # whatever is shown of such a model
    assert any("answers the same labels for every example" in error.value for error in app.error)


def test_a_run_without_measures_is_a_message(entry, partial_run, tmp_path, monkeypatch):
    shutil.copytree(partial_run.path, tmp_path / partial_run.id)
    (tmp_path / partial_run.id / "measures.parquet").unlink()
    app = opened(entry, tmp_path, monkeypatch)
    assert not app.exception
    assert any("So far: measured from" in info.value and "ended before" in info.value for info in app.info)
    assert len(app.dataframe[0].value) == 9


@pytest.mark.jax
def test_the_attacks_page_shows_a_violation_and_the_models_at_risk(entry, attacked_run, monkeypatch):
    app = opened(entry, attacked_run.path.parent, monkeypatch, page="attacks")
    assert not app.exception, [error.value for error in app.exception]
    audits, models, *_ = (frame.value for frame in app.dataframe if "measure" not in frame.value.columns)
    assert audits.verdict.tolist().count("VIOLATION") == 1
    assert set(models.regime) == {"Overfitted", "DPSGD"}
    assert [name for name in (*audits.columns, *models.columns) if "_" in name] == []
    assert "None" not in {cell for frame in app.dataframe[:1] for row in shown_cells(frame) for cell in row}
    assert app.multiselect[0].value == [
        "lira-online-fixed",
        "lira-offline-fixed",
        "rmia-all",
        "rmia-1",
        "loss",
        "label-only",
    ]


@pytest.mark.parametrize("there", [pytest.param(True, marks=pytest.mark.long), False])
def test_the_speed_page_shows_the_run_alone_where_there_is_no_benchmark(entry, partial_run, monkeypatch, there):
    if not there:
        monkeypatch.setattr("trustml.launch.benchmarks.bench_module", lambda name: None)
    app = opened(entry, partial_run.path.parent, monkeypatch, page="speed")
    assert_shows(app, partial_run)
    assert app.tabs[0].label == "Step time"
    assert not app.header
    assert len(app.toggle) == there
    if there:
        app.toggle[0].set_value(True).run()
        assert_whole(app)
        assert [one.value for one in app.header] == ["Beside other libraries"]
        assert any("on another machine; not a part of the run above" in one.value for one in app.info)


def test_all_runs_are_listed_filtered_and_chosen(entry, partial_run, monkeypatch):
    app = opened(entry, partial_run.path.parent, monkeypatch, page="runs")
    assert_shows(app, partial_run)
    assert [row[0] for row in shown_cells(app.dataframe[0])] == [partial_run.id]
    app.selectbox(key="runs status").set_value("partial").run()
    assert app.caption[0].value.startswith("1 of 1")
    app.number_input(key="runs epsilon").set_value(0.001).run()
    assert app.caption[0].value.startswith("0 of 1") and not app.dataframe


def test_runs_are_compared_after_what_they_differ_in(entry, partial_run, monkeypatch, tmp_path):
    other = tmp_path / f"{partial_run.id[:-1]}x"
    shutil.copytree(partial_run.path, tmp_path / partial_run.id)
    shutil.copytree(partial_run.path, other)
    record = json.loads((other / "manifest.json").read_text())
    record["run"], record["scenario"]["training"][1]["batch_size"] = other.name, 77
    (other / "manifest.json").write_text(json.dumps(record))
    monkeypatch.setenv("TRUSTML_RUNS", str(tmp_path))
    app = AppTest.from_file(str(entry), default_timeout=60)
    app.query_params["runs"] = f"{partial_run.id},{other.name}"
    app.run().switch_page("views/compare.py").run()
    assert_whole(app)
    assert app.table[0].value.to_numpy().tolist() == [["training.DPSGD.batch\\_size", "64", "77"]]
    assert {row[0] for row in shown_cells(app.dataframe[0])} == {partial_run.id, other.name}
    app.multiselect(key="compared").set_value([other.name]).run()
    assert "Choose two runs or more" in text_of(app)


@pytest.mark.parametrize(("kept", "said"), [(0, "nothing to measure"), (6, "No explanation of this run ended well")])
def test_what_did_not_end_well_is_not_said_to_be_unasked(entry, tmp_path, monkeypatch, kept, said):
    run = copy_of("frameworks", tmp_path)
    jobs = [
        job if place < kept else replace(job, status="error", result=None, artifacts={}, reason="it broke")
        for place, job in enumerate(run.manifest.jobs)
    ]
    run.directory.write_manifest(replace(run.manifest, jobs=tuple(jobs), status="failed"))
    (run.path / "measures.parquet").unlink()
    for job in run.manifest.jobs[kept:]:
        (run.directory.job_folder(job.id) / "attributions.npz").unlink(missing_ok=True)
    app = opened(entry, tmp_path, monkeypatch, page="explanations" if kept else "overview")
    assert_whole(app)
    assert any(said in one.value for one in app.info), text_of(app)
    app.switch_page("views/record.py").run()
    assert [one.proto.expanded for one in app.expander][: len(jobs) - kept] == [True] + [False] * (len(jobs) - kept - 1)


def test_a_damaged_run_that_is_chosen_hides_no_others(entry, tmp_path, monkeypatch):
    good = copy_of("private", tmp_path)
    damaged = tmp_path / f"{good.id[:-1]}x"
    damaged.mkdir()
    (damaged / "manifest.json").write_text("{")
    app = opened(entry, tmp_path, monkeypatch, run=damaged.name)
    assert "cannot be shown" in app.error[0].value and "manifest.json" in app.error[0].value
    app.switch_page("views/runs.py").run()
    assert_whole(app)
    assert {(row[0], row[1]) for row in shown_cells(app.dataframe[0])} == {
        (good.id, "success"), (damaged.name, "damaged")
    }  # fmt: skip
    app.switch_page("views/compare.py").run()
    assert_whole(app)


@pytest.mark.parametrize(
    ("name", "page"), [("private", "privacy"), pytest.param("federated", "federated", marks=pytest.mark.long)]
)
def test_statements_that_cannot_be_read_are_not_said_to_be_of_no_privacy(entry, tmp_path, monkeypatch, name, page):
    run = copy_of(name, tmp_path)
    (run.path / "privacy.json").write_text("[")
    app = opened(entry, tmp_path, monkeypatch, page=page)
    assert_whole(app)
    assert any("There are no privacy statements" in one.value for one in app.warning)
    assert not any("No model" in one.value or "No finite" in one.value for one in app.info), text_of(app)


def test_runs_are_found_by_what_was_noted_of_them(entry, tmp_path, monkeypatch):
    good, other = copy_of("private", tmp_path), copy_of("federated", tmp_path)
    good.note("before *the* audit", tags=["for-report"])
    (other.path / "private").mkdir(exist_ok=True)
    (other.path / "private" / "notes.json").write_text("[")
    app = opened(entry, tmp_path, monkeypatch, run=good.id)
    assert "Tags: for-report" in text_of(app) and "before \\*the\\* audit" in text_of(app)
    app.switch_page("views/runs.py").run()
    assert len(app.dataframe[0].value) == 2
    app.selectbox(key="runs tag").set_value("for-report").run()
    assert_whole(app)
    assert [row[:3] for row in shown_cells(app.dataframe[0])] == [[good.id, "success", "for-report"]]


def listed_examples(app: AppTest) -> pd.DataFrame:
    return next(one.value for one in app.dataframe if {"held-out example", "loss"} <= set(one.value.columns))


def test_held_out_examples_are_filtered_by_what_was_answered(entry, tmp_path, monkeypatch):
    run = copy_of("frameworks", tmp_path)
    app = opened(entry, tmp_path, monkeypatch, page="models")
    app.session_state["model tab"] = "All held-out examples"
    app.run()
    assert_whole(app)
    everything = listed_examples(app)
    assert len(everything) == run.manifest.data.test_examples
    app.selectbox(key="examples answers").set_value("wrong").run()
    assert_whole(app)
    wrong = listed_examples(app)
    assert 0 < len(wrong) < len(everything) and not wrong.right.any()
    assert wrong["held-out example"].tolist() == everything[~everything.right]["held-out example"].tolist()
    app.selectbox(key="examples true").set_value(wrong.true.iloc[0]).run()
    assert set(listed_examples(app).true) == {wrong.true.iloc[0]}
    assert f"of {len(everything):,} held-out examples" in text_of(app)


def test_the_models_page_makes_one_side_of_one_model_at_a_time(entry, tmp_path, monkeypatch):
    copy_of("frameworks", tmp_path)
    app = opened(entry, tmp_path, monkeypatch, page="models")
    assert_whole(app)
    assert [tab.label for tab in app.tabs] == [
        "Confidence",
        "Classes",
        "Thresholds",
        "Outputs",
        "All held-out examples",
    ]
    offered = [one.label for one in app.expander]
    assert offered == ["Charts of the model as tables, and to download", "Charts as tables, and to download"]
    drawn = len(app.get("vega_lite_chart"))
    assert "points lie on the dashed line" in text_of(app) and "shares of the true class" not in text_of(app)
    app.session_state["model tab"] = "Classes"
    app.run()
    assert_whole(app)
    assert "shares of the true class" in text_of(app) and "points lie on the dashed line" not in text_of(app)
    assert len(app.get("vega_lite_chart")) == drawn > 1


def test_the_speed_page_draws_the_measure_that_is_looked_at(entry, tmp_path, monkeypatch):
    run = copy_of("frameworks", tmp_path)
    first = run.manifest.jobs[0].id
    write_usage(run.directory, first, ((1.0, 2**30, 1.0), (100.0, 2**30, 100.0)), started=50.0)
    app = opened(entry, tmp_path, monkeypatch, page="speed")
    assert_whole(app)
    parts = ["Step time", "First step", "Examples per second", "Memory", "Explanations"]
    assert [one.label for one in app.tabs] == [*parts, "Processor and memory over time"]
    timed = run.measures().query("measure == 'step_time_median' and value.notna()")
    assert len(app.get("vega_lite_chart")) == timed.regime.nunique() > 1
    assert "the line goes from quartile to quartile" in text_of(app)
    app.session_state["speed tab"] = "Explanations"
    app.run()
    assert_whole(app)
    assert [one.value for one in app.subheader] == ["Explanation time", "Passes"]
    assert text_of(app).count("median over models, and the line goes from the smallest to the largest") == 2
    app.session_state["speed tab"] = "Processor and memory over time"
    app.run()
    assert_whole(app)
    assert app.selectbox(key="usage job").value == "" and len(app.get("vega_lite_chart")) == 2


def test_rows_behind_a_chart_are_sent_when_they_are_asked_for(entry, tmp_path, monkeypatch):
    copy_of("frameworks", tmp_path)
    app = opened(entry, tmp_path, monkeypatch, page="speed")
    assert_whole(app)
    assert len(app.dataframe) == 0
    app.session_state["rows step_time_median"] = True
    app.run()
    assert_whole(app)
    (rows,) = app.dataframe
    assert set(rows.value.measure) == {"step_time_median"}
    app.session_state["speed tab"] = "Memory"
    app.run()
    assert_whole(app)
    assert app.subheader[0].value == "Peak memory"
