"""Tokens that were looked up give the same outputs, and no point of a path has another mask."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.models.test_token_space import ENCODER, IDS, TEXT_CNN
from tests.models.test_tokens import drawn
from trustml.backends.contract import ExplainRequest, Model
from trustml.backends.numpy.network import input_gradient, logits
from trustml.models.layers import Architecture
from trustml.models.tasks import Classes, NextToken
from trustml.models.token_space import looked_up_shape, table_of_tokens, why_no_vectors
from trustml.models.transformers import decoder, ft_transformer
from trustml.scenario import methods as m
from trustml.worker.explaining import published
from trustml.worker.token_space import at_the_step, by_token, in_token_space, tables_looked_up


def explained(architecture: Architecture) -> tuple[Model, Model, np.ndarray, np.ndarray]:
    """The model of ids, the same of vectors, these, and the vectors of its baseline."""
    model = drawn(architecture, (7,))
    prepared = {"features": np.arange(7), "one.baseline": np.zeros_like(IDS), "one.background": IDS[:1]}
    other, vectors, found = in_token_space(model, IDS, prepared)
    assert found["features"].shape == looked_up_shape(architecture, (7,)) == other.input_shape
    assert (found["features"] == np.arange(7)[:, None]).all()
    assert found["one.background"].shape == (1, *other.input_shape)
    return model, other, vectors, found["one.baseline"]


@pytest.mark.parametrize("architecture", [ENCODER, TEXT_CNN])
def test_vectors_give_what_ids_give(architecture):
    model, other, vectors, baseline = explained(architecture)
    np.testing.assert_allclose(logits(other, vectors), logits(model, IDS), atol=1e-6)
    assert not baseline[..., :-1].any()  # all of it token 0
    np.testing.assert_array_equal(baseline[..., -1], vectors[..., -1])


def test_the_mask_is_one_on_the_whole_path_and_has_no_slope():
    _, other, vectors, _ = explained(ENCODER)
    np.testing.assert_array_equal(vectors[..., -1], np.where(IDS != 0, 1, -1))
    slope = input_gradient(other, vectors[0] * 0.5, 0)
    assert not slope[:, -1].any() and np.abs(slope[:4, :-1]).max() > 1e-4
    assert not slope[4:].any()  # padding
    small = 1e-3 * vectors[0]
    jump = logits(other, small[None]) - logits(other, 2 * small[None])
    assert np.abs(jump).max() < 0.05


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


def test_what_is_published_has_the_shape_of_the_data():
    model, other, vectors, baseline = explained(TEXT_CNN)
    method = m.IntegratedGradients()
    request = ExplainRequest(
        model=other, inputs=vectors, targets=np.zeros(2, np.int64), method=method, baseline=baseline,
        background=vectors[:0], features=np.zeros(vectors.shape[1:], np.int64), layer=-1, seed=0,
    )  # fmt: skip
    title = method.title
    arrays = {f"{title}.native": vectors, f"{title}.total_native": vectors[:, 0, 0], "logits": logits(model, IDS)}
    found = published(other, arrays, {title: request})
    assert found[f"{title}.native"].shape == IDS.shape
    np.testing.assert_allclose(found[f"{title}.native"], vectors[..., :-1].sum(axis=2))
    assert found[f"{title}.total_native"] is arrays[f"{title}.total_native"] and found["logits"] is arrays["logits"]
    numbers = drawn(ft_transformer(classes=2, width=4, heads=2, blocks=1), (7,))
    assert published(numbers, arrays, {title: request}) is arrays


@pytest.mark.parametrize("step", [-1, 2])
def test_of_a_decoder_the_next_token_of_one_step_is_explained(step):
    """Tied logits use the table itself, while inputs are differences from its first row."""
    model = drawn(decoder(vocabulary=12, width=8, heads=2, blocks=1), (7,))
    asked = at_the_step(dataclasses.replace(model, task=NextToken(step=step)))
    assert asked.task == Classes() and asked.outputs == 12 and at_the_step(asked) is asked
    other, vectors, _ = in_token_space(asked, IDS, {})
    np.testing.assert_allclose(logits(other, vectors), logits(model, IDS)[:, step], atol=1e-6)
