"""Which framework for which need: told apart only by starts that tell, and never where others used the machine."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tests.records import copy_of
from tests.report.test_summary import row
from trustml.compare.recommendation import Recommendation, exported_files, recommendations
from trustml.compare.table import table_of
from trustml.measures.row import Row
from trustml.report.recommendation import print_recommendations


def times(backend: str, values: list[float], *, others: float = 0.0) -> list[Row]:
    return [
        row("step_time_median", value, backend, seed=seed, low=value, high=value, facts={"others_share": others})
        for seed, value in enumerate(values)
    ]


def told(*rows: Row) -> Recommendation:
    (one,) = [one for one in recommendations(table_of(rows)) if one.need.title == "fast training"]
    return one


def test_the_framework_that_is_faster_in_every_start_is_named():
    one = told(*times("torch", [0.020, 0.021, 0.019]), *times("jax", [0.010, 0.011, 0.009]))
    assert (one.best, one.untold) == ("jax", "")
    assert [(figure.backend, figure.value, figure.count) for figure in one.figures] == [
        ("jax", 0.010, 3),
        ("torch", 0.020, 3),
    ]
    assert one.figures[0].jobs == ("train.jax.Plain.s0", "train.jax.Plain.s1", "train.jax.Plain.s2")


@pytest.mark.parametrize(
    ("rows", "untold"),
    [
        (times("torch", [0.02, 0.021, 0.019]), "one framework"),
        ([*times("torch", [0.02, 0.021]), *times("jax", [0.01, 0.011, 0.009])], "few starts"),
        ([*times("torch", [0.02, 0.03, 0.01]), *times("jax", [0.018, 0.012, 0.029])], "alike"),
        ([*times("torch", [0.02, 0.021, 0.019], others=0.5), *times("jax", [0.01, 0.011, 0.009])], "busy"),
    ],
)
def test_none_is_named_where_starts_do_not_tell(rows, untold):
    one = told(*rows)
    assert (one.best, one.untold) == ("", untold)


@pytest.mark.parametrize(("others", "throttled"), [(0.5, 0.0), (0.0, 0.5)])
def test_a_busy_machine_beside_explanations_alone_spoils_their_times_alone(others, throttled):
    facts = {"others_share": others, "throttled_share": throttled}
    rows = [*times("torch", [0.02, 0.021, 0.019]), *times("jax", [0.01, 0.011, 0.009])]
    explained = [
        row("explain_time", one.value, one.backend, seed=one.seed, low=one.value, high=one.value, facts=facts)
        for one in rows
    ]
    found = {one.need.title: one for one in recommendations(table_of([*rows, *explained]))}
    assert (found["fast training"].best, found["fast explanations"].untold) == ("jax", "busy")


def test_one_that_is_apart_from_the_second_alone_is_not_named():
    one = told(
        *times("torch", [0.020, 0.021, 0.019]),
        *times("jax", [0.010, 0.011, 0.009]),
        *times("tensorflow", [0.010, 0.0112, 0.0092]),
    )
    assert (one.best, one.untold) == ("", "alike")


@pytest.mark.long
def test_frameworks_that_are_alike_are_seldom_told_apart():
    # 5 % are 10; more have probability 0.005
    count, most = 200, 18
    random = np.random.default_rng(0)
    named = sum(
        bool(told(*(line for name in ("torch", "jax") for line in times(name, list(random.lognormal(0, 0.3, 4))))).best)
        for _ in range(count)
    )
    assert named <= most


def test_a_framework_does_not_win_by_a_method_that_failed():
    rows = [
        row("explain_time", value * factor, backend, seed=seed, method=method, facts={"variant": "native"})
        for backend, factor in (("torch", 1.0), ("jax", 1.5))
        for seed, noise in enumerate((1.0, 1.01, 0.99, 1.02, 0.98))
        for method, value in (("Saliency", 0.01 * noise), ("KernelShap", 1.0 * noise))
        if not (backend == "jax" and method == "KernelShap" and seed)
    ]
    (one,) = [one for one in recommendations(table_of(rows)) if one.need.title == "fast explanations"]
    assert one.best == "torch"


def test_what_differs_by_nothing_that_counts_is_alike():
    one = told(*times("torch", [1.0, 1.0, 1.0]), *times("jax", [1.0 + 1e-9] * 3))
    assert (one.best, one.untold) == ("", "alike")


def test_scores_are_told_apart_by_their_differences_over_seeds():
    rows = [row("accuracy", value, name) for name, value in (("torch", 0.8), ("jax", 0.9))]
    rows += [row("accuracy", 0.8, "torch", seed=seed) for seed in (1, 2)]
    rows += [row("accuracy", 0.9, "jax", seed=seed) for seed in (1, 2)]
    apart = [
        row("score_difference", 0.1 + seed / 1000, seed=seed, low=0.05, high=0.15, pair="trained apart",
            first="torch", second="jax")
        for seed in range(3)
    ]  # fmt: skip
    (one,) = recommendations(table_of([*rows, *apart]))
    assert one.best == "jax"
    (one,) = recommendations(table_of([*rows, *apart[:2]]))
    assert one.untold == "alike"


def printed(table: pd.DataFrame) -> str:
    out = Console(file=io.StringIO(), width=200)
    print_recommendations(out, recommendations(table), exported_files(table))
    return out.file.getvalue()


def test_a_stored_run_of_one_seed_recommends_none_and_says_why(tmp_path):
    text = printed(copy_of("frameworks", tmp_path).measures())
    assert "For fast training: which is best cannot be told from fewer than 3 seeds each" in text
    assert "(explanations of the methods that all have" in text
    assert "no model of this run was exported" in text


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_ways_of_explaining_a_file_the_one_that_agrees_least_is_told(order):
    ways = [("occlusion", 1.0, 1.0), ("KernelSHAP", 0.31, -0.2), ("unranked", None, None)]
    rows = [
        row(
            "deployed_attribution_agreement",
            value,  # type: ignore[arg-type]
            subject="onnx",
            method=method,
            facts={"reason": "constant"} if least is None else {"least_agreement": least},
        )
        for method, value, least in ways[::order]
    ]
    (file,) = exported_files(table_of([row("deployed_logit_difference", 5e-5, subject="onnx"), *rows]))
    assert (file.attributions, file.attributions_least, file.attributions_by) == (0.31, -0.2, "KernelSHAP")


def test_exported_files_stand_with_what_was_lost_on_the_way():
    """Each by its own model, as a target is reached by one seed after another."""
    rows = [
        one
        for seed, differ in enumerate([0.015, 0.025])
        for one in (
            row("deployed_logit_difference", 2e-2, seed=seed, subject="onnx, int8"),
            row("deployed_disagreement", differ, seed=seed, subject="onnx, int8", low=0.01, high=0.04),
        )
    ]
    facts = {"least_agreement": 0.7}
    rows.append(row("deployed_attribution_agreement", 0.98, subject="onnx, int8", method="occlusion", facts=facts))
    rows.append(row("deployed_score_difference", -0.005, subject="onnx, int8", low=-0.01, high=0.002))
    told = [line.strip() for line in printed(table_of(rows)).splitlines()]
    begin = "logits differ by 2.0e-02 of the largest"
    assert (
        f"torch: onnx, int8 of train.torch.Plain.s0: {begin}, 1.50% of predictions differ [1.00%, 4.00%], score "
        "differs by -0.005 [-0.010, +0.002], attributions by occlusion agree at 0.980, of the worst example at 0.700"
    ) in told
    assert f"torch: onnx, int8 of train.torch.Plain.s1: {begin}, 2.50% of predictions differ [1.00%, 4.00%]" in told
    (regression,) = exported_files(table_of([row("deployed_logit_difference", 1e-7, subject="onnx")]))
    assert np.isnan([regression.differ, regression.differ_high, regression.attributions]).all()
