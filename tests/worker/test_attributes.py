"""A column of training rows is guessed from a model that has them by heart, and not from one that learnt nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from msgspec.structs import replace

from trustml.attacks.attributes import guessed
from trustml.auditing.remembered import remembered_findings
from trustml.backends.table import load_backend
from trustml.compare.table import table_of
from trustml.errors import ScenarioError
from trustml.launch.prepare import prepare_run
from trustml.measures import remembered
from trustml.measures.evidence import Evidence
from trustml.models.zoo import mlp
from trustml.plan.job import decode_job
from trustml.report.attacks.tables import remembered_cells
from trustml.report.summary import _remembered
from trustml.scenario.attacks import Attacks, AttributeInference
from trustml.scenario.optimizers import Adam
from trustml.scenario.regimes import Plain
from trustml.scenario.sources import Csv
from trustml.scenario.spec import Explanations, Scenario
from trustml.worker.clock import Clock
from trustml.worker.job_context import JobContext, Progress
from trustml.worker.pipeline import _train

LEARNS = Plain(name="learns", epochs=200, batch_size=120, optimizer=Adam(learning_rate=0.02))
IGNORES = Plain(name="ignores", epochs=1, batch_size=100, optimizer=Adam(learning_rate=1e-6))


def scenario(folder, **attributes):
    """Rows of a colour and two numbers, whose label is a coin."""
    generator = np.random.default_rng(0)
    lines = ["colour," + ",".join(f"x{i}" for i in range(2)) + ",label"]
    for colour, numbers, label in zip(
        generator.choice(["red", "green", "blue"], 400),
        generator.normal(size=(400, 2)),
        generator.integers(2, size=400),
        strict=True,
    ):
        lines.append(f"{colour}," + ",".join(f"{x:.3f}" for x in numbers) + f",{'yn'[label]}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return Scenario(
        name="attributes",
        data=Csv(path=str(folder / "rows.csv"), label="label", test_fraction=0.4),
        model=mlp([128, 128], classes=2),
        training=(LEARNS, IGNORES),
        backends=("jax",),
        explanations=Explanations(methods=(), examples=4),
        attacks=Attacks(attributes=AttributeInference(**({"columns": ("colour", "x0"), "rows": 250} | attributes))),
    )


@pytest.mark.jax
def test_columns_are_guessed_of_rows_that_are_known_by_heart(tmp_path, monkeypatch):
    run = prepare_run(scenario(tmp_path), root=tmp_path)
    backend = load_backend("jax")
    device = backend.open_device("cpu", 1)
    evidence, rows = Evidence(run), []
    for record in run.manifest().jobs:
        folder = run.job_folder(record.id)
        job = decode_job((folder / "job.json").read_bytes())
        progress = Progress(folder / "events.jsonl")
        at = JobContext(root=run.path, folder=folder, clock=Clock(device.synchronize), progress=progress)
        _train(job, backend, at=at)
        assert run.file(job.attributed).stat().st_mode & 0o077 == 0
        rows += remembered._of_columns(evidence, replace(record, status="ok"), job, job.attributes)
    assert [(row.regime, row.subject) for row in rows] == [
        (regime, column) for regime in ("learns", "ignores") for column in ("colour", "x0")
    ]
    known, _, *nothing = rows
    assert known.verdict == "above guessing" and known.low > known.facts["untrained_value"] > 0
    assert known.value > known.facts["imputed"] and "imputed without the model" in known.note
    assert all(row.p_value > 1e-4 for row in nothing)  # rows are drawn anew each time
    assert remembered_cells(table_of(rows))["of"].tolist() == ["colour", "x0"] * 2
    found = list(remembered_findings(rows))
    assert found[0].severity == "risk"
    assert len({one.id for one in found}) == 4
    few = guessed(*[(np.zeros((40, 2)), np.zeros(40, np.int64))] * 2, known=np.zeros(9, int), imputed=np.zeros(40, int))
    for p_value, verdict in ((0.006, "not above guessing"), (0.004, "above guessing")):  # 0.01 for both columns
        one = dataclasses.replace(few, p_value=p_value)
        monkeypatch.setattr(remembered, "_guessed", lambda *arguments, one=one: one)
        asked = remembered._of_columns(evidence, replace(record, status="ok"), job, job.attributes)
        assert [row.verdict for row in asked] == [verdict] * 2
    told = _remembered(table_of([known, replace(nothing[0], verdict="not above guessing")]))
    assert told == [
        "guessed column: more of what learns trained on than of what they did not",
        "guessed column: nothing is shown of ignores",
    ]


@pytest.mark.parametrize(
    ("columns", "says"),
    [(("color",), "did you mean 'colour'"), (("colour", "colour"), "comes twice")],
)
def test_columns_that_are_not_there_are_refused_before_anything_is_written(tmp_path, columns, says):
    with pytest.raises(ScenarioError, match=says):
        prepare_run(scenario(tmp_path, columns=columns), root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
