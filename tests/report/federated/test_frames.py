"""The line of a federated regime, from rows made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from tests.auditing.test_run_wording import statement
from tests.report.test_figures import rows
from trustml.report.federated import frames as federated_frames

MODELS = [f"train.jax.DPFedAvg.s{seed}" for seed in (0, 1)]


def cells(measure, *values, **changes):
    return [
        {"job": job, "regime": "DPFedAvg", "backend": "jax", "measure": measure, "value": value, **changes}
        for job, value in zip(MODELS, values, strict=True)
    ]


def summary(monkeypatch, *epsilons, unit="user") -> dict:
    jobs = [
        (
            SimpleNamespace(id=model, regime="DPFedAvg", backend="jax"),
            SimpleNamespace(mechanism=SimpleNamespace(unit=unit) if epsilons else None),
        )
        for model in MODELS
    ]
    monkeypatch.setattr(federated_frames, "federated_jobs", lambda evidence: jobs)
    table = rows(*cells("accuracy", 0.7, 0.8), *cells("step_time_median", 0.002, 0.004), *cells("round_ratio", 1, 2))
    stated = [
        msgspec.structs.replace(statement(low=None, high=epsilon), model=model)
        for model, epsilon in zip(MODELS, epsilons, strict=False)
    ]
    (row,) = federated_frames.summary_frame(SimpleNamespace(), table, stated).map(str).to_dict("records")
    return row


def test_rounds_are_in_milliseconds_and_means_are_over_seeds(monkeypatch):
    row = summary(monkeypatch)
    assert (row["step ms"], row["accuracy"], row["round/central"], row["worst"]) == ("3.00", "0.750", "1.5", "-")


@pytest.mark.parametrize(
    ("epsilons", "shown"), [((2.0, 2.001), "2.01"), ((3.0, 2.0), "3.00"), ((2.0, None), "not stated"), ((), "none")]
)
def test_the_epsilon_for_users_is_the_largest_rounded_up(monkeypatch, epsilons, shown):
    assert summary(monkeypatch, *epsilons)["user epsilon"] == shown


def test_of_clients_that_protect_single_examples_no_epsilon_for_users_is_missing(monkeypatch):
    assert summary(monkeypatch, None, None, unit="example")["user epsilon"] == "none: private for examples"
