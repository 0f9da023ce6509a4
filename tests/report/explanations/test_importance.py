"""What counts over all examples: means of magnitudes by feature, of tables, images, own groups, and in the terminal."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from tests.cli.test_cli import called
from tests.records import copy_of
from trustml.attribution.sharing import feature_values
from trustml.cli.main import trustml as command_line
from trustml.compare.table import read_measures
from trustml.measures.evidence import Evidence
from trustml.measures.importance import MOST, importance_rows
from trustml.plan.job import short_model
from trustml.record.files import encode_arrays
from trustml.record.store import BASELINES, HELDOUT
from trustml.report.explanations import figures
from trustml.report.explanations.importance import importance_frame, importances
from trustml.report.explanations.selection import PanelRequest, methods_of


def wanted(method: str) -> PanelRequest:
    return PanelRequest(method=method, example=0, model=None, backend=None)


@pytest.fixture(scope="module", params=["study", "frameworks"])
def run(request, tmp_path_factory):
    """A table of 30 features, and images."""
    return copy_of(request.param, tmp_path_factory.mktemp("importance")).directory


def test_means_are_of_magnitudes_over_examples(run):
    method = methods_of(run)[0]
    data = run.manifest().data
    for one in importances(run, wanted(method)):
        assert one.magnitudes.min() >= 0 and one.shape == one.means.shape
        (first, *_) = one.top(3)
        place = one.names.index(first["feature"])
        own = one.magnitudes[:, place]
        assert first["value"] == pytest.approx(own.mean()) == one.magnitudes.mean(axis=0).max()
        assert first["low"] <= first["value"] <= first["high"] and first["n"] == len(own)
        if not data.feature_groups:
            assert one.shape == data.input_shape[:-1]


def test_own_groups_are_the_bars(tmp_path):
    run = copy_of("study", tmp_path).directory
    manifest, method = run.manifest(), "IntegratedGradients"
    names = manifest.data.feature_names
    groups = [names[20:], names[:20]]
    manifest.scenario["explanations"]["groups"] = [list(group) for group in groups]
    run.write_manifest(manifest)
    one = importances(run, wanted(method))[0]
    assert one.names == tuple(" + ".join(group) for group in groups) and one.shape == (2,)
    record = next(job for job in manifest.jobs if job.kind == "explain")
    values = run.arrays(f"jobs/{record.id}/attributions.npz")[f"{method}.native"]
    features = np.array([1] * 20 + [0] * 10)
    expected = np.abs(feature_values(values, features=features, combine="sum"))  # contributions add up, then magnitudes
    np.testing.assert_array_equal(one.magnitudes, expected)


@pytest.mark.parametrize(("name", "method"), [("study", "IntegratedGradients"), ("frameworks", None)])
def test_groups_of_a_map_are_the_bars(name, method, tmp_path):
    run = copy_of(name, tmp_path).directory
    manifest, method = run.manifest(), method or methods_of(run)[0]
    manifest.scenario["explanations"]["groups"] = {"kind": "GroupMap", "path": "/nowhere.npz"}
    run.write_manifest(manifest)
    before = importances(run, wanted(method))[0]  # a copy without what is private
    shape = run.mapped(HELDOUT)["inputs"].shape[1:]
    groups = np.arange(np.prod(shape)).reshape(shape) % 3
    run.file(BASELINES).parent.mkdir(exist_ok=True)
    run.file(BASELINES).write_bytes(encode_arrays({"features": groups}))
    one = importances(run, wanted(method))[0]
    assert one.shape == (3,) == (len(one.names),) and before.shape != one.shape
    record = next(job for job in manifest.jobs if job.kind == "explain")
    values = run.arrays(f"jobs/{record.id}/attributions.npz")[f"{method}.native"]
    np.testing.assert_allclose(one.magnitudes, np.abs(feature_values(values, features=groups, combine="sum")))
    named = manifest.data.feature_names
    assert one.names[1] == (" + ".join(named[1::3]) if named else "group 1")


def test_the_chart_has_a_bar_for_each_explanation_and_feature(run):
    found = importances(run, wanted(methods_of(run)[0]))
    frame = importance_frame(found, count=4)
    assert len(frame) == 4 * len(found)
    spec = figures.importance_bars(frame).to_dict()
    assert len(spec["layer"]) == 2


def test_the_terminal_and_json_say_the_same(run):
    method = methods_of(run)[0]
    shown = called("explain", run.path.name, "--runs", run.path.parent, "--method", method, "--all-examples")
    assert "mean magnitude of attributions over" in shown.stdout
    again = called("explain", run.path.name, "--runs", run.path.parent, "--method", method, "--all-examples", "--json")
    plain = json.loads(again.stdout)
    one = importances(run, wanted(method))[0]
    top = plain["importances"][0]["features"]
    assert len(top) == len(one.names) and top[0]["value"] == pytest.approx(one.means.max())


def test_explanations_of_a_model_that_answers_one_class_are_shown_with_a_warning(tmp_path, monkeypatch):
    run = copy_of("study", tmp_path).directory
    table = read_measures(run)
    table.loc[(table.measure == "accuracy") & (table.regime == "Plain"), "facts"] = (
        '{"majority": 0.6, "classes_answered": 1}'
    )
    monkeypatch.setattr("trustml.compare.table.read_measures", lambda _: table)
    command = ("explain", run.path.name, "--runs", str(tmp_path), "--method", methods_of(run)[0])
    model, other = (next(job.id for job in run.manifest().jobs if job.regime == name) for name in ("Plain", "DPSGD"))

    def warned(*more: str) -> bool:
        shown = CliRunner().invoke(command_line, [*command, *more])
        assert shown.exit_code == 0, shown.output
        return "WARNING: Plain" in shown.stderr

    assert all(warned("--model", model, *more) for more in ((), ("--all-examples",), ("--json",)))
    assert not warned("--model", other)


def test_the_table_has_the_features_that_count_most(run):
    rows = [row for row in importance_rows(Evidence(run)) if row.method == methods_of(run)[0]]
    if not run.manifest().data.feature_groups:  # pixels, of which there is a picture
        assert not rows
        return
    for one in importances(run, wanted(methods_of(run)[0])):
        own = {row.facts["feature"]: row for row in rows if row.subject.startswith(f"{one.library}: ")
               and short_model(one.model) in row.job}  # fmt: skip
        tops = {top["feature"]: top for top in one.top(MOST)}
        if own:
            assert own.keys() == tops.keys() and len(own) == MOST
            for name, row in own.items():
                assert (row.value, row.low, row.high, row.n) == tuple(
                    tops[name][k] for k in ("value", "low", "high", "n")
                )
    assert rows and len({(row.job, row.subject, row.method) for row in rows}) == len(rows)
