"""Canaries and games of a real run: a bound beside its claim and beside what could have been shown."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.jax]


def group(run, beginning):
    table = run.measures()
    rows = table[table.job.str.startswith(beginning)]
    return {job: dict(zip(part.measure, part.value, strict=True)) for job, part in rows.groupby("job")}


def test_an_honest_game_keeps_its_claim_and_a_planted_mistake_does_not(attacked_run):
    honest, planted = group(attacked_run, "game.jax").values()
    assert honest["audited_epsilon"] <= honest["claimed_epsilon"]
    assert planted["audited_epsilon"] > planted["claimed_epsilon"] == honest["claimed_epsilon"]
    assert planted["audited_epsilon"] <= planted["ceiling_all_correct"]
    assert honest["attainable_at_claim"] < honest["ceiling_all_correct"]


def test_canaries_in_an_honest_training_keep_its_claim(attacked_run):
    (found,) = group(attacked_run, "canary.jax").values()
    assert found["audited_epsilon"] <= found["claimed_epsilon"]
    assert found["claimed_epsilon"] == pytest.approx(3.0, rel=0.02)
    assert {"ceiling_all_correct", "attainable_at_claim", "epsilon_estimate"} <= set(found)


def test_every_bound_says_its_confidence_and_every_estimate_that_it_is_none(attacked_run):
    table = attacked_run.measures()
    bounds = table[table.measure == "audited_epsilon"]
    assert bounds.note.str.contains("confidence; delta=1e-05").all()
    estimates = table[table.measure == "epsilon_estimate"]
    shown = estimates[estimates.value.notna()]
    assert len(shown) == 2 and shown.note.str.contains("never a bound").all()
    assert estimates[estimates.value.isna()].note.str.contains("hardly overlap").all()
