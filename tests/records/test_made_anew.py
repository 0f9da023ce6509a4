"""Stored runs made anew, by real trainings: what is tested on the stored ones holds for what the present code does."""

from __future__ import annotations

import pytest

import trustml
from tests.records import stored
from tests.records.make import ATTACKED, SCENARIOS, make, make_neutral

pytestmark = [pytest.mark.long, pytest.mark.tensorflow, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_made_anew_has_the_rows_of_the_stored_one(tmp_path, name):
    run = make(name, tmp_path)
    make_neutral(run.directory)
    found, expected = (
        set(one.measures()[["job", "subject", "measure"]].itertuples(index=False, name=None))
        for one in (run, trustml.load(stored(name)))
    )
    assert found == expected
    if name == ATTACKED.name:
        check_attacks(run)


def check_attacks(run: trustml.Run) -> None:
    table = run.measures()
    least = table[(table.measure == "membership_auc_at_least") & (table.seed >= 0)].groupby("job").value.max()
    assert (least[[job for job in least.index if "Overfitted" in job]] > 0.5).all()
    assert (least[[job for job in least.index if "DPSGD" in job]] <= 0.5).all()
    values = table.set_index(["job", "measure"]).value
    for job, violated in (("game.jax.0", False), ("game.jax.1", True), ("canary.jax.DPSGD.dirac-gradient", False)):
        assert (values[job, "audited_epsilon"] > values[job, "claimed_epsilon"]) == violated, job
