"""A model leaves its run: with its statement, with rows that say how far it agrees, and not under another name."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

import trustml
from tests.conftest import measured_copy
from tests.deployment.exported_cases import FAULTS, planted
from tests.records import copy_of, measured_anew
from trustml.auditing.checks_deployed import check_deployed
from trustml.auditing.framework_worker import FrameworkWorker
from trustml.cli.export import command
from trustml.cli.main import OK
from trustml.compare.table import recorded_measures, rows_of, table_of
from trustml.deployment import against, export
from trustml.deployment.against import examples_of, hold_against, is_rounded_as_said
from trustml.deployment.export import calibration_of
from trustml.deployment.targets import TARGETS
from trustml.errors import TrustmlError, UsageError
from trustml.evidence.exports import export_checks
from trustml.evidence.verify import verify
from trustml.frameworks.table import file_backend
from trustml.measures.deployed import MOST_APART, deployed_rows
from trustml.measures.evidence import Evidence
from trustml.models.layers import Architecture, Dense
from trustml.models.tasks import DEFAULT_TASK
from trustml.models.weights import encode_weights, read_weights
from trustml.record.exports import EXPORTS, WRITTEN, ExportedStatement, ExportRequest, Written, read_exports
from trustml.record.files import encode_arrays, read_arrays
from trustml.record.schema import FORMAT, OLDEST_FORMAT
from trustml.record.store import AUDIT, AUDIT_REPORT, MODEL_CARD
from trustml.report.deployed.tables import failure_of
from trustml.worker import deployed, exporting

MODEL = "train.torch.DPSGD.s0"


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> trustml.Run:
    """A run with one model exported. Only to be read."""
    run = measured_copy(tmp_path_factory, "frameworks", tmp_path_factory.mktemp("exports"))
    run.export(MODEL, to="pt2")
    return run


@pytest.mark.torch
def test_the_file_says_what_the_model_said(exported):
    (record,) = read_exports(exported.directory)
    table = exported.measures()
    rows = table[table.measure.str.startswith("deployed_")].set_index("measure")
    assert set(rows.model) == {MODEL} and set(rows.subject) == {"pt2"}
    assert rows.value["deployed_logit_difference"] <= 1e-5
    assert rows.value["deployed_disagreement"] == 0 and rows.high["deployed_disagreement"] < 0.01
    assert rows.value["deployed_attribution_agreement"] > 0.999
    assert rows.value["deployed_size"] == record.size > 1000
    assert rows.n["deployed_disagreement"] == record.held_out == len(exported.predictions(MODEL)["labels"])
    assert failure_of(record, table[table.job == MODEL]) == ""
    answers = exported.directory.arrays(f"{EXPORTS}/{record.name}/answers.npz")
    np.testing.assert_allclose(answers["file.held_out_logits"], exported.predictions(MODEL)["logits"], atol=1e-5)


@pytest.mark.torch
def test_the_statement_travels_inside(exported):
    import torch

    (record,) = read_exports(exported.directory)
    extra = {"trustml.json": ""}
    torch.export.load(exported.path / EXPORTS / record.name / record.file, extra_files=extra)
    inside = msgspec.json.decode(extra["trustml.json"], type=ExportedStatement)
    (private,) = [one for one in exported.privacy() if one.model == MODEL]
    assert inside.privacy == private and private.epsilon is not None
    assert inside.model == MODEL and inside.layout == "channels first"
    assert record.statement_kept


@pytest.mark.torch
def test_the_rows_follow_from_what_is_stored(exported, tmp_path):
    """So whoever verifies the run makes them again; an answer that was changed afterwards gives others."""
    recorded = [row for row in rows_of(recorded_measures(exported.directory)) if row.measure.startswith("deployed_")]
    assert deployed_rows(Evidence(exported.directory)) == recorded
    copy = trustml.load(shutil.copytree(exported.path, tmp_path / "run"))
    (record,) = read_exports(exported.directory)
    path = copy.path / EXPORTS / record.name / "answers.npz"
    arrays = read_arrays(path)
    arrays["file.held_out_logits"][0, 0] += 1
    path.write_bytes(encode_arrays(arrays))
    assert deployed_rows(Evidence(copy.directory)) != recorded


@pytest.mark.torch
def test_another_file_under_its_name_is_found(exported, tmp_path):
    copy = trustml.load(shutil.copytree(exported.path, tmp_path / "run"))
    (record,) = read_exports(copy.directory)
    assert [check.outcome for check in export_checks(copy.directory)] == ["ok"]
    path = copy.path / EXPORTS / record.name / record.file
    whole = path.read_bytes()
    for other in (whole + b"x", whole[:-1] + bytes([whole[-1] ^ 1])):  # longer, and of the same length
        path.write_bytes(other)
        assert [check.outcome for check in export_checks(copy.directory)] == ["differs"]
    path.unlink()
    assert [check.outcome for check in export_checks(copy.directory)] == ["differs"]


@pytest.mark.torch
def test_constant_attributions_and_answers_that_are_no_numbers(exported, tmp_path):
    """The table stays readable, and such a file is not given out."""
    copy = trustml.load(shutil.copytree(exported.path, tmp_path / "run"))
    (record,) = read_exports(copy.directory)
    path = copy.path / EXPORTS / record.name / "answers.npz"
    arrays = read_arrays(path)
    arrays["file.input_gradients"] = np.zeros_like(arrays["file.input_gradients"])
    arrays["file.held_out_logits"][0, 0] = np.nan
    path.write_bytes(encode_arrays(arrays))
    rows = table_of(deployed_rows(Evidence(copy.directory)))
    assert len(rows_of(rows)) == len(rows)
    (agreement,) = rows[rows.measure == "deployed_attribution_agreement"].itertuples()
    assert agreement.value == 0 and agreement.n == record.explained  # flat, where the model's are not
    assert "no number" in failure_of(record, rows)


@pytest.mark.torch
def test_a_file_that_is_wrong_more_often_scores_less(exported, tmp_path):
    copy = trustml.load(shutil.copytree(exported.path, tmp_path / "run"))
    (record,) = read_exports(copy.directory)
    path = copy.path / EXPORTS / record.name / "answers.npz"
    arrays, found = read_arrays(path), copy.predictions(MODEL)
    right = np.flatnonzero(found["logits"].argmax(axis=1) == found["labels"])[:20]
    arrays["file.held_out_logits"][right] *= -1
    path.write_bytes(encode_arrays(arrays))
    rows = table_of(deployed_rows(Evidence(copy.directory))).set_index("measure")
    count = len(found["labels"])
    assert rows.value["deployed_score_difference"] == pytest.approx(-20 / count)
    assert rows.low["deployed_score_difference"] < -20 / count < rows.high["deployed_score_difference"] < 0
    assert rows.value["deployed_disagreement"] == pytest.approx(20 / count)


@pytest.mark.torch
def test_without_the_data_a_file_is_held_against_the_rows_that_it_was_asked(exported, tmp_path):
    copy = trustml.load(shutil.copytree(exported.path, tmp_path / "run"))
    (record,) = read_exports(copy.directory)
    path = copy.path / EXPORTS / record.name / "answers.npz"
    chosen = list(range(50, 62))
    arrays = read_arrays(path)
    arrays["file.explained_logits"] = arrays.pop("file.held_out_logits")[chosen]
    path.write_bytes(encode_arrays(arrays))
    manifest = copy.manifest
    manifest.scenario["explanations"]["rows"] = chosen
    copy.directory.write_manifest(manifest)
    rows = table_of(deployed_rows(Evidence(copy.directory))).set_index("measure")
    assert rows.value["deployed_logit_difference"] <= 1e-5 and rows.value["deployed_disagreement"] == 0


@pytest.mark.torch
@pytest.mark.long
def test_a_run_is_verified_with_its_exports(tmp_path):
    run = measured_anew("frameworks", tmp_path, second_opinion=True)
    run.export(MODEL, to="pt2")
    assert verify(run.path).passed
    (record,) = read_exports(run.directory)
    path = run.path / EXPORTS / record.name / record.file
    path.write_bytes(path.read_bytes() + b"x")
    assert not verify(run.path).passed


def test_an_audit_that_knew_of_no_file_is_removed(tmp_path, monkeypatch):
    run = copy_of("private", tmp_path)
    monkeypatch.setattr(export, "renew_rows", lambda run, *, family, files: None)
    for name in (AUDIT, AUDIT_REPORT, MODEL_CARD):
        run.directory.file(name).write_text("concluded before")
    export._renew(run.directory)
    assert not any(run.directory.file(name).exists() for name in (AUDIT, AUDIT_REPORT, MODEL_CARD))


@pytest.mark.torch
@pytest.mark.parametrize(
    "fault",
    [
        "channels in another order",
        *(pytest.param(fault, marks=pytest.mark.long) for fault in FAULTS if fault != "channels in another order"),
        "",
        "a statement of yesterday",
    ],
)
def test_a_file_with_a_fault_is_told(exported, tmp_path, fault):
    """The file is made by the product's own exporter from a model with the fault, and asked beside the true one."""
    job = exported.directory.job(MODEL)
    weights = read_weights(exported.path / "jobs" / MODEL / "weights.safetensors")
    wrong = planted(weights, fault) if fault in FAULTS else weights
    request = ExportRequest(
        backend="torch",
        target="pt2",
        file=TARGETS["pt2"].file,
        architecture=job.model,
        input_shape=job.input_shape,
        task=trustml.Classes(),
        statement='{"of": "yesterday"}' if "yesterday" in fault else '{"of": "today"}',
    )
    (tmp_path / "request.json").write_bytes(msgspec.json.encode(request))
    (tmp_path / "weights.safetensors").write_bytes(encode_weights(wrong))
    assert exporting.main([str(tmp_path)]) == 0
    (tmp_path / "weights.safetensors").write_bytes(encode_weights(weights))
    inputs = exported.heldout()["inputs"]
    (tmp_path / "questions.npz").write_bytes(encode_arrays({"explained": inputs}))
    assert deployed.main([str(tmp_path)]) == 0
    answers = read_arrays(tmp_path / "answers.npz")
    gap = np.abs(answers["file.explained_logits"] - answers["model.explained_logits"]).max()
    largest = max(1.0, float(np.abs(answers["model.explained_logits"]).max()))
    kept = answers["statement"].tobytes().decode() == '{"of": "today"}'
    assert (gap / largest > MOST_APART) == (fault in FAULTS)
    assert kept == ("yesterday" not in fault)


