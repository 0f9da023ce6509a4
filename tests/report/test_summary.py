"""What a run answers: every sentence against the rows it is made from, on tables made up and on stored runs."""

from __future__ import annotations

import io
import math
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace
from rich.console import Console

from tests.records import copy_of
from trustml.compare.table import table_of
from trustml.measures.row import About, Row
from trustml.record.schema import DataRecord, JobRecord, Manifest
from trustml.report.summary import Answer, print_summary, summary

DATA = DataRecord(fingerprint="", train_examples=9, test_examples=100, input_shape=(2,), class_names=("a", "b"))
BACKENDS = ("torch", "jax")


def row(measure: str, value: float, backend: str = "torch", regime: str = "Plain", seed: int = 0, **about: Any) -> Row:
    low, high = about.pop("low", None), about.pop("high", None)
    method, subject = about.pop("method", ""), about.pop("subject", "held-out")
    known = {name: getattr(About(**about), name) for name in About.__struct_fields__}
    return Row(
        run="r", job=f"train.{backend}.{regime}.s{seed}", backend=backend, regime=regime, seed=seed, subject=subject,
        method=method, measure=measure, value=value, low=low, high=high, unit="1", n=100, kind="estimate", note="",
        model="", **known,
    )  # fmt: skip


def manifest(*kinds: str, **fields: Any) -> Manifest:
    training = [{"kind": kind} | ({"partition": {"kind": "iid"}} if kind == "FedAvg" else {}) for kind in kinds]
    scenario = {"name": "x", "training": training, "backends": list(BACKENDS), "seeds": [0]}
    return Manifest(
        run="r", status="success", created="", ended="", scenario=scenario, overrides=(), data=DATA, jobs=(), **fields
    )


def table(*rows: Row) -> pd.DataFrame:
    return table_of([row("accuracy", 0.9), *rows])


def cost(backend: str, value: float, low: float, high: float, *, seed: int = 0, swapped: bool = False) -> Row:
    first, second = ("DPSGD", "Plain") if swapped else ("Plain", "DPSGD")
    return row(
        "score_difference",
        value,
        backend,
        first,
        seed,
        low=low,
        high=high,
        pair="two regimes",
        first=first,
        second=second,
    )


def texts(found: tuple[Answer, ...], question: str) -> list[str]:
    return [answer.text for answer in found if answer.question == question]


EPSILON = row("epsilon", 7.996, regime="DPSGD", delta=1e-5, privacy_unit="example")


@pytest.mark.parametrize("swapped", [False, True])
def test_the_cost_is_what_plain_has_more_whichever_comes_first(swapped):
    sign = -1 if swapped else 1
    low, high = sorted((-0.075 * sign, -0.018 * sign))
    found = summary(
        manifest("Plain", "DPSGD"), table(EPSILON, cost("torch", -0.0446 * sign, low, high, swapped=swapped)), ()
    )
    assert texts(found, "privacy") == [
        "with DPSGD (epsilon 8.00 per example, delta 1e-05) accuracy changes against Plain by -0.045 [-0.075, -0.018] "
        "in torch (95 % interval over held-out examples; one seed, and another may differ)"
    ]


def test_a_cost_that_may_be_none_says_so():
    found = summary(manifest("Plain", "DPSGD"), table(EPSILON, cost("jax", 0.0001, -0.01, 0.0004)), ())
    text = texts(found, "privacy")[0]
    assert "0.000 [-0.010, 0.000] in jax" in text and text.endswith("none of it is told apart from no change")
    assert "-0.000" not in text and "+0.000" not in text


def test_seeds_are_averaged_by_students_t():
    rows = [cost("torch", -value, -1, 1, seed=seed) for seed, value in enumerate((0.1, 0.2, 0.3))]
    text = texts(summary(manifest("Plain", "DPSGD"), table(EPSILON, *rows), ()), "privacy")[0]
    assert "-0.200 [-0.448, +0.048] in torch (95 % interval over 3 seeds)" in text


def test_without_a_plain_model_no_cost_is_told():
    assert texts(summary(manifest("DPSGD"), table(EPSILON), ()), "privacy") == [
        "with DPSGD (epsilon 8.00 per example, delta 1e-05): there is no plain model in this run to compare with"
    ]


