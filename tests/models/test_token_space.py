"""Vectors of tokens and their masks, and which models and methods have none."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models.test_tokens import drawn
from trustml.catalogue.available import why_unfit
from trustml.models.layers import Add, Architecture, Conv1D, Dense, GlobalAvgPool, Node, ReLU
from trustml.models.token_layers import Embedding, FeatureTokens
from trustml.models.token_space import look_up
from trustml.models.transformers import encoder
from trustml.scenario import methods as m
from trustml.scenario.baselines import Background, Mean

IDS = np.array([[3, 5, 4, 2, 0, 0, 0], [1, 1, 2, 3, 4, 5, 6]], np.float32)
TEXT_CNN = Architecture(
    layers=(Embedding(vocabulary=12, width=4), Conv1D(filters=3), ReLU(), GlobalAvgPool(), Dense(units=2))
)


def test_baselines_that_are_other_texts_have_the_padding_of_their_input():
    architecture = encoder(vocabulary=12, classes=3, width=8, heads=2, blocks=1)
    model = drawn(architecture, (7,))
    other = look_up(architecture, model.weights, IDS[::-1], masks=IDS)
    np.testing.assert_array_equal(other[..., -1], np.where(IDS != 0, 1, -1))
    table = model.weights["tokens.table"]
    np.testing.assert_allclose(other[0, 0, :-1], table[1] - table[0])


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
        (
            ENCODER,
            m.DeepLift(),
            "has no rule for LayerNorm (model.layers.3): it divides by what follows from all its inputs",
        ),
        (ENCODER, m.LRP(), "has no rule for Mask (model.layers.0): Captum's LRP knows none; use TransformerLRP"),
        (ENCODER, m.TransformerLRP(), ""),
        (ENCODER, m.AttentionRollout(), ""),
        (TEXT_CNN, m.AttentionRollout(), "needs attention, and the model has none"),
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
