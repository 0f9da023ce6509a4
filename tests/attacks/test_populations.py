"""Populations are drawn as asked, and their share is told where answers follow it, and not where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.attacks.populations import draw_populations, told
from trustml.errors import DataError

HAS = np.arange(300) % 3 == 0


def draw(has=HAS, *, models=20, shares=(0.3, 0.7), rows=100, probes=30, seed=0):
    generator = np.random.default_rng(seed)
    return draw_populations(has, models=models, shares=shares, rows=rows, probes=probes, generator=generator)


def test_models_have_as_many_rows_by_turns_of_either_share_and_never_those_that_are_asked():
    found = draw()
    members, more = found["members"], found["more"]
    assert members.shape == (20, 300) and more.sum() == 10
    sizes = set(members.sum(axis=1).tolist())
    assert len(sizes) == 1 and sizes.pop() == 100
    have = (members & HAS).sum(axis=1)
    assert set(zip(have.tolist(), more.tolist(), strict=True)) == {(30, False), (70, True)}
    assert len(set(found["probes"].tolist())) == 30 and not members[:, found["probes"]].any()
    assert len({row.tobytes() for row in members}) == 20


def test_where_few_rows_have_it_models_are_smaller_and_where_none_can_be_drawn_it_is_refused():
    rare = np.arange(300) < 30
    assert 0 < draw(rare)["members"][0].sum() <= 30 / 0.7
    with pytest.raises(DataError, match="shares that are further apart"):
        draw(rare, shares=(0.5, 0.501))
    with pytest.raises(DataError, match="3 of 300 rows have the property"):
        draw(np.arange(300) < 3)


def answers(more, *, by, seed=0):
    generator = np.random.default_rng(seed)
    direction = generator.normal(size=(40, 3))
    return generator.normal(size=(len(more), 40, 3)) + by * np.where(more, 1, -1)[:, None, None] * direction


MORE = np.arange(60) % 2 == 1


def test_a_share_that_answers_follow_is_told_and_not_by_models_whose_shares_were_exchanged():
    found = told(answers(MORE, by=0.5), MORE)
    assert found.right.value > 0.9 and found.p_value < 1e-4 and found.learnt == found.right.n == 30
    assert found.control < 0.75


def test_where_answers_tell_nothing_the_test_is_wrong_as_often_as_it_says():
    found = [told(answers(MORE, by=0.0, seed=seed), MORE, controls=1) for seed in range(100)]
    assert sum(one.p_value <= 0.05 for one in found) <= 11  # of 100; 5 are expected at the most
    assert np.mean([one.right.value for one in found]) == pytest.approx(0.5, abs=0.03)


def test_answers_that_never_change_and_few_or_broken_ones_show_nothing():
    assert told(np.ones((20, 5)), MORE[:20], controls=1).p_value == 1.0
    with pytest.raises(DataError, match="19 models were trained, and 20 are needed"):
        told(np.ones((19, 5)), MORE[:19])
    with pytest.raises(DataError, match="not finite"):
        told(np.full((20, 5), np.nan), MORE[:20])
