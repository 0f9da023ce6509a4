"""Audits as users write them: every kind of model, in about ten lines each."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

import trustml
from tests.auditing.serving import hang, serving
from trustml.auditing.result import decode_audit, fails_on
from trustml.errors import DataError
from trustml.evidence.stranger_audits import stranger_checks
from trustml.launch.environments import find_environment

ROOT = Path(__file__).resolve().parents[1]
GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.normal(size=(400, 12)).astype(np.float32)
LABELS = GENERATOR.integers(0, 3, 400)  # nothing can be learned, only remembered
TRAIN, HOLDOUT = (INPUTS[:200], LABELS[:200]), (INPUTS[200:], LABELS[200:])


def fit_torch(inputs, labels, seed):
    import torch
    from torch import nn

    torch.set_num_threads(1)  # threads cost more than they bring in so small a model
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(12, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.from_numpy(inputs)), torch.from_numpy(labels)).backward()
        optimizer.step()
    return model


def remembers(inputs):
    """Be sure of what was trained on and of nothing else."""
    known = {row.tobytes(): label for row, label in zip(*TRAIN, strict=True)}
    found = np.full((len(inputs), 3), 1 / 3)
    for place, row in enumerate(np.asarray(inputs, np.float32)):
        if row.tobytes() in known:
            found[place] = 0.05
            found[place, known[row.tobytes()]] = 0.9
    return found


def severities(audit):
    return {finding.id: finding.severity for finding in audit.findings}


@pytest.mark.torch
def test_a_torch_module():
    model = fit_torch(*TRAIN, seed=0)
    audit = trustml.audit(
        model,
        train=TRAIN,
        holdout=HOLDOUT,
        claim=trustml.Claim(
            epsilon=3, delta=1e-5, noise_multiplier=1.0, sample_rate=0.1, steps=100, sampling="poisson"
        ),
        retrain=fit_torch,
        references=4,
    )
    assert not audit.passed
    found = severities(audit)
    assert found["membership.loss"] == found["membership.lira-online"] == "risk"
    assert found["accounting.recomputed"] == "violation"
    assert found["explanations.completeness"] == found["explanations.agreement"] == "pass"
    assert model.training  # as it was


@pytest.mark.jax
def test_a_jax_function_with_parameters():
    import jax
    import jax.numpy as jnp

    def predict(params, inputs):
        return jnp.tanh(inputs @ params["w"]) @ params["v"]

    generator = np.random.default_rng(1)
    params = {"w": generator.normal(size=(12, 8)), "v": generator.normal(size=(8, 3))}
    params = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    audit = trustml.audit(trustml.JaxModel(predict, params), train=TRAIN, holdout=HOLDOUT)
    found = severities(audit)
    assert audit.passed  # it has never seen the data
    assert found["membership.loss"] == found["explanations.sanity"] == "pass"
    assert found["membership.references"] == found["accounting.recomputed"] == "not checked"


def test_a_scikit_learn_forest():
    from sklearn.ensemble import RandomForestClassifier

    names = np.array(["low", "middle", "high"])
    train, holdout = ((inputs, names[labels]) for inputs, labels in (TRAIN, HOLDOUT))
    forest = RandomForestClassifier(20, random_state=0).fit(*train)
    audit = trustml.audit(forest, train=train, holdout=holdout, checks=["membership"], references=4)
    found = severities(audit)
    assert found["membership.loss"] == found["membership.lira-online-fixed"] == found["membership.rmia-4"] == "risk"
    assert audit.record.models[0].kind == "scikit-learn RandomForestClassifier"
    assert audit.record.models[0].train_accuracy > 0.95 > audit.record.models[0].holdout_accuracy


def test_any_callable():
    audit = trustml.audit(remembers, train=TRAIN, holdout=HOLDOUT, name="a service")
    found = severities(audit)
    assert found["membership.loss"] == "risk" and found["explanations.gradients"] == "not checked"
    assert "a service: not passed, worst finding: risk" in repr(audit)
    assert "membership.loss" in str(audit)
    assert decode_audit(audit.to_json().encode()) == audit.record
    honest = trustml.audit(lambda inputs: np.full((len(inputs), 3), 1 / 3), train=TRAIN, holdout=HOLDOUT)
    assert honest.passed


@pytest.mark.parametrize(
    "protocol", ["kserve-v2", *(pytest.param(one, marks=pytest.mark.long) for one in ("tf-serving", "torchserve"))]
)
def test_an_http_endpoint(protocol):
    with serving(remembers) as url:
        endpoint = trustml.Endpoint(url, protocol=protocol, model="digits", batch_size=200)
        audit = trustml.audit(endpoint, train=TRAIN, holdout=HOLDOUT, checks=["membership"])
    assert severities(audit)["membership.loss"] == "risk"


KERAS = """
import keras, numpy as np, trustml

