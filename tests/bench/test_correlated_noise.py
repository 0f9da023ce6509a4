"""Correlated noise compared with DP-SGD: clipped sums of the trial network, and what the page says of figures."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

import correlated_noise as compared
import correlated_noise_rates as rates


def network(generator: np.random.Generator) -> list[np.ndarray]:
    shapes = ((4, 5), (5,), (5, 3), (3,))
    return [generator.normal(size=shape) for shape in shapes]


def test_the_trial_clips_each_examples_whole_gradient():
    generator = np.random.default_rng(1)
    weights, inputs, labels = network(generator), 3 * generator.normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 2])
    inputs[0] *= 1e-3
    apart = [compared.clipped_sum(weights, inputs[[one]], labels[[one]]) for one in range(6)]
    np.testing.assert_allclose(compared.clipped_sum(weights, inputs, labels), np.sum(apart, axis=0), atol=1e-12)

    def loss(moved: list[np.ndarray], one: int) -> float:
        logits = rates.values(moved, inputs[[one]])[-1][0]
        return float(np.log(np.exp(logits).sum()) - logits[labels[one]])

    norms = []
    for one in range(6):
        slopes = []
        for place, array in enumerate(weights):
            for entry in np.ndindex(array.shape):
                step = np.zeros_like(array)
                step[entry] = 1e-6
                pair = [[w + sign * step if at == place else w for at, w in enumerate(weights)] for sign in (1, -1)]
                slopes.append((loss(pair[0], one) - loss(pair[1], one)) / 2e-6)
        gradient = np.array(slopes)
        norms.append(np.linalg.norm(gradient))
        np.testing.assert_allclose(apart[one], gradient / max(1, norms[-1]), atol=1e-6)
    assert min(norms) < 1 < max(norms)


def results(better: float) -> dict:
    """Figures of three seeds in which BLT is better than all else by so much, give or take."""
    runs = {
        compared.key(*cell, seed): {"accuracy": 0.8 + (better if cell[1] == "BLT" else 0) + 1e-3 * (seed == 1) * rank}
        for cell in itertools.product(compared.TASKS, compared.MECHANISMS, compared.EPSILONS)
        for rank, seed in itertools.product([list(compared.MECHANISMS).index(cell[1])], range(3))
    }
    plans = {
        f"{name} {mechanism} {epsilon:g}": {"error": 2.0, "noise": 1.0, "rate": 1.0}
        for name, mechanism, epsilon in itertools.product(compared.TASKS, compared.MECHANISMS, compared.EPSILONS)
    }
    return {"runs": runs, "plans": plans, "processor_seconds": 1, "date": "today", "machine": "here"}


@pytest.mark.parametrize(("better", "verdict"), [(0.1, "better"), (-0.1, "worse"), (0.0, "not told apart")])
def test_the_page_calls_better_what_the_interval_says(better, verdict):
    lines = compared.page(results(better)).splitlines()
    told = [line for line in lines if line.startswith(f"- *{verdict}*")]
    assert len(told) == 2 and all("BLT on adult at 16" in line for line in told)
    for other in {"better", "worse", "not told apart"} - {verdict}:
        assert not [line for line in lines if line.startswith(f"- *{other}*") and "BLT" in line]


def test_seeds_that_are_not_whole_are_not_told():
    some = results(0.1)
    del some["runs"][compared.key("adult", "tree", 4.0, 2)]
    assert compared.seeds_of(some, "adult", 4.0) == [0, 1]
    assert compared.seeds_of(some, "adult", 1.0) == [0, 1, 2]
    del some["runs"][compared.key("adult", "tree", 4.0, 1)]
    assert ("adult", 4.0) not in compared.cells_of(some)


def test_the_interval_is_students_over_paired_differences():
    ours, theirs = np.array([1.0, 2.0, 4.0]), np.array([0.5, 1.0, 2.5])
    mean, low, high = compared.difference_of(ours, theirs)
    reach = 2.919986 * 0.5 / np.sqrt(3)  # 95 % of Student's t with two degrees of freedom
    assert mean == pytest.approx(1.0) and (high - low) / 2 == pytest.approx(reach, rel=1e-5)


def test_the_page_is_what_the_figures_make():
    stored = json.loads(compared.RESULTS.read_text(encoding="utf-8"))
    assert compared.PAGE.read_text(encoding="utf-8") == compared.page(stored)
    cells = compared.cells_of(stored)
    assert {name for name, _ in cells} == set(compared.TASKS)
    for (name, epsilon), mechanism in itertools.product(cells, compared.MECHANISMS):
        spent = compared.of_seeds(stored, name, mechanism, epsilon, "epsilon")
        assert (spent <= epsilon * (1 + 1e-9)).all() and (spent > 0.99 * epsilon).all(), "at equal epsilon"
