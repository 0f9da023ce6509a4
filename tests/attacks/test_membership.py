"""The battery: which attacks run, what they see, and how often it cries wolf."""

from dataclasses import replace

import numpy as np
import pytest

from tests import WHOLE
from tests.attacks.overfitted import drawn
from trustml.attacks.catalogue import ATTACKS, CATALOGUE, References
from trustml.attacks.membership import attack_membership, verdict_of
from trustml.attacks.roc import compress, roc_of_scores
from trustml.attacks.signals import logits_from_probabilities
from trustml.errors import UsageError

WITHOUT = ("loss", "confidence", "entropy", "modified-entropy", "label-only")


def test_every_attack_runs_and_finds_what_overfitting_leaves():
    logits, labels, members, references = drawn(gain=3.0)
    outcomes = attack_membership(logits, labels, members, references)
    assert [outcome.attack for outcome in outcomes] == [attack.name for attack in CATALOGUE if not attack.texts]
    areas = {outcome.attack: outcome.auc.value for outcome in outcomes}
    assert min(areas.values()) > 0.5
    for strong in ("lira-online", "lira-online-fixed", "lira-offline-fixed", "rmia-all"):
        assert areas[strong] > areas["loss"] + 0.1
    assert {o.attack: o.references for o in outcomes} | {"rmia-1": 1, "rmia-2": 2, "rmia-4": 4, "loss": 0} == {
        o.attack: o.references for o in outcomes
    }
    for outcome in outcomes:
        assert outcome.auc.low < outcome.auc.value < outcome.auc.high
        assert outcome.scores.shape == labels.shape and compress(outcome.roc) == outcome.roc
        assert sorted(outcome.class_aucs) == [0, 1, 2, 3]
        assert members[list(outcome.exposed)].all() and len(outcome.exposed) == 10
        assert outcome.scores[outcome.exposed[0]] == outcome.scores[members].max()
        assert outcome.tprs[0.01].value is None and outcome.tprs[0.01].note == "not estimable at this n"
        assert "scores" not in repr(outcome) and "exposed" not in repr(outcome)
    verdict = verdict_of(outcomes)
    assert verdict.flagged and verdict.strongest in areas and set(verdict.bounds) == set(areas)
    assert verdict.each == pytest.approx(1 - 0.01 / 45) and verdict.confidence == pytest.approx(0.99)
    assert verdict.lower == max(verdict.bounds.values())