def test_what_cannot_be_is_one_line(tmp_path):
    run = copy_of("frameworks", tmp_path)
    for wrong, said in [
        ({"to": "coreml"}, "coreml: is no target; choose one of"),
        ({"to": "pt2", "quantised": "int8"}, "pt2: cannot be rounded as int8"),
        ({"to": "pt2", "calibration": "made"}, "says how values are rounded, and none are"),
        ({"to": "onnx", "quantised": "int8", "calibration": "train"}, "no epsilon of the run covers"),
    ]:
        with pytest.raises(UsageError, match=said):
            run.export(MODEL, **wrong)
    with pytest.raises(UsageError, match="is no training"):
        run.export("explain.torch.of.torch.DPSGD.s0", to="pt2")
    with pytest.raises(UsageError, match="no epsilon of the run covers"):
        calibration_of("train")
    with pytest.raises(UsageError, match="is no file"):
        calibration_of("nothing.npz")
    assert not (run.path / EXPORTS).exists()


def test_a_public_file_of_the_runs_own_examples_is_refused(tmp_path):
    """Training examples always, and held-out ones that the run does not disclose: whatever the file is called."""
    run = copy_of("frameworks", tmp_path).directory
    job, path = run.job(MODEL), tmp_path / "public.npz"
    explained = run.arrays("heldout.npz")["inputs"].astype(np.float32)
    own, other, foreign = (np.random.default_rng(seed).random((4, *job.input_shape), np.float32) for seed in range(3))
    data = run.file("private/data.npz")
    data.parent.mkdir(exist_ok=True)
    data.write_bytes(encode_arrays({"train_inputs": own, "test_inputs": np.concatenate([explained, other])}))
    for given, said in [
        (
            np.concatenate([foreign, own[:1]]),
            "public.npz: 1 of its inputs are training examples, which would be another",
        ),
        # As Keras scales images: times a reciprocal, which rounds otherwise.
        (own[:2] * np.float32(255) * np.float32(1 / 255), "public.npz: 2 of its inputs are training examples"),
        (other[:3], "public.npz: 3 of its inputs are held-out examples that the run does not disclose"),
    ]:
        path.write_bytes(encode_arrays({"inputs": given}))
        with pytest.raises(UsageError, match=said):
            export._values(run, job, path)
    for given in (foreign, explained):
        path.write_bytes(encode_arrays({"inputs": given}))
        np.testing.assert_array_equal(export._values(run, job, path), given)


