"""A completeness error asked for: the common lane, and a library's own rule with more and more points."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from trustml.backends.contract import ExplainRequest
from trustml.scenario.methods import IntegratedGradients
from trustml.worker.adaptive_steps import explain_to_error
from trustml.worker.common_lane import common_lane, integrated_gradients, logit_changes


class Kinked:
    """One hidden layer of ReLU: its gradient jumps along the path."""

    def __init__(self, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.first = generator.normal(size=(6, 40)).astype(np.float32)
        self.bias = generator.normal(size=40).astype(np.float32)
        self.second = generator.normal(size=(40, 3)).astype(np.float32)
        self.batches: set[int] = set()

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        return np.maximum(inputs @ self.first + self.bias, 0) @ self.second

    def input_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        self.batches.add(len(inputs))
        active = (inputs @ self.first + self.bias > 0) * self.second.T[targets]
        return (active @ self.first.T).astype(np.float32)


def requested(method: IntegratedGradients) -> ExplainRequest:
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(90, 6)).astype(np.float32)
    return ExplainRequest(
        model=None,
        inputs=inputs,
        targets=generator.integers(0, 3, 90),
        method=method,
        baseline=generator.normal(size=(90, 6)).astype(np.float32),
        background=np.zeros((0, 6), np.float32),
        features=np.arange(6),
        layer=-1,
        seed=0,
    )


def gaps(attributions: np.ndarray, changes: np.ndarray) -> np.ndarray:
    return np.abs(attributions.sum(axis=1) - changes) / np.abs(changes)


@pytest.mark.parametrize("wanted", [0.1, 0.01])
def test_the_common_lane_reaches_what_was_asked_for_or_spends_its_steps(wanted):
    network, method = Kinked(), IntegratedGradients(n_steps=64, max_completeness_error=wanted)
    request = requested(method)
    changes = logit_changes(network, request)
    found, passes = common_lane(network, request, method, changes)
    reached = gaps(found, changes) <= wanted + 1e-5
    assert reached.mean() > 0.8 and (passes <= 64).all() and (passes[~reached] >= 63).all()
    assert passes.mean() < 40 and len(set(passes)) > 2
    assert network.batches <= {32, 64, 128, 256, 512, 1024}  # a compiler sees few sizes
    exact = integrated_gradients(network, request.inputs, request.targets, baseline=request.baseline, n_steps=1000)
    assert np.median(np.abs(found - exact).sum(axis=1) / np.abs(exact).sum(axis=1)) < 10 * wanted


def test_examples_are_the_same_alone_and_together():
    network, method = Kinked(), IntegratedGradients(n_steps=30, max_completeness_error=0.02)
    request = requested(method)
    changes = logit_changes(network, request)
    found, passes = common_lane(network, request, method, changes)
    for row in (0, 41):
        one = requested(method)
        at = slice(row, row + 1)
        for name in ("inputs", "targets", "baseline"):
            object.__setattr__(one, name, getattr(request, name)[at])
        alone, count = common_lane(network, one, method, changes[at])
        np.testing.assert_allclose(alone[0], found[row], rtol=1e-5, atol=1e-6)
        assert count[0] == passes[row]


def test_without_an_error_asked_for_nothing_changes():
    network, method = Kinked(), IntegratedGradients(n_steps=7)
    request = requested(method)
    found, passes = common_lane(network, request, method, None)
    fixed = integrated_gradients(network, request.inputs, request.targets, baseline=request.baseline, n_steps=7)
    np.testing.assert_array_equal(found, fixed)
    assert (passes == 7).all()


def library(network: Kinked) -> SimpleNamespace:
    """A library with the midpoint rule that forgets the factor, and completes it."""

    def explain(request: ExplainRequest) -> dict[str, np.ndarray]:
        steps, difference = request.method.n_steps, request.inputs - request.baseline
        points = (np.arange(steps) + 0.5) / steps
        native = np.mean(
            [network.input_gradients(request.baseline + p * difference, request.targets) for p in points], axis=0
        )
        return {"native": native, "completed": native * difference}

    return SimpleNamespace(explain=explain)


def test_a_library_gets_twice_the_points_until_the_worst_example_is_there():
    network, method = Kinked(), IntegratedGradients(n_steps=5000, max_completeness_error=0.1)
    request = requested(method)
    changes = logit_changes(network, request)
    done = explain_to_error(library(network), request, method, changes)
    sizes = [min(5000, 4 * 2**power) for power in range(20)]
    assert list(done.tried) == sizes[: len(done.tried)] and len(done.tried) > 2
    assert done.request.method.n_steps == done.tried[-1]
    assert gaps(done.attributions["completed"], changes).max() <= 0.1
    before = explain_to_error(
        library(network), request, IntegratedGradients(n_steps=done.tried[-2], max_completeness_error=0.1), changes
    )
    assert gaps(before.attributions["completed"], changes).max() > 0.1  # half as many were not enough


def test_a_library_stops_at_the_most_steps_allowed():
    network, method = Kinked(), IntegratedGradients(n_steps=11, max_completeness_error=1e-9)
    request = requested(method)
    done = explain_to_error(library(network), request, method, logit_changes(network, request))
    assert done.tried == (4, 8, 11)
