"""LiRA: equal to TF Privacy's scores where it should be, and sound where too few models are there."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from tests.attacks.tf_privacy_side import CASES
from trustml.attacks.lira import SMALLEST_DEVIATION, lira
from trustml.attacks.signals import signals_from_logits
from trustml.errors import UsageError
from trustml.launch.environments import find_environment

HERE = Path(__file__).parent
RECORDED = HERE / "tf_privacy_lira.npz"
PEER = "tensorflow_privacy/privacy/privacy_tests/membership_inference_attack/advanced_mia.py"


def minus_log_density(distances, values, out, fixed):
    """Offline score of TF Privacy, two-sided, from how many deviations of the out models lie below the target."""
    outs = [values[out[:, i], i] for i in range(values.shape[1])]
    pooled = np.concatenate([one - np.median(one) for one in outs]).std()
    deviations = np.array([pooled if fixed else one.std() for one in outs])
    return np.log(deviations) - norm.logpdf(distances)


def assert_equals_the_peer(file):
    with np.load(file) as peer:
        labels, members, logits = peer["labels"], peer["members"], peer["logits"]
        values = signals_from_logits(logits, labels).scaled_confidence
        np.testing.assert_allclose(values, peer["statistic"], atol=1e-9)
        assert min(members.sum(0).min(), (~members).sum(0).min()) >= 2
        for option, fixed in CASES:
            ours = lira(values[-1], values[:-1], members, online=option == "both", fixed_variance=fixed, fewest=2)
            assert ours.fallbacks == 0
            scores = ours.scores if option == "both" else minus_log_density(ours.scores, values[:-1], ~members, fixed)
            # theirs is small for members
            theirs = -peer[f"{option} {fixed} median"]
            np.testing.assert_allclose(scores, theirs, atol=1e-6, err_msg=f"{option} {fixed}")


def test_scores_equal_those_recorded_from_tf_privacy():
    assert_equals_the_peer(RECORDED)


@pytest.mark.tensorflow
def test_scores_equal_those_of_tf_privacy_itself(tmp_path):
    python = find_environment("tensorflow").require()
    named = os.environ.get("TRUSTML_TF_PRIVACY_MIA")
    found = [Path(named)] if named else [*python.parents[1].glob(f"lib/python3*/site-packages/{PEER}")]
    if not found:
        pytest.skip(
            "TF Privacy's attacks are a package of their own, tensorflow-empirical-privacy: "
            "TRUSTML_TF_PRIVACY_MIA may name its advanced_mia.py; scores recorded from it are checked in any case"
        )
    output = tmp_path / "peer.npz"
    subprocess.run([python, HERE / "tf_privacy_side.py", found[0], output], check=True, capture_output=True, timeout=60)
    assert_equals_the_peer(output)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("online", [False, True])
def test_scores_equal_a_slow_loop(fixed, online):
    generator = np.random.default_rng(3)
    members = generator.random((12, 30)) < 0.5
    members[:4], members[4:8] = True, False
    values, target = generator.normal(size=(12, 30)) + members, generator.normal(size=30)
    ours = lira(target, values, members, online=online, fixed_variance=fixed)
    ins = [values[members[:, i], i] for i in range(30)]
    outs = [values[~members[:, i], i] for i in range(30)]
    pooled = [np.concatenate([v - np.median(v) for v in side]).std() for side in (ins, outs)]
    for i in range(30):
        std_in, std_out = pooled if fixed else (ins[i].std(), outs[i].std())
        if online:
            expected = norm.logpdf(target[i], np.median(ins[i]), std_in) - norm.logpdf(
                target[i], np.median(outs[i]), std_out
            )
        else:
            expected = (target[i] - np.median(outs[i])) / std_out
        assert ours.scores[i] == pytest.approx(expected, abs=1e-9)
    assert ours.fallbacks == 0 and ours.note == ""


def test_offline_is_one_sided():
    members = np.zeros((8, 2), bool)
    references = np.tile(np.linspace(-1, 1, 8)[:, None], 2)
    low, high = lira(np.array([-5.0, 5.0]), references, members, online=False).scores
    assert low < 0 < high


def test_examples_with_too_few_models_use_pooled_statistics():
    generator = np.random.default_rng(0)
    members = np.arange(10)[:, None] % 2 == np.zeros((1, 20), int)
    members[:, 0], members[:, 1] = True, False
    members[1:, 2] = False
    values = generator.normal(size=(10, 20)) + 3.0 * members
    for fixed, replaced in ((False, 3), (True, 2)):
        found = lira(np.zeros(20), values, members, fixed_variance=fixed)
        assert np.isfinite(found.scores).all()
        assert found.fallbacks == replaced and found.note.startswith(f"pooled statistics for {replaced} of 20")
    # an example that is in all models is judged by its own centre, moved by the usual difference
    strong = lira(np.full(20, values[:, 0].mean()), values, members).scores[0]
    weak = lira(np.full(20, values[:, 0].mean() - 3.0), values, members).scores[0]
    assert strong > 0 > weak


def test_equal_reference_values_do_not_explode():
    members = np.arange(8)[:, None] % 2 == np.zeros((1, 5), int)
    values = np.random.default_rng(0).normal(size=(8, 5))
    values[:, 0] = 1.0
    scores = lira(np.full(5, 1.5), values, members).scores
    assert np.isfinite(scores).all()
    assert np.abs(scores[0]) < 1.0 / SMALLEST_DEVIATION**2
    constant = lira(np.ones(5), np.ones((8, 5)), members).scores
    np.testing.assert_array_equal(constant, 0.0)


def test_bad_input_is_named():
    ones = np.ones((2, 3))
    with pytest.raises(UsageError, match="no example is out"):
        lira(np.zeros(3), ones, np.ones((2, 3), bool))
    with pytest.raises(UsageError, match="no example is in"):
        lira(np.zeros(3), ones, np.zeros((2, 3), bool))
    with pytest.raises(UsageError, match="not finite"):
        lira(np.array([0, np.nan, 0]), ones, np.eye(2, 3, dtype=bool))
    with pytest.raises(UsageError, match="shape"):
        lira(np.zeros(3), np.ones((2, 4)), np.zeros((2, 4), bool))
    with pytest.raises(UsageError, match="type int64"):
        lira(np.zeros(3), ones, np.zeros((2, 3), int))


def test_a_better_target_is_told_apart():
    generator = np.random.default_rng(1)
    hardness = generator.normal(size=400) * 4
    members, who = generator.random((32, 400)) < 0.5, generator.random(400) < 0.5
    values = hardness + generator.normal(size=(32, 400)) + 1.5 * members
    target = hardness + generator.normal(size=400) + 1.5 * who
    assert np.mean(target[who]) - np.mean(target[~who]) < 3
    for online in (True, False):
        scores = lira(target, values, members, online=online).scores
        wins = np.mean(scores[who][:, None] > scores[~who])
        assert wins == pytest.approx(norm.cdf(1.5 / 2**0.5), abs=0.06)
