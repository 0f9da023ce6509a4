"""Rollout and relevance of attention, and Grad-CAM of patches: three frameworks give what the definitions give."""

from __future__ import annotations

import numpy as np
import pytest

from tests.attribution.relevance import relevance
from tests.backends.tensorflow.conftest import explained, given  # noqa: F401
from tests.backends.tensorflow.explained_cases import (
    ATTENTION,
    DETERMINISTIC,
    EPSILON,
    SHORT_RELEVANCE,
    draw_arrays,
    request_of,
)
from trustml.backends.numpy.network import logits

RELEVANCE = [f"{name}_lrp" for name in SHORT_RELEVANCE]
ROLLOUT = [f"{name}_rollout" for name in ATTENTION]
CAMS = [title for title in ("vit_cam", "residual_cam") if title in DETERMINISTIC]
FEW = 2
BOUND = 1e-5
"""Of the largest attribution."""


def asked(title: str):
    name, method = DETERMINISTIC[title]
    return request_of(name, method, draw_arrays())


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= BOUND * np.abs(expected).max()


@pytest.mark.torch
@pytest.mark.parametrize("title", RELEVANCE)
def test_relevance_is_shared_out_and_kept(title):
    """Against loops over float64 numbers, which also count what stays with biases, positions and class tokens."""
    from trustml.backends.torch.attribution import explain

    question = asked(title)
    found = explain(question)["native"]
    whole = logits(question.model, question.inputs[:FEW])
    for number in range(FEW):
        target = int(question.targets[number])
        expected, kept = relevance(question.model, question.inputs[number], target, epsilon=EPSILON)
        assert expected.sum() + kept == pytest.approx(whole[number, target], rel=1e-9)
        own = found[number][..., : expected.shape[-1]]  # of a text, not what says which tokens are padding
        assert np.abs(own - expected).max() < BOUND * np.abs(expected).max()


@pytest.mark.torch
@pytest.mark.jax
@pytest.mark.parametrize("title", [*RELEVANCE, *ROLLOUT, *CAMS])
def test_jax_is_pytorch(title):
    from trustml.backends.jax.attribution import explain as by_jax
    from trustml.backends.torch.attribution import explain

    assert_same(by_jax(asked(title))["native"], explain(asked(title))["native"])


@pytest.mark.torch
@pytest.mark.tensorflow
@pytest.mark.timeout(300)
def test_tensorflow_is_pytorch(explained):  # noqa: F811
    from trustml.backends.torch.attribution import explain

    for title in RELEVANCE + ROLLOUT + CAMS:
        variant = "completed" if title in CAMS else "native"  # tf-explain's weights are guided gradients
        assert_same(explained[0][f"{title}.{variant}"], explain(asked(title))["native"])
