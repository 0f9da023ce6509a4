"""The device of JAX: its precision, what waiting waits for, and platforms that are not there."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trustml.backends.jax.device import open_device
from trustml.errors import UsageError

pytestmark = pytest.mark.jax


def test_products_are_asked_for_in_full_precision():
    device = open_device("cpu", threads=1)
    assert device.reduced_precision() == ()
    assert device.switches["matmul_precision"] == "highest"


@pytest.mark.parametrize("precision", ["bfloat16", "tensorfloat32", "default"])
def test_a_context_of_the_caller_goes_before_what_we_set_and_is_seen(precision):
    with jax.default_matmul_precision(precision):
        (found,) = open_device("cpu", threads=1).reduced_precision()
    assert found == f"jax_default_matmul_precision is {precision!r}; set it to 'highest'"


def test_waiting_waits_for_what_still_runs():
    device = open_device("cpu", threads=1)
    powers = jax.jit(lambda x: jax.lax.fori_loop(0, 200, lambda _, y: y @ x / jnp.linalg.norm(y), x))
    values = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
    powers(values).block_until_ready()
    found = powers(values)
    assert not found.is_ready()  # else there is nothing to wait for, and the test says nothing
    device.synchronize()
    assert found.is_ready()


def test_a_platform_that_came_too_late_is_an_error():
    """JAX computes on the processor by now, and would go on there in silence."""
    jnp.zeros(1).block_until_ready()
    before = jax.config.jax_platforms
    try:
        with pytest.raises(UsageError, match="'cuda' but JAX already computes on cpu"):
            open_device("cuda", threads=1)
    finally:
        jax.config.update("jax_platforms", before)
