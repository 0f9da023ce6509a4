"""Explanations through recurrent and resizing layers: Captum's against ours by the definition."""

from __future__ import annotations

import pytest

from tests.backends.torch.explaining import gap, missing, model_of, request
from trustml.backends.jax.attribution import explain as by_definition
from trustml.backends.torch.attribution import explain
from trustml.data.baselines import features_of
from trustml.models.layers import (
    GRU,
    LSTM,
    AdaptiveAvgPool,
    Architecture,
    Conv1D,
    ConvTranspose1D,
    ConvTranspose2D,
    Dense,
    Flatten,
    GlobalMaxPool,
    ReLU,
    Scale,
    Transpose,
)
from trustml.scenario import methods as m

pytestmark = [pytest.mark.torch, pytest.mark.jax]

RESIZED = Architecture(
    layers=(
        ConvTranspose2D(filters=3, kernel=(3, 2), stride=(2, 1), padding=((1, 0), (0, 2))),
        ReLU(),
        AdaptiveAvgPool(size=(4, 5)),
        Transpose(axes=(1, 2, 0)),
        Scale(value=-2.0),
        Flatten(),
        Dense(units=3),
    )
)
MAXIMUM = Architecture(
    layers=(
        Conv1D(filters=6, groups=2, padding=(2, 0)),
        ReLU(),
        ConvTranspose1D(filters=8, kernel=3),
        GlobalMaxPool(),
        Dense(units=3),
    )
)
RECURRENT = Architecture(layers=(GRU(units=4), LSTM(units=3), Flatten(), Dense(units=3)))
CASES = {
    "resized": (
        RESIZED,
        (4, 5, 2),
        (m.DeepLift(), m.LRP(epsilon=1e-2), m.IntegratedGradients(n_steps=8), m.LayerDeepLift(layer=2)),
    ),
    "maximum": (MAXIMUM, (7, 4), (m.LRP(epsilon=1e-2), m.Saliency(), m.GuidedBackprop())),
    "recurrent": (
        RECURRENT,
        (7, 4),
        (
            m.InputXGradient(),
            m.IntegratedGradients(n_steps=8),
            m.FeatureAblation(),
            m.LayerIntegratedGradients(layer=0, n_steps=8),
            m.LayerConductance(layer=1, n_steps=8),
        ),
    ),
}


@pytest.mark.parametrize(
    ("case", "method"),
    [
        # in short of what goes on step by step a gradient and what switches features
        pytest.param(case, one, id=f"{case}-{one.title}", marks=() if quick else pytest.mark.long)
        for case, (*_, methods) in CASES.items()
        for one in methods
        for quick in [case != "recurrent" or isinstance(one, m.InputXGradient | m.FeatureAblation)]
    ],
)
def test_captum_goes_through_them_by_the_definition(case, method):
    architecture, shape, _ = CASES[case]
    question = request(method, model_of(architecture, shape), count=3, baseline=0.2)
    assert gap(explain(question)["native"], by_definition(question)["native"]) < 1e-4


@pytest.mark.parametrize(
    "method",
    [
        m.FeatureAblation(patch=3),
        pytest.param(m.KernelShap(patch=3, n_samples=200), marks=pytest.mark.long),
        pytest.param(m.Lime(patch=3, n_samples=200, alpha=1e-6), marks=pytest.mark.long),
    ],
    ids=lambda one: one.title,
)
def test_windows_of_steps_are_switched_together(method):
    features = features_of((7, 4), patch=3)
    question = request(method, model_of(RECURRENT, (7, 4)), count=3, baseline=0.2, features=features)
    found, right = explain(question)["native"], by_definition(question)["native"]
    for window in range(3):
        of_window = found[:, features == window]
        assert (of_window == of_window[:, :1]).all()
    assert gap(found, right) < (1e-4 if isinstance(method, m.FeatureAblation) else 0.1)  # others draw coalitions


def test_captum_has_no_rule_for_a_maximum_over_all_places_and_is_given_one():
    """When the first assertion fails, Captum has one."""
    question = request(m.DeepLift(), model_of(MAXIMUM, (7, 4)), count=3, baseline=0.2)
    found, right = explain(question), by_definition(question)["native"]
    assert gap(found["native"], right) > 0.05
    assert gap(found["completed"], right) < 1e-4
    assert missing(question, right) < 1e-4
