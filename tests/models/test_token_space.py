"""Tokens that were looked up give the same outputs, and no point of a path has another mask."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models.test_tokens import drawn
from trustml.backends.contract import Model
from trustml.backends.numpy.network import input_gradient, logits
from trustml.catalogue.available import why_unfit
from trustml.models.layers import Add, Architecture, Conv1D, Dense, GlobalAvgPool, Node, ReLU
from trustml.models.token_layers import Embedding, FeatureTokens
from trustml.models.token_space import look_up, looked_up_shape, table_of_tokens, why_no_vectors
from trustml.models.transformers import encoder, ft_transformer
from trustml.scenario import methods as m
from trustml.scenario.baselines import Background, Mean
from trustml.worker.token_space import by_token, in_token_space, tables_looked_up

IDS = np.array([[3, 5, 4, 2, 0, 0, 0], [1, 1, 2, 3, 4, 5, 6]], np.float32)
TEXT_CNN = Architecture(
    layers=(Embedding(vocabulary=12, width=4), Conv1D(filters=3), ReLU(), GlobalAvgPool(), Dense(units=2))
)


def explained(architecture: Architecture) -> tuple[Model, Model, np.ndarray, np.ndarray]:
    """The model of ids, the same of vectors, these, and the vectors of its baseline."""
    model = drawn(architecture, (7,))
    prepared = {"features": np.arange(7), "one.baseline": np.zeros_like(IDS), "one.background": IDS[:1]}
    other, vectors, found = in_token_space(model, IDS, prepared)
    assert found["features"].shape == looked_up_shape(architecture, (7,)) == other.input_shape
    assert (found["features"] == np.arange(7)[:, None]).all()
    assert found["one.background"].shape == (1, *other.input_shape)
    return model, other, vectors, found["one.baseline"]


@pytest.mark.parametrize("architecture", [encoder(vocabulary=12, classes=3, width=8, heads=2, blocks=1), TEXT_CNN])
def test_vectors_give_what_ids_give(architecture):
    model, other, vectors, baseline = explained(architecture)
    np.testing.assert_allclose(logits(other, vectors), logits(model, IDS), atol=1e-6)
    assert not baseline[..., :-1].any()  # all of it token 0
    np.testing.assert_array_equal(baseline[..., -1], vectors[..., -1])


def test_the_mask_is_one_on_the_whole_path_and_has_no_slope():
    _, other, vectors, _ = explained(encoder(vocabulary=12, classes=3, width=8, heads=2, blocks=1))
    np.testing.assert_array_equal(vectors[..., -1], np.where(IDS != 0, 1, -1))
    slope = input_gradient(other, vectors[0] * 0.5, 0)
    assert not slope[:, -1].any() and np.abs(slope[:4, :-1]).max() > 1e-4
    assert not slope[4:].any()  # padding
    small = 1e-3 * vectors[0]
    jump = logits(other, small[None]) - logits(other, 2 * small[None])
    assert np.abs(jump).max() < 0.05


def test_baselines_that_are_other_texts_have_the_padding_of_their_input():
    architecture = encoder(vocabulary=12, classes=3, width=8, heads=2, blocks=1)
    model = drawn(architecture, (7,))
    other = look_up(architecture, model.weights, IDS[::-1], masks=IDS)
    np.testing.assert_array_equal(other[..., -1], np.where(IDS != 0, 1, -1))
    table = model.weights["tokens.table"]
    np.testing.assert_allclose(other[0, 0, :-1], table[1] - table[0])


def test_tokens_get_the_sum_of_contributions_and_the_mean_of_what_is_alike():
    values = np.arange(24, dtype=np.float32).reshape(1, 2, 12)
    np.testing.assert_array_equal(by_token(m.IntegratedGradients(), values), values[..., :-1].sum(axis=2))
    np.testing.assert_array_equal(by_token(m.KernelShap(), values), values[..., :-1].mean(axis=2))
    np.testing.assert_array_equal(by_token(m.Saliency(), values), values[..., :-1].mean(axis=2))
    assert by_token(m.LayerActivation(layer=0), values) is values


def test_inputs_that_are_no_tokens_stay():
    architecture = ft_transformer(classes=2, width=4, heads=2, blocks=1)
    assert table_of_tokens(architecture) == "" and not why_no_vectors(architecture)
    model = drawn(architecture, (7,))
    assert in_token_space(model, IDS, {}) == (model, IDS, {}) and not tables_looked_up(model)
    assert tables_looked_up(drawn(TEXT_CNN, (7,))) == {"0.table"}


BOTH = Architecture(
    layers=(
        Node(name="ids", layer=Embedding(vocabulary=12, width=4), inputs=("input",)),
        Node(name="numbers", layer=FeatureTokens(width=4), inputs=("input",)),
        Node(name="sum", layer=Add(), inputs=("ids", "numbers")),
        GlobalAvgPool(),
    )
)
ENCODER = encoder(vocabulary=12, classes=3, width=8, heads=2, blocks=1)


@pytest.mark.parametrize(
    ("architecture", "method", "reason"),
    [
        (ENCODER, m.IntegratedGradients(), ""),
        (ENCODER, m.FeatureAblation(), ""),
        (ENCODER, m.Saliency(), ""),
        (ENCODER, m.DeepLift(), "has no rule for Mask (model.layers.0)"),
        (TEXT_CNN, m.DeepLift(), ""),
        (TEXT_CNN, m.LRP(), ""),
        (ENCODER, m.Saliency(absolute=False), "gives slopes of the numbers of a vector, which make none of a token"),
        (TEXT_CNN, m.GuidedBackprop(), "gives slopes of the numbers of a vector, which make none of a token"),
        (ENCODER, m.IntegratedGradients(baseline=Mean()), "Mean makes no token of several; use a number, the id of a"),
        (ENCODER, m.GradientShap(background=Background()), "draws texts from a background, whose padding is elsewhere"),
        (BOTH, m.InputXGradient(), "needs inputs that are numbers: tokens have none, and FeatureTokens takes their"),
    ],
)
def test_methods_that_cannot_explain_tokens_say_why(architecture, method, reason):
    found = why_unfit(method, architecture, (7,))
    assert found.startswith(reason) and bool(found) == bool(reason)
