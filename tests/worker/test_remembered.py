"""A model of texts that learns them by heart, in this process: canary sequences and extraction, with their controls."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from trustml.backends.contract import Model
from trustml.backends.table import load_backend
from trustml.compare.table import table_of
from trustml.data.dataset import Examples
from trustml.launch.prepare import prepare_run
from trustml.measures import remembered
from trustml.measures.evidence import Evidence
from trustml.models.layers import Architecture, Dense, ReLU
from trustml.models.tasks import NextToken
from trustml.models.token_layers import Embedding, LearnedPositions
from trustml.plan.job import decode_job
from trustml.report.attacks.tables import remembered_cells
from trustml.scenario.attacks import SEQUENCES, Attacks, Canaries, Extraction
from trustml.scenario.optimizers import Adam
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.sources import Text
from trustml.scenario.spec import Explanations, Scenario
from trustml.scenario.trainable import Head, LoRA, Named
from trustml.worker.canaries import gradient_lengths, train_with_canaries
from trustml.worker.clock import Clock
from trustml.worker.job_context import JobContext, Progress
from trustml.worker.predicting import extract
from trustml.worker.prepared import read_prepared

STEPS = 6
LEARNS = Plain(epochs=30, batch_size=16, optimizer=Adam(learning_rate=0.03))
IN_PRIVATE = DPSGD(noise_multiplier=4.0, epochs=2, batch_size=16, optimizer=Adam(learning_rate=0.02))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Texts of random letters; a network of the place and the token there, which few texts share."""
    folder = tmp_path_factory.mktemp("remembered")
    drawn = np.random.default_rng(0).integers(ord("!"), ord("~"), size=(80, STEPS + 1))
    (folder / "texts.tsv").write_text("".join("".join(map(chr, row)).replace('"', "a") + "\n" for row in drawn))
    scenario = Scenario(
        name="remembered",
        data=Text(path=str(folder / "texts.tsv"), text="column1", header=False, separator="\t", quote="", length=STEPS),
        task=NextToken(),
        model=Architecture(
            layers=(Embedding(vocabulary=258, width=16), LearnedPositions(), Dense(units=48), ReLU(), Dense(units=258))
        ),
        training=(LEARNS, IN_PRIVATE),
        backends=("jax",),
        explanations=Explanations(methods=(), examples=4),
        attacks=Attacks(
            canaries=(Canaries(kind=SEQUENCES, count=40),), extraction=Extraction(prefix=3, length=2, texts=40)
        ),
    )
    return prepare_run(scenario, root=folder)


def at_work(run, name):
    backend, folder = load_backend("jax"), run.job_folder(name)
    device = backend.open_device("cpu", 1)
    at = JobContext(
        root=run.path, folder=folder, clock=Clock(device.synchronize), progress=Progress(folder / "events.jsonl")
    )
    return backend, at


@pytest.mark.jax
@pytest.mark.parametrize(
    "regime", [pytest.param(LEARNS, id="plain"), pytest.param(IN_PRIVATE, id="private", marks=pytest.mark.long)]
)
def test_canary_sequences_are_exposed_where_they_are_learnt_by_heart(run, regime):
    (record,) = (one for one in run.manifest().jobs if one.kind == "canary" and one.regime == regime.title)
    job = decode_job((run.job_folder(record.id) / "job.json").read_bytes())
    backend, at = at_work(run, record.id)
    train_with_canaries(job, backend, at=at)
    assert run.file(job.output).stat().st_mode & 0o077 == 0
    evidence = Evidence(run)
    rows = remembered._of_canaries(evidence, replace(record, status="ok"), job)
    mean = rows[0]
    assert (mean.measure, rows[1].measure) == ("canary_exposure", "canary_exposure_largest")
    if regime is LEARNS:
        assert mean.verdict == "above guessing" and mean.low > 5 > mean.facts["untrained_value"]
        cells = remembered_cells(table_of(rows)).to_dict("records")
        assert cells[0]["what"] == "exposure" and cells[0]["verdict"] == "above guessing"
    else:
        assert mean.verdict == "not above guessing" and mean.value < 4
        assert (run.job_folder(record.id) / "ledger.jsonl").exists()
        arrays = run.arrays(job.output)  # falls of the loss, for the one-run audit
        assert arrays["scores"].shape == arrays["included"].shape == (40,)
    arrays = run.arrays(job.output)
    assert ((arrays["joined"] > 0) >= arrays["included"].astype(bool)).all() == (regime is LEARNS)
    assert (arrays["joined"][~arrays["included"].astype(bool)] == 0).all() and (arrays["gradients"] > 0).all()
    assert mean.facts["planted"] == arrays["included"].sum() and mean.facts["without_gradient"] == 0
    assert "not trained on" in mean.note and "other sequences" in mean.note and "Mann-Whitney p = " in mean.note