def test_an_epsilon_that_is_not_measured_yet_is_not_said_to_be_none():
    for value, said in ((math.nan, "epsilon not measured of every model"), (math.inf, "no finite epsilon")):
        rows = (EPSILON, row("epsilon", value, backend="jax", regime="DPSGD"), cost("torch", 0.045, 0.018, 0.075))
        assert said in texts(summary(manifest("Plain", "DPSGD"), table(*rows), ()), "privacy")[0]


def test_controls_are_no_plain_model():
    one = manifest("Plain", "DPSGD")
    one.scenario["training"][0]["random_labels"] = True
    assert "no plain model" in texts(summary(one, table(EPSILON), ()), "privacy")[0]


def frameworks(*pairs: tuple[float, float]) -> str:
    rows = [
        row("score_difference", value, regime=f"R{number}", pair="trained apart", first="torch", second="jax",
            low=value - 0.01, high=value + 0.01, p_value=p_value)
        for number, (value, p_value) in enumerate(pairs)
    ]  # fmt: skip
    return texts(summary(manifest("Plain"), table(*rows), ()), "framework")[0]


def test_frameworks_differ_only_where_all_pairs_together_say_so():
    assert frameworks((0.02, 0.9)).startswith(
        "no framework is told apart from another by accuracy: the difference is 0.020 (R0, jax and torch"
    )
    assert frameworks((0.03, 0.02), (0.02, 0.9), (0.0, 1.0)).startswith(
        "no framework is told apart from another by accuracy: over 3 pairs the largest difference is 0.030"
    )
    assert frameworks((0.03, 0.01), (0.02, 0.9)).startswith("by accuracy jax is 0.030 above torch in R0, of 2 pairs")
    assert "torch is 0.030 above jax in R0" in frameworks((-0.03, 0.001))


def attack(regime: str, value: float) -> Row:
    return row("membership_auc_at_least", value, regime=regime, method="loss")


def test_what_attackers_get():
    assert texts(summary(manifest("Plain"), table(), ()), "leakage") == [
        "no attack was tried, so nothing is shown of what models leak"
    ]
    both = row("accuracy", 0.8, regime="DPSGD")
    found = summary(manifest("Plain", "DPSGD"), table(both, attack("Plain", 0.575), attack("DPSGD", 0.49)), ())
    assert texts(found, "leakage") == [
        "attacks tell members of Plain (AUC at least 0.575 by loss, torch); no attack that was tried tells members of "
        "DPSGD, which is no proof that none can"
    ]
    kept = row("audited_epsilon", 1.359, regime="DPSGD", verdict="not refuted")
    assert "it shows 1.35 at the most" in texts(summary(manifest("Plain"), table(kept), ()), "leakage")[0]
    planted = row("audited_epsilon", 4.0, verdict="violated", facts={"fault": "no clipping"})
    real = row("audited_epsilon", 4.0, regime="DPSGD", verdict="violated")
    assert "refutes" not in texts(summary(manifest("Plain"), table(planted), ()), "leakage")[0]
    assert (
        "an audit refutes the claimed epsilon of DPSGD"
        in texts(summary(manifest("Plain"), table(real), ()), "leakage")[0]
    )


def test_models_that_are_no_better_than_a_constant_are_named():
    good = row("accuracy", 0.99, "jax", low=0.98, high=1.0, facts={"majority": 0.967})
    poor = row("accuracy", 0.968, "jax", "DPSGD", low=0.959, high=0.975, facts={"majority": 0.967})
    assert texts(summary(manifest("Plain", "DPSGD"), table_of([good, poor]), ()), "use") == [
        "1 of 2 models is better than always answering the largest class (0.967); not told apart from it: DPSGD in "
        "jax (0.968)"
    ]
    worse = row("accuracy", 0.3, "jax", "Random", low=0.25, high=0.35, facts={"majority": 0.967})
    gone = row("accuracy", float("nan"), "torch", "DPSGD")
    text = texts(summary(manifest("Plain", "DPSGD"), table_of([good, worse, gone]), ()), "use")[0]
    assert "1 of 3 models is better" in text
    assert "; worse than it: Random in jax (0.300); 1 has no score with an interval" in text
    flat = row("r2", 0.01, low=-0.02, high=0.04)
    assert texts(summary(manifest("Plain"), table_of([flat]), ()), "use")[0].startswith(
        "0 of 1 models are better than always answering the mean (0.000)"
    )


