"""Keras 3 as a backend from another package (examples/keras3_backend), on JAX and on PyTorch; where it is there."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

import trustml
from tests import WHOLE
from trustml.auditing.run_audit import audit_run
from trustml.backends.contract import Model
from trustml.backends.numpy.network import logits
from trustml.backends.settings import PrivateSettings
from trustml.backends.table import load_backend
from trustml.catalogue.available import availability
from trustml.conformance import StepSettings, check_step
from trustml.conformance.subject import flat
from trustml.frameworks.table import backend_names
from trustml.models.transformers import encoder
from trustml.models.weights import initial_weights
from trustml.models.zoo import small_cnn
from trustml.worker import conformance

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "keras3_backend"
METHODS = (trustml.Saliency(), trustml.InputXGradient(), trustml.IntegratedGradients(n_steps=8), trustml.LRP())
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("keras") is None or importlib.metadata.version("keras") < "3", reason="Keras 3 is not here"
)


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """The package lies where Python looks for packages, with what its own file says of entry points."""
    place = tmp_path_factory.mktemp("site")
    shutil.copytree(FOLDER / "trustml_keras3", place / "trustml_keras3")
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    folder = place / f"trustml_keras3-{project['version']}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {place}" for name, place in project["entry-points"]["trustml.backends"].items()]
    (folder / "entry_points.txt").write_text("\n".join(["[trustml.backends]", *lines, ""]))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        yield


def test_both_are_there_and_say_what_they_do():
    assert backend_names()[-2:] == ("keras_jax", "keras_torch")
    for name in backend_names()[-2:]:
        assert availability(name, METHODS[2]).library == "trustml-keras3"
        assert availability(name, METHODS[3]).reason == f"is not implemented for {name}"


def test_its_private_step_is_the_mechanism_and_its_outputs_are_the_oracles():
    """On JAX alone: a process has one engine."""
    backend = load_backend("keras_jax")
    inputs, labels = conformance.example_data("mlp")
    factory = conformance._factory(backend, "mlp", per_layer=False)
    found = check_step(factory, inputs[:16], labels[:16], settings=StepSettings(noise_multiplier=1.3))
    assert [finding.diagnosis for finding in found if not finding.passed] == []
    model = conformance.example_model("mlp")
    assert np.abs(backend.network(model).logits(inputs[:4]) - logits(model, inputs[:4])).max() < 1e-5


def test_the_encoder_computes_what_the_oracle_does_and_clips_one_text_by_itself():
    backend = load_backend("keras_jax")
    architecture = encoder(vocabulary=9, classes=3, width=8, heads=2, blocks=1)
    weights = initial_weights(architecture, (5,), generator=np.random.default_rng(1))
    model = Model(architecture=architecture, input_shape=(5,), weights=weights)
    ids = np.random.default_rng(2).integers(1, 9, (4, 5)).astype(np.float32)
    ids[0, 3:], ids[1] = 0, 0  # padding, and nothing but padding
    found = backend.network(model).logits(ids)
    np.testing.assert_allclose(found, logits(model, ids), atol=1e-5)
    looked_up = np.concatenate([weights["tokens.table"][ids.astype(int)] - weights["tokens.table"][0],
                                np.where(ids > 0, 0.0, -1.0)[..., None]], axis=-1).astype(np.float32)  # fmt: skip
    np.testing.assert_allclose(backend.network(model).logits(looked_up), found, atol=1e-5)
    assert backend.network(model).input_gradients(looked_up, np.zeros(4, int)).shape == looked_up.shape

    def clipped(rows):
        settings = PrivateSettings(optimizer=trustml.SGD(), expected_batch_size=4, noise_seed=(1, 2, 3, 4))
        trainer = backend.private(model, settings, 0)
        trainer.accumulate(ids[rows, None], np.array([0, 1, 2, 1])[rows], clipping_norm=0.1)
        return flat(trainer.clipped_sum())

    alone = [clipped([row]) for row in range(4)]
    np.testing.assert_allclose(clipped([0, 1, 2, 3]), np.sum(alone, axis=0), atol=1e-6)
    assert max(np.linalg.norm(one) for one in alone) == pytest.approx(0.1, rel=1e-5)


@pytest.mark.long
@pytest.mark.skipif(not WHOLE, reason="trains in processes of their own")
@pytest.mark.timeout(1800)
def test_digits_are_trained_on_explained_attacked_and_audited_with_parity_to_ours(tmp_path):
    scenario = trustml.Scenario(
        name="keras3",
        data=trustml.Digits(test_fraction=0.6),
        model=small_cnn(),
        training=(
            trustml.Plain(epochs=3, batch_size=32, optimizer=trustml.SGD(learning_rate=0.1, momentum=0.9)),
            trustml.DPSGD(epsilon=8.0, epochs=3, batch_size=128, optimizer=trustml.SGD(learning_rate=0.5)),
        ),
        explanations=trustml.Explanations(
            methods=METHODS, examples=6, probes=trustml.Probes(faithfulness=False), timing=False
        ),
        attacks=trustml.Attacks(
            membership=trustml.MembershipInference(shadow_models=0),
            canaries=(trustml.Canaries(kind="dirac gradient", count=20),),
        ),
        backends=("jax", "keras_jax", "keras_torch"),
        execution=trustml.Execution(threads=1),
    )
    run = trustml.run(scenario, out=tmp_path)
    assert run.status == "success", [(job.id, job.reason) for job in run.manifest.jobs if job.status != "ok"]
    found = run.measures()
    epsilon = found[found.measure == "epsilon"].set_index("backend").value
    assert set(epsilon.index) == set(scenario.backends) and (epsilon <= 8.0).all()
    assert (found[(found.measure == "accuracy") & (found.regime == "Plain")].value > 0.8).all()
    ours = run.weights("train.jax.Plain.s0")
    for name in ("keras_jax", "keras_torch"):
        weights = run.weights(f"train.{name}.Plain.s0")  # the same batches from the same start
        for part, array in ours.items():
            assert np.abs(weights[part] - array).max() < 1e-3, (name, part)
        theirs = run.attributions(f"train.{name}.Plain.s0", backend=name, method="InputXGradient")
        there = run.attributions("train.jax.Plain.s0", backend="jax", method="InputXGradient")
        assert np.abs(theirs - there).max() < 1e-4 * np.abs(there).max(), name
    audit = audit_run(run.directory)
    assert not [finding for finding in audit.findings if finding.severity == "violation"]


@pytest.mark.long
@pytest.mark.skipif(not WHOLE, reason="trains in processes of their own")
@pytest.mark.timeout(3600)
def test_an_encoder_is_trained_explained_attacked_and_audited_with_parity_to_the_other_three(tmp_path):
    generator, lines = np.random.default_rng(0), []
    for _ in range(360):
        label = ("dull", "keen")[int(generator.integers(2))]
        words = {"dull": ("slow", "grey", "late"), "keen": ("fast", "blue", "soon")}[label]
        lines.append(f"{label}\t{' '.join(generator.choice(words, 3))}")
    (tmp_path / "notes.tsv").write_text("label\ttext\n" + "\n".join(lines) + "\n")
    scenario = trustml.Scenario(
        name="keras3_encoder",
        data=trustml.Text(
            path=str(tmp_path / "notes.tsv"), text="text", label="label", separator="\t", length=16, test_fraction=0.3
        ),
        model=encoder(vocabulary=258, classes=2, width=8, heads=2, blocks=1, hidden=16),
        training=(
            trustml.Plain(epochs=6, batch_size=32, optimizer=trustml.Adam(learning_rate=0.02)),
            trustml.DPSGD(epsilon=8.0, delta=1e-3, epochs=2, batch_size=64, optimizer=trustml.Adam(learning_rate=0.01)),
        ),
        explanations=trustml.Explanations(
            methods=METHODS[1:2], examples=4, probes=trustml.Probes(faithfulness=False), timing=False
        ),
        attacks=trustml.Attacks(membership=trustml.MembershipInference(shadow_models=0)),
        backends=("torch", "jax", "tensorflow", "keras_jax", "keras_torch"),
        execution=trustml.Execution(threads=1, parallel_jobs=2),
    )
    run = trustml.run(scenario, out=tmp_path / "run")
    assert run.status == "success", [(job.id, job.reason) for job in run.manifest.jobs if job.status != "ok"]
    found = run.measures()
    epsilon = found[found.measure == "epsilon"].set_index("backend").value
    assert set(epsilon.index) == set(scenario.backends) and (epsilon <= 8.0).all()
    accuracy = found[(found.measure == "accuracy") & (found.regime == "Plain")].set_index("backend").value
    assert set(accuracy.index) == set(scenario.backends) and (accuracy > 0.9).all()
    assert set(found[found.measure == "membership_auc"].backend) == set(scenario.backends)
    for ours in ("torch", "jax", "tensorflow"):
        there = run.weights(f"train.{ours}.Plain.s0")
        explained = run.attributions(f"train.{ours}.Plain.s0", backend=ours, method="InputXGradient")
        for name in ("keras_jax", "keras_torch"):
            weights = run.weights(f"train.{name}.Plain.s0")  # the same batches from the same start
            for part, array in there.items():
                assert np.abs(weights[part] - array).max() < 5e-3, (name, ours, part)
            theirs = run.attributions(f"train.{name}.Plain.s0", backend=name, method="InputXGradient")
            assert np.abs(theirs - explained).max() < 1e-2 * np.abs(explained).max(), (name, ours)
    audit = audit_run(run.directory)
    assert not [finding for finding in audit.findings if finding.severity == "violation"]
