"""Every method through Captum: shapes, seeds, and what is left behind."""

from __future__ import annotations

import dataclasses

import captum.attr
import numpy as np
import pytest
import torch
from captum.attr._core import deep_lift

from tests.backends.torch.explaining import CNN, IMAGE, LINEAR, METHODS, gap, model_of, request
from trustml.backends.torch import attribution, captum_calls
from trustml.backends.torch.attribution import explain
from trustml.backends.torch.network import build_module, from_input, to_input, to_labels
from trustml.catalogue.available import returns_layer
from trustml.catalogue.methods import METHODS as ROWS
from trustml.models.layers import GELU, Architecture, AvgPool, Conv2D, Dense, Dropout, Flatten, MaxPool, ReLU, Tanh
from trustml.models.shapes import layer_shapes
from trustml.scenario import methods as m

pytestmark = pytest.mark.torch
by_title = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.title)
SAMPLED = [method for method in METHODS if ROWS[type(method)].sampled]
CONVOLUTION = Conv2D(filters=4, kernel=(3, 3), padding=((0, 1), (1, 1)))
HALVES = {"size": (2, 2), "stride": (2, 2)}
EXACT = [method for method in METHODS if not ROWS[type(method)].sampled]


def test_the_catalogue_claims_what_is_tried_here():
    tried = {type(method) for method in METHODS}
    needs_attention = {m.AttentionRollout}  # tests/backends/test_attention_methods.py
    assert tried == set(ROWS) - {m.RandomControl} - needs_attention
    assert tried == {kind for kind, row in ROWS.items() if "torch" in row.by} - needs_attention


@by_title
def test_shape_is_that_of_the_input_or_of_the_layer(method):
    asked = request(method)
    expected = IMAGE
    if returns_layer(method):
        expected = layer_shapes(CNN, IMAGE)[method.layer + 1]
    if isinstance(method, m.GradCam):
        expected = expected[:2]
    for found in explain(asked).values():
        assert found.shape == (len(asked.inputs), *expected)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert found.any()


@by_title
def test_the_same_request_gives_the_same_arrays_and_moves_no_generator(method):
    asked = request(method)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = explain(asked)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    torch.rand(3)
    np.random.rand(3)
    second = explain(asked)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[variant], second[variant]) for variant in first)


@pytest.mark.parametrize("method", SAMPLED, ids=lambda method: method.title)
def test_another_seed_draws_other_numbers(method):
    asked = request(method)
    found, other = (explain(dataclasses.replace(asked, seed=seed))["native"] for seed in (1, 2))
    assert not np.allclose(found, other, rtol=1e-3)


@pytest.mark.parametrize("method", EXACT, ids=lambda method: method.title)
def test_an_example_is_explained_alike_alone_and_among_many(method):
    asked = request(method)
    together = explain(asked)
    for variant, apart in explain(dataclasses.replace(asked, rows=4)).items():
        # Sums in another order, in float32: some 1e-7 a term.
        assert np.abs(apart - together[variant]).max() <= 2e-6 * np.abs(together[variant]).max()


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("method", [m.Saliency(), m.InputXGradient(), m.IntegratedGradients(n_steps=10)])
def test_summed_gradients_give_what_captum_gives_by_default(method, count):
    asked = request(method, count=count, baseline=0.3)
    settings = {
        m.Saliency: {"abs": True},
        m.InputXGradient: {},
        m.IntegratedGradients: {"n_steps": 10, "baselines": to_input(asked.baseline)},
    }[type(method)]
    library = getattr(captum.attr, type(method).__name__)(build_module(asked.model).eval())
    with captum_calls.without_reminders():
        expected = library.attribute(to_input(asked.inputs), target=to_labels(asked.targets), **settings)
    # Sums in another order, in float32.
    assert gap(explain(asked)["native"], from_input(expected)) < 2e-6


@pytest.mark.parametrize(
    "front", [(), (CONVOLUTION, AvgPool(size=(2, 2), stride=(2, 2))), (CONVOLUTION, Dropout(rate=0.5))], ids=len
)
@pytest.mark.parametrize("bend", [(ReLU(),), (Tanh(), MaxPool(size=(2, 2), stride=(2, 2))), ()], ids=str)
def test_integrating_where_the_way_bends_gives_what_captum_gives_for_the_whole_network(front, bend):
    model = model_of(Architecture(layers=(*front, *bend, Flatten(), Dense(units=10))))
    asked = request(m.IntegratedGradients(n_steps=6), model, count=4, baseline=0.3)
    library = captum.attr.IntegratedGradients(build_module(model).eval())
    with captum_calls.without_reminders():
        expected = library.attribute(
            to_input(asked.inputs), to_input(asked.baseline), target=to_labels(asked.targets), n_steps=6
        )
    # Sums in another order, in float32.
    assert gap(explain(asked)["native"], from_input(expected)) < 2e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_laid_out_channels_last_whatever_their_number_of_channels(channels):
    images = torch.rand(2, channels, 4, 5)
    laid_out = captum_calls.fast_layout(images)
    assert torch.equal(laid_out, images)
    assert laid_out.stride() == (20 * channels, 1, 5 * channels, channels)


@by_title
def test_no_hook_and_no_rule_stays(method, monkeypatch):
    modules = []
    build = attribution.build_module

    def remembered(model):
        modules.append(build(model))
        return modules[-1]

    monkeypatch.setattr(attribution, "build_module", remembered)
    rules = dict(deep_lift.SUPPORTED_NON_LINEAR)
    explain(request(method))
    assert rules == deep_lift.SUPPORTED_NON_LINEAR
    for part in modules[0].modules():
        assert not hasattr(part, "rule")
        for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks):
            assert not hooks


def test_values_of_one_feature_share_its_attribution():
    for method in METHODS:
        if hasattr(method, "patch"):
            found = explain(request(method))["native"].reshape(5, 3, 2, 4, 2, 2)
            assert (found == found[:, :, :1, :, :1, :1]).all(), method.title


_GELU = model_of(Architecture(layers=(Flatten(), Dense(units=4), GELU(), Dense(units=3))))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (request(m.GradCam(layer=6)), r"layer 6 gives shape \(8,\), which has no rows and columns"),
        (request(m.GuidedGradCam(layer=5)), r"layer 5 gives shape \(20,\)"),
        (request(m.FeaturePermutation(), count=1), "there is only one"),
        (request(m.Occlusion(window=(2, 2), stride=(2, 3))), r"stride within the window, not \(2, 3\)"),
        (request(m.LRP(), _GELU), "LRP has no rule for GELU"),
        (request(m.KernelShap(), features=np.zeros(IMAGE)), "2 features or more"),
        (dataclasses.replace(request(m.DeepLiftShap()), background=np.zeros((1, *IMAGE), np.float32)), "use DeepLift"),
        (request(m.RandomControl(), model_of(LINEAR)), "the random control is drawn by the core"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(asked, reason):
    with pytest.raises(NotImplementedError, match=reason) as caught:
        explain(asked)
    assert "\n" not in str(caught.value)
