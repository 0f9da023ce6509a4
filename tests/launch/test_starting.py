"""Starting from a model of an earlier run: the guarantee is of both trainings where rows are trained on again."""

from __future__ import annotations

import math

import dp_accounting
import msgspec
import numpy as np
import pytest
from PIL import Image

from tests.record.walking import parts_of
from trustml.cli.main import _main
from trustml.data.datasets import load_dataset
from trustml.errors import UsageError
from trustml.evidence import ledgers as verifying
from trustml.evidence.ledgers import verify_ledgers
from trustml.launch.forecast import forecast
from trustml.launch.prepare import prepare_run
from trustml.launch.rows_again import same_preparation
from trustml.launch.starting import in_blocks, started
from trustml.measures import privacy_statements as statements_module
from trustml.measures import sweeps
from trustml.measures.evidence import Evidence
from trustml.measures.privacy import privacy_rows, privacy_statements, private_rows, releases
from trustml.measures.privacy_statements import lower_bound_if_shuffled
from trustml.measures.started_assumptions import OTHER_DATA
from trustml.measures.sweeps import charged_candidates, choices
from trustml.models.layers import Architecture, Dense, Flatten
from trustml.models.weights import encode_weights, read_weights
from trustml.plan.mechanism import NoiseDraw, make_charge
from trustml.privacy.accounting import (
    RDP_ORDERS,
    epsilon_if_poisson,
    epsilon_of,
    epsilon_of_releases,
    epsilon_rdp,
    epsilon_unamplified,
    epsilon_with_tuning,
)
from trustml.privacy.crosscheck import SecondOpinion
from trustml.privacy.ledger import charge, read_ledger
from trustml.privacy.statement import at_most, statement_text
from trustml.record.files import sha256
from trustml.record.released import why_released
from trustml.report.privacy.figures import POISSON, SHUFFLED, UNAMPLIFIED, epsilon_by_steps
from trustml.scenario.federated import BandedMatrix, LocalDPFedAvg, SiloDPFedAvg
from trustml.scenario.partition import IID
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.sources import Csv, Images, Npz
from trustml.scenario.spec import Explanations, Scenario
from trustml.scenario.trainable import Head

MODEL = Architecture(layers=(Dense(units=3), Dense(units=2)))
PRIVATE = DPSGD(noise_multiplier=2.0, epochs=2, batch_size=20, trainable=(Head(),))
SILO = SiloDPFedAvg(partition=IID(clients=4), noise_multiplier=2.0, delta=1e-4, rounds=2, local_steps=2, batch_size=5)
DRAWN = NoiseDraw(source="", coordinates=8)


def data(folder, name: str, *, seed: int, beside=None) -> Npz:
    """A hundred rows, the first of which may be another set's."""
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(100, 4)).astype(np.float32)
    if beside is not None:
        with np.load(beside.path) as arrays:
            inputs[:50] = arrays["inputs"][:50]
    np.savez(folder / f"{name}.npz", inputs=inputs, labels=np.arange(100) % 2)
    return Npz(path=str(folder / f"{name}.npz"))


def planned(folder, source, regime, *, model=MODEL, **changes):
    """A run that is ready to go."""
    scenario = Scenario(
        name="one", data=source, model=model, training=(regime,), explanations=Explanations(methods=(), examples=8),
        backends=("torch",), **changes,
    )  # fmt: skip
    return prepare_run(scenario, root=folder / "runs")


def trained(run):
    """The same with its one model as if it had been trained, and charged where it is private."""
    manifest = run.manifest()
    (record,) = manifest.jobs
    job, folder = run.job(record.id), run.job_folder(record.id)
    weights = read_weights(run.file(job.initial_weights))
    (folder / "weights.safetensors").write_bytes(encode_weights({name: part + 1 for name, part in weights.items()}))
    artifacts = {"weights.safetensors": sha256(folder / "weights.safetensors")}
    if job.mechanism is not None:
        plan = sha256(run.file(job.plan))
        alone = job.mechanism.noise == "independent"
        each, block = (2, None) if alone else (job.mechanism.steps, job.mechanism.largest_participation)
        for first in range(0, job.mechanism.steps, each):
            end = min(first + each, job.mechanism.steps)
            entry = make_charge(
                job.mechanism, first=first, end=end, plan=plan, data=job.data_fingerprint, block=block, drawn=DRAWN
            )
            charge(folder / "ledger.jsonl", entry)
    done = msgspec.structs.replace(record, status="ok", artifacts=artifacts, attempt=1)
    run.write_manifest(msgspec.structs.replace(manifest, jobs=(done,)))
    return f"{run.path}:{record.id}"