generator = np.random.default_rng(0)
inputs, labels = generator.normal(size=(400, 12)).astype("float32"), generator.integers(0, 3, 400)
train, holdout = (inputs[:200], labels[:200]), (inputs[200:], labels[200:])
keras.utils.set_random_seed(0)
layers = keras.layers
model = keras.Sequential([layers.Dense(128, "relu", input_shape=(12,)), layers.Dense(3, "softmax")])
model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
model.fit(*train, epochs=40, batch_size=200, verbose=0)
before = model.get_weights()
audit = trustml.audit(model, train=train, holdout=holdout, checks=["membership", "explanations"])
assert all((one == other).all() for one, other in zip(before, model.get_weights()))
model.save("model.keras")
from pathlib import Path
from trustml.backends.tensorflow.model_adapter import live_model, load_keras
again = live_model(load_keras(Path("model.keras"))).outputs(holdout[0])
np.testing.assert_allclose(again, model(holdout[0]), atol=1e-6)
print(audit)
found = {finding.id: finding.severity for finding in audit.findings}
assert found["membership.loss"] == "risk" and found["explanations.sanity"] == "pass", found
assert found["explanations.completeness"] in ("pass", "note"), found
print("done")
"""


@pytest.mark.long  # tests/cli/test_audit.py has one by the command line
@pytest.mark.tensorflow
def test_a_keras_model_in_its_own_environment(tmp_path):
    (tmp_path / "script.py").write_text(textwrap.dedent(KERAS))
    done = subprocess.run(
        [str(find_environment("tensorflow").require()), "script.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "", "TF_CPP_MIN_LOG_LEVEL": "3", "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stdout + done.stderr


def test_an_endpoint_that_times_out_is_one_line_and_the_claim_is_checked_all_the_same():
    claim = trustml.Claim(epsilon=1.0, delta=1e-5, noise_multiplier=1.0, steps=1, sampling="full batch")
    with serving(remembers, answer=hang) as url:
        endpoint = trustml.Endpoint(url, model="digits", timeout=0.2)
        audit = trustml.audit(endpoint, train=TRAIN, holdout=HOLDOUT, claim=claim)
    found = severities(audit)
    assert found["data.predictions"] == found["membership.predictions"] == "not checked"
    assert found["accounting.recomputed"] == "violation"
    (silent,) = (finding for finding in audit.findings if finding.id == "data.predictions")
    assert "gave no whole answer in 0.2 s" in silent.title and "\n" not in silent.title


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param(lambda inputs: np.full((len(inputs), 3), 0.5), "add up to 1.5", marks=pytest.mark.long),
        (lambda inputs: np.full((len(inputs), 3), np.nan), "not finite"),
        pytest.param(lambda inputs: np.zeros((len(inputs), 2, 2)), "shape", marks=pytest.mark.long),
        (lambda inputs: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda inputs: -np.eye(2)[np.zeros(len(inputs), int)], "labels: run from 0 to 2, but the model has 2 outputs"),
    ],
)
def test_a_model_that_answers_garbage_is_one_line(model, words):
    audit = trustml.audit(model, train=TRAIN, holdout=HOLDOUT)
    (silent,) = (finding for finding in audit.findings if finding.id == "data.predictions")
    assert silent.severity == "not checked" and words in silent.title
    assert not audit.passed and audit.worst == "not checked"  # only the data passed


def test_overlap_and_single_classes_are_found_and_the_audit_goes_on():
    mixed = np.concatenate([HOLDOUT[0], TRAIN[0][:50]]), np.concatenate([HOLDOUT[1], TRAIN[1][:50]])
    audit = trustml.audit(remembers, train=(TRAIN[0], np.zeros(200, int)), holdout=mixed, checks=["membership"])
    found = severities(audit)
    assert found["data.overlap"] == found["data.single-class.train"] == "risk"
    assert audit.record.models[0].non_members == 200


def test_exchanged_sets_do_not_pass():
    audit = trustml.audit(remembers, train=HOLDOUT, holdout=TRAIN, checks=["membership"])
    assert not audit.passed and fails_on(audit.record, "risk")
    (loss,) = (finding for finding in audit.findings if finding.id == "membership.loss")
    assert "the sets differ, perhaps exchanged" in loss.title


def test_a_holdout_that_is_the_training_set_is_one_line():
    with pytest.raises(DataError, match="holdout: all of its 200 examples are in train"):
        trustml.audit(remembers, train=TRAIN, holdout=TRAIN, checks=["membership"])


def test_a_claim_is_held_against_what_attacks_show():
    claim = trustml.Claim(epsilon=0.5, delta=1e-5, noise_multiplier=20.0, steps=1, sampling="full batch")
    audit = trustml.audit(remembers, train=TRAIN, holdout=HOLDOUT, claim=claim, checks=["membership", "accounting"])
    found = severities(audit)
    assert found["accounting.recomputed"] == "pass" and found["accounting.attacked"] == "risk"
    unknown = trustml.Claim(
        epsilon=50.0, delta=1e-5, noise_multiplier=1.0, steps=1, sample_rate=0.1, sampling="poisson"
    )
    audit = trustml.audit(None, claim=unknown, checks=["accounting"])
    assert severities(audit)["accounting.recomputed"] == "pass"
    assert severities(audit)["accounting.epsilon"] == "note"
    assert not audit.passed and audit.worst == "not checked"  # nobody says how the loader draws


def test_a_forest_is_ranked_by_the_probabilities_that_it_gives():
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(5, min_samples_leaf=3, random_state=0).fit(*TRAIN)
    audit = trustml.audit(forest, train=TRAIN, holdout=HOLDOUT, checks=["membership"])
    own = [
        forest.predict_proba(inputs)[np.arange(len(labels)), np.searchsorted(forest.classes_, labels)]
        for inputs, labels in (TRAIN, HOLDOUT)
    ]
    above = (own[0][:, None] > own[1]).mean() + (own[0][:, None] == own[1]).mean() / 2
    (loss,) = (finding for finding in audit.findings if finding.id == "membership.loss")
    assert loss.measured[0].value == pytest.approx(above, abs=1e-12)


def test_a_failing_retrain_leaves_the_other_attacks():
    def retrain(inputs, labels, seed):
        raise RuntimeError("out of memory")

    audit = trustml.audit(remembers, train=TRAIN, holdout=HOLDOUT, checks=["membership"], retrain=retrain)
    assert severities(audit)["membership.loss"] == "risk"
    (missing,) = (finding for finding in audit.findings if finding.id == "membership.references")
    assert "RuntimeError: out of memory" in missing.title


def test_a_claim_alone():
    claim = trustml.Claim(epsilon=5.0, delta=1e-5, noise_multiplier=1.0, steps=1, sampling="full batch")
    assert trustml.audit(None, claim=claim, checks=["accounting"]).passed


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"checks": ["membrship"]}, "checks: membrship"),
        ({"checks": []}, "checks: none"),
        ({"confidence": 99}, "confidence: 99"),
        ({"outputs": "probs"}, "outputs: 'probs'"),
        ({"references": 4}, "give retrain"),
        ({"references": -1}, "references: -1"),
        ({"holdout": None}, "one of them is missing"),
        ({"train": None, "holdout": None}, "needed for membership"),
        ({"claim": trustml.Claim(epsilon=3, delta=2.0)}, "claim.delta: 2.0"),
        ({"train": (INPUTS, LABELS[:3])}, "400 inputs and 3 labels"),
    ],
)
def test_what_cannot_work_is_refused_before_the_model_is_asked(settings, words):
    asked = []
    with pytest.raises(trustml.UsageError, match=words):
        trustml.audit(asked.append, **{"train": TRAIN, "holdout": HOLDOUT, **settings})
    assert not asked


def test_progress_and_performance_are_told():
    told = []
    audit = trustml.audit(
        remembers,
        train=TRAIN,
        holdout=HOLDOUT,
        checks=["performance"],
        listener=lambda what, done, of: told.append((what, done, of)),
    )
    assert ("predictions, train", 200, 200) in told and told[-1] == ("performance", 1, 1)
    (timed,) = (finding for finding in audit.findings if finding.check == "performance")
    assert timed.severity == "note" and 0 < timed.measured[0].low <= timed.measured[0].value <= timed.measured[0].high


def test_the_report_and_the_model_card_are_written(tmp_path):
    audit = trustml.audit(remembers, train=TRAIN, holdout=HOLDOUT, checks=["membership"])
    page = audit.report(tmp_path / "audit.html").read_text()
    assert "membership.loss" in page and len(page) < 5_000_000
    assert audit.model_card(tmp_path / "README.md").read_text().startswith("---\n")


def regression_findings(model, targets, **settings):
    audit = trustml.audit(
        model,
        train=(INPUTS[:200], targets[:200]),
        holdout=(INPUTS[200:], targets[200:]),
        checks=("membership", "performance"),
        **settings,
    )
    return audit, {finding.id: finding for finding in audit.findings}


def test_a_regressor_is_audited_by_its_errors():
    from sklearn.ensemble import RandomForestRegressor

    targets = np.round(100 * INPUTS[:, 0] + 50 * GENERATOR.normal(size=400))  # whole numbers, and no classes
    forest = RandomForestRegressor(n_estimators=20, bootstrap=False, max_features=0.3, random_state=0)
    forest.fit(INPUTS[:200], targets[:200])
    audit, found = regression_findings(forest, targets, references=6)
    assert "one number an example" in found["data.predictions"].title
    assert {id_: one.severity for id_, one in found.items() if id_.startswith("membership")} == {
        **dict.fromkeys(("membership.loss", "membership.lira-offline", "membership.lira-offline-fixed"), "risk"),
        **dict.fromkeys(("membership.lira-online", "membership.lira-online-fixed"), "risk"),
        "membership.unfit": "not checked",
    }
    assert "rmia-1" in found["membership.unfit"].how and "a squared error has no scale" in found["membership.unfit"].how
    assert found["data.labels"].severity == "pass" and "how far they are from" in found["data.labels"].how
    said = forest.predict(INPUTS[200:])
    true = targets[200:]
    r2, rmse, mae = found["performance.errors.holdout"].measured
    assert r2.value == pytest.approx(metrics.r2_score(true, said)) and r2.low < r2.value < r2.high
    assert rmse.value == pytest.approx(metrics.root_mean_squared_error(true, said)) and rmse.unit == "of target"
    assert mae.value == pytest.approx(metrics.mean_absolute_error(true, said))
    assert found["performance.errors.train"].measured[0].value == pytest.approx(1.0)
    assert audit.record.models[0].train_accuracy is None
    assert not [one for one in stranger_checks(audit.record, same_words=True) if one.outcome == "differs"]


def test_a_callable_of_targets_is_a_regression_and_an_honest_one_passes():
    targets = INPUTS[:, 0] + 0.5 * GENERATOR.normal(size=400)
    audit, found = regression_findings(lambda inputs: inputs[:, 0], targets)
    assert audit.passed and found["membership.loss"].severity == "pass"
    _, moved = regression_findings(lambda inputs: inputs[:, 0], np.r_[targets[:200], targets[:199:-1]])
    assert moved["data.labels"].severity == "note" and "hold-out go less well" in moved["data.labels"].title
