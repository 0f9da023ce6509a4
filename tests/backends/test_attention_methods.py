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
from trustml.backends.contract import ExplainRequest, Model
from trustml.backends.numpy.network import logits
from trustml.catalogue.available import why_unfit
from trustml.models.layers import Architecture, Dense, Flatten, Node, ReLU
from trustml.models.token_layers import (
    Embedding,
    FeatureTokens,
    LearnedPositions,
    Mask,
    MaskedMean,
    Prepend,
    Unembedding,
)
from trustml.models.weights import initial_weights
from trustml.scenario import methods as m

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


def node(name: str, layer, *inputs: str) -> Node:
    return Node(name=name, layer=layer, inputs=inputs)


SUMMED = {
    "text": (
        Architecture(
            layers=(
                node("mask", Mask(), "input"),
                node("tokens", Embedding(vocabulary=9, width=6), "input"),
                node("positions", LearnedPositions()),
                node("hidden", Dense(units=8)),
                node("relu", ReLU()),
                node("mean", MaskedMean(), "relu", "mask"),
                node("narrow", Dense(units=6)),
                node("logits", Unembedding(of="tokens", vocabulary=9)),
            )
        ),
        (5, 7),
    ),
    "table": (
        Architecture(
            layers=(
                node("features", FeatureTokens(width=6, columns=(1, 2)), "input"),
                node("class", Prepend()),
                node("hidden", Dense(units=4)),
                node("relu", ReLU()),
                node("flat", Flatten()),
                node("logits", Dense(units=3)),
            )
        ),
        (3,),
    ),
}


@pytest.mark.torch
@pytest.mark.jax
@pytest.mark.parametrize("name", SUMMED)
def test_deep_lift_goes_through_what_sums_or_moves_tokens(name):
    """In both frameworks, and adds up to the change of the logit."""
    from trustml.backends.jax.attribution import explain as by_jax
    from trustml.backends.torch.attribution import explain

    architecture, shape = SUMMED[name]
    generator = np.random.default_rng(2)
    weights = {
        key: (array + 0.3 * generator.standard_normal(array.shape)).astype(np.float32)
        for key, array in initial_weights(architecture, shape, generator=generator).items()
    }
    model = Model(architecture=architecture, input_shape=shape, weights=weights)
    inputs = generator.standard_normal((4, *shape)).astype(np.float32)
    baseline = np.zeros_like(inputs)
    if name == "text":
        baseline[..., -1] = inputs[..., -1]  # the same tokens are padding
    question = ExplainRequest(
        model=model, inputs=inputs, targets=np.array([0, 1, 2, 1]), method=m.DeepLift(), baseline=baseline,
        background=inputs[:0], features=np.arange(inputs[0].size).reshape(shape), layer=-1, seed=0,
    )  # fmt: skip
    assert not why_unfit(m.DeepLift(), architecture, shape)
    found = by_jax(question)["native"]
    assert_same(explain(question)["native"], found)
    change = (logits(model, inputs) - logits(model, baseline))[np.arange(4), question.targets]
    np.testing.assert_allclose(found.reshape(4, -1).sum(axis=1), change, rtol=1e-4, atol=1e-5)