@pytest.mark.parametrize(("quantised", "rounded"), [("dynamic", False), ("int8", False), ("int8", True), ("", False)])
def test_a_file_that_nothing_was_rounded_of_is_not_called_rounded(tmp_path, quantised, rounded):
    """TensorFlow Lite's ``dynamic`` leaves few weights as they are: its statement would say what is not so."""
    (tmp_path / "answers.npz").write_bytes(encode_arrays({"rounded": np.array(rounded)}))
    wanted = ExportRequest(
        backend="tensorflow", target="tflite", file="model.tflite", architecture=Architecture(layers=(Dense(units=2),)),
        input_shape=(4,), task=DEFAULT_TASK, quantised=quantised, statement="",
    )  # fmt: skip
    refused = pytest.raises(UsageError, match=f"tflite: its exporter rounded nothing of this network as {quantised}")
    with refused if quantised and not rounded else contextlib.nullcontext():
        export._refuse_unrounded(tmp_path, wanted)


def test_the_record_names_the_layers_without_which_a_file_has_no_gradient(tmp_path):
    """As the process that wrote the file tells them; of a file that somebody has nobody told."""
    answers = {"statement": np.frombuffer(b"", np.uint8), "first_call": np.array(0.1)}
    (tmp_path / "answers.npz").write_bytes(encode_arrays(answers))
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    wanted = ExportRequest(
        backend="tensorflow", target="tflite", file="model.tflite", architecture=Architecture(layers=(Dense(units=2),)),
        input_shape=(4,), task=DEFAULT_TASK, statement="",
    )  # fmt: skip
    model, said = SimpleNamespace(id=MODEL), SimpleNamespace(quantised="", calibration="")
    for written, layers in [
        (Written(versions={"tensorflow": "2.14.1"}, without_gradient={"3": "GRU"}), {"3": "GRU"}),
        (Written(), {}),
    ]:
        (tmp_path / WRITTEN).write_bytes(msgspec.json.encode(written))
        record = export.record_of(wanted, tmp_path, model, said)
        assert (record.without_gradient, record.versions) == (layers, written.versions)
        assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record


