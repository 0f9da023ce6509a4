"""What choosing in a sweep costs and comes to, on stored runs whose regimes are said to be one sweep."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from tests.records import copy_of
from trustml.measures import sweeps
from trustml.measures.evidence import Evidence
from trustml.measures.privacy import privacy_statements, private_rows
from trustml.measures.score_differences import model_difference
from trustml.measures.sweeps import _score_row, candidates, charged_candidates, choices, promises, tuned_rows
from trustml.models.answers import recorded, right, score
from trustml.models.tasks import NextToken
from trustml.privacy.statement import at_most
from trustml.record.files import encode_arrays, read_arrays
from trustml.record.schema import sweep_of
from trustml.scenario.sweep import Swept


def as_sweep(name: str, folder, *entries: tuple[str, str, str, float]) -> Evidence:
    run = copy_of(name, folder)
    swept = [dict(zip(("regime", "of", "field", "value"), entry, strict=True)) for entry in entries]
    manifest = run.manifest
    run.directory.write_manifest(msgspec.structs.replace(manifest, scenario={**manifest.scenario, "sweep": swept}))
    return Evidence(run.directory, second_opinion=False)


def test_choosing_costs_what_all_models_cost_together_and_every_statement_says_so(tmp_path):
    evidence = as_sweep("twice", tmp_path, ("DPSGD", "Private", "batch_size", 64))
    choice = choices(evidence)["DPSGD"]
    (together,) = [row for row in private_rows(evidence) if row.measure == "epsilon_all_releases"]
    assert (choice.models, choice.fields, choice.of) == (2, ("batch_size",), "Private")
    assert choice.epsilon is not None and choice.epsilon.value == pytest.approx(together.value)
    statements = privacy_statements(evidence)
    assert len(statements) == 2
    for one in statements:
        assert choice.epsilon.value > one.epsilon
        assert f"epsilon at most {at_most(together.value, 4)}" in one.hyperparameter_tuning
        assumptions = {a.name: a for a in one.assumptions}
        assert assumptions["hyperparameters were not chosen on this data"].status == "not met"


def test_models_that_protect_others_have_no_epsilon_together(tmp_path):
    evidence = as_sweep("federated", tmp_path, ("DPSGD", "Private", "epochs", 1), ("DPFedAvg", "Private", "epochs", 2))
    choice = choices(evidence)["DPFedAvg"]
    assert (choice.models, choice.epsilon) == (2, None)
    assert all("no epsilon" in one.hyperparameter_tuning for one in privacy_statements(evidence))


def test_no_sweep_changes_no_statement(tmp_path):
    evidence = as_sweep("twice", tmp_path)
    assert choices(evidence) == {} and tuned_rows(evidence) == [] and sweep_of(evidence.manifest) == ()
    assert all("not part of a declared sweep" in one.hyperparameter_tuning for one in privacy_statements(evidence))


def test_nothing_is_chosen_among_promises():
    swept = [
        Swept(regime=f"D{epsilon}{rate}", of="D", field=field, value=value)
        for epsilon in (1, 8)
        for rate in (0.1, 0.2)
        for field, value in (("epsilon", epsilon), ("optimizer.learning_rate", rate))
    ]
    groups = candidates(swept, promised={})
    assert [group.title for group in groups] == ["D epsilon 1", "D epsilon 8"]
    assert list(groups[0].regimes) == ["D10.1", "D10.2"]
    only = [one for one in swept if one.field == "epsilon"]
    assert all(len(set(group.regimes)) == 2 for group in candidates(swept, promised={}))
    assert [list(group.regimes) for group in candidates(only, promised={})] == [["D10.1", "D10.2"], ["D80.1", "D80.2"]]
    assert candidates(only[::2], promised={}) == [], "the weakest promise would win"


def test_more_steps_at_the_same_noise_promise_less_and_are_no_candidates(tmp_path):
    entries = [("Plain", "D", "epochs", 1), ("DPSGD", "D", "epochs", 4), ("FedAvg", "D", "epochs", 2)]
    swept = sweep_of(as_sweep("federated", tmp_path, *entries).manifest)
    title = {"Plain": 1.0, "DPSGD": 2.0, "FedAvg": 1.0}
    (group,) = candidates(swept, promised=title)
    assert (group.title, list(group.regimes)) == ("D at epsilon 1.000", ["Plain", "FedAvg"])
    assert candidates(swept, promised={"Plain": 1.0, "DPSGD": 2.0, "FedAvg": 4.0}) == []


def test_calibrated_noise_promises_its_target_and_fixed_noise_what_it_is_charged_for(tmp_path):
    evidence = as_sweep("twice", tmp_path, ("DPSGD", "D", "epochs", 1))
    training = {**evidence.manifest.scenario["training"][0], "name": "DPSGD"}

    def promised(target, charged):
        scenario = {**evidence.manifest.scenario, "training": [{**training, "epsilon": target}]}
        return promises(msgspec.structs.replace(evidence.manifest, scenario=scenario), {"DPSGD": charged})["DPSGD"]

    assert promised(8.0, 7.996) == promised(8.0, 7.9991) == 8.0
    assert (promised(None, 7.996), promised(8.0, 9.5)) == (7.996, 9.5)  # went over its budget


def test_what_a_ledger_comes_to_groups_the_models_of_a_run(tmp_path):
    evidence = as_sweep("federated", tmp_path, ("DPSGD", "Private", "epochs", 1), ("DPFedAvg", "Private", "epochs", 2))
    assert charged_candidates(evidence) == [] and tuned_rows(evidence) == []


def test_the_best_is_chosen_on_rows_on_which_it_is_not_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "promises", lambda *_: {})  # as if both private ones promised the same
    evidence = as_sweep(
        "federated",
        tmp_path,
        ("Plain", "Open", "epochs", 1),
        ("FedAvg", "Open", "epochs", 2),
        ("DPSGD", "Private", "epochs", 1),
        ("DPFedAvg", "Private", "epochs", 2),
    )
    labels = evidence.heldout["test_labels"]
    order = np.random.default_rng(20_000).permutation(len(labels))
    choosing, judging = order[: len(labels) // 2], order[len(labels) // 2 :]
    outputs = {}
    for record, _ in evidence.trained():
        path = evidence.run.file(f"jobs/{record.id}/predictions.npz")
        arrays = read_arrays(path)
        outputs[record.regime] = arrays["test_logits"]
        if record.regime == "Plain":  # the best by the one half and the worst by the other
            outputs["Plain"][judging[: len(judging) // 2]] *= -1
            path.write_bytes(encode_arrays(arrays))
    best = {
        group: max(names, key=lambda name: score(evidence.task, outputs[name][choosing], labels[choosing]))
        for group, names in {"Open": ("Plain", "FedAvg"), "Private": ("DPSGD", "DPFedAvg")}.items()
    }
    assert best["Open"] == "Plain", "else there is no difference to look at"
    judged = {name: score(evidence.task, outputs[name][judging], labels[judging]) for name in ("Plain", "FedAvg")}
    assert judged["Plain"] < judged["FedAvg"], "else it might have been chosen where it is judged"
    rows = {(row.measure, row.regime): row for row in tuned_rows(evidence)}
    assert set(rows) == {
        ("tuned_score", best["Open"]),
        ("tuned_score", best["Private"]),
        ("tuned_score_difference", best["Private"]),
    }
    for regime in best.values():
        row = rows["tuned_score", regime]
        assert row.value == pytest.approx(score(evidence.task, outputs[regime][judging], labels[judging]))
        assert row.low < row.value < row.high and row.n == len(judging)
        assert (row.facts["candidates"], row.facts["chosen_on"]) == (2, len(choosing))
    row = rows["tuned_score_difference", best["Private"]]
    pair = (outputs[best["Open"]][judging], outputs[best["Private"]][judging], labels[judging])
    expected = model_difference(evidence.task, *pair)
    assert (row.value, row.low, row.high, row.p_value) == pytest.approx(
        (expected.value, expected.low, expected.high, expected.p_value)
    )
    assert row.note.startswith(f"permutation p = {row.p_value:.3g}") and "the best of 2 on 179 other" in row.note


def test_the_statement_names_the_rows_that_choose(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "promises", lambda *_: {})  # as if both promised the same
    entries = [("DPSGD", "Private", "epochs", 1), ("Plain", "Private", "epochs", 2)]
    (statement,) = privacy_statements(as_sweep("private", tmp_path, *entries))
    (release,) = [one for one in statement.releases if one.name == "settings chosen in a sweep"]
    assert release.coverage == "disclosed" and any("settings chosen" in one for one in statement.not_covered)


def test_texts_are_judged_by_what_they_were_chosen_by():
    """Texts of unequal length: the share of tokens is no count of texts."""
    generator = np.random.default_rng(0)
    labels = generator.integers(1, 4, (60, 5))
    labels[:30, 2:] = 0
    outputs = recorded(NextToken(), generator.normal(size=(60, 5, 4)) + 2 * np.eye(4)[labels], labels)
    evidence = SimpleNamespace(
        task=NextToken(),
        heldout={"test_labels": labels},
        run=SimpleNamespace(arrays=lambda _: {"test_logits": outputs}),
        row=lambda measure, value, **rest: SimpleNamespace(measure=measure, value=value, **rest),
    )
    best = SimpleNamespace(regime="P", group=SimpleNamespace(title="P", regimes={"P": {"epochs": 1}}))
    record, rows = SimpleNamespace(id="train.x.P.s0"), np.arange(60)
    row = _score_row(evidence, best, record, rows[::2], rows)
    assert row.value == pytest.approx(score(NextToken(), outputs, labels))
    assert row.value != pytest.approx(right(NextToken(), outputs, labels).mean(), abs=1e-3)
    assert row.about.interval == "bootstrap over examples" and row.interval[0] < row.value < row.interval[1]
