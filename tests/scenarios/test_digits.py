"""The ready scenarios keep what the README says of them, in every framework.

``TRUSTML_SEEDS=3`` (``make test-seeds``) takes both scenarios, three seeds of each, and holds their means closer.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import trustml

pytestmark = [
    pytest.mark.long,
    pytest.mark.tensorflow,
    pytest.mark.timeout(1200),
]

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
LEAST = {"Plain": 0.95, "DPSGD": 0.85, "FedAvg": 0.90}
SEEDS = int(os.environ.get("TRUSTML_SEEDS", "1"))
NAMES = ["digits", "breast_cancer"] if SEEDS >= 3 else ["digits"]
TWINS_WITHIN = 0.03 if SEEDS >= 3 else 0.06  # private models of one seed differ by their noise


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_over_seeds(tmp_path, name):
    # Two workers at a time: this test is of accuracy, not of time.
    overrides = [
        f"seeds={list(range(SEEDS))}",
        "explanations.methods=[]",
        "execution.parallel_jobs=2",
        "execution.threads=1",
    ]
    run = trustml.run(SCENARIOS / f"{name}.py", out=tmp_path, overrides=overrides)
    assert run.status == "success", [(r.id, r.reason) for r in run.manifest.jobs if r.status != "ok"]
    table = run.measures()
    accuracy = table[(table.measure == "accuracy") & table.value.notna()]
    means = accuracy.groupby(["regime", "backend"]).value.mean()
    print(means.to_string())
    assert len(means) == 9
    for regime, least in LEAST.items():
        assert means[regime].min() >= least, means[regime].to_dict()
        assert means[regime].max() - means[regime].min() <= TWINS_WITHIN, means[regime].to_dict()
    assert table[table.measure == "epsilon"].value.max() <= 8.0
