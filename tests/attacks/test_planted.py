"""Each attack of the battery by itself: it finds what is planted for it, and nothing where nothing is."""

from __future__ import annotations

from functools import cache

import pytest

from tests.attacks.overfitted import drawn
from tests.attacks.test_texts import MEMBERS, attacked
from trustml.attacks.catalogue import CATALOGUE
from trustml.attacks.membership import attack_membership, verdict_of
from trustml.models.tasks import NextToken


@cache
def outcomes(*, texts, planted):
    """Outcomes by attack on a model that remembers its members, or on one that learnt nothing of them."""
    if texts:
        answers, labels, references = attacked(remembers=planted)
        found = attack_membership(answers, labels, MEMBERS, references, task=NextToken())
    else:
        found = attack_membership(*drawn(gain=3.0 if planted else 0.0))
    return {one.attack: one for one in found}


@pytest.mark.parametrize("attack", CATALOGUE, ids=lambda attack: attack.name)
def test_an_attack_finds_members_that_are_remembered_and_none_that_are_not(attack):
    found, nothing = (outcomes(texts=attack.texts, planted=planted)[attack.name] for planted in (True, False))
    assert found.auc.low > 0.5 and verdict_of([found]).flagged
    assert nothing.auc.low < 0.5 < nothing.auc.high and not verdict_of([nothing]).flagged
