"""The most that a ledger lets anybody guess: of what it protects, and never more than one pair of numbers says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.records import stored
from trustml.measures.guessing import guessed_at_most
from trustml.privacy.ledger import Charge, charge
from trustml.privacy.reconstruction import most_guessed, most_guessed_of_gaussian
from trustml.record.store import RunDirectory

CHARGE = Charge(
    attempt=1, first_step=0, end_step=1, noise_multiplier=1.0, clipping_norm=1.0, sample_rate=1.0, batch_size=10,
    examples=10, sampling="all", secret_sampling=False, participation=1, largest_participation=1, plan="p", data="d",
)  # fmt: skip


def test_of_a_model_it_is_the_least_over_all_deltas_and_another_unit_has_none(tmp_path):
    charge(tmp_path / "ledger.jsonl", CHARGE)
    manifest = RunDirectory(stored("private")).manifest()
    record = next(one for one in manifest.jobs if one.kind == "train")

    def bound(*, epsilon, unit="example"):
        stated = SimpleNamespace(model=record.id, unit_of_privacy="example", epsilon=epsilon, delta=1e-5)
        run = SimpleNamespace(job_folder=lambda _: tmp_path)
        evidence = SimpleNamespace(once=lambda _: [stated], run=run, manifest=manifest)
        return guessed_at_most(evidence, record, unit=unit, chance=0.1)

    facts, exact = bound(epsilon=4.4), most_guessed_of_gaussian(noise_multiplier=1.0, chance=0.1)
    assert facts["guessed_without"] == 0.1
    assert exact <= facts["guessed_at_most"] == pytest.approx(exact, rel=0.03)
    assert facts["guessed_at_most"] < most_guessed(epsilon=4.4, delta=1e-5, chance=0.1)
    assert bound(epsilon=0.1)["guessed_at_most"] == most_guessed(epsilon=0.1, delta=1e-5, chance=0.1)
    assert bound(epsilon=4.4, unit="user") == bound(epsilon=None) == {}
