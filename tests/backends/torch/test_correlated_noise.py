"""Correlated noise in PyTorch: the strategy's combination of the generator's vectors, for examples and for users."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.backends.correlated_case import SEED, STEPS, STRATEGIES, combined, noise_of_steps, settings_with
from tests.backends.correlated_case import model as small_model
from trustml.backends.table import load_backend
from trustml.backends.torch.dp import OpacusTrainer
from trustml.backends.torch.noise import noise_words, standard_normal
from trustml.errors import PrivacyError

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")


def drawn(size: int, steps: int = STEPS) -> np.ndarray:
    generator = noise_words(SEED, CPU)
    return np.stack([standard_normal(size, generator=generator, device=CPU).numpy() for _ in range(steps)])


def in_torch_order(found: dict[str, np.ndarray]) -> np.ndarray:
    """All coordinates as PyTorch lays them out: a kernel's outputs first."""
    return np.concatenate(
        [part.swapaxes(1, 2).reshape(len(part), -1) if part.ndim == 3 else part for part in found.values()], axis=1
    )


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_noise_of_the_steps_is_the_strategys(name):
    found = in_torch_order(noise_of_steps(load_backend("torch"), STRATEGIES[name]))
    expected = combined(STRATEGIES[name], drawn(found.shape[1]))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_without_a_strategy_every_step_has_a_vector_of_its_own():
    found = in_torch_order(noise_of_steps(load_backend("torch"), None))
    np.testing.assert_allclose(found, drawn(found.shape[1]), atol=1e-5)


def test_another_trainer_begins_with_other_vectors_and_none_that_were_kept():
    """What a resume does: nothing of the first mechanism can be in the second, not even through its state."""
    trainer = OpacusTrainer(small_model(), settings=settings_with(STRATEGIES["banded"]), dropout_seed=0)
    for _ in range(3):
        trainer.update(clipping_norm=1.0, noise_multiplier=1.0, learning_rate=0.1)
    assert not [name for name in trainer.state() if not name.startswith("momentum")]
    again = OpacusTrainer(small_model(), settings=settings_with(STRATEGIES["banded"]), dropout_seed=0)
    again.restore(trainer.weights(), trainer.state())
    assert not again._correlated._kept.any()


def test_steps_beyond_the_strategys_are_refused():
    with pytest.raises(PrivacyError, match="not among the 13"):
        noise_of_steps(load_backend("torch"), STRATEGIES["blt"], STEPS + 1)