def second(folder, first_regime, *, shared: bool, regime=PRIVATE, **changes):
    """A run that starts from another one, and the charges of both."""
    one = data(folder, "first", seed=1)
    before = planned(folder, one, first_regime)
    start = trained(before)
    other = data(folder, "second", seed=2, beside=one if shared else None)
    run = planned(folder, other, regime, start=start, **changes)
    trained(run)
    ledgers = [read_ledger(each.job_folder(each.manifest().jobs[0].id) / "ledger.jsonl") for each in (before, run)]
    return before, run, ledgers


def stated(run):
    evidence = Evidence(run, second_opinion=False)
    statements = privacy_statements(evidence)
    rows = {row.measure: row.value for row in privacy_rows(evidence, statements)}
    (about,) = [one for one in statements[0].assumptions if one.name == OTHER_DATA]
    return statements[0], rows, about


def test_the_weights_are_those_of_the_other_run(tmp_path):
    before, run, _ = second(tmp_path, Plain(), shared=False)
    drawn = read_weights(before.file("weights/initial.s0.safetensors"))
    found = read_weights(run.file("weights/initial.s0.safetensors"))
    assert all(np.array_equal(found[name], part + 1) for name, part in drawn.items())


def test_of_two_private_trainings_on_the_same_rows_epsilon_is_of_both(tmp_path):
    before, run, ledgers = second(tmp_path, PRIVATE, shared=True)
    statement, rows, about = stated(run)
    expected = epsilon_of_releases(ledgers, delta=PRIVATE.delta).value
    assert statement.epsilon == pytest.approx(expected, rel=1e-9) == rows["epsilon"] == rows["epsilon_all_releases"]
    assert statement.epsilon > 1.2 * epsilon_of(ledgers[1], delta=PRIVATE.delta).value
    assert about.status == "not met" and "composed" in about.why
    assert "the epsilon above is of that training, too" in str(statement.releases)
    assert statement.trained.start == f"{before.path.name}:train.torch.DPSGD.s0"


def test_a_plain_training_on_the_same_rows_leaves_no_epsilon(tmp_path):
    statement, rows, about = stated(second(tmp_path, Plain(), shared=True)[1])
    assert statement.epsilon is None and rows["epsilon"] == rows["epsilon_all_releases"] == math.inf
    assert about.status == "not met" and "no epsilon holds for those rows" in about.why


@pytest.mark.parametrize("first", [pytest.param(Plain(), marks=pytest.mark.long), PRIVATE])
def test_a_training_on_other_rows_is_named_and_costs_nothing(tmp_path, first):
    _, run, ledgers = second(tmp_path, first, shared=False)
    statement, _, about = stated(run)
    assert statement.epsilon == pytest.approx(epsilon_of(ledgers[1], delta=PRIVATE.delta).value, rel=1e-9)
    assert about.status == "met" and run.manifest().start.shared == "none"
    assert any(one.name == "starting weights" and one.coverage == "not covered" for one in statement.releases)


def test_what_cannot_be_ruled_out_is_said(tmp_path):
    one = data(tmp_path, "first", seed=1)
    before = planned(tmp_path, one, Plain())
    start = trained(before)
    before.file("private/data.npz").unlink()
    run = planned(tmp_path, data(tmp_path, "second", seed=2), PRIVATE, start=start)
    trained(run)
    statement, _, about = stated(run)
    assert run.manifest().start.shared == "unknown"
    assert about.status == "not checked" and "no epsilon holds" in about.why and statement.epsilon is not None


def test_a_regime_from_the_seed_has_no_start(tmp_path):
    regime = msgspec.structs.replace(PRIVATE, from_seed=True, trainable=())
    _, run, ledgers = second(tmp_path, Plain(), shared=True, regime=regime)
    evidence = Evidence(run, second_opinion=False)
    (statement,) = privacy_statements(evidence)
    assert statement.epsilon == pytest.approx(epsilon_of(ledgers[1], delta=PRIVATE.delta).value, rel=1e-9)
    assert not [one for one in statement.assumptions if one.name == OTHER_DATA]
    drawn = read_weights(run.file(run.job("train.torch.DPSGD.s0").initial_weights))
    given = read_weights(run.file("weights/initial.s0.safetensors"))
    assert any(not np.array_equal(drawn[name], given[name]) for name in drawn)


@pytest.mark.parametrize(("first", "holds"), [(PRIVATE, True), (Plain(), False)])
def test_the_ledger_is_verified_with_what_the_start_was_charged(tmp_path, monkeypatch, first, holds):
    _, run, ledgers = second(tmp_path, first, shared=True)
    expected = epsilon_of_releases(ledgers, delta=PRIVATE.delta).value if holds else math.inf
    told = {("epsilon", "train.torch.DPSGD.s0"): expected, ("epsilon_all_releases", releases(ledgers[1])): expected}
    monkeypatch.setattr(verifying, "_stated_epsilons", lambda run: told)
    checks = [one for one in verify_ledgers(run) if "from the ledger" in one.message]
    assert [one.outcome for one in checks] == ["ok", "ok"]