def test_the_sign_is_that_of_each_row_and_a_gain_is_a_plus():
    rows = [cost("torch", -0.1, -0.2, 0.0), cost("torch", 0.1, 0.0, 0.2, seed=1, swapped=True)]
    rows += [cost("torch", -0.1, -0.2, 0.0, seed=2)]
    text = texts(summary(manifest("Plain", "DPSGD"), table(EPSILON, *rows), ()), "privacy")[0]
    assert "by -0.100 [-0.100, -0.100] in torch" in text
    text = texts(summary(manifest("Plain", "DPSGD"), table(EPSILON, cost("jax", 0.045, 0.018, 0.075)), ()), "privacy")[
        0
    ]
    assert "by +0.045 [+0.018, +0.075] in jax" in text


def test_two_seeds_are_too_few_and_each_backend_has_its_own_number():
    rows = [cost("torch", -0.1, -0.2, 0.0, seed=seed) for seed in (0, 1)] + [cost("jax", -0.1, -0.2, -0.05)]
    text = texts(summary(manifest("Plain", "DPSGD"), table(EPSILON, *rows), ()), "privacy")[0]
    assert (
        "in torch (smallest and largest of 2 seeds), -0.100 [-0.200, -0.050] in jax (95 % interval over held-out"
        in text
    )


def test_two_seeds_tell_nothing_of_luck_rather_than_no_change():
    rows = [cost("torch", -0.6, -0.7, -0.5, seed=seed) for seed in (0, 1)]
    text = texts(summary(manifest("Plain", "DPSGD"), table(EPSILON, *rows), ()), "privacy")[0]
    assert "too few to tell it from luck" in text and "told apart" not in text


def test_an_interval_that_is_not_there_decides_nothing():
    nothing = cost("jax", -0.1, float("nan"), float("nan"))
    text = texts(summary(manifest("Plain", "DPSGD"), table(EPSILON, nothing), ()), "privacy")[0]
    assert "-0.100 (no interval) in jax" in text and "none of it is told apart" in text


def test_federation_is_no_part_of_what_privacy_costs():
    one = manifest("Plain", "FedAvg", "DPFedAvg")
    one.scenario["training"][2]["partition"] = one.scenario["training"][1]["partition"]
    epsilon = row("epsilon", 2.0, regime="DPFedAvg", delta=1e-5, privacy_unit="user")
    sides = {"pair": "two regimes", "low": -0.3, "high": -0.1}
    rows = [
        row("score_difference", -0.2, "jax", first=first, second="DPFedAvg", **sides) for first in ("Plain", "FedAvg")
    ]
    text = texts(summary(one, table(epsilon, *rows), ()), "privacy")[0]
    assert "with DPFedAvg (epsilon 2.00 per user, delta 1e-05) accuracy changes against FedAvg by -0.200" in text
    del one.scenario["training"][1]
    text = texts(summary(one, table(epsilon, rows[0]), ()), "privacy")[0]
    assert "changes against Plain by" in text and "what federation costs is in it" in text


def test_several_seeds_and_pairs_are_corrected_for_their_number():
    rows = [
        row("score_difference", value, regime=f"R{pair}", seed=seed, pair="trained apart", first="torch", second="jax")
        for pair in range(12)
        for seed, value in enumerate((0.010, 0.012, 0.014) if pair == 0 else (0.01, -0.01, 0.0))
    ]
    assert "no framework is told apart" in texts(summary(manifest("Plain"), table(*rows), ()), "framework")[0]
    sure = [
        row("score_difference", value, regime="R", seed=seed, pair="trained apart", first="torch", second="jax")
        for seed, value in enumerate((0.1000, 0.1001, 0.1002, 0.1001))
    ]
    assert "jax is 0.100 above torch in R" in texts(summary(manifest("Plain"), table(*sure), ()), "framework")[
        0
    ].replace("torch is 0.100 above jax", "jax is 0.100 above torch")


def test_what_was_tried_without_a_result_is_no_acquittal():
    failed = row("membership_auc", float("nan"), regime="DPSGD", method="loss")
    rows = table(row("accuracy", 0.8, regime="DPSGD"), attack("Plain", 0.49), failed)
    text = texts(summary(manifest("Plain", "DPSGD"), rows, ()), "leakage")[0]
    assert "not all models were attacked with a result: DPSGD" in text and "No attack was tried" not in text
    audited = row("audited_epsilon", 0.7, regime="DPSGD", verdict="not refuted")
    text = texts(summary(manifest("Plain", "DPSGD"), table(audited), ()), "leakage")[0]
    assert text == "an audit of epsilon refutes no claim; it shows 0.70 at the most"


