"""Findings of a run's audit, on rows and statements made by hand: what is a violation, a risk, a pass."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from tests.privacy.test_tails import made
from trustml.attacks.membership import verdict_of_curves
from trustml.attacks.roc import roc_of_scores
from trustml.auditing.checks_accounting import check_accounting
from trustml.auditing.claim import Claim
from trustml.auditing.claimed_epsilon import Figures, epsilon_bounds
from trustml.auditing.remembered import remembered_findings
from trustml.auditing.run_audit import _released_beside, claim_of
from trustml.auditing.run_wording import accounting_finding, bound_finding, membership_finding
from trustml.measures.assumptions import EXACT_NOISE, NOTHING_ELSE
from trustml.measures.row import Row
from trustml.measures.started_assumptions import OTHER_DATA
from trustml.privacy.ledger import ADD_OR_REMOVE, REPLACE, ZERO_OUT
from trustml.privacy.statement import Assumption, Comparison, PrivacyStatement, Release


def statement(*, low: float | None, high: float | None, assumptions: tuple[Assumption, ...] = ()) -> PrivacyStatement:
    words = "accountant mechanism clipping sampling released".split()
    words += ["hyperparameter_tuning", "trust_setting", "source_of_noise"]
    return PrivacyStatement(
        model="m", epsilon=high, epsilon_at_least=low, delta=1e-5, clipping_norm=1.0, noise_multiplier=1.0,
        sample_rate=0.1, expected_batch_size=10, steps=10, attempts=1, data_size=100, comparisons=(), not_covered=(),
        assumptions=assumptions, unit_of_privacy="example", neighboring_relation=ADD_OR_REMOVE,
        **dict.fromkeys(words, "x"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "severity", "verdict"),
    [
        (2.9, 2.95, "pass", "holds"), (2.9, 3.1, "risk", "not decided"), (None, 3.1, "risk", "not decided"),
        (3.05, 3.1, "violation", "broken"),
    ],
)  # fmt: skip
def test_a_ledger_refutes_a_claim_by_its_lower_bound_alone(low, high, severity, verdict):
    found = accounting_finding(statement(low=low, high=high), Claim(epsilon=3.0, delta=1e-5), artifact="ledger.jsonl")
    assert (found.severity, found.verdict) == (severity, verdict)


@pytest.mark.parametrize(("high", "words"), [(3.0, "3.0000, as claimed."), (3.002, "3.0000 claimed but for 0.1 %.")])
def test_an_epsilon_above_a_rounded_claim_is_not_called_the_claim(high, words):
    found = accounting_finding(statement(low=2.9, high=high), Claim(epsilon=3.0, delta=1e-5), artifact="ledger.jsonl")
    assert found.verdict == "holds" and found.title.endswith(words)


def test_what_a_claim_rests_on_and_is_not_met_is_named():
    unmet = Assumption(name="explanations show no training rows", status="not met", why="they do")
    shown = msgspec.structs.replace(statement(low=2.9, high=2.95), assumptions=(unmet,))
    found = accounting_finding(shown, Claim(epsilon=3.0, delta=1e-5), artifact="ledger.jsonl")
    assert found.severity == "risk" and found.title.endswith("is not met: explanations show no training rows.")


@pytest.mark.parametrize(
    ("composed", "coverage", "severity"),
    [("run:job", "epsilon", "pass"), ("run:job", "not covered", "risk"), ("", "not covered", "risk")],
)
def test_a_start_that_epsilon_pays_for_is_no_risk(composed, coverage, severity):
    unmet = Assumption(name=OTHER_DATA, status="not met", why="composed")
    weights = Release(name="starting weights", coverage=coverage, why="")
    told = msgspec.structs.replace(
        statement(low=2.9, high=2.95, assumptions=(unmet,)), composed_with=composed, releases=(weights,)
    )
    found = accounting_finding(told, Claim(epsilon=3.0, delta=1e-5), artifact="ledger.jsonl")
    assert found.severity == severity


def test_the_steps_of_cyclic_batches_whose_ledger_is_gone_are_not_said_to_be_none():
    told = msgspec.structs.replace(statement(low=None, high=3.0), drawn="cyclic poisson")
    claim = claim_of(told, None, [])
    assert claim.steps is None
    (found,) = check_accounting(claim)
    assert found.severity == "not checked" and "steps" in found.title + found.would_change


@pytest.mark.parametrize("secret", [True, False])
@pytest.mark.parametrize(
    ("drawn", "claimed"),
    [
        ("poisson", "poisson"), ("shuffle", "shuffle"), ("fixed", "fixed"), ("all", "full batch"),
        ("in turn", "in turn"), ("cyclic poisson", "cyclic poisson"),
    ],
)  # fmt: skip
def test_a_claim_draws_its_batches_as_the_ledger_was_charged(drawn, claimed, secret):
    charges = [made(sampling=drawn, secret_sampling=secret)]
    amplifies = drawn in ("poisson", "fixed", "cyclic poisson")
    claim = claim_of(statement(low=None, high=3.0), None, charges)
    assert claim.sampling == ("published" if amplifies and not secret else claimed)


def test_published_batches_are_not_recomputed_as_if_they_amplified():
    figures = Figures(noise_multiplier=2.0, sample_rate=0.1, steps=20, delta=1e-5, replace=False)
    found = {way: epsilon_bounds(figures, way) for way in ("poisson", "cyclic poisson", "published", "full batch")}
    assert found["published"].high == found["full batch"].high > 3 * found["poisson"].high
    assert found["published"].low == 0 and found["cyclic poisson"] == found["poisson"]


def test_without_a_ledger_no_sampling_is_claimed():
    assert claim_of(statement(low=None, high=3.0), 3.0, []).sampling == "unknown"


def row(measure: str, value: float | None, **changes) -> Row:
    usual = {
        "run": "r", "job": "game.jax", "backend": "jax", "regime": "-", "seed": -1, "subject": "game", "method": "",
        "kind": "game",
        "low": None, "high": None, "unit": "nats", "n": 100, "note": f"note of {measure}",
    }  # fmt: skip
    return Row(measure=measure, value=value, **{**usual, **changes})


def test_no_finite_epsilon_is_a_risk_whatever_is_claimed():
    for claim in (None, Claim(epsilon=3.0, delta=1e-5)):
        found = accounting_finding(statement(low=None, high=None), claim, artifact="ledger.jsonl")
        assert (found.severity, found.title) == ("risk", "m: no finite epsilon holds.")
        assert found.measured[0].value is None


@pytest.mark.parametrize(("over", "severity"), [(0.0009, "pass"), (0.0011, "violation")])
def test_a_claim_may_be_a_thousandth_too_low(over, severity):
    epsilon = 3.0 * (1 + over)
    found = accounting_finding(statement(low=epsilon, high=epsilon), Claim(epsilon=3.0, delta=1e-5), artifact="l")
    assert found.severity == severity


@pytest.mark.parametrize(
    ("name", "status", "severity"),
    [
        ("batches are secret", "not met", "risk"), ("batches are secret", "not checked", "pass"),
        ("batches are secret", "met", "pass"), (EXACT_NOISE, "not met", "pass"), (NOTHING_ELSE, "not met", "pass"),
    ],
)  # fmt: skip
def test_an_assumption_that_is_not_met_is_a_risk_but_for_two_that_every_run_says(name, status, severity):
    judged = statement(low=2.0, high=2.5, assumptions=(Assumption(name=name, status=status, why="because"),))
    found = accounting_finding(judged, Claim(epsilon=3.0, delta=1e-5), artifact="ledger.jsonl")
    assert found.severity == severity
    assert ("not met" in found.how) == (status == "not met" and name != NOTHING_ELSE)


@pytest.mark.parametrize(("shown", "severity"), [(1.5, "pass"), (2.0, "pass"), (2.01, "violation"), (4.1, "violation")])
@pytest.mark.parametrize(("kind", "check"), [("game", "mechanism"), ("canary", "canaries")])
def test_what_was_shown_is_a_violation_from_just_above_the_claim(shown, severity, kind, check):
    found = bound_finding([row("claimed_epsilon", 2.0, kind=kind), row("audited_epsilon", shown, kind=kind)])
    assert (found.severity, found.check) == (severity, check)
    assert f"at least {shown:.2f}" in found.title and "2.00" in found.title
    assert [one.value for one in found.measured] == [shown, 2.0]


@pytest.mark.parametrize(
    ("never", "without", "severity"),
    [(0, 0, "pass"), (3, 6, "pass"), (4, 6, "not checked"), (0, 10, "not checked"), (10, 0, "not checked")],
)
def test_canaries_that_never_received_loss_are_no_clean_result(never, without, severity):
    facts = {"planted": 10, "never_came": never, "without_gradient": without}
    shown = msgspec.structs.replace(row("audited_epsilon", 1.5, kind="canary"), facts=facts)
    found = bound_finding([row("claimed_epsilon", 2.0, kind="canary"), shown])
    assert found.severity == severity
    assert found.title.endswith("none of 10 planted canaries received loss, so that nothing was tried.") == (
        severity == "not checked"
    )


def test_an_estimate_refutes_nothing():
    found = bound_finding([row("claimed_epsilon", 2.0), row("epsilon_estimate", 9.0)])
    assert found.severity == "note" and "9.00; an estimate is no bound" in found.title
    found = bound_finding([row("claimed_epsilon", 2.0), row("audited_epsilon", None)])
    assert found.severity == "not checked" and "note of audited_epsilon" in found.title


@pytest.mark.parametrize(
    ("least", "severity", "count"), [(0.5, "pass", "none"), (0.501, "risk", "1"), (0.49, "pass", "none")]
)
def test_an_attack_is_a_risk_from_just_above_guessing(least, severity, count):
    rows = [row("membership_auc", 0.6, method="lira"), row("membership_auc_at_least", least, method="lira")]
    rows += [row("membership_auc", 0.55, method="loss"), row("membership_auc_at_least", 0.4, method="loss")]
    found = membership_finding(SimpleNamespace(id="train.jax.Plain.s0"), rows)
    assert found.severity == severity
    assert f"{count} of 2 attacks" in found.title and "lira" in found.title and "0.600" in found.title


def curve_verdict(*, shift=0.0, exposed=0):
    generator = np.random.default_rng(0)
    members = np.arange(4000) < 2000
    scores = generator.normal(size=4000) + shift * members
    scores[:exposed] += 12
    return verdict_of_curves({"lira": roc_of_scores(scores, members)}, error=0.01)


@pytest.mark.parametrize(("changes", "words"), [
    ({"shift": -1.0}, "1 of 1 attacks put members below non-members; the AUC of lira is at most 0.2"),
    ({"exposed": 40}, "a few members are exposed"),
])  # fmt: skip
def test_members_below_the_others_and_a_few_that_are_exposed_are_risks(changes, words):
    rows = [row("membership_auc", 0.25, method="lira"), row("membership_auc_at_least", 0.2, method="lira")]
    found = membership_finding(SimpleNamespace(id="train.jax.Plain.s0"), rows, curve_verdict(**changes))
    assert found.severity == "risk" and words in found.title and "none of" not in found.title
    assert membership_finding(SimpleNamespace(id="m"), rows, curve_verdict()).severity == "pass"


def test_the_relation_and_the_unit_of_a_claim_are_those_of_the_statement():
    for relation, word in ((ADD_OR_REMOVE, "add-or-remove-one"), (REPLACE, "replace-one"), (ZERO_OUT, "zero-out")):
        told = msgspec.structs.replace(
            statement(low=None, high=2.5), neighboring_relation=relation, unit_of_privacy="user"
        )
        claim = claim_of(told, None, [])
        assert (claim.relation, claim.unit, claim.epsilon) == (word, "user", 2.5)
        assert claim_of(told, 3.0, []).epsilon == 3.0
    assert claim_of(statement(low=None, high=None), None, []) is None


def test_models_without_privacy_beside_private_ones_are_noted_once():
    one = statement(low=2.0, high=2.5, assumptions=(Assumption(name=NOTHING_ELSE, status="not met", why="2 others"),))
    (found,) = _released_beside([one, one])
    assert (found.severity, "2 others" in found.title) == ("note", True)
    assert list(_released_beside([statement(low=2.0, high=2.5)])) == []


def test_a_claim_protects_what_the_ledger_was_charged_for():
    told = statement(low=None, high=3.0)
    assert claim_of(told, None, [made(unit="user", users="u")]).unit == "user"
    assert claim_of(msgspec.structs.replace(told, unit_of_privacy="user"), None, [made()]).unit == "example"


def test_figures_of_several_attacks_are_told_apart_by_a_label_and_keep_their_confidence():
    rows = [row("membership_auc", 0.6, method=name, kind="train", confidence=0.9) for name in ("lira", "loss")]
    found = membership_finding(SimpleNamespace(id="train.jax.Plain.s0"), rows)
    assert [(one.label, one.confidence) for one in found.measured] == [("lira", 0.9), ("loss", 0.9)]
    assert [one.note for one in found.measured] == ["note of membership_auc"] * 2
    assert found.rule == "membership"


def remembered(*, verdict, value, measure="extraction_rate"):
    return Row(
        run="r", job="train.jax.Plain.s0", backend="jax", regime="Plain", seed=0, subject="8 tokens after 8",
        measure=measure, value=value, low=0.0, high=1.0, unit="1", n=50, verdict=verdict, p_value=0.5, confidence=0.95,
        facts={"untrained": 40, "untrained_value": 0.025},
    )  # fmt: skip


def test_what_is_remembered_word_for_word_is_a_risk_and_its_control_is_told():
    (found,) = remembered_findings([remembered(verdict="above guessing", value=0.42)])
    assert (found.severity, found.check) == ("risk", "membership")
    assert "is 0.420 where trained on, 0.025 where not: remembered" in found.title
    (found,) = remembered_findings([remembered(verdict="not above guessing", value=0.02)])
    assert found.severity == "pass" and "no difference is shown" in found.title
    absent = msgspec.structs.replace(remembered(verdict="absent", value=None), p_value=None)
    assert not list(remembered_findings([absent, remembered(verdict="", value=9.0, measure="canary_exposure_largest")]))


@pytest.mark.parametrize(
    ("claimed", "shown", "words"),
    [
        (1.35201, 1.2999, "at least 1.29; the claim is 1.36."),
        (1.0, 2.5678, "at least 2.56, above the claimed 1.00."),
        (1.3521, 1.3579, "at least 1.357, above the claimed 1.353."),
        (1.35, 1.35000012, "at least 1.3500001, above the claimed 1.3500000."),
    ],
)
def test_a_claim_is_rounded_up_and_what_was_shown_down_and_they_contradict_as_they_are_written(claimed, shown, words):
    found = bound_finding([row("claimed_epsilon", claimed), row("audited_epsilon", shown)])
    assert found.title.endswith(words)


def test_the_lower_bound_of_a_composed_claim_says_that_it_is_of_one_training():
    shown = msgspec.structs.replace(
        statement(low=1.0, high=2.0),
        composed_with="one:train.torch.DPSGD.s0",
        comparisons=(Comparison(name="epsilon_shuffle_lower", value=1.0, bound="at least", own=True),),
    )
    whole, beside = accounting_finding(shown, Claim(epsilon=2.0, delta=1e-5), artifact="ledger.jsonl").measured
    assert whole.note.endswith("composed with one:train.torch.DPSGD.s0, the lower bound is without it")
    assert beside.note.endswith("of this training alone")


def test_a_violation_says_among_how_many_audits_it_was_found():
    rows = [row("claimed_epsilon", 2.0, kind="game"), row("audited_epsilon", 3.0, kind="game")]
    assert bound_finding(rows).would_change.endswith("only chance can, as often as the confidence says")
    assert "of each of the 15 audits of this run" in bound_finding(rows, audits=15).would_change
