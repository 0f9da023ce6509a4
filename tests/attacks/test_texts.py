"""Attacks on language models: by hand, where texts are remembered, and where they are not."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from trustml.attacks.catalogue import ATTACKS, CATALOGUE, References
from trustml.attacks.membership import attack_membership, verdict_of
from trustml.attacks.task_signals import unfit_attacks
from trustml.attacks.texts import (
    SHARE,
    calibrated_scores,
    compressed_scores,
    least_likely_scores,
    least_likely_standardised_scores,
    lowest_without_tokens,
)
from trustml.errors import UsageError
from trustml.models.answers import recorded, recorded_losses
from trustml.models.losses import softmax
from trustml.models.tasks import Classes, NextToken

TEXTS, STEPS, TOKENS, MODELS = 160, 12, 9, 8
OF_TEXTS = {attack.name for attack in CATALOGUE if attack.texts}
MEMBERS = np.arange(TEXTS) < TEXTS // 2


def test_what_is_recorded_of_a_step_by_hand():
    logits = np.random.default_rng(0).normal(size=(3, 2, 5)).astype(np.float32)
    labels = np.array([[4, 1], [2, 0], [0, 0]])
    found = recorded(NextToken(), logits, labels)
    p = softmax(logits.astype(np.float64))
    mean = (p * np.log(p)).sum(axis=-1)
    deviation = np.sqrt((p * (np.log(p) - mean[..., None]) ** 2).sum(axis=-1))
    wanted = np.stack(
        [np.log(np.take_along_axis(p, labels[..., None], -1))[..., 0], np.log(p.max(-1)), mean, deviation], -1
    )
    np.testing.assert_allclose(found, np.where(labels[..., None] > 0, wanted, 0.0), rtol=1e-6)
    far = recorded(NextToken(), np.array([[[0.0, 1e4, -1e4]]]), np.array([[1]]))
    assert np.isfinite(far).all() and far[0, 0, 3] == 0


def test_signals_by_hand():
    outputs = np.zeros((2, 10, 4))
    outputs[0, :, 0] = -np.arange(10.0)  # a fifth of ten: -9 and -8
    outputs[1, :4, 0] = [-1.0, -5.0, -2.0, -3.0]  # of four, the one of the fifth rounded up
    outputs[..., 2], outputs[..., 3] = -4.0, 2.0
    labels = np.where(np.arange(10) < np.array([10, 4])[:, None], 1 + np.arange(10), 0)
    assert SHARE == 0.2
    np.testing.assert_allclose(least_likely_scores(outputs, labels), [-8.5, -5.0])
    np.testing.assert_allclose(least_likely_standardised_scores(outputs, labels), [-2.25, -0.5])
    packed = compressed_scores(np.array([2.0, 3.0]), labels, names=["", *"abcdefghij"])
    np.testing.assert_allclose(packed, [-2 / len(zlib.compress(b"abcdefghij")), -3 / len(zlib.compress(b"abcd"))])
    assert (compressed_scores(np.ones(2), labels) < 0).all()
    nothing = np.zeros_like(labels)
    assert np.isnan(least_likely_scores(outputs, nothing)).all()
    inside = np.array([[True, True], [False, True]])
    np.testing.assert_allclose(
        calibrated_scores(np.array([1.0, 1.0]), np.array([[9.0, 2.0], [4.0, 6.0]]), inside), [3.0, 3.0]
    )


def answers(*, remembered, hardness, labels, seed):
    """Recorded answers of a model of texts that are hard or easy for anybody, surer of those it remembers."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(TEXTS, STEPS, TOKENS))
    sure = 2.0 - hardness[:, None] + 1.5 * remembered[:, None]
    np.put_along_axis(logits, labels[..., None], sure[..., None] + generator.normal(size=(*labels.shape, 1)), -1)
    return recorded(NextToken(), logits, labels)


def attacked(*, remembers):
    generator = np.random.default_rng(1)
    labels = generator.integers(1, TOKENS, size=(TEXTS, STEPS))
    hardness = generator.normal(size=TEXTS) * 1.5
    inside = generator.random((MODELS, TEXTS)) < 0.5
    known = {"hardness": hardness, "labels": labels}
    target = answers(remembered=MEMBERS & remembers, seed=2, **known)
    others = [answers(remembered=one & remembers, seed=3 + number, **known) for number, one in enumerate(inside)]
    losses = np.stack([recorded_losses(NextToken(), one, labels) for one in others])
    return target, labels, References(logits=-losses, members=inside)


@pytest.fixture(scope="module")
def found():
    return {
        remembers: {
            one.attack: one for one in attack_membership(*_ordered(attacked(remembers=remembers)), task=NextToken())
        }
        for remembers in (True, False)
    }


def _ordered(parts):
    target, labels, references = parts
    return target, labels, MEMBERS, references


def test_every_attack_that_fits_texts_is_run(found):
    assert found[True].keys() == ATTACKS.keys() - unfit_attacks(NextToken()).keys()
    assert OF_TEXTS | {"loss", "lira-online", "rmia-all", "rmia-offline"} <= found[True].keys()


@pytest.mark.parametrize("name", sorted(OF_TEXTS | {"loss", "lira-online-fixed", "lira-offline-fixed", "rmia-all"}))
def test_remembered_texts_are_found_and_others_are_not(found, name):
    assert found[True][name].auc.low > 0.5
    assert found[False][name].auc.low < 0.5 < found[False][name].auc.high
    assert not verdict_of([found[False][name]], confidence=0.99).flagged


def test_what_is_hard_for_anybody_is_taken_out_by_reference_models(found):
    """Planted texts differ in how hard they are, which hides what the loss alone shows."""
    loss = found[True]["loss"].auc.value
    for name in ("calibrated", "lira-offline-fixed", "lira-online-fixed"):
        assert found[True][name].auc.value > loss + 0.1


def test_what_needs_tokens_is_for_models_of_tokens_alone():
    logits, labels = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 3
    members = np.arange(40) < 20
    run = {one.attack for one in attack_membership(logits, labels, members, task=Classes())}
    assert not run & OF_TEXTS
    with pytest.raises(UsageError, match="min-k looks at each token of a text"):
        attack_membership(logits, labels, members, attacks=("min-k",), task=Classes())


def test_a_record_of_before_holds_too_little_for_them():
    target, labels, references = attacked(remembers=True)
    run = attack_membership(target[..., :2], labels, MEMBERS, task=NextToken())
    assert [one.attack for one in run] == ["loss", "confidence"]
    with pytest.raises(UsageError, match=r"give \(models, examples\) and \(models, examples\)"):
        attack_membership(
            target, labels, MEMBERS, References(logits=np.zeros((2, TEXTS, 3)), members=references.members[:2]),
            task=NextToken(),
        )  # fmt: skip


def test_a_text_in_which_no_token_follows_is_the_last_that_is_called_a_member():
    """Its loss is 0, which is no sign that it was learnt."""
    target, labels, references = attacked(remembers=True)
    nothing = np.arange(TEXTS) == 3
    target[nothing], labels[nothing] = 0.0, 0
    for one in attack_membership(target, labels, MEMBERS, references, task=NextToken()):
        assert one.scores[3] == one.scores[~nothing].min(), one.attack
    np.testing.assert_array_equal(lowest_without_tokens(np.ones(2), np.zeros((2, 3))), 0.0)
