"""The suite itself: it lets a right step through, and catches and names every wrong one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests import WHOLE
from tests.conformance import cheats
from tests.conformance.broken import BROKEN_STEPS, data, factory
from trustml.conformance import StepSettings, check_step
from trustml.conformance.batches import Batch
from trustml.conformance.findings import raised
from trustml.conformance.step import check_sum
from trustml.conformance.subject import Subject


@pytest.mark.parametrize("seed", range(5 if WHOLE else 2))
def test_a_right_step_passes_every_check(seed):
    settings = StepSettings(clipping_norm=0.7, noise_multiplier=1.3, expected_batch_size=20, seed=seed)
    findings = check_step(factory(), *data(), settings=settings)
    assert len(findings) >= 14
    assert [finding.diagnosis for finding in findings if not finding.passed] == []


@pytest.mark.parametrize("name", BROKEN_STEPS)
def test_a_broken_step_is_caught_and_named(name):
    flaws, diagnosis = BROKEN_STEPS[name]
    failed = [finding for finding in check_step(factory(flaws), *data()) if not finding.passed]
    assert failed, f"{name} was let through"
    assert any(diagnosis in finding.diagnosis for finding in failed), [finding.diagnosis for finding in failed]


def test_a_step_that_raises_fails_its_checks_and_no_more():
    def make(settings):
        right = factory()(settings)

        def step(inputs, labels, micro_batch_size):
            if not len(labels):
                raise IndexError("an empty batch has no first example")
            return right(inputs, labels, micro_batch_size)

        return step

    failed = [finding for finding in check_step(make, *data()) if not finding.passed]
    assert [finding.check for finding in failed] == ["empty batch", "an empty batch is a step with noise"]
    assert all("IndexError" in finding.diagnosis for finding in failed)


def test_a_sum_that_keeps_the_batch_before_is_found_without_noise():
    findings = check_sum(cheats.factory(cheats.part_of_the_batch_before), *cheats.data(50))
    failed = {finding.check for finding in findings if not finding.passed}
    assert "sums do not depend on the order of batches" in failed
    assert all(finding.passed for finding in check_sum(cheats.factory(), *cheats.data(50)))


def test_a_gradient_may_be_one_array():
    def make(settings):
        step = factory()(settings)
        return lambda *batch: np.concatenate([part.ravel() for part in step(*batch).values()])

    assert all(finding.passed for finding in check_step(make, *data()))


@pytest.mark.jax
@pytest.mark.torch
def test_a_gradient_may_be_a_tree_of_any_framework():
    import jax
    import torch

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Module:  # as Equinox has them
        kernel: jax.Array
        unused: None

    tree = {
        "dense": {"kernel": np.full((2, 2), 1.0), "bias": [np.array(2.0), (jax.numpy.full(2, 3.0),)]},
        "module": Module(jax.numpy.full(1, 4.0), None),
        "torch": torch.full((2,), 5.0, requires_grad=True),
    }
    subject = Subject(lambda settings: lambda *batch: tree, *data(), StepSettings())
    found = subject.quiet_gradient(Batch(*data()))
    np.testing.assert_array_equal(found, [1, 1, 1, 1, 2, 3, 3, 4, 5, 5])
    names = ["dense/kernel", "dense/bias/0", "dense/bias/1/0", "module/.kernel", "torch"]
    assert [subject.part_at(place) for place in (0, 4, 5, 7, 9)] == names


def test_parts_by_name_are_refused_by_name():
    with pytest.raises(ValueError, match="of the parts input_ids, attention_mask no outliers can be made"):
        check_step(factory(), {"input_ids": data()[0], "attention_mask": data()[0]}, data()[1])


def test_too_few_examples_are_refused():
    inputs, labels = data()
    with pytest.raises(ValueError, match="give 12 examples or more"):
        check_step(factory(), inputs[:5], labels[:5])


def test_of_a_long_message_its_ends_are_told():
    error = RuntimeError('it broke\n  File "/some/where.py", line 3\n\n  by zero\n')
    assert raised("a check", error).diagnosis == "raised RuntimeError: it broke ... by zero"
    assert raised("a check", ValueError("no")).diagnosis == "raised ValueError: no"


def averaging(*, empty: float):
    """A step that divides by the batch at hand, and gives so much of each coordinate for an empty one."""

    def make(settings):
        right = factory()(dataclasses.replace(settings, expected_batch_size=1))

        def step(inputs, labels, micro_batch_size):
            found = right(inputs, labels, micro_batch_size)
            return {name: part / max(len(labels), 1) + empty * (not len(labels)) for name, part in found.items()}

        return step

    return make


def test_a_step_that_averages_fails_that_alone():
    failed = [finding for finding in check_step(averaging(empty=0.0), *data()) if not finding.passed]
    assert [finding.check for finding in failed] == ["one example is clipped to the clipping norm"]
    assert "divides by the batch at hand instead of the declared size" in failed[0].diagnosis


def test_what_an_averaging_step_gives_for_nobody_is_seen():
    failed = {finding.check for finding in check_step(averaging(empty=5.0), *data()) if not finding.passed}
    assert {"one example is clipped to the clipping norm", "an empty batch sums to zero"} <= failed
