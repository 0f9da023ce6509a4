"""A backend from another package, found by its entry point, runs a scenario: not a line of trustml knows of it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import trustml
from tests.backends.torch.explaining import request
from tests.cli.test_cli import called
from tests.records import unasked_second_opinion
from trustml.auditing.models import target_of
from trustml.auditing.run_audit import audit_run
from trustml.backends.contract import Model
from trustml.backends.table import load_backend
from trustml.catalogue.available import availability
from trustml.compare.table import read_measures
from trustml.conformance import StepSettings, check_step
from trustml.errors import ScenarioError, UsageError
from trustml.frameworks.table import GROUP, backend_names, entry_of, is_known
from trustml.launch.added import added_variables
from trustml.launch.environments import find_environment, probe
from trustml.models.layers import Architecture, Flatten
from trustml.models.shapes import weight_shapes
from trustml.models.weights import read_weights
from trustml.models.zoo import mlp
from trustml.report.figures import backend_colour
from trustml.scenario import methods as m
from trustml.scenario.check import check_scenario
from trustml.scenario.federated import FedAvg
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Execution, Explanations, Probes, Scenario
from trustml.worker import conformance

FOLDER = Path(__file__).resolve().parents[1] / "fourth_backend"
SOURCE = Path(trustml.__file__).resolve().parents[1]
METHODS = (m.Saliency(), m.InputXGradient(), m.IntegratedGradients(n_steps=4), m.LRP())
SCENARIO = Scenario(
    name="fourth",
    data=Digits(test_fraction=0.8),
    model=Architecture(layers=(Flatten(), *mlp([16], classes=10).layers)),
    training=(
        Plain(epochs=2, batch_size=32, optimizer=SGD(learning_rate=0.1, momentum=0.9)),
        DPSGD(epsilon=3.0, epochs=2, batch_size=64, optimizer=SGD(learning_rate=0.5)),
        FedAvg(partition=IID(clients=4), rounds=2, batch_size=32),
    ),
    explanations=Explanations(methods=METHODS, examples=6, probes=Probes(faithfulness=False), timing=False),
    backends=("numpy",),
    execution=Execution(threads=1),
)


@pytest.fixture(scope="module")
def installed():
    """The other package is where Python looks for packages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield


@pytest.fixture(scope="module")
def run(installed, tmp_path_factory) -> trustml.Run:
    with unasked_second_opinion():
        return trustml.run(SCENARIO, out=tmp_path_factory.mktemp("runs"))


