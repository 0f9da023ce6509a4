"""How jobs ended, in the terminal."""

from __future__ import annotations

from types import SimpleNamespace

from tests.report.test_tables import printed
from trustml.report.tables import print_jobs, print_problems


def job(number: int, status: str = "ok", reason: str = "", **changes) -> SimpleNamespace:
    usual = {"seconds": 1.25, "peak_memory": 3 * 2**20, "result": None, "kind": "train", "reused_from": ""}
    return SimpleNamespace(id=f"train.jax.Plain.s{number}", status=status, reason=reason, **{**usual, **changes})


def test_jobs_have_their_seconds_and_mebibytes():
    data = SimpleNamespace(
        train_examples=718, test_examples=719, input_shape=(8, 8, 1), class_names=("a",) * 10, fingerprint="e" * 64
    )
    jobs = [job(0), job(1, "signal", "killed", peak_memory=None)]
    manifest = SimpleNamespace(run="r", status="partial", created="c", ended="", data=data, jobs=jobs, scenario={})
    text = printed(print_jobs, manifest)
    assert "r: partial; created c, ended -" in text
    assert "718 training and 719 held-out examples of shape (8, 8, 1), 10 classes, sha256 " + "e" * 16 in text
    first, second = (line.split() for line in text.splitlines() if line.startswith("train"))
    assert first[1:] == ["ok", "1.2", "3"] and second[1:] == ["signal", "1.2", "-", "killed"]


def test_equal_reasons_are_told_once_with_how_many_more():
    jobs = [job(0, "timeout", "after 9 s"), job(1, "timeout", "after 9 s"), job(2, "timeout", "after 8 s"), job(3)]
    jobs += [job(4, "blocked"), job(5, "blocked")]
    lines = printed(print_problems, SimpleNamespace(jobs=jobs)).splitlines()
    assert lines == [
        "timeout: train.jax.Plain.s0 and 1 more: after 9 s",
        "timeout: train.jax.Plain.s2: after 8 s",
        "blocked: 2 jobs that need one of these",
    ]
