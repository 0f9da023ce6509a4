"""Correlated noise in JAX: the strategy's combination of Threefry's vectors."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from tests.backends.correlated_case import SEED, SHORT, STEPS, STRATEGIES, combined, noise_of_steps
from trustml.backends.jax.noise import noise_key, standard_noise
from trustml.backends.table import load_backend
from trustml.errors import PrivacyError

pytestmark = [pytest.mark.jax]


def drawn(like: dict[str, np.ndarray], steps: int = STEPS) -> dict[str, np.ndarray]:
    key, shapes = (
        noise_key(SEED),
        {name: jax.ShapeDtypeStruct(part.shape[1:], np.float32) for name, part in like.items()},
    )
    draw = jax.jit(lambda step: standard_noise(jax.random.fold_in(key, step), like=shapes))
    rows = [draw(np.uint32(step)) for step in range(steps)]
    return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in like}


@pytest.mark.parametrize("name", SHORT)
def test_the_noise_of_the_steps_is_the_strategys(name):
    found = noise_of_steps(load_backend("jax"), STRATEGIES[name])
    for part, fresh in drawn(found).items():
        expected = combined(STRATEGIES[name], fresh.reshape(STEPS, -1))
        np.testing.assert_allclose(found[part].reshape(STEPS, -1), expected, atol=2e-5)


def test_without_a_strategy_every_step_has_a_vector_of_its_own():
    found = noise_of_steps(load_backend("jax"), None)
    for part, fresh in drawn(found).items():
        np.testing.assert_allclose(found[part], fresh, atol=1e-5)


def test_steps_beyond_the_strategys_are_refused():
    with pytest.raises(PrivacyError, match="not among the 13"):
        noise_of_steps(load_backend("jax"), STRATEGIES["blt"], STEPS + 1)
