"""Questions to a model come in bounded pieces and answers land where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from tests.attribution.linear import random_inputs, random_linear
from trustml.attribution.asking import ROWS_AT_ONCE, predict_all, score_variants
from trustml.models.losses import softmax


def test_probabilities_by_hand():
    found = softmax(np.array([[0.0, np.log(3.0)], [1000.0, 1000.0]]))
    # Two units in the last place of doubles near 1.
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.5, 0.5]], rtol=1e-15)


@pytest.mark.parametrize("variants", [1, 7, ROWS_AT_ONCE + 3])
def test_no_call_gets_more_rows_than_allowed_and_scores_keep_their_places(variants):
    model = random_linear((3,), classes=4, seed=0)
    inputs = random_inputs(5 if variants > 100 else 400, (3,), seed=0)
    targets = np.arange(len(inputs)) % 4
    calls, made = [], []

    def predict(rows):
        calls.append(len(rows))
        return model.predict(rows)

    def make(rows):
        made.append(len(inputs[rows]) * variants)
        return inputs[rows, None] * np.arange(variants, dtype=np.float32)[:, None]

    scores = score_variants(predict, targets=targets, variants=variants, make=make)
    assert max(calls) <= ROWS_AT_ONCE
    assert max(made) <= max(ROWS_AT_ONCE, variants)
    assert sum(calls) == variants * len(inputs)
    assert len(calls) <= 2 * (variants * len(inputs) / ROWS_AT_ONCE + 1)
    for example, variant in [(0, 0), (3, variants - 1), (len(inputs) - 1, variants // 2)]:
        alone = predict_all(model.predict, inputs[example : example + 1] * np.float32(variant))
        # Products of three float32 numbers, up to 1e3, summed in another order.
        assert scores.logits[example, variant] == pytest.approx(alone[0, targets[example]], rel=1e-5, abs=1e-5)
        wanted = softmax(alone)[0, targets[example]]
        # A probability errs by at most a quarter of what the logits err by, and those reach 1e3 in float32.
        assert scores.probabilities[example, variant] == pytest.approx(wanted, abs=1e-3 if variant > 100 else 1e-5)
