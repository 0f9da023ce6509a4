"""Run with four simulated devices: one private step on 1, 2 and 4 of them, as arrays.

The number of devices is fixed when JAX starts, so this is a process of its own.
"""

from __future__ import annotations

import functools
import os
import sys

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"

import jax
import numpy as np

from trustml.backends.contract import Model
from trustml.backends.jax.clipping import clipped_gradients
from trustml.backends.jax.dp import DPTrainer
from trustml.backends.jax.network import Params, to_params
from trustml.backends.jax.noise import add_noise, noise_key
from trustml.backends.jax.sharding import device_mesh, replicated, sharded_clipped_gradients
from trustml.backends.settings import PrivateSettings
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, ReLU
from trustml.models.weights import initial_weights
from trustml.scenario.optimizers import SGD

NETWORK = Architecture(
    layers=(
        Conv2D(filters=4, kernel=(2, 2)),
        ReLU(),
        Flatten(),
        Dense(units=200),
    )
)
DEVIATION, CLIPPING_NORM = 0.7, 0.5
WHOLE = os.environ.get("TRUSTML_TESTS") == "all"
CASES = {"uneven": (13, (1, 2, 4) if WHOLE else (1, 4))}
if WHOLE:
    CASES |= {"uneven per layer": (13, (1, 4)), "fewer than devices": (3, (1, 4))}
"""Rows of a batch, and the numbers of devices that take it."""


def batch(rows: int, fill: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two copies of each example, in the middle a row that is filling, and more of those up to `fill`."""
    generator = np.random.default_rng(rows)
    inputs = generator.normal(size=(rows, 2, 5, 5, 1)).astype(np.float32)
    labels, mask = generator.integers(0, 5, rows).astype(np.int32), np.ones(rows, np.float32)
    mask[rows // 2] = 0
    more = max(0, fill - rows)
    return np.pad(inputs, [(0, more), *[(0, 0)] * 4]), np.pad(labels, (0, more)), np.pad(mask, (0, more))


def clipped_sums(devices: int, params: Params, rows: int, *, per_layer: bool) -> tuple[Params, jax.Array]:
    """Clipped sums and the number of unclipped examples."""
    mesh = device_mesh(devices)

    @jax.jit
    def clip(params: Params, piece: tuple) -> tuple:
        return sharded_clipped_gradients(
            mesh, NETWORK, params, piece, clipping_norm=CLIPPING_NORM, per_layer=per_layer, key=jax.random.key(0)
        )

    return clip(replicated(mesh, params), batch(rows))


def with_noise(sums: Params, devices: int) -> dict[str, np.ndarray]:
    """Noisy sums from one key, and what each device holds of one of them."""
    noisy = jax.jit(functools.partial(add_noise, deviation=DEVIATION))(sums, noise_key((1, 2, 3, 4)))
    copies = [np.asarray(shard.data) for shard in noisy["3.kernel"].addressable_shards]
    assert len(copies) == devices
    return {f"noisy/{name}": np.asarray(array) for name, array in noisy.items()} | {"copies": np.stack(copies)}


def trained(devices: int) -> dict[str, np.ndarray]:
    """The trainer's clipped sum and its noisy gradient, as ``execution.devices`` has them."""
    weights = initial_weights(NETWORK, (5, 5, 1), generator=np.random.default_rng(0))
    model = Model(architecture=NETWORK, input_shape=(5, 5, 1), weights=weights)
    settings = PrivateSettings(
        optimizer=SGD(), expected_batch_size=8, multiplicity=2, noise_seed=(1, 2, 3, 4), devices=devices
    )
    trainer = DPTrainer(model, settings=settings, dropout_seed=0)
    inputs, labels, _ = batch(11)
    trainer.accumulate(inputs, labels, clipping_norm=CLIPPING_NORM)
    sums = trainer.clipped_sum()
    trainer.update(clipping_norm=CLIPPING_NORM, noise_multiplier=3.0, learning_rate=0.1)
    return {f"sum/{name}": part for name, part in sums.items()} | {
        f"noise/{name}": 8 * part - sums[name] for name, part in trainer.gradient().items()
    }


def summed_by_jax(params: Params) -> np.ndarray:
    """The same sum with JAX's check of what varies over devices, which is on unless one turns it off."""
    mesh = device_mesh(4)
    spec = jax.sharding.PartitionSpec

    def on_each(params: Params, piece: tuple) -> Params:
        own, _ = clipped_gradients(
            NETWORK, params, piece, clipping_norm=CLIPPING_NORM, per_layer=False, key=jax.random.key(0)
        )
        return jax.lax.psum(own, "rows")

    added = jax.jit(jax.shard_map(on_each, mesh=mesh, in_specs=(spec(), spec("rows")), out_specs=spec()))
    return np.asarray(added(params, batch(13, fill=16))["3.kernel"])


if __name__ == "__main__":
    weights = to_params(initial_weights(NETWORK, (5, 5, 1), generator=np.random.default_rng(0)))
    arrays = {"by jax": summed_by_jax(weights)} if WHOLE else {}
    arrays |= {f"trained/{count}/{name}": array for count in (1, 2) for name, array in trained(count).items()}
    for case, (rows, counts) in CASES.items():
        for devices in counts:
            sums, unclipped = clipped_sums(devices, weights, rows, per_layer="per layer" in case)
            found = {f"sum/{name}": np.asarray(array) for name, array in sums.items()}
            found |= with_noise(sums, devices) if case == "uneven" else {}
            found |= {"unclipped": np.asarray(unclipped)}
            arrays |= {f"{case}/{devices}/{name}": array for name, array in found.items()}
    np.savez(sys.argv[1], **arrays)
