"""Which steps an example is charged for where nothing is amplified: the ones with the least noise."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.privacy.test_tails import made
from trustml.errors import PrivacyError
from trustml.privacy.accounting import epsilon_of, gaussian_epsilon
from trustml.privacy.events import by_plan, mechanisms_of, participation_of, shared_steps, without_amplification


def blocks(*noises: float, steps: int = 1, **changes) -> list:
    """One charge a noise multiplier, of consecutive steps of one plan."""
    changes = {"participation": steps, "largest_participation": len(noises) * steps, **changes}
    return [
        made(first_step=number * steps, end_step=(number + 1) * steps, noise_multiplier=noise, **changes)
        for number, noise in enumerate(noises)
    ]


def precision_of(mechanisms) -> float:
    return math.fsum(one.count / one.noise_multiplier**2 for one in mechanisms)


@pytest.mark.parametrize("noises", [(1.0, 4.0, 8.0), (8.0, 4.0, 1.0), (4.0, 1.0, 8.0)])
def test_an_example_in_one_batch_is_in_the_one_with_the_least_noise(noises):
    (found,) = without_amplification(blocks(*noises), participation=1)
    assert (found.kind, found.noise_multiplier, found.count) == ("gaussian", 1.0, 1)
    once = blocks(*noises, largest_participation=1)
    assert epsilon_of(once, delta=1e-5).value == pytest.approx(gaussian_epsilon(1.0, delta=1e-5), rel=1e-9)


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0, 5.0]), min_size=1, max_size=6), st.integers(0, 7))
def test_no_other_steps_cost_more(noises, most):
    found = without_amplification(blocks(*noises), participation=most)
    chosen = itertools.combinations(noises, min(most, len(noises)))
    worst = max(math.fsum(noise**-2 for noise in steps) for steps in chosen)
    assert precision_of(found) == pytest.approx(worst, rel=1e-12)
    assert sum(one.count for one in found) == min(most, len(noises))


def test_models_on_the_same_steps_are_one_mechanism_with_less_noise():
    found = shared_steps([*blocks(2.0, 2.0), *blocks(2.0)])
    assert sorted(found) == [(pytest.approx(2**0.5), 1), (2.0, 1)]


def test_participation_is_that_of_the_blocks_and_never_more_than_that_of_the_plan():
    assert participation_of(blocks(1.0, 1.0, 1.0, steps=4)) == 12
    assert participation_of(blocks(1.0, 1.0, 1.0, steps=4, largest_participation=5)) == 5
    assert participation_of([*blocks(1.0), *blocks(2.0)]) == 1, "two models on one batch are one batch"


def test_a_plan_has_one_way_of_sampling():
    with pytest.raises(PrivacyError, match="several samplings"):
        by_plan([blocks(1.0, sampling="poisson"), blocks(1.0, sampling="shuffle")])
    with pytest.raises(PrivacyError, match="several samplings"):
        by_plan([blocks(1.0, secret_sampling=True), blocks(1.0, secret_sampling=False)])


KINDS = ("independent", "tree aggregation", "banded matrix factorisation", "buffered linear Toeplitz")


@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(1, 3), st.sampled_from([1.0, 2.0, 5.0])), min_size=1, max_size=4
    )
)
@settings(deadline=None, max_examples=40)
def test_trainings_on_one_plan_compose_whatever_their_noise(trainings):
    """Each correlated one is a Gaussian with its own squared sensitivity; precisions of Gaussians add up."""
    releases = []
    for kind, participation, noise in trainings:
        most = 3 if kind == "independent" else participation
        common = {"sampling": "in turn", "secret_sampling": False, "noise": kind, "largest_participation": most}
        releases.append([made(first_step=0, end_step=9, noise_multiplier=noise, participation=most, **common)])
    total = math.fsum(charges[0].participation / charges[0].noise_multiplier ** 2 for charges in releases)
    assert precision_of(mechanisms_of(releases)) == pytest.approx(total, rel=1e-12)
