"""What a run is prepared with: inputs that are explained and no others, and the facts of the preparation."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import trustml
from trustml.errors import ScenarioError
from trustml.launch.prepare import prepare_run
from trustml.models.zoo import mlp, small_cnn
from trustml.scenario.spec import Explanations, Scenario

SCENARIO = Scenario(
    name="prepared",
    data=trustml.BreastCancer(),
    model=mlp([4], classes=2),
    training=(trustml.DPSGD(noise_multiplier=1.0, epochs=1),),
    backends=("jax",),
    explanations=Explanations(methods=()),
)


def test_without_explanations_no_held_out_input_is_published(tmp_path):
    run = prepare_run(SCENARIO, root=tmp_path)
    assert run.arrays("heldout.npz")["inputs"].shape == (0, 30)
    explained = msgspec.structs.replace(SCENARIO, explanations=Explanations(examples=5))
    assert prepare_run(explained, root=tmp_path).arrays("heldout.npz")["inputs"].shape == (5, 30)


def test_the_record_holds_how_the_data_were_prepared(tmp_path):
    preparation = prepare_run(SCENARIO, root=tmp_path).manifest().data.preparation
    assert (preparation.scaling, preparation.categories, preparation.classes) == ("public constants", "none", "public")


def test_surrogates_draw_by_the_number_of_features_and_the_record_says_how_many(tmp_path):
    methods = (
        trustml.KernelShap(),
        trustml.KernelShap(name="patches", patch=4),
        trustml.Lime(),
        trustml.Lime(name="few", n_samples=50),
        trustml.KernelShap(name="few_patches", patch=4, n_samples=50),
    )
    scenario = msgspec.structs.replace(
        SCENARIO, data=trustml.Digits(), model=small_cnn(), explanations=Explanations(methods=methods, examples=2)
    )
    run = prepare_run(scenario, root=tmp_path)
    wanted = {"KernelShap": 256, "patches": 200, "Lime": 256, "few": 50, "few_patches": 50}
    recorded = run.manifest().scenario["explanations"]["methods"]
    assert {one["name"] or one["kind"]: one["n_samples"] for one in recorded} == wanted
    (job,) = [run.job(record.id) for record in run.manifest().jobs if record.kind == "explain"]
    assert {one.title: one.n_samples for one in job.methods if hasattr(one, "n_samples")} == wanted
    (warning,) = [text for text in run.manifest().warnings if "n_samples" in text]
    for words in ("explanations.methods.3.n_samples", "50 coalitions", "64 features", "256 or more"):
        assert words in warning


@pytest.mark.parametrize(("rows", "source"), [("training", "train_inputs"), ("held-out", "test_inputs")])
def test_disclosed_rows_are_used_and_noted(rows, source, tmp_path):
    method = trustml.GradientShap(background=trustml.Background(rows=rows, count=3))
    explanations = Explanations(methods=(method,), discloses=(f"{rows} rows",))
    run = prepare_run(msgspec.structs.replace(SCENARIO, explanations=explanations), root=tmp_path)
    drawn, data = run.arrays("private/baselines.npz")["GradientShap.background"], run.arrays("private/data.npz")
    assert all((row == data[source]).all(axis=1).any() for row in drawn)
    (note,) = run.manifest().data.notes
    assert "GradientShap" in note and ("disclosed" in note if rows == "held-out" else "no epsilon covers" in note)
    assert not np.isin(drawn, data["test_inputs" if rows == "training" else "train_inputs"]).all()


def test_own_groups_are_what_methods_and_tests_switch(tmp_path):
    names = prepare_run(SCENARIO, root=tmp_path / "names").manifest().data.feature_names
    groups = (tuple(names[:10]), tuple(names[10:]))
    methods = (trustml.FeatureAblation(), trustml.KernelShap())
    scenario = msgspec.structs.replace(SCENARIO, explanations=Explanations(methods=methods, examples=2, groups=groups))
    run = prepare_run(scenario, root=tmp_path)
    prepared = run.arrays("private/baselines.npz")
    for name in ("features", "FeatureAblation.features", "KernelShap.features"):
        np.testing.assert_array_equal(prepared[name], [0] * 10 + [1] * 20)
    (job,) = [run.job(record.id) for record in run.manifest().jobs if record.kind == "explain"]
    assert job.methods[1].n_samples == 200  # by two features, not by thirty
    both = Explanations(methods=(trustml.FeatureAblation(patch=2),), groups=groups)
    with pytest.raises(ScenarioError, match="patch: 2 joins values, and so does explanations"):
        prepare_run(msgspec.structs.replace(SCENARIO, explanations=both), root=tmp_path)