def test_a_model_that_was_changed_is_no_start(tmp_path):
    run = planned(tmp_path, data(tmp_path, "first", seed=1), Plain())
    start = trained(run)
    (run.job_folder("train.torch.Plain.s0") / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"start: one-.*:train.torch.Plain.s0 cannot be started from .*not the file"):
        planned(tmp_path, data(tmp_path, "second", seed=2), PRIVATE, start=start)
    with pytest.raises(UsageError, match="cannot be started from"):
        planned(tmp_path, data(tmp_path, "second", seed=2), PRIVATE, start=start.replace("Plain", "Other"))


def test_charges_are_joined_where_they_cost_the_same(tmp_path):
    _, _, ledgers = second(tmp_path, PRIVATE, shared=True)
    (joined,) = in_blocks(ledgers[0])
    assert len(ledgers[0]) > 1 and joined.steps == sum(one.steps for one in ledgers[0])
    assert epsilon_of([joined], delta=1e-5).value == pytest.approx(epsilon_of(ledgers[0], delta=1e-5).value, rel=1e-12)


def test_without_a_run_nothing_is_started_from(tmp_path):
    scenario = Scenario(name="one", data=data(tmp_path, "first", seed=1), model=MODEL, training=(Plain(),))
    assert started(scenario, None) is None


def test_rows_are_made_alike_where_sources_differ_in_which_rows_they_take():
    recorded = msgspec.json.decode(msgspec.json.encode(Images(path="one", size=(16, 16))))
    del recorded["classes"]  # as records leave defaults out
    assert same_preparation(recorded, Images(path="other", size=(16, 16), classes=("cat", "dog")))
    assert not same_preparation(recorded, Images(path="one", size=(16, 12)))
    assert not same_preparation(recorded, Npz(path="one"))
    assert not same_preparation(None, Npz(path="one"))


def beside(statement):
    return {one.name: one for one in statement.comparisons}


def test_what_epsilon_is_compared_with_is_of_both_trainings_too(tmp_path, monkeypatch):
    _, run, ledgers = second(tmp_path, PRIVATE, shared=True)
    asked = []
    monkeypatch.setattr(
        statements_module,
        "prv_epsilons",
        lambda models: asked.extend(models) or [SecondOpinion(value=1.0, error=0.01, agrees=True)],
    )
    (statement,) = privacy_statements(Evidence(run))
    found = beside(statement)
    assert statement.composed_with == f"{run.manifest().start.run}:train.torch.DPSGD.s0"
    assert found["epsilon_rdp"].value == pytest.approx(epsilon_rdp(ledgers, delta=PRIVATE.delta).value)
    ((charges, _),) = asked
    assert epsilon_of(charges, delta=1e-5).value == pytest.approx(epsilon_of_releases(ledgers, delta=1e-5).value)
    assert found["epsilon_unamplified"].value is None and "start" in found["epsilon_unamplified"].note
    lower = found["epsilon_shuffle_lower"]
    assert lower.own and lower.value == lower_bound_if_shuffled(ledgers[1], delta=PRIVATE.delta)
    assert not any(one.own for name, one in found.items() if name != "epsilon_shuffle_lower")
    curve = statement.curve
    assert curve.poisson[-1] == pytest.approx(statement.epsilon) and set(curve.shuffle_lower) == {None}
    assert epsilon_of(ledgers[0], delta=PRIVATE.delta).value < curve.poisson[0] and set(curve.unamplified) == {None}
    drawn = epsilon_by_steps(statement).to_json()
    assert POISSON in drawn and SHUFFLED not in drawn and UNAMPLIFIED not in drawn
    text = statement_text(statement)
    assert f"composed with           {statement.composed_with}" in text
    assert "had the batches been shuffled epochs; of this training alone" in text
    (row,) = [one for one in private_rows(Evidence(run)) if one.measure == "epsilon_shuffle_lower"]
    assert row.note.endswith("of this training alone, without that of its start")


def test_batches_that_the_charges_tell_of_are_counted_over_both_trainings(tmp_path):
    known = msgspec.structs.replace(PRIVATE, sampling="shuffle", noise_multiplier=8.0)
    _, run, ledgers = second(tmp_path, known, shared=True, regime=known)
    statement, _, _ = stated(run)
    found = beside(statement)
    unamplified = epsilon_unamplified(ledgers, participation=4, delta=PRIVATE.delta).value
    assert found["epsilon_unamplified"].value == pytest.approx(unamplified) == pytest.approx(statement.epsilon)
    assert "over the 4 batches" in found["epsilon_unamplified"].note
    supposed = epsilon_if_poisson(ledgers, delta=PRIVATE.delta).value
    assert found["epsilon_if_poisson"].value == pytest.approx(supposed)
    assert statement.curve.unamplified[-1] == pytest.approx(unamplified)
    assert statement.curve.poisson[-1] == pytest.approx(supposed)


