"""Numbers that rest on draws are told with their Monte-Carlo error, and differences within it are not told apart."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from trustml.attribution.similarity import SIMILARITIES
from trustml.measures.agreement import by_draws
from trustml.measures.completeness import draws_rows
from trustml.measures.notes import note_of
from trustml.measures.row import About
from trustml.scenario.methods import (
    FeatureAblation,
    FeaturePermutation,
    GradientShap,
    IntegratedGradients,
    KernelShap,
    Lime,
    Saliency,
    ShapleyValueSampling,
    SmoothGrad,
    draws,
)

EXAMPLES, FEATURES = 20, 30


def drawn(truth, generator, *, shared=False):
    """Attributions with errors of drawing, others for each example or one for all."""
    return truth + generator.normal(size=(1 if shared else EXAMPLES, FEATURES))


@pytest.mark.parametrize("name", ["spearman", "cosine"])
@pytest.mark.parametrize("shared", [False, True], ids=["draws of each example", "draws of all examples"])
def test_the_error_of_an_agreement_is_how_far_it_moves_when_all_is_drawn_again(name, shared):
    generator, function = np.random.default_rng(0), SIMILARITIES[name].function
    truth = generator.normal(size=(1, FEATURES)) if shared else generator.normal(size=(EXAMPLES, FEATURES))
    truth = np.broadcast_to(truth, (EXAMPLES, FEATURES))
    means, errors = [], []
    for _ in range(60):
        one, other, once, twice = (drawn(truth, generator, shared=shared) for _ in range(4))
        each = function(one, other)
        means.append(each.mean())
        errors.append(by_draws(function, (one, other), (once, twice), each)["monte_carlo_error"])
    assert 0.6 < np.sqrt(np.mean(np.square(errors))) / np.std(means, ddof=1) < 1.7


def test_two_libraries_of_one_method_are_not_told_apart_and_two_methods_are():
    generator, function = np.random.default_rng(1), SIMILARITIES["spearman"].function
    alike = apart = 0
    for _ in range(30):
        truth, another = generator.normal(size=(2, EXAMPLES, FEATURES)) * 2
        for other_truth in (truth, another):
            arrays = drawn(truth, generator), drawn(other_truth, generator)
            again = drawn(truth, generator), drawn(other_truth, generator)
            found = by_draws(function, arrays, again, function(*arrays))
            if other_truth is truth:
                alike += found["within_draws"]
            else:
                apart += not found["within_draws"]
    assert alike >= 27 and apart == 30


def test_what_is_not_drawn_moves_nothing():
    generator, function = np.random.default_rng(2), SIMILARITIES["cosine"].function
    truth = generator.normal(size=(EXAMPLES, FEATURES))
    one, again = drawn(truth, generator), drawn(truth, generator)
    assert by_draws(function, (truth, truth), (None, None), function(truth, truth)) == {}
    found = by_draws(function, (one, truth), (again, None), function(one, truth))
    assert found["monte_carlo_error"] > 0
    words = note_of(About(facts={"monte_carlo_error": 0.0213, "between_draws": 0.5, "within_draws": True}))
    assert words == (
        "+-0.02 by its own draws (Monte-Carlo); not told apart from two draws of the same, which agree by 0.5"
    )
    assert note_of(About(facts={"between_draws": 0.5, "within_draws": False})).startswith(
        "beside two draws of the same"
    )


def test_the_error_of_attributions_is_the_spread_of_draws_over_their_size():
    generator = np.random.default_rng(3)
    truth = 3 * generator.choice([-1.0, 1.0], size=(EXAMPLES, FEATURES))
    explanation = SimpleNamespace(
        again=drawn(truth, generator),
        attributions={"native": drawn(truth, generator)},
        record=None,
        title="KernelShap",
        name=lambda variant: "library",
    )
    told = {}

    def row(measure, value, **about):
        told[measure] = (value, about["n"], about["interval"])

    evidence = SimpleNamespace(explanations=[explanation, SimpleNamespace(again=None)], row=row)
    assert len(draws_rows(evidence)) == 1
    ((value, n, (low, high)),) = told.values()
    assert value == pytest.approx(1 / np.sqrt(10), rel=0.1) and n == EXAMPLES and low < value < high


def test_methods_that_draw_are_known():
    assert all(draws(one) for one in (SmoothGrad(), KernelShap(), Lime(), ShapleyValueSampling(), FeaturePermutation()))
    assert not any(draws(one) for one in (Saliency(), IntegratedGradients(), FeatureAblation()))
    assert "n_samples" in GradientShap.__struct_fields__
