"""Gradients of probabilities and losses, in three frameworks, against differences of the oracle's."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.tensorflow.conftest import explained, given  # noqa: F401
from tests.backends.tensorflow.explained_cases import DETERMINISTIC, SHORT_OUTCOMES, draw_arrays, request_of
from trustml.backends.numpy.network import input_gradient

TITLES = [f"{name}_gradient" for name in SHORT_OUTCOMES]


def by_differences(title: str) -> np.ndarray:
    asked = asked_of(title)
    return np.stack(
        [input_gradient(asked.model, one, int(at)) for one, at in zip(asked.inputs, asked.targets, strict=True)]
    )


def asked_of(title: str):
    name, method = DETERMINISTIC[title]
    return request_of(name, method, draw_arrays())


@pytest.mark.torch
@pytest.mark.jax
@pytest.mark.parametrize("title", TITLES)
def test_jax_and_pytorch_have_the_slopes_of_the_oracle(title):
    from trustml.backends.jax.attribution import explain as by_jax
    from trustml.backends.torch.attribution import explain

    for found in (by_jax(asked_of(title)), explain(asked_of(title))):
        np.testing.assert_allclose(found["native"], by_differences(title), rtol=1e-4, atol=1e-6)


@pytest.mark.tensorflow
@pytest.mark.timeout(300)
def test_tensorflow_has_the_slopes_of_the_oracle(explained):  # noqa: F811
    for title in TITLES:
        np.testing.assert_allclose(explained[0][f"{title}.native"], by_differences(title), rtol=1e-4, atol=1e-6)