@pytest.mark.parametrize("regime", [PRIVATE, msgspec.structs.replace(PRIVATE, sampling="shuffle")])
def test_a_start_on_cyclic_batches_is_amplified_and_told_as_it_was_charged(tmp_path, regime):
    cyclic = msgspec.structs.replace(
        PRIVATE, sampling="cyclic poisson", mechanism=BandedMatrix(bands=2), batch_size=10, epochs=4, trainable=()
    )
    _, run, ledgers = second(tmp_path, cyclic, shared=True, regime=regime)
    (start,) = ledgers[0]
    statement, _, _ = stated(run)
    found = beside(statement)
    supposed = epsilon_if_poisson(ledgers, delta=PRIVATE.delta).value
    poisson = [msgspec.structs.replace(one, sampling="poisson", secret_sampling=True) for one in ledgers[1]]
    assert supposed == pytest.approx(epsilon_of_releases([[start], poisson], delta=PRIVATE.delta).value)
    assert supposed < found["epsilon_unamplified"].value
    assert statement.curve.poisson[-1] == pytest.approx(supposed)
    if regime.sampling == "shuffle":
        assert f"over the {start.participation + 2} batches" in found["epsilon_unamplified"].note


def test_where_no_epsilon_holds_no_upper_bound_stands_beside_it(tmp_path):
    _, run, _ = second(tmp_path, Plain(), shared=True)
    swept(run, epochs=2)
    statement, _, _ = stated(run)
    found = beside(statement)
    assert all("no epsilon holds" in one.note for one in found.values() if one.bound == "at most")
    assert {name for name, one in found.items() if one.value is not None} == {"epsilon_shuffle_lower"}
    assert found["epsilon_shuffle_lower"].own and statement.curve is None and statement.composed_with == ""
    assert "together they have no epsilon" in statement.hyperparameter_tuning
    tuned(run)
    (statement,) = privacy_statements(Evidence(run, second_opinion=False))
    assert beside(statement)["epsilon_single_run"].value is None


def test_silos_that_start_from_a_private_model_of_the_same_rows_compose_with_it(tmp_path):
    _, run, ledgers = second(tmp_path, PRIVATE, shared=True, regime=SILO)
    statement, rows, about = stated(run)
    expected = epsilon_of_releases(ledgers, delta=SILO.delta).value
    assert statement.epsilon == pytest.approx(expected, rel=1e-9) == rows["epsilon"] == rows["epsilon_all_releases"]
    assert "composed" in about.why and statement.composed_with
    assert all(one.value is None and "not told" in one.note for one in clients_of(statement))
    # and a start by silos composes with what comes after it
    third = planned(tmp_path, data(tmp_path, "third", seed=1), PRIVATE, start=f"{run.path}:{run.manifest().jobs[0].id}")
    assert third.manifest().start.charges and third.manifest().start.uncharged != "some"


def test_where_no_epsilon_holds_none_holds_for_a_client(tmp_path):
    _, run, _ = second(tmp_path, Plain(), shared=True, regime=SILO)
    statement, _, _ = stated(run)
    assert statement.epsilon is None and "without a guarantee that composes" in str(statement.assumptions)
    assert all(one.value is None and "no epsilon holds" in one.note for one in clients_of(statement))


def test_of_a_chosen_run_nothing_is_said_of_a_client(tmp_path):
    run = planned(tmp_path, data(tmp_path, "one", seed=1), SILO)
    trained(run)
    (statement,) = privacy_statements(Evidence(run, second_opinion=False))
    assert all(one.value is not None for one in clients_of(statement))
    tuned(run)
    (statement,) = privacy_statements(Evidence(run, second_opinion=False))
    assert all(one.value is None and "chosen among others" in one.note for one in clients_of(statement))


def test_local_privacy_has_no_line_by_batches_that_nobody_draws(tmp_path):
    regime = LocalDPFedAvg(partition=IID(clients=4), noise_multiplier=4.0, delta=1e-2, rounds=2)
    run = planned(tmp_path, data(tmp_path, "one", seed=1), regime)
    trained(run)
    (statement,) = privacy_statements(Evidence(run, second_opinion=False))
    assert not any(statement.curve.poisson) and not any(statement.curve.shuffle_lower)
    assert statement.curve.unamplified[-1] == pytest.approx(statement.epsilon)


def clients_of(statement):
    found = [one for one in statement.comparisons if one.name == "epsilon_of_client"]
    assert len(found) == 2
    return found


def swept(run, **fields):
    """The same run, its one regime as if it were of a sweep."""
    manifest = run.manifest()
    entries = [{"regime": "DPSGD", "of": "D", "field": name, "value": value} for name, value in fields.items()]
    run.write_manifest(msgspec.structs.replace(manifest, scenario={**manifest.scenario, "sweep": entries}))


