"""A network of somebody's own code as a scenario's model: planned, left out elsewhere, and never run by a reader."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

import trustml
from tests import WHOLE
from trustml import (
    DPSGD,
    Digits,
    Explanations,
    IntegratedGradients,
    LocalDPFedAvg,
    Occlusion,
    Plain,
    Scenario,
    SiloDPFedAvg,
)
from trustml.errors import ScenarioError, UsageError
from trustml.launch import own_network
from trustml.launch.prepare import prepare_run
from trustml.launch.resume import prepare_resume
from trustml.models.layers import Architecture
from trustml.models.native import ANSWER, TRUST_VARIABLE, Answer, code_digest, load_callable, native_of, start_file
from trustml.models.weights import encode_weights, read_weights
from trustml.record.files import write_atomic
from trustml.scenario.check import check_scenario
from trustml.scenario.read import from_plain, read_scenario, to_plain
from trustml.scenario.trained_part import trained_part
from trustml.worker import own_network as worker

FOLDER = Path(__file__).parents[1] / "own_code"
SHAPES = {"1.weight": (16, 64), "1.bias": (16,), "3.weight": (10, 16), "3.bias": (10,)}


def scenario_of(module="torch_networks:Scaled", backends=("jax", "torch"), **other):
    fields = {
        "name": "own",
        "data": Digits(),
        "model": trustml.Native(backend="torch", module=module, folder=str(FOLDER)),
        "training": (Plain(epochs=1, batch_size=256), DPSGD(noise_multiplier=1.0, epochs=1, batch_size=256)),
        "explanations": Explanations(methods=(IntegratedGradients(n_steps=4), Occlusion(window=(4, 4))), examples=4),
        "backends": backends,
    }
    return Scenario(**fields | other)


@pytest.fixture
def looked_at(monkeypatch):
    """What the process that looks at the code would answer, without it: no framework is needed to plan."""

    def answer(module, *arguments, folder, variables, **_):
        assert module == "trustml.worker.own_network" and variables == {TRUST_VARIABLE: "1"}
        request = msgspec.json.decode((folder / "request.json").read_bytes(), type=worker.Request)
        assert request.private and request.input_shape == (8, 8, 1)
        network = msgspec.structs.replace(
            request.network, code="1" * 64, parameters=tuple(SHAPES.items()), outputs=(10,)
        )
        for seed in request.seeds:
            weights = {name: np.full(shape, seed, np.float32) for name, shape in SHAPES.items()}
            write_atomic(folder / start_file(seed), encode_weights(weights))
        write_atomic(folder / ANSWER, msgspec.json.encode(Answer(network=network)))
        return ""

    monkeypatch.setattr(own_network, "run_module", answer)


def test_it_is_planned_for_its_own_backend_and_left_out_of_others_with_the_reason(looked_at, tmp_path):
    run = prepare_run(scenario_of(seeds=(0, 3)), root=tmp_path)
    manifest = run.manifest()
    assert {job.backend for job in manifest.jobs} == {"torch"}
    assert {skip.regime: skip.reason for skip in manifest.skips} == {
        "Plain": "only torch has this model, which is its own code",
        "DPSGD": "only torch has this model, which is its own code",
    }
    assert any(job.kind == "explain" for job in manifest.jobs)
    for seed in (0, 3):
        start = read_weights(run.file(f"weights/initial.s{seed}.safetensors"), expected=SHAPES)
        assert all((array == seed).all() for array in start.values())
    own = native_of(from_plain(manifest.scenario).model)
    assert own is not None and own.code == "1" * 64 and dict(own.parameters) == SHAPES


def test_a_scenario_that_is_an_object_finds_its_code_and_weights_from_the_folder_it_is_run_in(
    looked_at, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = {name: np.full(shape, 7, np.float32) for name, shape in SHAPES.items()}
    (tmp_path / "w.safetensors").write_bytes(encode_weights(given))
    model = trustml.Native(backend="torch", module="torch_networks:Scaled", folder="code", weights="w.safetensors")
    run = prepare_run(scenario_of(model=model), root=tmp_path / "runs")
    scenario = from_plain(run.manifest().scenario)
    own = native_of(scenario.model)
    assert own is not None and own.folder == str(tmp_path / "code")
    assert scenario.start == own.weights == str(tmp_path / "w.safetensors")
    for name, array in read_weights(run.file("weights/initial.s0.safetensors"), expected=SHAPES).items():
        assert np.array_equal(array, given[name])
    with pytest.raises(ScenarioError, match=r"^start: 'other', but .* its weights 'w.safetensors'; name one"):
        prepare_run(scenario_of(model=model, start="other"), root=tmp_path / "runs")
    with pytest.raises(UsageError, match=r"^start: w.safetensors has 1.weight of shape \(3,\)"):
        (tmp_path / "w.safetensors").write_bytes(encode_weights(given | {"1.weight": np.ones(3, np.float32)}))
        prepare_run(scenario_of(model=model), root=tmp_path / "runs")
    (tmp_path / "w.safetensors").unlink()
    with pytest.raises(UsageError, match=r"^start: .*w.safetensors: not a readable .*; name a file of"):
        prepare_run(scenario_of(model=model), root=tmp_path / "runs")


def test_a_part_of_own_code_is_named_by_its_own_names_alone():
    layer = msgspec.structs.replace(native_of(scenario_of().model), parameters=tuple(SHAPES.items()), outputs=(10,))
    architecture = Architecture(layers=(layer,))
    part = trained_part((trustml.Named(patterns=("3.*",)),), architecture, (8, 8, 1))
    assert part.trained == ("3.weight", "3.bias") and part.architecture == architecture
    for one in (trustml.Head(), trustml.NormsAndBiases(), trustml.LoRA()):
        with pytest.raises(ScenarioError, match=rf"^trainable.0: {type(one).__name__} is found by layers.* 1.weight"):
            trained_part((one,), architecture, (8, 8, 1))


def test_a_recorded_scenario_is_not_run_with_other_code(tmp_path):
    (tmp_path / "mine.py").write_text("")
    layer = msgspec.structs.replace(
        native_of(scenario_of().model), module="mine:make", folder=str(tmp_path), code="0" * 64
    )
    request = worker.Request(network=layer, input_shape=(8, 8, 1), task=trustml.Classes(), seeds=(0,), private=False)
    with pytest.raises(UsageError, match=r"^model.layers.0.code: mine:make .* is other code than .*; leave code out"):
        worker.look(request, SimpleNamespace(own=pytest.fail), tmp_path)
    gone = msgspec.structs.replace(layer, folder=str(tmp_path / "gone"), module="gone_too:make")
    with pytest.raises(UsageError, match=r"^model.module: there is no module 'gone_too' in .*gone; check"):
        worker.look(msgspec.structs.replace(request, network=gone), SimpleNamespace(own=pytest.fail), tmp_path)


def test_going_on_with_a_run_runs_no_code_that_only_the_record_names(looked_at, tmp_path):
    run = prepare_run(scenario_of(), root=tmp_path)
    with pytest.raises(UsageError, match=re.escape("torch_networks:Scaled is code that the record names")):
        prepare_resume(run, allow_overrun=False)
    assert prepare_resume(run, allow_overrun=False, trust_code=True).status == "running"
    with pytest.raises(UsageError, match="--trust-code"):
        trustml.resume(run.path)


@pytest.mark.parametrize(
    ("regime", "private"), [(SiloDPFedAvg(epsilon=2.0), True), (LocalDPFedAvg(epsilon=2.0), False)]
)
def test_code_whose_examples_are_clipped_one_by_one_is_tried_for_that(monkeypatch, regime, private):
    asked = []

    def answer(module, *arguments, folder, **_):
        asked.append(msgspec.json.decode((folder / "request.json").read_bytes(), type=worker.Request))
        write_atomic(folder / ANSWER, msgspec.json.encode(Answer(problem="enough")))
        return "ended"

    monkeypatch.setattr(own_network, "run_module", answer)
    monkeypatch.setattr(own_network, "find_environment", lambda name: None)
    with pytest.raises(UsageError, match="enough"):
        own_network.look_at_model(scenario_of(backends=("torch",), training=(regime,)), (8, 8, 1))
    assert asked[0].private is private


def test_nothing_is_imported_unless_it_is_trusted(tmp_path, monkeypatch):
    monkeypatch.delenv(TRUST_VARIABLE, raising=False)
    (tmp_path / "evil_network.py").write_text("raise SystemExit('it ran')\n")
    layer = trustml.Native(backend="torch", module="evil_network:make", folder=str(tmp_path)).layers[0]
    with pytest.raises(UsageError, match="evil_network:make is code that the record names"):
        load_callable(layer)
    assert "evil_network" not in sys.modules
    assert re.fullmatch("[0-9a-f]{64}", code_digest("evil_network:make", str(tmp_path)))  # read, not run
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    with pytest.raises(SystemExit, match="it ran"):
        load_callable(layer)


@pytest.mark.parametrize(
    "other, field, said",
    [
        ({"backends": ("jax",)}, "backends", "the model is code of torch, which is not among jax"),
        ({"module": "no name"}, "model.layers.0.module", "names nothing to call"),
        (
            {"training": (DPSGD(noise_multiplier=1.0, epochs=1, batch_size=256, engine="stock"),)},
            "training.0.engine",
            "'stock' leaves clipping to the library",
        ),
        (
            {"attacks": trustml.Attacks(membership=trustml.MembershipInference(shadow_models=16))},
            "attacks.membership.shadow_models",
            "which does not run own code",
        ),
        ({"data": trustml.Text(path="t.csv", length=8)}, "data", "gives token ids, and own code"),
    ],
)
def test_what_own_code_cannot_have_is_said_before_anything_runs(other, field, said):
    with pytest.raises(ScenarioError, match=said) as raised:
        check_scenario(scenario_of(**other))
    assert str(raised.value).startswith(f"{field}:")


def test_a_file_names_it_and_its_folder_is_that_of_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nbackends = ["torch"]\n[data]\nkind = "Digits"\n[[training]]\nkind = "Plain"\n'
        '[[model.layers]]\nkind = "Native"\nbackend = "torch"\nmodule = "my_model:make"\nweights = "w.safetensors"\n'
    )
    found = read_scenario(path)
    own = native_of(found.model)
    assert own is not None and own.folder == str(tmp_path.resolve())
    assert found.start == own.weights == str(tmp_path.resolve() / "w.safetensors")
    assert from_plain(to_plain(found)) == found


@pytest.mark.long
@pytest.mark.skipif(not WHOLE, reason="trains in processes of their own")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "backend, module, weight",
    [
        ("torch", "torch_networks:Scaled", "scale"),
        ("jax", "jax_networks:pair", "first.w"),
        ("tensorflow", "keras_networks:Net", "gain"),
    ],
)
def test_a_strangers_module_is_trained_explained_attacked_and_verified(backend, module, weight, tmp_path):
    from trustml.evidence.verify import verify

    run = trustml.run(
        scenario_of(
            model=trustml.Native(backend=backend, module=module, folder=str(FOLDER)),
            backends=(backend,),
            attacks=trustml.Attacks(
                membership=trustml.MembershipInference(shadow_models=0),
                canaries=(trustml.Canaries(kind="dirac gradient", count=20),),
            ),
        ),
        out=tmp_path,
    )
    assert run.status == "success", [job.reason for job in run.manifest.jobs]
    found = run.measures()
    assert set(found[found.measure == "epsilon"].backend) == {backend}
    plain, private = (f"train.{backend}.{regime}.s0" for regime in ("Plain", "DPSGD"))
    assert weight in run.weights(private)
    with pytest.raises(UsageError, match="trust_code"):
        run.model(plain)
    if backend != "tensorflow":  # which is not beside this interpreter
        outputs = run.model(plain, trust_code=True).logits(run.heldout()["inputs"])
        np.testing.assert_allclose(outputs, run.predictions(plain)["logits"][:4], atol=1e-5)
    checks = verify(run.path).checks
    assert not [check for check in checks if check.outcome == "differs"]
    assert any("own code" in check.message and check.outcome == "not recomputed" for check in checks)
