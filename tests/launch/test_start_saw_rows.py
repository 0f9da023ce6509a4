"""A start that was trained on rows that are held out now, or chosen by rows that are trained on now."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from tests.launch.test_starting import (
    MODEL,
    PRIVATE,
    _people,
    data,
    planned,
    privacy_statements,
    stated,
    table,
    trained,
    tuned,
)
from trustml.auditing.claim import Claim
from trustml.auditing.run_audit import _model
from trustml.auditing.run_wording import accounting_finding
from trustml.data.datasets import load_dataset
from trustml.launch.forecast import forecast
from trustml.launch.prepare import prepare_run
from trustml.measures import reconstructed, remembered
from trustml.measures.accuracy import accuracy_rows, performance_rows
from trustml.measures.attacked_groups import attacked_group_rows
from trustml.measures.evidence import Evidence
from trustml.measures.membership import attacked_models, attacked_rows
from trustml.measures.privacy import private_rows
from trustml.measures.score_differences import difference_rows
from trustml.measures.slices import slice_rows
from trustml.measures.started_assumptions import OTHER_DATA
from trustml.record.files import encode_arrays
from trustml.record.starts import StartRecord
from trustml.record.store import SEEN
from trustml.scenario.attacks import Attacks, MembershipInference, ModelInversion
from trustml.scenario.regimes import Plain
from trustml.scenario.spec import Explanations, Scenario

ATTACKED = Attacks(membership=MembershipInference(shadow_models=0))


def answered(run, logits_of):
    """The run as if its one model had answered."""
    (record,) = run.manifest().jobs
    job, arrays = run.job(record.id), run.arrays("private/data.npz")
    path = run.file(job.scores)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_arrays({"train_logits": logits_of(arrays["train_inputs"])}))
    predictions = encode_arrays({"test_logits": logits_of(arrays["test_inputs"])})
    (run.job_folder(record.id) / "predictions.npz").write_bytes(predictions)


@pytest.mark.parametrize("regime", [Plain(), PRIVATE, msgspec.structs.replace(PRIVATE, from_seed=True, trainable=())])
def test_held_out_rows_that_the_start_was_trained_on_are_no_test_and_no_non_members(tmp_path, regime):
    one = data(tmp_path, "first", seed=1)
    two = msgspec.structs.replace(one, split_seed=1)
    before = planned(tmp_path, one, Plain())
    run = planned(tmp_path, two, regime, start=trained(before), attacks=ATTACKED)
    trained(run)
    known = {row.tobytes() for row in load_dataset(one).train.inputs}
    seen = np.array([row.tobytes() in known for row in load_dataset(two).test.inputs])
    assert 0 < seen.sum() < len(seen) and run.manifest().start.held_out_seen == seen.sum()
    assert run.arrays(SEEN)["seen"].tolist() == seen.tolist()
    (told,) = [one for one in run.private_warnings() if "is no test" in one or "are no test" in one]
    assert told.startswith(f"{seen.sum()} of {len(seen)} held-out examples are rows that the start, {before.path.name}")
    # a model that knows what was trained on, whenever that was, by heart
    answered(run, lambda rows: np.stack([[9.0 if row.tobytes() in known else 0.0, 0.0] for row in rows]).astype("f4"))
    evidence = Evidence(run, second_opinion=False)
    starts = not getattr(regime, "from_seed", False)
    (model,) = attacked_models(evidence)
    assert (~model.members).sum() == len(seen) - seen.sum() * starts and model.members.sum() == len(
        load_dataset(two).train
    )
    (row,) = [one for one in attacked_rows(evidence) if one.measure == "membership_auc" and one.method == "loss"]
    assert row.n == len(model.members) == len(model.groups) and ("are left out" in row.note) == starts
    audited = _model(run.manifest().jobs[0], None, attacked_rows(evidence), run.manifest())
    assert audited.members + audited.non_members == row.n
    scores = [one for one in (*accuracy_rows(evidence), *performance_rows(evidence)) if one.value is not None]
    assert len(scores) > 2 and all((one.facts.get("held_out_seen") == seen.sum()) == starts for one in scores)
    assert all(("no test of what was learned" in one.note) == starts for one in scores)
    for statement in privacy_statements(evidence):
        (release,) = [one for one in statement.releases if one.name == "predictions on held-out examples"]
        assert (f"{seen.sum()} of these its start was trained on" in release.why) == starts


def test_groups_are_attacked_by_the_same_examples(tmp_path):
    rows = [(one, other, "mf"[place // 2 % 2], label) for place, (one, other, label) in enumerate(_people(400))]
    source = table(tmp_path, "one", rows, columns=("a", "b", "who", "y"))
    source = msgspec.structs.replace(source, keys=("who",), drop=("who",), test_fraction=0.5)
    start = trained(planned(tmp_path, source, Plain()))
    other = msgspec.structs.replace(source, split_seed=1)
    run = planned(tmp_path, other, Plain(), start=start, attacks=ATTACKED, slices=("who",))
    trained(run)
    answered(run, lambda rows: rows[:, :2])
    evidence = Evidence(run, second_opinion=False)
    (model,), found = attacked_models(evidence), attacked_group_rows(evidence)
    assert 0 < run.manifest().start.held_out_seen == 400 - len(model.members)
    assert all("no test of what was learned" in one.note for one in slice_rows(evidence))
    assert len(found) == 2 and sum(one.n for one in found) == len(model.members)


@pytest.mark.parametrize("split_seed", [0, 1])
def test_a_model_from_the_seed_is_not_compared_with_one_that_knows_the_rows_unless_that_is_said(tmp_path, split_seed):
    one = data(tmp_path, "first", seed=1)
    start = trained(planned(tmp_path, one, Plain()))
    scenario = Scenario(
        name="two", data=msgspec.structs.replace(one, split_seed=split_seed), model=MODEL, start=start,
        training=(Plain(from_seed=True, name="fresh"), Plain()), backends=("torch",),
        explanations=Explanations(methods=(), examples=8),
    )  # fmt: skip
    run = prepare_run(scenario, root=tmp_path / "runs")
    manifest = run.manifest()
    run.write_manifest(
        msgspec.structs.replace(
            manifest, jobs=tuple(msgspec.structs.replace(one, status="ok", attempt=1) for one in manifest.jobs)
        )
    )
    for number, record in enumerate(manifest.jobs):
        logits = run.arrays("private/data.npz")["test_inputs"][:, number : number + 2]
        (run.job_folder(record.id) / "predictions.npz").write_bytes(encode_arrays({"test_logits": logits}))
    (row,) = difference_rows(Evidence(run, second_opinion=False))
    assert ("no test of what was learned" in row.note) == (split_seed == 1)


def test_without_the_places_of_those_rows_nothing_is_attacked(tmp_path):
    one = data(tmp_path, "first", seed=1)
    start = trained(planned(tmp_path, one, Plain()))
    run = planned(tmp_path, msgspec.structs.replace(one, split_seed=1), Plain(), start=start, attacks=ATTACKED)
    trained(run)
    answered(run, lambda rows: rows[:, :2])
    run.file(SEEN).unlink()
    (model,) = attacked_models(Evidence(run, second_opinion=False))
    assert not model.outcomes and "its start was trained on" in model.why_not


@pytest.mark.parametrize("how", ["the same split", "other rows", "gone"])
def test_held_out_rows_that_it_was_not_trained_on_are_as_always(tmp_path, how):
    one = data(tmp_path, "first", seed=1)
    before = planned(tmp_path, one, Plain())
    start = trained(before)
    if how == "gone":
        before.file("private/data.npz").unlink()
    source = one if how == "the same split" else data(tmp_path, "second", seed=2)
    run = planned(tmp_path, source, PRIVATE, start=start)
    assert run.manifest().start.held_out_seen == (None if how == "gone" else 0) and not run.file(SEEN).exists()
    assert not [one for one in run.private_warnings() if "was trained on" in one]


def test_a_forecast_warns_of_them_too(tmp_path):
    one = data(tmp_path, "first", seed=1)
    scenario = Scenario(
        name="two", data=msgspec.structs.replace(one, split_seed=1), model=planned(tmp_path, one, Plain()).job(
            "train.torch.Plain.s0").model, training=(Plain(),), start=trained(planned(tmp_path, one, Plain())),
        backends=("torch",), explanations=Explanations(methods=(), examples=8),
    )  # fmt: skip
    assert any("are no test of what was learned" in one for one in forecast(scenario, root=tmp_path / "none").warnings)


@pytest.mark.parametrize(("chosen", "status"), [("tuned", "not met"), ("swept", "not met"), ("", "not checked")])
@pytest.mark.parametrize("first", [Plain(), PRIVATE])
def test_a_start_that_was_chosen_by_rows_that_are_trained_on_now_is_made_from_them(tmp_path, chosen, status, first):
    one, two = (table(tmp_path, name, part) for name, part in (("a", _people()[:50]), ("b", _people()[50:])))
    before = planned(tmp_path, msgspec.structs.replace(one, test_path=two.path), first)
    start = trained(before)
    manifest = before.manifest()
    if chosen == "tuned":
        tuned(before, runs=50.0)
    elif chosen == "swept":
        entries = [{"regime": first.title, "of": "D", "field": "epochs", "value": 2}]
        again = msgspec.structs.replace(manifest.jobs[0], id="train.torch.again.s1", seed=1)
        scenario = {**manifest.scenario, "sweep": entries}
        before.write_manifest(msgspec.structs.replace(manifest, scenario=scenario, jobs=(*manifest.jobs, again)))
    run = planned(tmp_path, msgspec.structs.replace(two, test_path=one.path), PRIVATE, start=start)
    trained(run)
    record, (statement, _, about) = run.manifest().start, stated(run)
    assert (record.shared, record.scored, record.held_out_seen) == ("none", "some", 50)
    assert record.chosen == (f"{before.path.name}:{manifest.jobs[0].id}" if chosen else "")
    assert about.status == status and before.path.name in about.why and "training rows here" in about.why
    assert statement.epsilon is not None and statement.composed_with == ""
    (release,) = [one for one in statement.releases if one.name == "starting weights"]
    assert ("was chosen by how it scored" in release.why) == bool(chosen)
    notes = {one.measure: one.note for one in private_rows(Evidence(run, second_opinion=False))}
    assert all(("chosen by scores" in notes[name]) == bool(chosen) for name in ("epsilon", "epsilon_all_releases"))


def test_a_choice_by_rows_that_are_trained_on_now_is_not_paid_for_by_charges_that_compose(tmp_path):
    one, two = (table(tmp_path, name, part) for name, part in (("a", _people()[:50]), ("b", _people()[25:])))
    before = planned(
        tmp_path, msgspec.structs.replace(one, test_path=table(tmp_path, "c", _people()[50:]).path), PRIVATE
    )
    start = trained(before)
    tuned(before, runs=50.0)
    run = planned(tmp_path, msgspec.structs.replace(two, test_path=one.path), PRIVATE, start=start)
    trained(run)
    statement, _, about = stated(run)
    (release,) = [one for one in statement.releases if one.name == "starting weights"]
    assert statement.composed_with and release.coverage == "not covered"
    found = accounting_finding(statement, Claim(epsilon=statement.epsilon, delta=statement.delta), artifact="x")
    assert found.severity == "risk" and OTHER_DATA in found.title and "no epsilon covers that choice" in about.why


def test_a_choice_by_rows_that_are_not_trained_on_now_is_none_of_these(tmp_path):
    before = planned(tmp_path, data(tmp_path, "first", seed=1), PRIVATE)
    start = trained(before)
    tuned(before, runs=50.0)
    run = planned(tmp_path, data(tmp_path, "second", seed=2), PRIVATE, start=start)
    trained(run)
    assert run.manifest().start.scored == "none" and stated(run)[2].status == "met"


@pytest.mark.parametrize("regime", [Plain(), Plain(from_seed=True)])
def test_what_is_held_against_held_out_rows_is_not_measured_where_the_start_knows_some(regime):
    start = StartRecord(run="r", job="j", weights="", shared="none", held_out_seen=3)
    run = SimpleNamespace(file=lambda _: SimpleNamespace(is_file=lambda: True))
    evidence = SimpleNamespace(manifest=SimpleNamespace(start=start), run=run)
    why = remembered._why_not_asked(
        evidence, SimpleNamespace(status="ok"), SimpleNamespace(regime=regime), "private/any.npz"
    )
    assert (why is None) == regime.from_seed and (why is None or "3 of the held-out examples" in why.facts["reason"])


def test_typical_inputs_are_not_held_against_rows_that_the_start_knows():
    start = StartRecord(run="r", job="j", weights="", shared="none", held_out_seen=3)
    evidence = SimpleNamespace(
        manifest=SimpleNamespace(start=start),
        run=SimpleNamespace(file=lambda _: SimpleNamespace(is_file=lambda: True), arrays=lambda _: {}),
        row=lambda measure, value, *, about, **_: (measure, value, about.facts["reason"]),
    )
    job = SimpleNamespace(output="any", gradients=None, inversion=ModelInversion(), regime=Plain())
    done = SimpleNamespace(status="ok")
    ((measure, value, why),) = reconstructed._of_model(evidence, done, job, model=None)
    assert measure == reconstructed.TYPICAL and value is None and "no baseline" in why
