"""The trial of ways to clip: what it holds at once."""

from __future__ import annotations

import numpy as np
import pytest

from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings
from trustml.backends.torch import clipping, modes
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp
from trustml.scenario.optimizers import SGD

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning"),  # PyTorch's, about Opacus's hooks
]


def test_a_trial_writes_out_no_more_gradients_at_once_than_training_may(monkeypatch):
    """Of 64 examples of a network of 1.8 million weights, modes of Opacus would hold a gibibyte at once."""
    architecture = mlp([64], classes=3)
    weights = initial_weights(architecture, (20,), generator=np.random.default_rng(0))
    model = Model(architecture=architecture, input_shape=(20,), weights=weights)
    numbers = sum(array.size for array in weights.values())
    monkeypatch.setattr(clipping, "_MOST_WRITTEN", 7 * numbers)
    taken: dict[str, list[int]] = {}

    class Watched(clipping.SampledClipper):
        def __init__(self, mode, model, settings):
            super().__init__(mode, model, settings)
            self.mode = mode

        def clip(self, inputs, labels, **given):
            taken.setdefault(self.mode, []).append(len(inputs))
            return super().clip(inputs, labels, **given)

    monkeypatch.setattr(clipping, "SampledClipper", Watched)
    settings = PrivateSettings(optimizer=SGD(), expected_batch_size=20, noise_seed=(1, 2, 3, 4))
    choice = modes.choose_mode(model, settings)
    assert set(choice.seconds) == {*clipping.SAMPLED, "book_keeping"}, choice.refused  # blocks come to the same sums
    for mode in clipping.SAMPLED:
        assert taken[mode][:3] == [7, 7, 6], mode  # 20 examples, as even as they can be
    one = clipping.make_clipper("hooks", model, settings)
    assert settings.block_rows(most=one.most_examples) == 7


def test_no_way_to_clip_examples_is_tried_where_none_are_clipped(monkeypatch):
    architecture = mlp([4], classes=3)
    weights = initial_weights(architecture, (5,), generator=np.random.default_rng(0))
    model = Model(architecture=architecture, input_shape=(5,), weights=weights)
    monkeypatch.setattr(modes, "_measure", None)
    settings = PrivateSettings(
        optimizer=SGD(), expected_batch_size=1, noise_seed=(1, 2, 3, 4), micro_batch_size=1, planted_alone=True
    )
    assert modes.choose_mode(model, settings).name in clipping.SAMPLED