def tuned(run, *, tried=("a",), runs=8.0):
    """The same run as the best of several."""
    manifest = run.manifest()
    tuning = {"mean_runs": runs, "tried": {"one": list(tried)} if tried else {}}
    scenario = {name: value for name, value in manifest.scenario.items() if name != "sweep"}
    run.write_manifest(msgspec.structs.replace(manifest, scenario={**scenario, "tuning": tuning}))


def test_a_choice_among_models_of_one_start_pays_for_the_start(tmp_path, monkeypatch):
    _, run, ledgers = second(tmp_path, PRIVATE, shared=True)
    swept(run, epochs=2)
    evidence = Evidence(run, second_opinion=False)
    expected = epsilon_of_releases(ledgers, delta=PRIVATE.delta).value
    assert choices(evidence)["DPSGD"].epsilon.value == pytest.approx(expected)
    (statement,) = privacy_statements(evidence)
    assert f"epsilon at most {at_most(expected, 4)} at" in statement.hyperparameter_tuning
    charged = {}
    monkeypatch.setattr(sweeps, "promises", lambda _, found: charged.update(found) or {})
    charged_candidates(Evidence(run, second_opinion=False))
    assert charged == {"DPSGD": pytest.approx(expected)}


def test_the_best_of_several_runs_pays_for_the_start_and_its_single_run_too(tmp_path):
    _, run, ledgers = second(tmp_path, PRIVATE, shared=True)
    expected = epsilon_with_tuning(ledgers, runs=8.0, delta=PRIVATE.delta).value
    for tried in ((), ("a",)):  # declared by people, who say no more, or drawn by us
        tuned(run, tried=tried)
        statement, rows, _ = stated(run)
        assert f"epsilon at most {at_most(expected, 4)} at" in statement.hyperparameter_tuning
        assert statement.epsilon == pytest.approx(expected) == rows["epsilon"] == rows["epsilon_all_releases"]
    single = epsilon_of_releases(ledgers, delta=PRIVATE.delta).value
    assert beside(statement)["epsilon_single_run"].value == pytest.approx(single)