def command(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    places = [str(SOURCE), *([str(path)] if path else [])]
    return subprocess.run(
        [sys.executable, "-P", "-m", "trustml.cli", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
    )


def test_it_is_there_beside_ours(installed):
    assert backend_names() == ("torch", "jax", "tensorflow", "numpy")
    environment = find_environment("numpy")
    assert environment.python == Path(sys.executable)
    assert environment.variables == added_variables() | {"PYTHONPATH": str(FOLDER)}
    found = probe(environment)
    assert (found.versions, found.devices, found.problem) == ({"numpy": np.__version__}, ("cpu",), "")
    scale = backend_colour(backend_names()).to_dict()["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True))["numpy"] == "#CC79A7"


def test_its_entry_says_who_does_a_method(installed):
    assert availability("numpy", m.Saliency()).function == "trustml_numpy.attribution.saliency"
    assert "paths from zero alone" in availability("numpy", m.IntegratedGradients(baseline=1.0)).reason
    assert availability("numpy", m.LRP()).reason == "is not implemented for numpy"


def test_every_job_of_a_scenario_is_done(run):
    ended = {record.id: (record.status, record.reason) for record in run.manifest.jobs}
    assert set(ended.values()) == {("ok", "")}, ended
    trained = {"train.numpy.Plain.s0", "train.numpy.DPSGD.s0", "train.numpy.FedAvg.s0"}
    assert {*trained, "explain.numpy.of.numpy.Plain.s0", "explain.numpy.of.numpy.DPSGD.s0"} <= set(ended)
    assert {record.result.library for record in run.manifest.jobs if record.id in trained} == {"trustml-numpy"}
    skipped = {(skip.backend, skip.method): skip.reason for skip in run.manifest.skips}
    assert skipped[("numpy", "LRP")] == "is not implemented for numpy"


@pytest.mark.torch
def test_its_model_and_its_explanations_are_what_another_library_finds(run):
    (accuracy,) = read_measures(run.directory).query("measure == 'accuracy' and regime == 'Plain'").value
    assert accuracy > 0.5
    folder, data = run.directory.job_folder("train.numpy.Plain.s0"), run.directory.arrays("heldout.npz")
    weights = read_weights(folder / "weights.safetensors", expected=weight_shapes(SCENARIO.model, (8, 8, 1)))
    model = Model(architecture=SCENARIO.model, input_shape=(8, 8, 1), weights=weights)
    explained = run.directory.arrays("jobs/explain.numpy.of.numpy.Plain.s0/attributions.npz")
    inputs = data["inputs"]
    found = load_backend("torch").network(model).logits(inputs)
    assert np.abs(found - explained["logits"]).max() < 1e-4
    for method in METHODS[:2]:
        asked = dataclasses.replace(request(method, model), inputs=inputs, targets=explained["targets"])
        captum = load_backend("torch").explain(asked)["native"]
        ours = run.attributions("train.numpy.Plain.s0", backend="numpy", method=method.title)
        assert np.abs(ours - captum).max() < 1e-4 * np.abs(captum).max()


def test_its_private_model_is_accounted_for_and_audited(run):
    table = read_measures(run.directory)
    (epsilon,) = table.query("measure == 'epsilon' and backend == 'numpy'").value
    assert 2.0 < epsilon <= 3.0
    audit = audit_run(run.directory)
    assert "train.numpy.DPSGD.s0" in {model.name for model in audit.models}
    found = [f for f in audit.findings if f.check == "accounting" and "train.numpy.DPSGD.s0" in f.subject]
    assert [finding.severity for finding in found] == ["pass"]
    assert found[0].measured[0].value <= 3.0
    assert not any(finding.severity == "violation" for finding in audit.findings)


def test_its_private_step_is_the_mechanism(installed):
    inputs, labels = conformance.example_data("mlp")
    factory = conformance._factory(load_backend("numpy"), "mlp", per_layer=False)
    found = check_step(factory, inputs[:16], labels[:16], settings=StepSettings(noise_multiplier=1.3))
    assert [finding.diagnosis for finding in found if not finding.passed] == []


@pytest.mark.long
def test_commands_know_it_where_it_is_installed_and_read_its_runs_where_it_is_not(run):
    path = str(run.directory.path)
    audited = command("audit", path, path=FOLDER)
    assert "train.numpy.DPSGD.s0" in audited.stdout and audited.returncode == 0, audited.stderr
    shown = command("show", path)
    assert "numpy" in shown.stdout and shown.returncode == 0, shown.stderr
    with unasked_second_opinion():
        verified = called("verify", path)
    assert verified.returncode == 0, verified.stdout


@pytest.mark.long  # all is measured anew
def test_what_draws_its_noise_is_not_known_where_it_is_not_installed(run):
    verified = command("verify", str(run.directory.path))
    assert verified.returncode == 1
    assert "backend 'numpy' is not there to say what draws its noise" in verified.stdout + verified.stderr


def test_a_strangers_model_of_it_is_recognised_and_audited(installed):
    from trustml_numpy.model_adapter import Dense

    generator = np.random.default_rng(0)
    model, inputs = Dense(generator.normal(size=(6, 3))), generator.normal(size=(60, 6)).astype(np.float32)
    target = target_of(model)
    assert target.kind == "NumPy network (Dense)"
    assert np.array_equal(target.ask(inputs), (inputs @ model.kernel).astype(np.float32))
    labels = target.ask(inputs).argmax(axis=1)
    audit = trustml.audit(
        model,
        train=(inputs[:30], labels[:30]),
        holdout=(inputs[30:], labels[30:]),
        checks=("explanations",),
        outputs="logits",
    )
    assert not [finding for finding in audit.findings if finding.severity in ("risk", "violation")]
    assert any("trustml-numpy" in str(finding) for finding in audit.findings)
    assert audit.record.versions["trustml-numpy"] == "1.0"


def test_a_name_that_is_not_there_is_one_line(tmp_path):
    file = tmp_path / "one.toml"
    file.write_text('name = "one"\nbackends = ["numpy"]\n[data]\nkind = "Digits"\n[[model.layers]]\nkind = "Flatten"\n')
    file.write_text(file.read_text() + '[[training]]\nkind = "Plain"\n')
    done = command("run", str(file), "--runs", str(tmp_path))
    assert done.returncode == 2
    assert "backends.0: 'numpy' is not one of the choices; choose one of torch, jax, tensorflow" in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(UsageError, match=r"backend 'fourth' is not there; use one of torch, jax, tensorflow"):
        load_backend("fourth")


@pytest.mark.parametrize(
    ("point", "line"),
    [
        ("other = trustml_numpy.nowhere:ENTRY", r"cannot be loaded \(ModuleNotFoundError: .*fix or remove it"),
        ("other = trustml_numpy.training:canonical", "gives function, no BackendEntry; fix or remove it"),
        ("other = trustml_numpy.entry:ENTRY", "gives the backend 'numpy'; give both one name"),
        ("torch = trustml_numpy.entry:ENTRY", "is a backend of trustml; rename it"),
        ("Other-1 = trustml_numpy.entry:ENTRY", "is no plain name"),
    ],
)
def test_an_entry_point_that_gives_no_backend_is_one_line(installed, tmp_path, monkeypatch, point, line):
    folder = tmp_path / "broken-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{GROUP}]\n{point}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match=line):
        entry_of("other")
    assert is_known("torch") and entry_of("torch").module == "trustml.backends.torch"


def test_a_scenario_is_checked_before_anything_runs():
    with pytest.raises(ScenarioError, match="'fifth' is not one of the choices"):
        check_scenario(
            Scenario(name="t", data=Digits(), model=SCENARIO.model, training=(Plain(),), backends=("fifth",))
        )
