"""What an epsilon of two trainings rests on holds where it holds of both."""

from __future__ import annotations

import msgspec
import pytest

from tests.launch import test_starting
from tests.launch.test_starting import PRIVATE, data, planned, second, stated, swept, trained
from trustml.measures.assumptions import (
    BOTH_TAILS,
    DELTA,
    HYPERPARAMETERS,
    PREPROCESSING,
)
from trustml.plan.mechanism import NoiseDraw
from trustml.scenario.regimes import DPSGD

BATCHES, SECRET = "batches were drawn as the accountant assumes", "batches are secret"


def statuses(run):
    return {one.name: (one.status, one.why) for one in stated(run)[0].assumptions}


def after(folder, before, source, **changes):
    """A run that starts from the one model of another."""
    run = planned(folder, source, PRIVATE, start=f"{before.path}:{before.manifest().jobs[0].id}", **changes)
    trained(run)
    return run


@pytest.mark.parametrize("shared", [True, False])
def test_a_start_by_a_librarys_own_loop_is_told_where_its_charges_count(tmp_path, monkeypatch, shared):
    one = data(tmp_path, "first", seed=1)
    monkeypatch.setattr(test_starting, "DRAWN", NoiseDraw(source="torch.normal", coordinates=8))
    before = planned(tmp_path, one, DPSGD(noise_multiplier=2.0, epochs=2, batch_size=20, engine="stock"))
    trained(before)
    monkeypatch.setattr(test_starting, "DRAWN", NoiseDraw(source="torch", coordinates=8))
    run = after(tmp_path, before, data(tmp_path, "second", seed=2, beside=one if shared else None))
    found = statuses(run)
    wanted = ("not met", "not checked", "not checked") if shared else ("met", "met", "met")
    assert tuple(found[name][0] for name in (BOTH_TAILS, BATCHES, SECRET)) == wanted
    whose = f"of {before.path.name}:train.torch.DPSGD.s0, whose charges are in epsilon: "
    assert all(found[name][1].startswith(whose) == shared for name in (BOTH_TAILS, BATCHES, SECRET))


def test_a_start_that_was_prepared_and_chosen_by_the_data_is_told_also_where_it_is_further_back(tmp_path):
    one = data(tmp_path, "first", seed=1)
    standard = msgspec.structs.replace(one, scaling="standard")
    oldest = planned(tmp_path, standard, PRIVATE, chosen_from_data=("data.scaling", "model", "training"))
    trained(oldest)
    run = after(tmp_path, after(tmp_path, oldest, one), one)
    found = statuses(run)
    assert found[PREPROCESSING][0] == found[HYPERPARAMETERS][0] == "not met"
    assert f"of {oldest.path.name}:" in found[PREPROCESSING][1] and "were read from the data" in found[PREPROCESSING][1]
    assert [one.run for one in run.manifest().start.trainings] == [oldest.path.name, run.manifest().start.run]


def test_of_a_chain_the_model_that_a_sweep_chose_is_named(tmp_path):
    one = data(tmp_path, "first", seed=1)
    oldest = planned(tmp_path, one, PRIVATE)
    trained(oldest)
    swept(oldest, epochs=2)
    manifest = oldest.manifest()
    again = msgspec.structs.replace(manifest.jobs[0], id="train.torch.DPSGD.s1", seed=1)
    oldest.write_manifest(msgspec.structs.replace(manifest, jobs=(*manifest.jobs, again)))
    run = after(tmp_path, after(tmp_path, oldest, data(tmp_path, "other", seed=2, beside=one)), one)
    assert [training.chosen_among for training in run.manifest().start.trainings] == [2, 0]
    status, why = statuses(run)[HYPERPARAMETERS]
    assert status == "not met" and run.manifest().start.run not in why
    assert why.startswith(f"of {oldest.path.name}:train.torch.DPSGD.s0, whose charges are in epsilon: it is one of 2")


def test_of_a_start_of_an_earlier_record_nothing_is_taken_for_met(tmp_path):
    _, run, _ = second(tmp_path, PRIVATE, shared=True)
    told, manifest = statuses(run), run.manifest()
    run.write_manifest(msgspec.structs.replace(manifest, start=msgspec.structs.replace(manifest.start, trainings=())))
    untold = statuses(run)
    assert told[SECRET][0] == "met" and untold[SECRET][0] == "not checked" and "does not tell" in untold[SECRET][1]
    assert not [name for name, (status, _) in untold.items() if status == "met" and name != DELTA]


def test_delta_is_held_against_the_examples_of_both_trainings(tmp_path):
    few, many = data(tmp_path, "few", seed=1), data(tmp_path, "many", seed=2)
    before = planned(tmp_path, msgspec.structs.replace(many, test_fraction=0.1), PRIVATE)
    trained(before)
    regime = msgspec.structs.replace(PRIVATE, delta=1 / 60)
    for source, status in ((few, "met"), (msgspec.structs.replace(many, split_seed=1), "not met")):
        source = msgspec.structs.replace(source, test_fraction=0.5)
        run = planned(tmp_path, source, regime, start=f"{before.path}:{before.manifest().jobs[0].id}")
        trained(run)
        assert statuses(run)[DELTA][0] == status