def test_jobs_that_failed_are_counted():
    jobs = tuple(
        JobRecord(id=str(n), backend="jax", kind="train", regime="Plain", seed=0, digest="", status=status)
        for n, status in enumerate(("ok", "error", "timeout", "interrupted", "pending", "pending", "running"))
    )
    broken, going = (replace(manifest("Plain"), jobs=jobs, status=status) for status in ("interrupted", "running"))
    assert texts(summary(broken, table(), ()), "trust") == ["4 of 7 jobs did not end well; 2 of 7 jobs were not begun"]
    assert texts(summary(going, table(), ()), "trust") == ["3 of 7 jobs did not end well"]


def test_a_run_without_a_model_answers_nothing():
    assert summary(manifest("Plain"), table_of([row("accuracy", float("nan"))]), ()) == ()


def test_a_stored_run_answers_and_prints(tmp_path):
    run = copy_of("attacked", tmp_path)
    out = io.StringIO()
    print_summary(Console(file=out, width=200), run.summary())
    text = out.getvalue()
    assert (
        "What does an attacker get?\n  The page on attacks has audits of epsilon; attacks tell members of Over" in text
    )
    assert "Can the claims be trusted?\n  Epsilon follows from the ledger" in text


def test_what_is_said_of_explanations_names_what_is_compared():
    known = {"measure": "attribution_agreement_spearman", "value": 0.4, "method": "IntegratedGradients"}
    apart = row(**known, pair="two regimes", first="Plain", second="DPSGD")
    epsilon = row("epsilon", 1.0, regime="DPSGD", privacy_unit="example")
    (answer,) = [
        one for one in summary(manifest("Plain", "DPSGD"), table(apart, epsilon), []) if one.question == "explanations"
    ]
    assert answer.sentence.startswith("Between plain and private models the rank correlation of explanations is 0.40")


def test_groups_are_told_with_how_good_the_worst_is():
    facts = {"slice": "sex", "worst_before": 0.8, "worst_after": 0.5}
    of_sex = {"subject": "sex", "first": "Plain", "facts": facts, "p_value": 0.01}
    change = row("slice_gap_change", 0.2, regime="DPSGD", low=0.1, high=0.3, **of_sex)
    (answer,) = [one for one in summary(manifest("Plain"), table(change), []) if one.question == "groups"]
    assert answer.page == "models" and answer.sentence == (
        "With DPSGD the gap between the best and the worst group of sex changes against Plain by +0.200 [+0.100, "
        "+0.300] in torch, where the worst group comes to 0.500 after 0.800; groups are changed "
        "differently (permutation p = 0.01)."
    )


def test_what_an_old_table_does_not_hold_is_said_in_one_sentence():
    use, cost_of = "whether models are better than always answering the same", "what privacy and federation cost"
    old = table(row("accuracy", 0.8, regime="DPSGD"), EPSILON)
    (told,) = texts(summary(manifest("Plain", "DPSGD"), old, ()), "use")
    assert use in told and cost_of in told and "made before trustml measured" in told
    (told,) = texts(summary(manifest("Plain"), table(), ()), "use")
    assert use in told and cost_of not in told
    known = row("accuracy", 0.9, low=0.85, high=0.95, facts={"majority": 0.1})
    other = row("accuracy", 0.8, regime="DPSGD")
    (told,) = texts(summary(manifest("Plain", "DPSGD"), table_of([known, other]), ()), "privacy")
    assert use not in told and cost_of in told
    found = summary(manifest("Plain", "DPSGD"), table_of([known, EPSILON, cost("torch", -0.1, -0.2, -0.05)]), ())
    assert not any("made before" in text for text in texts(found, "use"))


@pytest.mark.parametrize(("seconds", "said"), [(1.3812, "1,381 ms"), (0.00113, "1.13 ms"), (0.28, "280 ms")])
def test_a_long_step_is_told_without_an_exponent(seconds, said):
    found = summary(manifest("Plain"), table(row("step_time_median", seconds)), ())
    assert f"takes {said} in torch" in texts(found, "speed")[0]
