"""A run of every task end to end: what is trained, measured, attacked, explained and shown."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from sklearn import metrics

import trustml
from tests.records import unasked_second_opinion
from trustml.attacks.task_signals import unfit_attacks
from trustml.cli.main import _main
from trustml.models.transformers import decoder
from trustml.models.zoo import mlp
from trustml.scenario.sources import Npz
from trustml.scenario.spec import Execution, Explanations, Scenario

pytestmark = [pytest.mark.jax]
ROWS, FEATURES = 240, 5
RATE = trustml.SGD(learning_rate=0.1)
PLAIN = trustml.Plain(epochs=6, batch_size=16, optimizer=RATE)
OTHERS = (
    trustml.DPSGD(epsilon=8.0, epochs=3, batch_size=32, optimizer=RATE),
    trustml.FedAvg(
        rounds=2, partition=trustml.Dirichlet(clients=3, alpha=1.0, minimum=2), batch_size=16, client_optimizer=RATE
    ),
)
ATTACKS = trustml.Attacks(
    membership=trustml.MembershipInference(shadow_models=4),
    canaries=(trustml.Canaries(kind="mislabelled", count=20),),
)
TASKS = {
    "number": trustml.Regression(target_range=(0.0, 200.0)),
    "several": trustml.Labels(class_weights=(1.0, 2.0)),
    "one logit": trustml.Binary(class_weights=(1.0, 2.0)),
}


def labels_of(kind: str, values: np.ndarray) -> np.ndarray:
    match kind:
        case "number":
            return 100 + 20 * values[:, 0]
        case "several":
            return (values > 0).astype(int)
    return (values[:, 0] > 0.5).astype(int)


def run_of(folder, kind: str, **fields) -> trustml.Run:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(ROWS, FEATURES)).astype(np.float32)
    values = inputs @ generator.normal(size=(FEATURES, 2)) + 0.2 * generator.normal(size=(ROWS, 2))
    np.savez(folder / "x.npz", inputs=inputs, labels=labels_of(kind, values))
    scenario = Scenario(
        name="task",
        data=Npz(path=str(folder / "x.npz"), test_fraction=0.4),
        model=mlp([8], classes=2 if kind == "several" else 1),
        task=TASKS[kind],
        backends=("jax",),
        explanations=Explanations(methods=(trustml.IntegratedGradients(n_steps=8),), examples=4, timing=False),
        execution=Execution(device="cpu", threads=1),
        **fields,
    )
    with unasked_second_opinion():
        run = trustml.run(scenario, out=folder)
    assert run.status == "success", [(r.id, r.reason) for r in run.manifest.jobs if r.status != "ok"]
    return run


def printed(*arguments: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        assert _main(list(arguments)) == 0, out.getvalue()
    return out.getvalue()


def test_a_regression_end_to_end(tmp_path):
    run = run_of(tmp_path, "number", training=(PLAIN,))
    table = run.measures().set_index("measure")
    outputs = np.load(run.path / "jobs/train.jax.Plain.s0/predictions.npz")["test_logits"]
    labels = run.heldout()["test_labels"]
    true, said = (100 + 100 * part[:, 0].astype(float) for part in (labels, outputs))
    assert table.value["r2"] == pytest.approx(metrics.r2_score(true, said)) and table.value["r2"] > 0.5
    assert table.value["rmse"] == pytest.approx(metrics.root_mean_squared_error(true, said), rel=1e-6)
    assert "accuracy" not in table.index
    shown = printed("show", str(run.path))
    assert "R²" in shown and "RMSE" in shown and "regression, squared loss" in shown and "class" not in shown
    assert "targets are mapped to [-1, 1] by a range given by the user" in shown
    explained = printed("explain", str(run.path), "--example", "1")
    assert f"true value {true[1]:.6g}"[:14] in explained and "an attribution of 1 is 100" in explained
    assert "(p " not in explained
    deletion = run.measures().query("measure == 'deletion_auc' and method == 'IntegratedGradients'")
    assert deletion.n.iloc[0] == 4 and "scaled units" in deletion.note.iloc[0]
    assert not printed("verify", str(run.path)).count("differs:")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", TASKS)
def test_everything_of_a_task(tmp_path, kind):
    run = run_of(tmp_path, kind, training=(PLAIN, *OTHERS), attacks=ATTACKS)
    table = run.measures()
    first = "r2" if kind == "number" else "accuracy"
    assert (table[table.measure == first].value.notna()).sum() == 3
    attacks = set(table[(table.measure == "membership_auc") & table.value.notna()].method)
    assert {"loss", "lira-online"} <= attacks
    refused = table[(table.measure == "membership_auc") & table.value.isna()]
    assert set(refused.method) == unfit_attacks(TASKS[kind]).keys()
    assert refused.note.str.startswith("absent: not applicable").all()
    assert (table.measure == "audited_epsilon").any()
    assert len(printed("show", str(run.path))) and len(printed("audit", str(run.path)))
    clients = table[table.measure == "client_accuracy_mean"]
    assert clients.value.isna().all() == (kind == "number")


@pytest.mark.long
@pytest.mark.torch
@pytest.mark.tensorflow
@pytest.mark.timeout(1800)
def test_texts_are_attacked_by_the_same_shadow_models_in_every_framework(tmp_path):
    """Plain models start alike and see the same batches: what shadow models in JAX tell of them is the same."""
    letters = np.random.default_rng(0).integers(ord("a"), ord("f"), size=(240, 12))
    (tmp_path / "texts.tsv").write_text("".join("".join(map(chr, row)) + "\n" for row in letters))
    scenario = Scenario(
        name="texts",
        data=trustml.Text(path=str(tmp_path / "texts.tsv"), text="column1", separator="\t", header=False, length=12),
        task=trustml.NextToken(),
        model=decoder(vocabulary=258, width=8, heads=2, blocks=1, hidden=16),
        training=(trustml.Plain(epochs=3, batch_size=32, optimizer=trustml.Adam(learning_rate=0.01)),),
        explanations=Explanations(methods=(), examples=1),
        attacks=trustml.Attacks(membership=trustml.MembershipInference(shadow_models=8)),
        execution=Execution(device="cpu", threads=1),
    )
    with unasked_second_opinion():
        table = trustml.run(scenario, out=tmp_path).measures()
    rows = table[(table.measure == "membership_auc") & table.value.notna()]
    by_framework = rows.pivot(index="method", columns="backend", values="value")
    assert set(by_framework.columns) == {"torch", "jax", "tensorflow"} and by_framework.notna().all(axis=None)
    assert {"calibrated", "lira-online", "lira-offline-fixed", "rmia-all", "rmia-offline"} <= {*by_framework.index}
    assert (by_framework.max(axis=1) - by_framework.min(axis=1)).max() < 0.02