def test_no_attack_sees_who_is_in_the_target():
    logits, labels, members, references = drawn(models=6, examples=200)
    found = attack_membership(logits, labels, members, references)
    mirrored = attack_membership(logits, labels, ~members, references)
    for one, other in zip(found, mirrored, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        assert one.auc.value == pytest.approx(1 - other.auc.value)


def names(*args, **kwargs):
    return tuple(outcome.attack for outcome in attack_membership(*args, **kwargs))


def test_what_can_be_run_depends_on_the_references():
    logits, labels, members, references = drawn(models=5, examples=80)
    assert names(logits, labels, members, None) == WITHOUT
    one = References(logits=references.logits[:1], members=references.members[:1])
    assert names(logits, labels, members, one) == (*WITHOUT, "rmia-1", "rmia-offline", "learned")
    # the same examples in every model: nobody is both in and out
    fixed = References(logits=references.logits, members=np.tile(references.members[:1], (5, 1)))
    assert not {"lira-online", "lira-online-fixed"} & set(names(logits, labels, members, fixed))
    assert "lira-online" in names(logits, labels, members, references)
    chosen = attack_membership(logits, labels, members, references, attacks=("rmia-2", "loss"))
    assert [outcome.attack for outcome in chosen] == ["loss", "rmia-2"]
    assert verdict_of(chosen).each == pytest.approx(1 - 0.01 / 6)


QUICK = ("loss", "entropy", "label-only", "lira-online", "lira-offline-fixed", "rmia-1", "rmia-4")


@pytest.mark.long  # in short tests/auditing/test_checks_membership.py asks the same of an audit
def test_models_that_learned_nothing_are_seldom_flagged():
    # at 90 percent, so that flags are frequent enough to be counted: 40 of 400 are allowed, and counting errs by 6
    flagged, seeds = 0, 20 if WHOLE else 10
    for seed in range(seeds):
        logits, labels, members, references = drawn(models=4, examples=120, seed=seed)
        outcomes = attack_membership(logits, labels, members, references, attacks=QUICK)
        for again in range(20):
            coins = np.random.default_rng([seed, again]).random(120) < 0.5
            null = [replace(outcome, roc=roc_of_scores(outcome.scores, coins)) for outcome in outcomes]
            flagged += verdict_of(null, confidence=0.9).flagged
    allowed = 2 * seeds
    assert allowed // 10 <= flagged <= allowed + 2 * np.sqrt(allowed)


def sure_of(*, exposed=0, shift=0.0, count=2000, seed=0):
    """Outcomes of the loss attack on a model of two classes that is sure of a few members, or of all more or less."""
    generator = np.random.default_rng(seed)
    members = np.arange(2 * count) < count
    margin = generator.normal(size=2 * count) + shift * members
    margin[:exposed] += 12
    return attack_membership(
        np.stack([margin, 0 * margin], axis=1), np.zeros(2 * count, int), members, attacks=["loss"]
    )


def test_members_below_the_others_are_a_difference_too():
    verdict = verdict_of(sure_of(shift=-1.0))
    assert verdict.flagged and verdict.reversed == ("loss",) and not verdict.told and not verdict.exposing
    assert verdict.bounds["loss"] < verdict.uppers["loss"] < 0.5


def test_a_few_members_that_are_exposed_for_certain_are_found_where_the_area_says_nothing():
    outcomes = sure_of(exposed=40)
    verdict = verdict_of(outcomes)
    assert verdict.bounds["loss"] < 0.5 < verdict.uppers["loss"]
    assert verdict.flagged and verdict.exposing == ("loss",) and not verdict.told and not verdict.reversed
    tops = verdict.tops["loss"]
    assert tops.members >= 40 and tops.false_positives <= 2 and tops.p_value < 1e-9


def test_the_error_is_that_of_all_three_questions_together():
    flagged = 0
    outcomes = sure_of(count=150)
    for seed in range(400):
        coins = np.random.default_rng(seed).permutation(300) < 150
        null = [replace(one, roc=roc_of_scores(one.scores, coins)) for one in outcomes]
        flagged += verdict_of(null, confidence=0.9).flagged
    assert 8 <= flagged <= 40 + 18  # 10 %, and three standard deviations of counting


def test_equal_probabilities_are_ties_whatever_the_other_classes_have():
    # a forest of five trees over four classes
    generator = np.random.default_rng(3)
    votes = np.array([np.bincount(generator.integers(0, 4, 5), minlength=4) for _ in range(600)]) / 5
    labels, members = generator.integers(0, 4, 600), np.arange(600) < 300
    own = votes[np.arange(600), labels]
    right = roc_of_scores(own, members)
    for name, scores in (("loss", own), ("confidence", votes.max(axis=1))):
        (outcome,) = attack_membership(
            logits_from_probabilities(votes), labels, members, attacks=[name], normalised=True
        )
        assert outcome.roc == compress(roc_of_scores(scores, members)), name
    assert len(right.false_positives) == len(set(own)) <= 6
    (rounded,) = attack_membership(logits_from_probabilities(votes), labels, members, attacks=["loss"])
    assert len(set(rounded.scores)) > 6  # what rounding makes of them otherwise
    sorted_votes = {tuple(sorted(row)) for row in votes}
    (entropy,) = attack_membership(
        logits_from_probabilities(votes), labels, members, attacks=["entropy"], normalised=True
    )
    assert len(set(entropy.scores)) == len(sorted_votes)


def test_one_class_and_few_examples():
    generator = np.random.default_rng(0)
    members = np.arange(12) < 6
    outcomes = attack_membership(generator.normal(size=(12, 3)), np.zeros(12, int), members)
    assert all(outcome.class_aucs == {} for outcome in outcomes)
    assert not verdict_of(outcomes).flagged
    members = np.arange(60) < 30
    outcomes = attack_membership(generator.normal(size=(60, 3)), np.zeros(60, int), members)
    assert all(list(outcome.class_aucs) == [0] for outcome in outcomes)


def test_a_model_that_answers_the_same_to_all():
    members = np.arange(100) < 50
    outcomes = attack_membership(np.zeros((100, 3)), np.zeros(100, int), members)
    assert [outcome.auc.value for outcome in outcomes] == [0.5] * 5
    assert all(outcome.advantage.value == 0.0 for outcome in outcomes)
    assert not verdict_of(outcomes).flagged


def test_tprs_where_there_are_enough_non_members():
    logits, labels, members, _ = drawn(models=0, examples=2400)
    found = attack_membership(logits, labels, members, attacks=("loss",))[0]
    assert found.tprs[0.001].value is None
    assert found.tprs[0.01].low <= found.tprs[0.01].value <= found.tprs[0.01].high


def test_bad_input_is_named():
    logits, labels, members, references = drawn(models=2, examples=30)
    bad = logits.copy()
    bad[3, 1] = np.nan
    for given, message in [
        ((bad, labels, members, references), "target_logits: 1 values are not finite"),
        ((logits[:, :1], labels * 0, members, None), "one class only"),
        ((logits, labels, members & False, None), "0 of 30 are members"),
        ((logits, labels, members.astype(int), None), "one bool"),
        ((logits[:20], labels, members, None), "do not fit"),
        ((logits[:20], labels[:20], members[:20], references), "of the same examples"),
        ((logits, labels, members, References(logits=np.stack([bad, bad]), members=references.members)), "references"),
    ]:
        with pytest.raises(UsageError, match=message):
            attack_membership(*given)
    for names, message in [
        (("lira",), "'lira'; there are loss"),
        ((), "empty"),
        (("loss", "loss"), "twice"),
        (("rmia-4",), "rmia-4 needs 4 reference models where 2 are there"),
    ]:
        with pytest.raises(UsageError, match=message):
            attack_membership(logits, labels, members, references, attacks=names)
    with pytest.raises(UsageError, match="none; run"):
        verdict_of([])
    outcomes = attack_membership(logits, labels, members)
    with pytest.raises(UsageError, match="twice"):
        verdict_of([*outcomes, *outcomes])


def test_the_catalogue_is_a_table():
    assert len(ATTACKS) == len(CATALOGUE) == 19
    for attack in CATALOGUE:
        assert attack.title and "arXiv" in attack.paper
        assert (attack.references > 0) == (attack.name not in (*WITHOUT, "min-k", "min-k++", "zlib"))