def looked_at(run):
    """A canary job, a model at its start, and three texts: ordinary, of padding, and with one token to learn."""
    record = next(one for one in run.manifest().jobs if one.kind == "canary" and one.regime == LEARNS.title)
    job = decode_job((run.job_folder(record.id) / "job.json").read_bytes())
    chosen = run.arrays(job.chosen)
    inputs, labels = chosen["inputs"][:3].astype(np.float32), chosen["labels"][:3].astype(np.int64)
    inputs[2], labels[1:] = 0, 0
    labels[2, -1] = 5
    weights = _weights(run, job.training)
    model = Model(architecture=job.model, input_shape=job.input_shape, weights=weights, task=job.task)
    return record, job.training, model, Examples(inputs=inputs, labels=labels)


@pytest.mark.jax
def test_a_canary_whose_labels_are_masked_receives_no_loss(run):
    record, job, model, texts = looked_at(run)
    backend, at = at_work(run, record.id)
    lengths = gradient_lengths(job, backend, model, texts, at=at)
    assert lengths[1] == 0 and lengths[[0, 2]].min() > 1e-3


@pytest.mark.jax
@pytest.mark.long
def test_a_canary_that_reaches_frozen_weights_alone_receives_no_loss(run):
    record, job, model, texts = looked_at(run)
    backend, at = at_work(run, record.id)

    def reached(model, *trainable):
        training = replace(job, regime=replace(LEARNS, trainable=trainable))
        return (gradient_lengths(training, backend, model, texts, at=at) > 0).tolist()

    assert reached(model, Head()) == reached(model, LoRA(rank=2)) == [True, False, True]
    weights = model.weights | {"4.kernel": np.zeros_like(model.weights["4.kernel"])}  # which lets nothing through
    cut = dataclasses.replace(model, weights=weights)
    assert reached(cut, Named(patterns=("0.table",))) == [False] * 3


@pytest.mark.jax
@pytest.mark.long
def test_training_texts_come_out_of_a_model_that_has_them_by_heart(run):
    record = next(one for one in run.manifest().jobs if one.kind == "train" and one.regime == LEARNS.title)
    job = decode_job((run.job_folder(record.id) / "job.json").read_bytes())
    backend, _ = at_work(run, record.id)
    train, held = read_prepared(run.file(job.data), fingerprint=job.data_fingerprint)
    few = Examples(inputs=train.inputs[:40], labels=train.labels[:40])
    weights = {name: np.array(part) for name, part in _weights(run, job).items()}
    model = Model(architecture=job.model, input_shape=job.input_shape, weights=weights, task=job.task)
    trainer = backend.plain(model, LEARNS, 0)
    nothing = extract(backend.network(model), few, held, asked=job.extraction)
    for step in range(150):
        rows = np.arange(16 * step, 16 * step + 16) % 40
        trainer.step(few.inputs[rows], few.labels[rows], learning_rate=0.02)
    known = extract(backend.network(dataclasses.replace(model, weights=trainer.weights())), few, held,
                    asked=job.extraction)  # fmt: skip
    assert (nothing["train_right"] == 2).mean() < 0.1
    assert (known["train_right"] == 2).mean() > 0.6 and (known["test_right"] == 2).mean() < 0.1
    np.savez(run.file(job.extracted), **known)
    rows = remembered._of_texts(Evidence(run), replace(record, status="ok"), job, job.extraction)
    assert rows[0].verdict == "above guessing" and rows[0].p_value < 1e-3
    np.savez(run.file(job.extracted), **nothing)
    (row,) = remembered._of_texts(Evidence(run), replace(record, status="ok"), job, job.extraction)
    assert row.verdict == "not above guessing"
    assert isinstance(remembered_cells(pd.DataFrame(table_of([row]))), pd.DataFrame)


def _weights(run, job):
    from trustml.models.shapes import weight_shapes
    from trustml.models.weights import read_weights

    return read_weights(run.file(job.initial_weights), expected=weight_shapes(job.model, job.input_shape))