@pytest.mark.parametrize("both", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_start_that_was_the_best_of_several_runs_costs_what_choosing_it_did(tmp_path, monkeypatch, both):
    one = data(tmp_path, "first", seed=1)
    before = planned(tmp_path, one, PRIVATE)
    start = trained(before)
    tuned(before, runs=5.0)
    run = planned(tmp_path, data(tmp_path, "second", seed=2, beside=one), PRIVATE, start=start)
    trained(run)
    assert run.manifest().start.tuned_runs == 5.0
    ledgers = [read_ledger(each.job_folder(each.manifest().jobs[0].id) / "ledger.jsonl") for each in (before, run)]
    if both:
        tuned(run, runs=8.0)
    statement, rows, _ = stated(run)
    expected = epsilon_with_tuning(ledgers, runs=40.0 if both else 5.0, delta=PRIVATE.delta).value
    assert statement.epsilon == pytest.approx(expected) == rows["epsilon"] == rows["epsilon_all_releases"]
    # no less than what composing the two choices comes to
    accountant = dp_accounting.rdp.RdpAccountant(orders=RDP_ORDERS)
    for charges, runs in zip(ledgers, (5.0, 8.0 if both else None), strict=True):
        event = rdp_event(charges)
        if runs is not None:
            event = dp_accounting.dp_event.RepeatAndSelectDpEvent(event, runs, float("inf"))
        accountant.compose(event)
    assert accountant.get_epsilon(PRIVATE.delta) <= statement.epsilon * (1 + 1e-9)
    assert statement.epsilon > epsilon_of_releases(ledgers, delta=PRIVATE.delta).value
    told = {("epsilon", "train.torch.DPSGD.s0"): expected, ("epsilon_all_releases", releases(ledgers[1])): expected}
    monkeypatch.setattr(verifying, "_stated_epsilons", lambda run: told)
    checks = [one for one in verify_ledgers(run) if "from the ledger" in one.message]
    assert [one.outcome for one in checks] == ["ok", "ok"]


def test_a_start_that_may_have_been_chosen_in_a_sweep_is_named(tmp_path):
    one = data(tmp_path, "first", seed=1)
    before = planned(tmp_path, one, PRIVATE)
    start = trained(before)
    swept(before, epochs=2)
    manifest = before.manifest()
    again = msgspec.structs.replace(manifest.jobs[0], id="train.torch.DPSGD.s1", seed=1)
    before.write_manifest(msgspec.structs.replace(manifest, jobs=(*manifest.jobs, again)))
    run = planned(tmp_path, data(tmp_path, "second", seed=2, beside=one), PRIVATE, start=start)
    trained(run)
    (statement,) = privacy_statements(Evidence(run, second_opinion=False))
    assumptions = {one.name: one for one in statement.assumptions}
    found = assumptions["hyperparameters were not chosen on this data"]
    assert found.status == "not met"
    whose = f"of {before.path.name}:train.torch.DPSGD.s0, whose charges are in epsilon"
    assert f"{whose}: it is one of 2 models of a sweep" in found.why


def rdp_event(charges):
    (first, *_) = charges
    step = dp_accounting.PoissonSampledDpEvent(first.sample_rate, dp_accounting.GaussianDpEvent(first.noise_multiplier))
    return dp_accounting.SelfComposedDpEvent(step, sum(one.steps for one in charges))


@pytest.mark.parametrize(("first", "holds"), [(PRIVATE, True), (Plain(), False)])
def test_what_a_run_would_cost_is_foretold_with_its_start(tmp_path, first, holds):
    one = data(tmp_path, "first", seed=1)
    before = planned(tmp_path, one, first)
    scenario = Scenario(
        name="one", data=data(tmp_path, "second", seed=2, beside=one), model=MODEL, start=trained(before),
        training=(PRIVATE, msgspec.structs.replace(PRIVATE, name="again")), backends=("torch",),
        explanations=Explanations(methods=(), examples=8),
    )  # fmt: skip
    (group,) = forecast(scenario, root=tmp_path / "none").together
    (alone,) = forecast(msgspec.structs.replace(scenario, start=""), root=tmp_path / "none").together
    assert (group.models, group.unit) == (2, "example")
    assert group.epsilon > 1.05 * alone.epsilon if holds else group.epsilon is None


def test_the_ledger_is_shown_with_that_of_the_start(tmp_path, capsys):
    before, run, _ = second(tmp_path, PRIVATE, shared=True)
    assert _main(["ledger", str(run.path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{before.path.name}:train.torch.DPSGD.s0, started from, composed with these: 8 steps charged" in shown
    assert _main(["ledger", str(run.path), "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["start"]["job"] == "train.torch.DPSGD.s0"


def table(folder, name: str, rows, columns=("a", "b", "y")) -> Csv:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return Csv(path=str(folder / f"{name}.csv"), label="y", missing="refuse")


def start_record(run, source, *, regime=PRIVATE, task=None):
    """What a run of other data would record of its start from the one model of a run."""
    start = f"{run.path}:{run.manifest().jobs[0].id}"
    scenario = Scenario(name="two", data=source, model=MODEL, training=(regime,), start=start)
    return started(scenario, load_dataset(source, scenario.task)).record


def _people(number=100):
    values = np.random.default_rng(3).normal(size=(number, 2)).tolist()
    return [(first, second, place % 2) for place, (first, second) in enumerate(values)]


@pytest.mark.parametrize("how", ["as before", "other columns", "other scaling", "other categories"])
def test_people_whose_rows_look_other_now_are_not_ruled_out(tmp_path, how):
    people = _people()
    if how == "other categories":
        before = [(first, "kmp"[place % 3], label) for place, (first, _, label) in enumerate(people)]
        now = [row for row in before if row[1] != "p"] + [(0.5, "a", 0), (0.7, "a", 1)] * 5
        one, two = table(tmp_path, "one", before), table(tmp_path, "two", now)
    elif how == "as before":
        one, two = table(tmp_path, "one", people[:50]), table(tmp_path, "two", people[50:])
    else:
        one, two = table(tmp_path, "one", people), table(tmp_path, "two", people[:60])
    if how == "other columns":
        two = table(tmp_path, "two", [(b, a, y) for a, b, y in people], columns=("b", "a", "y"))
    if how == "other scaling":
        one, two = (msgspec.structs.replace(source, scaling="standard") for source in (one, two))
    run = planned(tmp_path, one, PRIVATE)
    trained(run)
    record = start_record(run, two)
    assert record.shared == ("none" if how == "as before" else "unknown")
    # what cannot be told is paid for
    assert bool(record.charges) == (how != "as before") and record.uncharged == "none"


@pytest.mark.parametrize(
    ("how", "shared"),
    [
        ("times the reciprocal", "some"),
        ("4 decimals", "some"),
        ("4 decimals of few", "unknown"),
        ("times 255", "unknown"),
    ],
)
@pytest.mark.parametrize("first", [pytest.param(Plain(), marks=pytest.mark.long), PRIVATE])
def test_people_whose_values_are_written_otherwise_are_not_other_people(tmp_path, how, shared, first):
    if how.startswith("4 decimals"):
        people = _people(200)
        rounded = [(round(one, 4), round(other, 4), label) for one, other, label in people]
        people, rounded = (people[:104], rounded[100:]) if "few" in how else (people, rounded)
        sources = table(tmp_path, "one", people), table(tmp_path, "two", rounded)
    else:
        pixels = np.random.default_rng(0).integers(0, 256, (100, 16)).astype(np.float32)
        factor = np.float32(1 if how == "times 255" else 1 / 255)
        for name, inputs in (("one", pixels / np.float32(255)), ("two", pixels * factor)):
            np.savez(tmp_path / f"{name}.npz", inputs=inputs, labels=np.arange(100) % 2)
        sources = Npz(path=str(tmp_path / "one.npz")), Npz(path=str(tmp_path / "two.npz"))
    before = planned(tmp_path, sources[0], first)
    run = planned(tmp_path, sources[1], PRIVATE, start=trained(before))
    trained(run)
    _, rows, about = stated(run)
    record = run.manifest().start
    assert record.shared == shared and about.status == ("not met" if shared == "some" else "not checked")
    assert bool(record.charges) == (first == PRIVATE) and record.uncharged == ("none" if first == PRIVATE else shared)
    assert (rows["epsilon"] == math.inf) == (first != PRIVATE and shared == "some")


@pytest.mark.parametrize("shared", [True, False])
def test_that_rows_are_shared_is_no_declared_thing_and_the_statement_names_it(tmp_path, shared):
    _, run, _ = second(tmp_path, PRIVATE, shared=shared)
    (release,) = [one for one in stated(run)[0].releases if one.name == "rows shared with the start"]
    assert release.coverage == "not covered"
    assert any(one.startswith(f"{release.name}: ") for one in stated(run)[0].not_covered)
    parts = [part for part in parts_of(run.path / "manifest.json") if part.startswith("start.")]
    follows = [part for part in parts if part not in ("start.run", "start.job", "start.weights", "start.earlier")]
    assert len(follows) > 10 if shared else "start.shared" in follows
    assert {why_released("manifest.json", part).named for part in follows} == {release.name}


@pytest.mark.parametrize("started_from", [True, False])
def test_of_a_users_rows_together_nothing_is_said_where_the_start_may_hold_others_of_theirs(tmp_path, started_from):
    rows = [(one, other, f"p{place % 10}", label) for place, (one, other, label) in enumerate(_people())]
    rows = [(one, other, who, (place // 10) % 2) for place, (one, other, who, _) in enumerate(rows)]
    one, two = (
        msgspec.structs.replace(
            table(tmp_path, name, part, columns=("a", "b", "who", "y")), keys=("who",), drop=("who",)
        )
        for name, part in (("one", rows[:50]), ("two", rows[50:]))
    )
    keyed = msgspec.structs.replace(PRIVATE, key="who", trainable=())
    start = trained(planned(tmp_path, one, PRIVATE)) if started_from else ""
    run = planned(tmp_path, two, keyed, start=start)
    trained(run)
    (statement,) = privacy_statements(Evidence(run, second_opinion=False))
    groups = [one for one in statement.comparisons if one.name == "epsilon_of_group"]
    assert len(groups) == 2 and all((one.value is None) == started_from for one in groups)
    assert all("its start was trained on is not told" in one.note for one in groups) == started_from
    assert not started_from or run.manifest().start.shared == "none"


def test_data_of_one_fingerprint_or_of_one_file_are_the_same_rows(tmp_path):
    source = data(tmp_path, "first", seed=1)
    run = planned(tmp_path, source, Plain())
    trained(run)
    run.file("private/data.npz").unlink()
    other = data(tmp_path, "second", seed=2)
    found = [start_record(run, one).shared for one in (source, msgspec.structs.replace(source, split_seed=1), other)]
    assert found == ["some", "some", "unknown"]


def test_charges_compose_where_it_cannot_be_told_whether_rows_are_shared(tmp_path):
    before = planned(tmp_path, data(tmp_path, "first", seed=1), PRIVATE)
    start = trained(before)
    before.file("private/data.npz").unlink()
    run = planned(tmp_path, data(tmp_path, "second", seed=2), PRIVATE, start=start)
    trained(run)
    statement, rows, about = stated(run)
    ledgers = [read_ledger(each.job_folder(each.manifest().jobs[0].id) / "ledger.jsonl") for each in (before, run)]
    assert rows["epsilon"] == pytest.approx(epsilon_of_releases(ledgers, delta=PRIVATE.delta).value)
    assert about.status == "not checked" and "cannot be told" in about.why and "composed" in about.why
    assert [one.coverage for one in statement.releases if one.name == "starting weights"] == ["epsilon"]
    assert not any("WARNING" in row.note for row in private_rows(Evidence(run, second_opinion=False)))


@pytest.mark.parametrize("first", [pytest.param(Plain(), marks=pytest.mark.long), PRIVATE])
@pytest.mark.parametrize("there", [True, False])
def test_what_a_start_started_from_itself_counts(tmp_path, first, there):
    """Of the third run's rows one part is the first's, another the second's, which share none."""
    sources = [data(tmp_path, name, seed=seed) for name, seed in (("one", 1), ("two", 2))]
    of_one, of_two = (np.load(one.path)["inputs"][:40] for one in sources)
    np.savez(tmp_path / "three.npz", inputs=np.concatenate([of_one, of_two]), labels=np.arange(80) % 2)
    oldest = planned(tmp_path, sources[0], first)
    before = planned(tmp_path, sources[1], PRIVATE, start=trained(oldest))
    start = trained(before)
    if not there:
        oldest.file("manifest.json").unlink()
    run = planned(tmp_path, Npz(path=str(tmp_path / "three.npz")), PRIVATE, start=start)
    trained(run)
    assert before.manifest().start.shared == "none"
    record, (statement, rows, about) = run.manifest().start, stated(run)
    (release,) = [one for one in statement.releases if one.name == "starting weights"]
    notes = {row.measure: row.note for row in private_rows(Evidence(run, second_opinion=False))}
    if not there:
        assert record.uncharged == "unknown" and release.coverage == "not covered" and math.isfinite(rows["epsilon"])
        assert about.status == "not checked" or "not accounted for" in about.why
        assert "starting weights were made from" in notes["epsilon"] and "starting" in notes["epsilon_all_releases"]
    elif first == PRIVATE:
        assert record.uncharged == "none" and sum(one.steps for one in record.charges) == 16
        assert "not accounted for" not in about.why and release.coverage == "epsilon"
    else:
        assert statement.epsilon is None and rows["epsilon"] == rows["epsilon_all_releases"] == math.inf
        assert record.charges == () and "without a guarantee" in notes["epsilon"] and about.status == "not met"


def test_a_choice_of_the_start_that_is_declared_alone_is_paid_for(tmp_path):
    source = data(tmp_path, "first", seed=1)
    before = planned(tmp_path, source, PRIVATE)
    trained(before)
    tuned(before, tried=(), runs=5.0)
    assert start_record(before, source).tuned_runs == 5.0


@pytest.mark.parametrize(
    "how", ["cut", *(pytest.param(one, marks=pytest.mark.long) for one in ("other data", "changed"))]
)
def test_a_ledger_that_is_not_that_of_the_start_is_refused(tmp_path, how):
    source = data(tmp_path, "first", seed=1)
    run = planned(tmp_path, source, PRIVATE)
    trained(run)
    ledger = run.job_folder("train.torch.DPSGD.s0") / "ledger.jsonl"
    lines, why = ledger.read_bytes().splitlines(keepends=True), "charges 2 steps of 8"
    if how == "changed":
        manifest = run.manifest()
        artifacts = {**manifest.jobs[0].artifacts, "ledger.jsonl": sha256(ledger)}
        job = msgspec.structs.replace(manifest.jobs[0], artifacts=artifacts)
        run.write_manifest(msgspec.structs.replace(manifest, jobs=(job,)))
        lines, why = [*lines, lines[-1]], "not the file that the manifest names"
    elif how == "cut":
        lines = lines[:1]
    else:
        charges, why = read_ledger(ledger), "is of another training: noise_multiplier, data differ"
        lines = [
            msgspec.json.encode(msgspec.structs.replace(one, noise_multiplier=9.0, data="other")) + b"\n"
            for one in charges
        ]
    ledger.write_bytes(b"".join(lines))
    with pytest.raises(UsageError, match=f"cannot be started from .*{why}"):
        start_record(run, source)


@pytest.mark.parametrize(("classes", "shared"), [(("c", "d"), "none"), (("b", "c"), "some")])
def test_images_of_other_classes_of_one_folder_are_other_rows(tmp_path, classes, shared):
    generator = np.random.default_rng(5)
    for name in "abcd":
        (tmp_path / "all" / name).mkdir(parents=True)
        for number in range(20):
            pixels = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "all" / name / f"{number}.png")
    model = Architecture(layers=(Flatten(), Dense(units=2)))
    before = Images(path=str(tmp_path / "all"), size=(4, 4), classes=("a", "b"))
    start = trained(planned(tmp_path, before, Plain(), model=model))
    run = planned(tmp_path, msgspec.structs.replace(before, classes=classes), PRIVATE, model=model, start=start)
    assert run.manifest().start.shared == shared


@pytest.mark.parametrize("first", [PRIVATE, Plain()], ids=["composed", "void"])
def test_what_has_no_number_was_drawn_as_secretly_as_what_has_one(tmp_path, first):
    _, run, _ = second(tmp_path, first, shared=True)
    evidence = Evidence(run, second_opinion=False)
    rows = [row for row in privacy_rows(evidence, privacy_statements(evidence)) if row.value is None]
    assert rows and all(row.facts["secret_sampling"] for row in rows)
    assert not [row.note for row in rows if "not secret" in row.note]
