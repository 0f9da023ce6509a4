"""Features of several values: sums that count each feature once."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attribution.linear import random_inputs, random_linear
from trustml.attribution.completeness import completeness
from trustml.attribution.infidelity import infidelity, logit_changes, products, random_features, removal_steps
from trustml.attribution.sharing import feature_values, share_out
from trustml.catalogue.available import combine_of
from trustml.scenario import methods as m


def test_values_of_features_by_hand():
    array, features = np.array([[1.0, 2.0, -3.0, 4.0]]), np.array([0, 1, 1, 2])
    assert feature_values(array, features=features, combine="sum").tolist() == [[1.0, -1.0, 4.0]]
    assert feature_values(array, features=features, combine="mean").tolist() == [[1.0, -0.5, 4.0]]


def test_contributions_of_single_values_add_up_and_nothing_else_does():
    summed = (m.InputXGradient(), m.IntegratedGradients(), m.DeepLift(), m.DeepLiftShap(), m.LRP(), m.GradientShap())
    whole = (m.FeatureAblation(), m.Occlusion(), m.FeaturePermutation(), m.ShapleyValueSampling(), m.KernelShap())
    slopes = (m.Lime(), m.Saliency(), m.Saliency(absolute=False), m.GuidedBackprop(), m.GradCam(), m.SmoothGrad())
    assert {combine_of(method) for method in summed} == {"sum"}
    assert {combine_of(method) for method in (*whole, *slopes)} == {"mean"}
    assert combine_of(m.SmoothGrad(of=m.IntegratedGradients())) == "sum"
    assert combine_of(m.SmoothGrad(of=m.IntegratedGradients(), statistic="variance")) == "mean"


def test_by_hand():
    features = np.array([0, 1, 1, 1, 2])
    attributions = np.array([[5.0, 6.0, 6.0, 6.0, 0.0]], np.float32)
    span = np.array([[1.0, 0.0, -1.0, 2.0, 0.0]], np.float32)
    np.testing.assert_array_equal(share_out(attributions, features=features, span=span), [[5, 0, 3, 3, 0]])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16))
def test_ablation_of_a_linear_model_is_complete_and_faithful_by_features(seed):
    features = np.array([[0, 0, 1], [2, 2, 2]])
    model = random_linear((2, 3), classes=2, seed=seed)
    inputs, baseline = random_inputs(5, (2, 3), seed=seed), random_inputs(5, (2, 3), seed=seed + 1)
    baseline[:, 1, 0] = inputs[:, 1, 0]  # one value of the last feature does not move
    targets = np.array([0, 1, 0, 1, 0])
    single = model.contributions(inputs, targets, baseline=baseline)
    whole = np.stack([single[:, features == feature].sum(axis=1) for feature in range(3)], axis=1)
    ablated = whole[:, features].astype(np.float32)
    shared = share_out(ablated, features=features, span=inputs - baseline)
    ends = {
        "logits": model.target_logits(inputs, targets),
        "baseline_logits": model.target_logits(baseline, targets),
    }
    assert completeness(shared, **ends).errors.max() < 1e-5  # float32 sums of order 10
    assert completeness(ablated, **ends).errors.max() > 1e-3
    removed = random_features(features, share=0.5, examples=5, samples=10, generator=np.random.default_rng(seed))
    steps = removal_steps(inputs, baseline=baseline, removed=removed)
    changes = logit_changes(model.predict, inputs=inputs, targets=targets, steps=steps)
    foretold = products(shared, steps=steps, span=inputs - baseline)
    assert infidelity(foretold, changes).max() < 1e-8  # its square
