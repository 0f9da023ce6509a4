"""A model of a run explains another input: by its own workers, and nothing of the run changes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np
import pytest

import trustml
from tests.records import copy_of, stored
from trustml.errors import RecordError, UsageError
from trustml.launch import what_if
from trustml.launch.process import Ended
from trustml.launch.what_if import WhatIf, asked_again, may_change
from trustml.plan.job import decode_job, encode_job
from trustml.record.files import encode_arrays, read_arrays
from trustml.record.schema import MethodRecord, WorkerResult
from trustml.record.store import BASELINES, HELDOUT, RunDirectory
from trustml.report.explanations.frames import explained_example
from trustml.report.explanations.selection import PanelRequest

MODEL, METHOD = "train.torch.Plain.s0", "IntegratedGradients"


class FakeWorker:
    """Answers at once, with the given input as attributions; it keeps what it was asked."""

    asked: ClassVar[list] = []

    def __init__(self, *, folder: Path, limits, **_):
        self.job = decode_job((folder / "job.json").read_bytes())
        root = folder.parent.parent
        self.asked.append((self.job, read_arrays(root / HELDOUT), read_arrays(root / BASELINES), limits))
        inputs = read_arrays(root / HELDOUT)["inputs"]
        if not self.job.methods:  # only what the model says
            logits = inputs.reshape(len(inputs), -1)[:, :10]
            (folder / "attributions.npz").write_bytes(encode_arrays({"logits": logits, "targets": np.zeros(1)}))
            return
        arrays = {f"{METHOD}.native": inputs, "logits": np.eye(1, 10, 4, np.float32), "targets": np.array([4])}
        (folder / "attributions.npz").write_bytes(encode_arrays(arrays))

    def poll(self) -> Ended:
        broken = self.job.backend == "jax"
        method = MethodRecord(method=METHOD, library="captum", ok=not broken, reason="too hot" if broken else "")
        result = WorkerResult(status="ok", methods=(method,))
        return Ended(status="ok", reason="", seconds=0.1, peak_memory=0, exit_code=0, stderr_tail=(), result=result)


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def asked(monkeypatch) -> list:
    monkeypatch.setattr(what_if, "Worker", FakeWorker)
    FakeWorker.asked = []
    return FakeWorker.asked


def test_own_code_is_not_run_for_what_a_record_says(tmp_path, asked):
    run = copy_of("frameworks", tmp_path).directory
    (record,) = [one for one in run.manifest().jobs if one.id == f"explain.torch.of.{MODEL.removeprefix('train.')}"]
    job = msgspec.structs.replace(run.job(record.id), model=trustml.Native(backend="torch", module="evil:make"))
    (run.job_folder(record.id) / "job.json").write_bytes(encode_job(job))
    given = np.full((8, 8, 1), 0.25, np.float32)
    with (
        pytest.raises(UsageError, match="is code and no data; it is not run for what a record says"),
        asked_again(run, WhatIf(model=MODEL, method=METHOD, input=given)),
    ):
        pass
    assert not asked


def test_one_worker_gives_the_outputs_of_many_inputs(tmp_path, asked):
    run = copy_of("frameworks", tmp_path)
    before = content(run.path)
    inputs = np.random.default_rng(0).random((40, 8, 8, 1), np.float32)
    assert what_if.outputs_of(run.directory, MODEL, inputs).tolist() == inputs.reshape(40, -1)[:, :10].tolist()
    ((job, heldout, _, limits),) = asked
    assert (job.backend, job.methods, len(heldout["targets"])) == ("torch", (), 40)  # where it was trained
    assert limits.timeout == what_if.SECONDS and content(run.path) == before
    broken = np.where(np.arange(40)[:, None, None, None] == 7, np.nan, inputs)
    for given, said in ((inputs[:, :4], "has the shape"), (broken, "no number")):
        with pytest.raises(UsageError, match=said):
            what_if.outputs_of(run.directory, MODEL, given)
    with pytest.raises(UsageError, match="was not explained"):
        what_if.outputs_of(run.directory, "train.torch.Other.s0", inputs)


def test_every_library_is_asked_of_the_given_input_and_the_run_stays_as_it_is(tmp_path, asked, monkeypatch):
    monkeypatch.setenv("TRUSTML_ENV_TENSORFLOW", "/nonexistent")
    run = copy_of("frameworks", tmp_path).directory
    before = content(run.path)
    given = np.full((8, 8, 1), 0.25, np.float32)
    with asked_again(run, WhatIf(model=MODEL, method=METHOD, input=given, target=4)) as (answers, failed):
        found = explained_example(answers, PanelRequest(method=METHOD, example=0, model=None, backend=None))
        place = answers.path
    assert not place.exists() and content(run.path) == before
    assert failed.keys() == {"tensorflow", "jax"} and failed["jax"] == "too hot" and "missing" in failed["tensorflow"]
    assert [(panel.library, panel.classes.explained) for panel in found.panels] == [("captum", "4")]
    np.testing.assert_array_equal(found.input, given)
    for job, heldout, baselines, limits in asked:
        assert (job.subject, job.target, job.timing, job.probes.faithfulness) == (MODEL, 4, False, False)
        assert [method.title for method in job.methods] == [METHOD]
        np.testing.assert_array_equal(heldout["inputs"], given[None])
        assert baselines[f"{METHOD}.baseline"].shape == (1, 8, 8, 1)
        assert 0 < limits.timeout <= 180 and limits.memory > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input": np.zeros((9, 9, 1), np.float32)}, "has the shape"),
        ({"input": np.full((8, 8, 1), np.nan, np.float32)}, "infinite or no number"),
        ({"model": "train.torch.Other.s0"}, "was not explained by"),
        ({"method": "Saliency"}, "was not explained by Saliency"),
    ],
)
def test_what_cannot_be_asked_is_one_line(asked, change, said):
    fields = {"model": MODEL, "method": METHOD, "input": np.zeros((8, 8, 1), np.float32)} | change
    with pytest.raises(UsageError, match=said), asked_again(RunDirectory(stored("frameworks")), WhatIf(**fields)):
        pass
    assert not asked


def test_nothing_that_a_stranger_wrote_says_where_files_lie_or_how_long_it_takes(tmp_path, asked):
    run = copy_of("frameworks", tmp_path).directory
    secret = tmp_path / "secret.safetensors"
    secret.write_bytes(b"secret")
    for path in run.path.glob("jobs/explain.*/job.json"):
        job = json.loads(path.read_text())
        job |= {"weights": "../../secret.safetensors", "examples": "/etc/passwd", "baselines": "../x"}
        job["execution"] |= {"timeout": 1e9, "threads": 10**6, "device": "cuda"}
        path.write_text(json.dumps(job))
    given = np.zeros((8, 8, 1), np.float32)
    with asked_again(run, WhatIf(model=MODEL, method=METHOD, input=given)):
        pass
    for job, _, _, limits in asked:
        assert job.weights == f"jobs/{MODEL}/weights.safetensors" and (job.examples, job.baselines) == (
            HELDOUT,
            BASELINES,
        )
        assert job.execution.threads == 0 and job.execution.device == "auto" and limits.timeout <= 180
    weights = run.file(f"jobs/{MODEL}/weights.safetensors")
    weights.unlink()
    weights.symlink_to(secret)
    with pytest.raises(RecordError), asked_again(run, WhatIf(model=MODEL, method=METHOD, input=given)):
        pass


def test_a_baseline_of_private_rows_needs_them(tmp_path, asked):
    run = copy_of("frameworks", tmp_path).directory
    (run.path / BASELINES).unlink()
    given = np.zeros((8, 8, 1), np.float32)
    with asked_again(run, WhatIf(model=MODEL, method=METHOD, input=given)):
        pass  # its baseline is a number
    assert asked and may_change(run, run.manifest(), MODEL, METHOD) == ""
    for path in run.path.glob("jobs/explain.*/job.json"):
        job = json.loads(path.read_text())
        job["methods"][0]["baseline"] = {"kind": "TrainingExample", "seed": 0}
        path.write_text(json.dumps(job))
    with (
        pytest.raises(UsageError, match="private/ of the run, which is not here"),
        asked_again(run, WhatIf(model=MODEL, method=METHOD, input=given)),
    ):
        pass


@pytest.mark.long
@pytest.mark.tensorflow
@pytest.mark.timeout(600)
def test_an_unchanged_input_is_explained_as_it_was(tmp_path):
    run = copy_of("frameworks", tmp_path).directory
    recorded = explained_example(run, PanelRequest(method=METHOD, example=3, model=MODEL, backend=None))
    target = int(run.mapped(HELDOUT)["targets"][3])
    with asked_again(run, WhatIf(model=MODEL, method=METHOD, input=recorded.input, target=target)) as (answers, failed):
        found = explained_example(answers, PanelRequest(method=METHOD, example=0, model=None, backend=None))
    assert not failed
    assert [one.library for one in found.panels] == [one.library for one in recorded.panels]
    for one, other in zip(found.panels, recorded.panels, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)  # of 0.06; float32 on another machine
        assert one.classes.explained_probability == pytest.approx(other.classes.explained_probability, abs=1e-6)
