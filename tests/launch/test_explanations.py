"""Explanations end to end: several methods and libraries, a failing one, controls over seeds, and what users see."""

from __future__ import annotations

import json

import numpy as np
import pytest
from msgspec.structs import replace

import trustml
from tests import WHOLE
from tests.cli.test_cli import called
from tests.conftest import measured_once
from tests.records import unasked_second_opinion
from tests.records.make import STUDY
from trustml.compare.floor import MEAN
from trustml.errors import UsageError
from trustml.models.zoo import small_cnn
from trustml.plan.job import explain_id

pytestmark = [pytest.mark.torch, pytest.mark.jax]
PLAIN = trustml.Plain(epochs=2, batch_size=64, optimizer=trustml.SGD(learning_rate=0.05, momentum=0.9))


BACKENDS = ("torch", "jax") if WHOLE else ("torch",)
"""Stored runs hold what two libraries say of one model."""


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> trustml.Run:
    scenario = trustml.Scenario(
        name="images",
        data=trustml.Digits(test_fraction=0.5),
        model=small_cnn(),
        training=(PLAIN,),
        backends=BACKENDS,
        explanations=trustml.Explanations(
            examples=10,
            target="predicted",
            timing=False,
            methods=(
                trustml.IntegratedGradients(n_steps=20, baseline=trustml.Mean()),
                trustml.Saliency(),
                trustml.GradCam(),
                trustml.GradCam(name="flat", layer=6),
                trustml.LayerConductance(layer=2, n_steps=20),
                trustml.ShapleyValueSampling(n_samples=4, patch=2),
                trustml.NeuronIntegratedGradients(layer=6, neuron=(99,)),
            ),
            probes=trustml.Probes(robustness=True, randomisation=True, examples=4, n_perturbations=2),
        ),
        execution=trustml.Execution(threads=1),
    )
    return trustml.run(scenario, out=tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> trustml.Run:
    return measured_once(tmp_path_factory, "study")


def test_methods_that_do_not_fit_are_named_and_the_others_go_on(images):
    assert images.status == "success"
    left_out = {(skip.backend, skip.method) for skip in images.manifest.skips}
    assert left_out == {(b, m) for b in BACKENDS for m in ("flat", "NeuronIntegratedGradients")}
    assert "training examples" in " ".join(images.manifest.data.notes)  # the mean baseline


def test_attributions_are_had_by_method_and_of_the_predicted_class(images):
    model, last = "train.torch.Plain.s0", BACKENDS[-1]
    found = images.attributions(model, backend=last, method="integrated_gradients")
    other = images.attributions(model, backend="torch", method="IntegratedGradients")  # in short another spelling
    assert found.shape == (10, 8, 8, 1)
    assert np.abs(found - other).max() < 1e-4 * np.abs(other).max()
    assert images.attributions(model, backend=last, method="grad_cam").shape == (10, 6, 6)
    with pytest.raises(UsageError, match="name one of"):
        images.attributions(model, backend=last)
    with pytest.raises(UsageError, match="choose among"):
        images.attributions(model, backend=last, method="lime")
    arrays = images.directory.arrays(f"jobs/{explain_id(last, model)}/attributions.npz")
    np.testing.assert_array_equal(arrays["targets"], arrays["logits"].argmax(axis=1))


def test_every_explanation_is_judged_beside_random_numbers(images):
    table = images.measures()
    rows = table[table.job == "explain.torch.of.torch.Plain.s0"]
    for measure in ("deletion_auc", "insertion_auc", "road", "max_sensitivity", "mprt_similarity", "efficient_mprt"):
        methods = set(rows[rows.measure == measure].method)
        assert {"IntegratedGradients", "Saliency", "GradCam", "ShapleyValueSampling", "RandomControl"} <= methods, (
            measure
        )
    judged = rows[(rows.measure == "deletion_auc") & (rows.method == "IntegratedGradients")].iloc[0]
    assert "random" in judged.note
    assert "LayerConductance" not in set(rows[rows.measure == "deletion_auc"].method)  # no place on the input
    assert "Saliency" not in set(rows[rows.measure == "infidelity"].method)  # magnitudes foretell no change
    control = rows[(rows.method == "RandomControl") & (rows.measure == "mprt_similarity")].iloc[0]
    assert abs(control.value) < 0.3
    for measure, known in (("mprt_similarity", True), ("efficient_mprt", True), ("smooth_mprt_similarity", False)):
        judged = rows[(rows.measure == measure) & rows.value.notna() & (rows.method != "RandomControl")]
        words = "by its own draws (Monte-Carlo)" if known else "one draw of random weights"
        assert len(judged) and judged.note.str.contains(words, regex=False).all(), measure
    complete = rows[(rows.measure == "attribution_completeness_error") & (rows.method == "ShapleyValueSampling")]
    assert complete.value.iloc[0] < 1e-4


def test_a_regime_is_set_against_the_floor_and_against_its_accuracy(seeds):
    assert seeds.status == "success", [(r.id, r.reason) for r in seeds.manifest.jobs if r.status != "ok"]
    table = seeds.measures()
    effects = table[(table.measure == "explanation_effect") & (table.method == MEAN)].set_index("regime")
    assert set(effects.index) == {"DPSGD", "Stopped", "Random"}
    assert effects.value["Random"] < effects.value["DPSGD"]  # random labels teach another model
    beyond = table[(table.measure == "explanation_effect_beyond_accuracy") & (table.method == MEAN)].iloc[0]
    assert beyond.value == pytest.approx(effects.value["DPSGD"] - effects.value["Stopped"], abs=1e-9)
    assert beyond.low <= beyond.value <= beyond.high
    assert (table[table.measure == "explanation_effect_p"].value >= 2.0**-3).all()
    assert (table.measure == "explanation_steadiness").any()
    assert {"Plain ~ DPSGD", "Stopped ~ DPSGD"} <= set(table[table.measure == "change_of_infidelity"].subject)


@pytest.mark.long
def test_the_control_stops_at_the_accuracy_of_the_private_model(tmp_path):
    untold = trustml.Explanations(methods=())
    _, *controlled = STUDY.training
    with unasked_second_opinion():
        run = trustml.run(replace(STUDY, training=tuple(controlled), explanations=untold, seeds=(0,)), out=tmp_path)
    table = run.measures()
    accuracy = table[table.measure == "accuracy"].set_index(["regime", "seed"]).value
    assert set(accuracy.index.get_level_values("regime")) == {"DPSGD", "Stopped", "Random"}
    for record in run.manifest.jobs:
        if record.kind == "train" and record.regime == "Stopped":
            (note,) = record.result.notes
            if note.startswith("stopped"):
                assert accuracy["Stopped", record.seed] >= accuracy["DPSGD", record.seed]
            else:
                assert "never reached" in note
        if record.kind == "train" and record.regime == "Random":
            assert accuracy["Random", record.seed] < accuracy["DPSGD", record.seed]


def test_the_command_line_shows_and_draws_one_example(images, seeds, tmp_path):
    root = str(images.path.parent)
    done = called("explain", images.id, "--runs", root, "--method", "integrated_gradients", "--example", "3",
               "--save", str(tmp_path / "out.png"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "captum" in done.stdout and ("trustml-jax" in done.stdout) == WHOLE
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"
    shown = called("explain", seeds.id, "--runs", str(seeds.path.parent), "--method", "FeatureAblation", "--json")
    content = json.loads(shown.stdout)
    assert len(content["explanations"]) == 12 and "mean radius" in content["feature_names"]
    assert {one["explained_class"] for one in content["explanations"]} == {content["target"]}  # the true one
    shown = called("explain", images.id, "--runs", root, "--method", "saliency", "--json")
    classes = [str(digit) for digit in range(10)]
    arrays = images.directory.arrays("jobs/explain.torch.of.torch.Plain.s0/attributions.npz")
    for one in json.loads(shown.stdout)["explanations"]:
        assert one["explained_class"] == one["predicted_class"] == classes[arrays["targets"][0]]
        assert 0.1 < one["explained_probability"] == one["predicted_probability"] <= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--method"),
        (("--method", "lime"), "choose among"),
        (("--method", "saliency", "--example", "10"), "0 to 9"),
        (("--method", "saliency", "--model", "train.torch.Nobody.s0"), "models are"),
        (("--method", "saliency", "--save", "x.bmp"), "no known format"),
    ],
)
def test_a_wrong_question_gets_one_clear_line(images, arguments, words):
    done = called("explain", images.id, "--runs", str(images.path.parent), *arguments)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.long
def test_a_study_answers_from_finished_runs(seeds, tmp_path):
    done = called("study", "--from", seeds.id, "--runs", str(seeds.path.parent), "--figure", str(tmp_path / "f.png"))
    assert done.returncode == 0, done.stderr
    for words in ("beyond what another seed does", "lower accuracy", "steadier", "less faithful", "| study | DPSGD |"):
        assert words in done.stdout
    assert (tmp_path / "f.png").stat().st_size > 10_000
    assert called("study").returncode == 2


def test_what_two_sides_are_to_each_other_and_whose_model_it_is_are_columns(seeds, tmp_path_factory):
    found = {}
    for run in (measured_once(tmp_path_factory, "frameworks"), seeds):
        table = run.measures()
        pairs = table[table.subject.str.contains(" ~ ", regex=False)]
        assert len(pairs) and (pairs.pair != "").all() and (table[table.pair != ""].subject.str.contains(" ~ ")).all()
        for row in pairs.to_dict("records"):
            assert row["subject"].startswith(f"{row['first']} ~ {row['second']}")
        found |= {kind: group for kind, group in pairs.groupby("pair")}
        explained = table[table.kind == "explain"]
        for row in explained.to_dict("records"):
            assert row["job"] == explain_id(row["backend"], row["model"])
        assert set(explained.model) <= {record.id for record in run.manifest.jobs if record.kind == "train"}
        assert table[(table.kind == "train")].eval("job == model").all()
    assert {"same weights", "two regimes over seeds"} <= found.keys()


def test_a_verdict_an_interval_and_a_p_value_are_columns(images, seeds):
    table = images.measures()
    bootstrap = table[table.interval == "exact bootstrap over examples"]
    assert len(bootstrap) and (bootstrap.confidence == 0.95).all() and bootstrap.low.notna().all()
    assert bootstrap.note.str.contains("exact bootstrap 95 % over examples").all()
    judged = table[(table.measure == "insertion_auc") & table.value.notna()]
    assert {"random control"} < set(judged.verdict) - {""}
    effects = seeds.measures().query("measure == 'explanation_effect'")
    tests = seeds.measures().query("measure == 'explanation_effect_p'")
    keys = ["backend", "regime", "method", "subject"]
    both = effects.merge(tests, on=keys, suffixes=("", "_of_test"))
    assert len(both) == len(effects) > 0 and (both.p_value == both.value_of_test).all()
    assert (effects.interval == "jackknife over seeds").all() and effects.note.str.contains("permutation p = ").all()