@pytest.mark.torch
def test_the_command_names_the_layers_without_which_a_file_has_no_gradient(exported, monkeypatch):
    (record,) = read_exports(exported.directory)
    for layers in ({}, {"3": "GRU", "head": "Attention"}):
        told = msgspec.structs.replace(record, without_gradient=layers)
        monkeypatch.setattr(export, "export_model", lambda *arguments, told=told, **settings: told)
        found = CliRunner().invoke(command, [str(exported.path), MODEL, "--to", "pt2"], standalone_mode=False)
        assert found.exception is None and found.return_value == OK, found.output
        assert ("have no rule here: 3 (GRU), head (Attention)\n" in found.output) == bool(layers)
        assert ("without its input gradient" in found.output) == bool(layers)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (RuntimeError("Failed to load program\nerror: 0x23"), UsageError, "model.pte: cannot be opened as executorch "),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), UsageError, "it is damaged, or of another"),
        (UsageError("model.pte: is a link"), UsageError, "model.pte: is a link"),
        (ImportError("no runtime"), ImportError, "no runtime"),
    ],
)
def test_a_file_that_its_runtime_cannot_open_is_one_line(monkeypatch, error, kind, said):
    def opened(path, *, as_given):
        raise error

    monkeypatch.setattr(exporting, "exporter_of", lambda backend: SimpleNamespace(OPENERS={"executorch": opened}))
    with pytest.raises(kind, match=said) as told:
        exporting.open_file("torch", "executorch", Path("folder") / "model.pte")
    assert "\n" not in str(told.value)


def test_every_target_is_written_and_opened_by_its_backend():
    for name, target in TARGETS.items():
        source = Path(trustml.__file__).parent / "backends" / target.backend / "exporting.py"
        text = source.read_text()
        assert text.count(f'"{name}":') == 2, f"{name}: not in EXPORTERS and OPENERS of {target.backend}"


