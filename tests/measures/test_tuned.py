"""What the best of a random number of runs claims, on a stored run that is said to be one."""

from __future__ import annotations

import msgspec
import pytest

from tests.records import copy_of, unasked_second_opinion
from trustml.auditing.run_audit import audit_run
from trustml.compare.rows import write_measures
from trustml.evidence.ledgers import verify_ledgers
from trustml.measures.accuracy import accuracy_rows
from trustml.measures.evidence import Evidence
from trustml.measures.privacy import privacy_statements, private_rows
from trustml.privacy.accounting import epsilon_of, epsilon_of_releases, epsilon_with_tuning
from trustml.privacy.ledger import read_ledger
from trustml.privacy.statement import at_most, statement_text
from trustml.report.sweeps import sweep_answers

RUNS = 8.0


@pytest.fixture(scope="module", params=[{"optimizer.learning_rate": [0.1, 1.0]}, {}], ids=["drawn", "declared"])
def tuned(request, tmp_path_factory):
    run = copy_of("twice", tmp_path_factory.mktemp("tuned"))
    tuning = {"mean_runs": RUNS, "tried": request.param}
    scenario = {**run.manifest.scenario, "tuning": tuning}
    run.directory.write_manifest(msgspec.structs.replace(run.manifest, scenario=scenario))
    with unasked_second_opinion():
        write_measures(run.directory)
    return run


def charges_of(run, model):
    return read_ledger(run.path / "jobs" / model / "ledger.jsonl")


def test_every_claim_pays_for_the_choice_and_one_run_stands_beside_it(tuned):
    evidence = Evidence(tuned.directory, second_opinion=False)
    rows = {(row.job, row.measure): row for row in private_rows(evidence)}
    for one in privacy_statements(evidence):
        charges = charges_of(tuned, one.model)
        wanted = epsilon_with_tuning([charges], runs=RUNS, delta=one.delta)
        single = epsilon_of(charges, delta=one.delta).value
        assert wanted.value > single
        assert (one.epsilon, one.accountant, one.epsilon_at_least) == (wanted.value, wanted.accountant, None)
        assert rows[one.model, "epsilon"].value == wanted.value
        assert rows[one.model, "epsilon_single_run"].value == single
        others = [other for other in one.comparisons if other.name != "epsilon_single_run"]
        # what holds of a run that was not chosen is below epsilon, and no bound of this one
        assert others and one.curve is None and all(other.value is None for other in others)
        assert all("of the best of several" in other.note for other in others if not other.group)
        (weights,) = [release for release in one.releases if release.name == "final weights"]
        assert "chosen among" in weights.why and f"epsilon at most {wanted.value:.3f}"[:-2] in statement_text(one)


def test_all_releases_together_pay_for_it_too_and_verify_agrees(tuned):
    ledgers = [charges_of(tuned, one.model) for one in tuned.privacy()]
    delta = max(one.delta for one in tuned.privacy())
    (together,) = tuned.measures().query("measure == 'epsilon_all_releases'").value
    assert together == pytest.approx(epsilon_with_tuning(ledgers, runs=RUNS, delta=delta).value)
    assert together > epsilon_of_releases(ledgers, delta=delta).value
    checks = [check for check in verify_ledgers(tuned.directory) if "epsilon" in check.message]
    assert len(checks) == len(ledgers) + 1 and all(check.outcome == "ok" for check in checks)


def test_an_audit_claims_what_the_released_model_costs(tuned):
    claims = {model.name: model.claim for model in audit_run(tuned.directory).models if model.claim}
    stated = {one.model: one.epsilon for one in tuned.privacy()}
    assert {name: claim.epsilon for name, claim in claims.items()} == stated


def test_a_score_that_chose_the_model_says_so(tuned):
    row, *_ = accuracy_rows(Evidence(tuned.directory))
    assert row.facts["chosen_by_this"] and "looks better than it is" in row.note
    alone = Evidence(copy_of("twice", tuned.path.parent / "alone").directory)
    assert all("chosen_by_this" not in row.facts for row in accuracy_rows(alone))
    answers = [one.text for one in sweep_answers(tuned.manifest, tuned.measures())]
    assert len(answers) == 2 and all("looks better than it is" in one for one in answers)
    statements = tuned.privacy()
    for one, text in zip(statements, answers, strict=True):
        assert f"its epsilon is at most {at_most(one.epsilon, 2)} at delta" in text
    statement = statements[0]
    assert any("looks better than it is" in release.why for release in statement.releases)
