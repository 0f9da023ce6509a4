"""What the catalogue says of tf-explain and Xplique; the tests of the backend run what it claims."""

from __future__ import annotations

import pytest

from trustml.catalogue.available import availability
from trustml.catalogue.methods import METHODS
from trustml.frameworks.implementation import Implementation, NotAvailable
from trustml.scenario import methods as m
from trustml.scenario.baselines import Mean


def test_every_method_is_in_the_catalogue():
    kinds = {kind for kind in vars(m).values() if isinstance(kind, type) and issubclass(kind, m.MethodSpec)}
    assert kinds - {m.MethodSpec} == METHODS.keys()
    assert all("tensorflow" in row.by for kind, row in METHODS.items() if kind is not m.RandomControl)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (m.IntegratedGradients(baseline=0.5), "zero baseline built in"),
        (m.IntegratedGradients(baseline=Mean()), "zero baseline built in"),
        (m.SmoothGrad(of=m.InputXGradient()), "signed gradients alone"),
        (m.SmoothGrad(of=m.Saliency()), "signed gradients alone"),
        (m.SmoothGrad(statistic="variance", n_samples=1), "n_samples of 2 or more"),
        (m.Occlusion(), "stride equal to the window"),
        (m.Occlusion(window=(2, 3), stride=(2, 3)), "square window"),
        (m.LRP(), "neither"),
    ],
)
def test_settings_that_no_library_has_are_told(method, reason):
    entry = availability("tensorflow", method)
    assert isinstance(entry, NotAvailable)
    assert reason in entry.reason


@pytest.mark.parametrize(
    ("method", "library"),
    [
        (m.IntegratedGradients(baseline=0), "tf-explain"),
        (m.SmoothGrad(), "tf-explain"),
        (m.SmoothGrad(statistic="variance"), "xplique"),
        (m.Occlusion(window=(2, 2), stride=(2, 2)), "tf-explain"),
        (m.KernelShap(baseline=Mean()), "xplique"),
    ],
)
def test_settings_decide_the_library(method, library):
    entry = availability("tensorflow", method)
    assert isinstance(entry, Implementation)
    assert entry.library == library
