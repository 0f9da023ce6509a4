"""Canaries and games of a real run: a bound beside its claim and beside what could have been shown."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.compare.table import fact_of
from trustml.measures.audited import planted_facts
from trustml.measures.measure import MEASURES
from trustml.measures.notes import note_of
from trustml.measures.row import About

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


def test_every_epsilon_of_a_run_comes_with_what_it_rests_on(attacked_run):
    table = attacked_run.measures()
    kinds = [name for name, measure in MEASURES.items() if measure.unit == "nats" and measure.family != "accuracy"]
    found = table[table.measure.isin(kinds) & table.value.notna()]
    assert {"epsilon", "audited_epsilon", "claimed_epsilon", "attainable_at_claim"} <= set(found.measure)
    bare = found[found.delta.isna() | (found[["privacy_unit", "relation", "sampling", "accountant"]] == "").any(axis=1)]
    assert bare.empty, bare[["measure", "subject", "note"]].to_string()
    assert len(table.query("measure == 'epsilon' and privacy_unit == 'example' and delta < 1e-4"))
    assert table.query("measure == 'epsilon' and privacy_unit == 'user'").empty


def test_an_audit_says_whether_the_claim_is_refuted_and_what_it_was(attacked_run):
    bounds = attacked_run.measures().query("measure == 'audited_epsilon'")
    faults = fact_of(bounds, "fault", default="")
    assert set(bounds[faults != ""].verdict) == {"violated"} and set(bounds[faults == ""].verdict) == {"not refuted"}
    assert set(bounds.kind) == {"game", "canary"} and (bounds.confidence > 0.5).all()


@pytest.mark.parametrize(
    ("joined", "gradients", "told", "words"),
    [
        ([1, 2, 0], [1.0, 0.5, 0.0], (2, 0, 0), "each of 2 planted canaries received loss"),
        ([1, 0, 0], [1.0, 0.5, 1.0], (2, 1, 0), "WARNING: of 2 planted canaries 1 never came to a step: they"),
        ([1, 2, 0], [1.0, 0.0, 1.0], (2, 0, 1), "WARNING: of 2 planted canaries 1 had no gradient to learn from: they"),
        ([0, 2, 0], [0.0, 0.0, 1.0], (2, 1, 1), "1 never came to a step and 1 had no gradient to learn from"),
    ],
)
def test_canaries_that_no_step_learned_from_are_counted(joined, gradients, told, words):
    arrays = {"included": np.array([1, 1, 0]), "joined": np.array(joined)}
    facts = planted_facts({**arrays, "gradients": np.array(gradients)})
    assert tuple(facts.values()) == told and words in note_of(About(facts=facts))
    assert planted_facts(arrays)["without_gradient"] == 0  # gradients that are planted as they are
    assert planted_facts({"included": np.array([1, 0])}) == {}  # of an older record