@pytest.mark.torch
def test_whoever_holds_the_file_can_audit_it(exported, tmp_path):
    """In a process of its own, with inputs as the file takes them; and nothing of it runs that does not compute."""
    (record,) = read_exports(exported.directory)
    path = exported.path / EXPORTS / record.name / record.file
    inputs = exported.heldout()["inputs"].astype(np.float32)
    with FrameworkWorker("torch", str(path)) as live:
        answers = live.outputs(np.moveaxis(inputs, -1, 1))
        gradients = live.input_gradients(np.moveaxis(inputs, -1, 1), answers.argmax(axis=1))
        assert live.gradients and live.file_digest == record.digest
    np.testing.assert_allclose(answers, exported.predictions(MODEL)["logits"][: len(inputs)], atol=1e-5)
    stored = exported.directory.arrays(f"{EXPORTS}/{record.name}/answers.npz")["file.input_gradients"]
    np.testing.assert_allclose(np.moveaxis(gradients, 1, -1), stored, atol=1e-6)
    other = tmp_path / "model.pt2"
    other.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UsageError, match=r"model\.pt2: is no readable \.pt2 file"):
        FrameworkWorker("torch", str(other))


def test_files_are_told_from_modules(tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    for name, backend in [
        ("a/model.pt2", "torch"),
        ("model.onnx", "torch"),
        ("model.stablehlo", "jax"),
        ("model.keras", "tensorflow"),
        ("model.tflite", "tensorflow"),
        (str(tmp_path / "saved"), "tensorflow"),
        ("model.pt2:model", ""),
        ("latest", ""),
        (str(tmp_path), ""),
    ]:
        assert file_backend(name) == backend, name


@pytest.mark.torch
def test_a_file_is_held_against_the_model_that_it_is_said_to_be(exported, tmp_path):
    (record,) = read_exports(exported.directory)
    path, before = tmp_path / "model [1].pt2", sorted(exported.path.rglob("*"))
    shutil.copyfile(exported.path / EXPORTS / record.name / record.file, path)
    path.with_name(f"{path.name}.other").symlink_to("/etc/hostname")  # is none of its parts
    same = check_deployed(hold_against(path, exported.directory, MODEL))
    assert [finding.severity for finding in same] == ["pass", "pass", "pass"]
    other = check_deployed(hold_against(path, exported.directory, "train.torch.Plain.s0"))
    assert [(finding.id, finding.severity) for finding in other] == [
        ("deployed.answers", "risk"),
        ("deployed.explanations", "risk"),
        ("deployed.statement", "violation"),
    ]
    assert sorted(exported.path.rglob("*")) == before
    train, holdout = examples_of(exported.directory, layout="channels first")
    assert train[0].shape[1:] == holdout[0].shape[1:] == (1, 8, 8) and len(holdout[1]) == record.held_out


def test_a_run_of_an_earlier_format_is_measured_anew_before_its_statement_leaves(tmp_path, monkeypatch):
    """Or the file would carry one that the run does not give any more, and an audit would call it another."""
    run, said = copy_of("frameworks", tmp_path), []
    assert run.manifest.format < FORMAT
    monkeypatch.setattr(export, "environment_of", lambda wanted: None)
    monkeypatch.setattr(export, "write_measures", lambda run: said.append("measured"))

    def stated(*arguments):
        said.append("stated")
        raise InterruptedError

    monkeypatch.setattr(export, "statement_of", stated)
    with pytest.raises(InterruptedError):
        run.export(MODEL, to="pt2")
    assert said == ["measured", "stated"]


@pytest.mark.long
@pytest.mark.parametrize(
    "target", [pytest.param("onnx", marks=pytest.mark.torch), pytest.param("tflite", marks=pytest.mark.tensorflow)]
)
def test_an_audit_of_a_rounded_file_says_what_that_of_its_parent_does_not(tmp_path_factory, tmp_path, target):
    run = measured_copy(tmp_path_factory, "frameworks", tmp_path)
    found = {}
    for quantised in ("", "int8"):
        record = run.export(MODEL, to=target, quantised=quantised)
        held = hold_against(run.path / EXPORTS / record.name / record.file, run.directory, MODEL)
        found[quantised] = {finding.id: finding for finding in check_deployed(held)}
    assert {finding.severity for finding in found[""].values()} == {"pass"}
    answers, explanations = (found["int8"][f"deployed.{name}"] for name in ("answers", "explanations"))
    assert (answers.severity, explanations.severity) == ("note", "note")
    assert "The file is rounded (int8) and is not quite what was audited" in answers.title
    assert "are not those of the model" in explanations.title
    assert found["int8"]["deployed.statement"].severity == "pass"


def test_a_file_is_not_rounded_because_it_says_so(exported):
    (record,) = read_exports(exported.directory)
    inside = statement_of_model(exported, quantised="int8")
    assert is_rounded_as_said(inside, TARGETS["tflite"], rounded=True)
    assert not is_rounded_as_said(inside, TARGETS["tflite"], rounded=False)
    assert not is_rounded_as_said(inside, TARGETS[record.target], rounded=True)  # which cannot be rounded
    assert not is_rounded_as_said(statement_of_model(exported), TARGETS["tflite"], rounded=True)


def statement_of_model(run, **fields) -> ExportedStatement:
    data = run.manifest.data
    return ExportedStatement(
        run=run.id, model=MODEL, weights="", task=DEFAULT_TASK, input_shape=data.input_shape, layout="channels last",
        preparation=data.preparation, class_names=data.class_names, feature_names=(), **fields,
    )  # fmt: skip


def test_what_is_wrong_with_a_file_is_said_of_the_file_that_was_named(tmp_path, monkeypatch):
    def refused(folder, module, environment, *, offline, what):
        (copied,) = (folder / "given").iterdir()
        raise UsageError(f"{copied}: is no readable ONNX file; name another")

    run = copy_of("frameworks", tmp_path).directory
    path = tmp_path / "of_a_phone.onnx"
    path.write_bytes(b"\x08\x0a")
    monkeypatch.setattr(against, "run_in", refused)
    monkeypatch.setattr(against, "environment_of", lambda wanted: None)
    with pytest.raises(UsageError, match=rf"^{path}: is no readable ONNX file"):
        hold_against(path, run, MODEL)
    monkeypatch.setattr(export, "run_module", lambda *arguments, **settings: "was ended by SIGILL")
    monkeypatch.setattr(against, "run_in", export.run_in)
    with pytest.raises(TrustmlError, match=f"^{path}: may be damaged, .* onnxruntime was ended by SIGILL"):
        hold_against(path, run, MODEL)


def test_a_folder_may_be_named_by_way_of_another(tmp_path, monkeypatch):
    def seen(folder, module, environment, *, offline, what):
        raise UsageError(", ".join(path.name for path in (folder / "given").iterdir()))

    run = copy_of("frameworks", tmp_path / "runs").directory
    inside = tmp_path / "saved" / "variables"
    inside.mkdir(parents=True)
    (inside.parent / "saved_model.pb").touch()
    monkeypatch.setattr(against, "run_in", seen)
    monkeypatch.setattr(against, "environment_of", lambda wanted: None)
    told: list[str] = []
    with pytest.raises(UsageError, match=r"^saved$"):
        hold_against(inside / "..", run, MODEL, tell=told.append)
    assert told[0].startswith("asking saved in ")


def test_a_run_of_an_earlier_format_that_is_measured_anew_keeps_no_audit_of_before(tmp_path, monkeypatch):
    """Also where nothing is exported in the end."""

    def refused(*arguments, **settings):
        raise UsageError("its exporter is not here")

    run = copy_of("frameworks", tmp_path).directory
    for name in (AUDIT, AUDIT_REPORT, MODEL_CARD):
        (run.path / name).write_text("of the rows of before")
    monkeypatch.setattr(export, "environment_of", lambda wanted: None)
    monkeypatch.setattr(export, "_write_and_ask", refused)
    monkeypatch.setattr(export, "write_measures", lambda run: None)
    for earlier in (False, True):
        manifest = run.manifest()
        run.write_manifest(msgspec.structs.replace(manifest, format=OLDEST_FORMAT if earlier else FORMAT))
        with pytest.raises(UsageError, match="is not here"):
            export.export_model(run, MODEL, target="pt2")
        assert [(run.path / name).exists() for name in (AUDIT, AUDIT_REPORT, MODEL_CARD)] == [not earlier] * 3


def test_a_file_that_is_none_by_its_name_is_one_line(tmp_path):
    run = copy_of("frameworks", tmp_path).directory
    with pytest.raises(UsageError, match="no such file or folder"):
        hold_against(tmp_path / "absent.pt2", run, MODEL)
    (tmp_path / "folder").mkdir()
    (tmp_path / "model.bin").write_bytes(b"PK\x03\x04")
    for name in ("folder", "model.bin"):
        with pytest.raises(UsageError, match=r"no exported model by its name; name one of \.pt2, .*, or the folder"):
            hold_against(tmp_path / name, run, MODEL)
    (tmp_path / "folder" / "saved_model.pb").touch()
    (tmp_path / "folder" / "link").symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match="holds what is no plain file"):
        hold_against(tmp_path / "folder", run, MODEL)
