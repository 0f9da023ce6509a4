"""Inputs that are no ids of a table are refused before anything runs."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.data.dataset import Dataset, Examples
from trustml.data.token_ids import check_token_ids
from trustml.errors import ScenarioError
from trustml.models.layers import Architecture, Dense, Flatten, Node
from trustml.models.token_layers import Embedding
from trustml.models.transformers import encoder

ENCODER = encoder(vocabulary=6, classes=2, width=8, heads=2, blocks=1)


def data(train: list[list[float]], test: list[list[float]]) -> Dataset:
    parts = (Examples(inputs=np.array(p, np.float32), labels=np.zeros(len(p), np.int64)) for p in (train, test))
    train_part, test_part = parts
    return Dataset(train=train_part, test=test_part, class_names=("a", "b"))


def test_ids_of_the_table_are_let_through():
    check_token_ids(ENCODER, data([[0, 5, 1]], [[5, 5, 5]]))
    check_token_ids(Architecture(layers=(Dense(units=2),)), data([[0.5, -3.0]], [[9.0, 9.0]]))


def test_ids_are_given_and_never_computed():
    later = Architecture(layers=(Dense(units=2), Node(name="ids", layer=Embedding(vocabulary=3, width=2)), Flatten()))
    with pytest.raises(ScenarioError, match=r"Embedding takes token ids, but '0' is computed; name \"input\""):
        check_token_ids(later, data([[0.5, -3.0]], [[9.0, 9.0]]))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([[0, 1, 2]], [[0, 6, 1]], "model.layers.1.layer.vocabulary: 6 tokens, but the data has id 6; use 7 or more"),
        ([[0, 9, 2]], [[0, 1, 1]], "model.layers.1.layer.vocabulary: 6 tokens, but the data has id 9; use 10 or more"),
        ([[0, -1, 2]], [[0, 1, 1]], "model.layers.1.layer: Embedding takes token ids, but inputs are numbers below"),
        ([[0, 1, 2]], [[0, 0.5, 1]], "model.layers.1.layer: Embedding takes token ids, but inputs are numbers below"),
        ([[[0.0] * 9]], [[[1.0] * 9]], "model.layers.0.layer: Mask takes token ids (steps,), but inputs have shape"),
    ],
)
def test_other_inputs_are_refused_by_field(train, test, message):
    with pytest.raises(ScenarioError) as error:
        check_token_ids(ENCODER, data(train, test))
    assert str(error.value).startswith(message)
