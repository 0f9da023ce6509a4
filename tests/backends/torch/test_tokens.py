"""Gradients of tables by the rows that tokens take, and which of Opacus's modes know them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models.test_tokens import drawn
from trustml.backends.settings import PrivateSettings
from trustml.backends.torch.clipping import possible_modes
from trustml.backends.torch.layer_gradients import layer_gradients, tied_gradients
from trustml.backends.torch.modes import choose_mode
from trustml.backends.torch.tokens import Lookup
from trustml.errors import UsageError
from trustml.models.layers import Architecture, Dense
from trustml.models.token_layers import Embedding, Pick, Unembedding
from trustml.scenario.optimizers import SGD

ROWS, WIDTH = 6, 3
IDS = np.array([[2, 5, 2, 2, 0], [1, 1, 1, 1, 1], [0, 1, 2, 3, 4], [9, -3, 5, 5, 5]], np.float32)


@pytest.mark.parametrize("copies", [1, 2])
def test_a_token_that_comes_again_counts_with_its_sum(copies):
    back = torch.from_numpy(np.random.default_rng(0).normal(size=(*IDS.shape, WIDTH)).astype(np.float32))
    whole = np.zeros((len(IDS), ROWS, WIDTH))
    for example, ids in enumerate(IDS):  # ids beyond the table are those of its ends
        np.add.at(whole[example], np.clip(ids, 0, ROWS - 1).astype(int), back[example].numpy())
    whole = whole.reshape(-1, copies, ROWS, WIDTH).sum(axis=1)
    found = layer_gradients(Lookup(Embedding(vocabulary=ROWS, width=WIDTH)), torch.from_numpy(IDS), back, copies=copies)
    np.testing.assert_allclose(found.square_norms()[0], np.square(whole).sum(axis=(1, 2)), rtol=1e-5)
    scales = torch.linspace(0.5, 2.0, len(whole))
    (total,) = found.weighted_sums([scales])
    np.testing.assert_allclose(total, np.tensordot(scales.numpy(), whole, 1), atol=1e-5)
    seen, g = (torch.ones((len(IDS), 2, size)) for size in (WIDTH, ROWS))
    (tied,) = tied_gradients(found, seen, g, copies=copies).weighted_sums([scales])
    np.testing.assert_allclose(tied, total + 2 * copies * scales.sum(), atol=1e-4)


def test_modes_of_opacus_are_refused_where_outputs_are_tied():
    layers = (Embedding(vocabulary=5, width=4), Unembedding(of="0", vocabulary=5), Pick(), Dense(units=2))
    settings = PrivateSettings(
        optimizer=SGD(), expected_batch_size=4, noise_seed=(1, 2, 3, 4), grad_sample_mode="hooks"
    )
    tied = drawn(Architecture(layers=layers), (3,))
    modes, refused = possible_modes(tied, settings)
    assert modes == ["book_keeping"] and "tied" in refused["functorch"]
    with pytest.raises(UsageError, match="'hooks' knows no gradient of a table that outputs are tied to; use auto or"):
        choose_mode(tied, settings)
    loose = drawn(Architecture(layers=(layers[0], *layers[2:])), (3,))
    assert possible_modes(loose, settings)[0] == ["hooks", "functorch", "book_keeping"]
