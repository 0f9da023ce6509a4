"""A study as it might come out. Every number in it is made up: it tests the page and is a result of nothing."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd

from tests.report.test_figures import rows
from trustml.compare.floor import MEAN
from trustml.report.study.tables import StudyPart

METHODS = {MEAN: 0.0, "IntegratedGradients": -0.02, "Occlusion": 0.05}
EFFECTS = {"DPSGD eps 1": (-0.21, 0.03), "DPSGD eps 8": (-0.04, 0.06), "Stopped 0.9": (0.08, 0.02)}
TRAINING = [
    {"kind": "Plain"},
    {"kind": "DPSGD", "name": "DPSGD eps 1"},
    {"kind": "DPSGD", "name": "DPSGD eps 8"},
    {"kind": "Plain", "name": "Stopped 0.9", "stop_at": "DPSGD eps 1"},
    {"kind": "Plain", "name": "Bare", "ablation": {"of": "DPSGD eps 1"}},
    {"kind": "Plain", "name": "Clipped", "ablation": {"of": "DPSGD eps 1", "keeps": "clipping"}},
    {"kind": "Plain", "name": "Noisy", "ablation": {"of": "DPSGD eps 1", "keeps": "noise"}},
]
PAIRS = [
    ("explanation_effect", "Plain", "Bare", {}, -0.05),
    ("explanation_effect_of_part", "Bare", "Clipped", {"part": "clipping"}, -0.02),
    ("explanation_effect_of_part", "Bare", "Noisy", {"part": "noise"}, -0.06),
    ("explanation_effect_of_part", "Clipped", "DPSGD eps 1", {"part": "noise"}, -0.14),
    ("explanation_effect_of_part", "Noisy", "DPSGD eps 1", {"part": "clipping"}, -0.1),
    ("explanation_trend", "DPSGD eps 1", "DPSGD eps 8", {"epsilons": "1, 8"}, 0.07),
]
"""Measure, what lacks a part or has the least epsilon, the other, what is known of them, and the mean of methods."""
HALF = 0.03
CHANGES = ("infidelity", "deletion_auc", "insertion_auc", "comprehensiveness", "road")


def study_table(shift: float = 0.0, *, p: float = 0.001) -> pd.DataFrame:
    """Two private regimes and one that was stopped early; `shift` moves every value."""
    cells: list[dict[str, Any]] = [
        {"regime": regime, "seed": seed, "value": 0.9 + 0.01 * seed - shift / 10}
        for regime in ("Plain", *EFFECTS)
        for seed in (0, 1, 2)
    ]
    cells += [
        {"regime": "DPSGD eps 1", "measure": "epsilon", "value": 0.991 + shift / 100, "seed": seed} for seed in (0, 1)
    ]
    for regime, (value, half) in EFFECTS.items():
        for measure, factor in (
            ("explanation_effect", 1.0),
            ("explanation_effect_beyond_accuracy", 0.5),
            ("explanation_steadiness", -1.0),
        ):
            for method, more in METHODS.items():
                if measure == "explanation_steadiness" and method != MEAN:
                    continue
                middle = factor * value + more + shift
                found = {"regime": regime, "subject": f"{regime} ~ Plain", "method": method, "measure": measure}
                cells.append({**found, "value": middle, "low": middle - half, "high": middle + half})
                cells.append({**found, "measure": f"{measure}_p", "value": p})
        for turn, name in enumerate(CHANGES[:-1]):
            for method, more in list(METHODS.items())[1:]:
                middle = value * (turn - 1) + more + shift
                found = {"regime": regime, "subject": f"Plain ~ {regime}", "first": "Plain", "method": method}
                found["measure"] = f"change_of_{name}"
                cells.append({**found, "value": middle, "low": middle - half, "high": middle + half})
    return rows(*cells)


def parts_table(shift: float = 0.0, *, p: float = 0.001, trend_of_accuracy: float = 0.01) -> pd.DataFrame:
    """The same with what sets ablations and epsilons against each other."""
    cells: list[dict[str, Any]] = []
    for measure, first, second, facts, value in PAIRS:
        for method, more in METHODS.items():
            middle = value + more + shift
            found = {"regime": second, "subject": f"{first} ~ {second}", "first": first, "method": method, "n": 5}
            found["facts"] = json.dumps(facts)
            cells.append({**found, "measure": measure, "value": middle, "low": middle - HALF, "high": middle + HALF})
            cells.append({**found, "measure": f"{measure}_p", "value": p})
    found |= {"method": "", "value": trend_of_accuracy, "low": 0.0, "high": 0.02}
    cells += [{**found, "measure": "accuracy_trend"}, {**found, "measure": "accuracy_trend_p", "value": 0.5}]
    return pd.concat([study_table(shift, p=p), rows(*cells)], ignore_index=True)


def study_parts() -> list[StudyPart]:
    return [study_part("digits", parts_table()), study_part("wdbc", study_table(0.1, p=0.04))]


def study_part(name: str, table: pd.DataFrame) -> StudyPart:
    scenario = {"name": f"privacy_and_explanations_{name}", "training": TRAINING}
    return StudyPart(manifest=cast(Any, SimpleNamespace(scenario=scenario)), table=table)
