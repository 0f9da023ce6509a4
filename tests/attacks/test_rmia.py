"""RMIA: equal to slow loops over the paper's formula and over ML Privacy Meter's, where it is one."""

import numpy as np
import pytest

from trustml.attacks.rmia import OFFLINE_A, rmia, tune_a
from trustml.attacks.roc import roc_of_scores
from trustml.errors import UsageError


def slow_paper(target, references, members, *, online, a, gamma, population=None):
    """The formula of the paper, one pair at a time (equations 2 and 3 and its appendix on the offline line)."""

    def marginal(values, trained):
        ins = [v for v, t in zip(values, trained, strict=True) if t]
        outs = [v for v, t in zip(values, trained, strict=True) if not t]
        if online and ins and outs:
            return (sum(ins) / len(ins) + sum(outs) / len(outs)) / 2
        p_out = sum(outs) / len(outs) if outs else max(0.0, (sum(ins) / len(ins) - (1 - a)) / a)
        p_in = a * p_out + (1 - a) if outs else sum(ins) / len(ins)
        return (p_in + p_out) / 2

    def ratio(p, values, trained):
        return p / marginal(values, trained)

    ratios = [ratio(target[i], references[:, i], members[:, i]) for i in range(len(target))]
    scores = []
    for i, own in enumerate(ratios):
        if population is None:
            others = [r for j, r in enumerate(ratios) if j != i]
        else:
            z_target, z_references = population
            nobody = [False] * len(references)
            others = [ratio(z_target[j], z_references[:, j], nobody) for j in range(len(z_target))]
        scores.append(sum(own / z >= gamma for z in others) / len(others))
    return np.array(scores)


def slow_privacy_meter(target, out_references, z_target, z_out_references, *, a):
    """What ML Privacy Meter's run_rmia computes where nobody is a member of any reference model.

    Written from its formula, in other words: its code is on no registry, so it cannot be run here. Half of its two
    columns a model are kept; with as many asked for as there are, all of them.
    """
    scores = []
    for p, outs in zip(target, out_references.T, strict=True):
        own = p / (0.5 * (1 + a) * outs.mean() + 0.5 * (1 - a))
        won = 0
        for z, z_outs in zip(z_target, z_out_references.T, strict=True):
            won += own / (z / (0.5 * (1 + a) * z_outs.mean() + 0.5 * (1 - a))) > 1.0
        scores.append(won / len(z_target))
    return np.array(scores)


def drawn(models, seed=0, n=60):
    generator = np.random.default_rng(seed)
    members = generator.random((models, n)) < 0.5
    return generator.beta(3, 1, n), generator.beta(3, 1, (models, n)), members, generator


@pytest.mark.parametrize("models", [1, 2, 4, 9])
@pytest.mark.parametrize("online", [True, False])
def test_scores_equal_the_formula_of_the_paper(models, online):
    target, references, members, _ = drawn(models, seed=models)
    ours = rmia(target, references, members, online=online, a=0.6)
    slow = slow_paper(target, references, members, online=online, a=0.6, gamma=1.0)
    np.testing.assert_allclose(ours, slow, atol=1e-6)


@pytest.mark.parametrize("models", [1, 2, 4])
def test_scores_equal_ml_privacy_meter_where_all_references_are_out(models):
    target, references, _, _ = drawn(models, seed=10 + models)
    nobody = np.zeros(references.shape, bool)
    ours = rmia(target, references, nobody, online=False)
    # theirs compares an example with itself too, and calls that no win
    theirs = slow_privacy_meter(target, references, target, references, a=OFFLINE_A)
    np.testing.assert_allclose(ours * (len(target) - 1), theirs * len(target), atol=1e-6)


def test_one_in_model_is_carried_over_by_the_line_as_in_ml_privacy_meter():
    # its p(x) is ((1 + a) p_out + 1 - a) / 2 with p_out = (p_in + a - 1) / a, sound while that is not negative
    a, target = 0.5, np.array([0.9, 0.8, 0.7])
    references, members = np.array([[0.8, 0.6, 0.9]]), np.array([[True, True, False]])
    p_out = np.array([(0.8 + a - 1) / a, (0.6 + a - 1) / a, 0.9])
    ratios = target / ((1 + a) / 2 * p_out + (1 - a) / 2)
    expected = [(ratios[i] >= np.delete(ratios, i)).mean() for i in range(3)]
    np.testing.assert_allclose(rmia(target, references, members, a=a), expected)
    # below, theirs divides by a negative number; ours stays a probability
    unlikely = rmia(np.array([0.3, 0.5]), np.array([[0.1, 0.6]]), np.ones((1, 2), bool), a=0.3)
    np.testing.assert_array_equal(unlikely, [1.0, 0.0])


def test_population_and_gamma_leave_the_ranking():
    target, references, members, generator = drawn(6, n=100)
    who = generator.random(100) < 0.5
    z = generator.beta(3, 1, 200), generator.beta(3, 1, (6, 200))
    own = rmia(target, references, members)
    other = slow_paper(target, references, members, online=True, a=OFFLINE_A, gamma=1.1, population=z)
    order = np.argsort(own)
    assert (np.diff(other[order]) >= 0).all() and len(np.unique(other)) > 10
    assert len(roc_of_scores(own, who).false_positives) == 100


def test_zero_probabilities_are_ranked_last():
    target, references, members, _ = drawn(3)
    target[0], references[:, 0] = 0.0, 0.0
    scores = rmia(target, references, members)
    assert np.isfinite(scores).all() and scores[0] == 0.0


def test_a_is_tuned_on_reference_models():
    generator = np.random.default_rng(2)
    hard = generator.beta(2, 2, 800)
    members = generator.random((6, 800)) < 0.5
    line = 0.4
    values = np.where(members, line * hard + 1 - line, hard)
    values = np.clip(values + 0.02 * generator.normal(size=values.shape), 0, 1)
    assert tune_a(values, members) in (0.2, 0.3, 0.4, 0.5, 0.6)
    assert tune_a(values, np.zeros(members.shape, bool)) == OFFLINE_A
    with pytest.raises(UsageError, match="too few to tune"):
        tune_a(values[:1], members[:1])


def test_bad_input_is_named():
    half, nobody = np.full((1, 3), 0.5), np.zeros((1, 3), bool)
    with pytest.raises(UsageError, match="target: a value is not a probability"):
        rmia(np.array([0.1, np.nan, 2.0]), half, nobody)
    with pytest.raises(UsageError, match="shape"):
        rmia(np.zeros(2), half, nobody)
    with pytest.raises(UsageError, match="at least one model"):
        rmia(np.zeros(3), half[:0], nobody[:0])
    with pytest.raises(UsageError, match="a: 0"):
        rmia(np.zeros(3), half, nobody, a=0.0)
    with pytest.raises(UsageError, match="nothing to be compared"):
        rmia(np.zeros(1), half[:, :1], nobody[:, :1])
