"""A private step over several devices: each clips its part of the batch, the sums are added up, noise comes once.

The mechanism is that of one device. Rows are dealt out along one axis of a mesh, every device holds all weights, and
what leaves the sharded part is the sum over all rows, the same on every device. Noise is added to that sum, after
it, from one key: there is one noise, whatever the number of devices. Nothing here knows whether the devices are GPUs,
TPU cores or parts of a processor; tested are parts of a processor. Only devices of one process are used.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from trustml.backends.jax.clipping import clipped_gradients
from trustml.backends.jax.network import Params
from trustml.backends.jax.tiling import Tile
from trustml.errors import UsageError
from trustml.models.layers import Architecture
from trustml.models.tasks import DEFAULT_TASK, Task

_ROWS = "rows"


def device_mesh(count: int = 0) -> Mesh | None:
    """Make a mesh of this process's devices, one axis long; None where there is only one device.

    Parameters
    ----------
    count : int
        How many of them; 0 takes all.

    Raises
    ------
    UsageError
        If there are not so many.
    """
    devices = jax.local_devices()
    if count > len(devices):
        raise UsageError(f"execution.devices: {count}, but JAX sees {len(devices)} devices; ask for fewer")
    count = count or len(devices)
    return Mesh(devices[:count], (_ROWS,)) if count > 1 else None


def sharded_clipped_gradients(
    mesh: Mesh | None,
    architecture: Architecture,
    params: Params,
    tile: Tile,
    *,
    clipping_norm: Array,
    per_layer: bool,
    key: Array,
    first: Array | int = 0,
    task: Task = DEFAULT_TASK,
    trained: tuple[str, ...] | None = None,
) -> tuple[Params, Array]:
    """Sum of clipped gradients over the devices of a mesh; for use in a compiled function.

    Parameters
    ----------
    mesh : Mesh, optional
        As :func:`device_mesh` makes it; None computes on one device.
    architecture, params, tile, clipping_norm, per_layer, key, first, task, trained
        See :func:`trustml.backends.jax.clipping.clipped_gradients`. Rows that no device would have a partner for are
        filled up with masked ones.

    Returns
    -------
    sums : dict of str to array
        Over all rows of the tile, without noise; the same on every device.
    unclipped : int
    """
    if mesh is None:
        return clipped_gradients(
            architecture,
            params,
            tile,
            clipping_norm=clipping_norm,
            per_layer=per_layer,
            key=key,
            first=first,
            task=task,
            trained=trained,
        )

    def on_each(params: Params, tile: Tile, clipping_norm: Array, key: Array, first: Array) -> tuple[Params, Array]:
        own = clipped_gradients(
            architecture,
            params,
            tile,
            clipping_norm=clipping_norm,
            per_layer=per_layer,
            key=key,
            first=first + lax.axis_index(_ROWS) * len(tile[1]),
            task=task,
            trained=trained,
        )
        return lax.psum(own, _ROWS)

    everywhere, dealt = PartitionSpec(), PartitionSpec(_ROWS)
    # With check_vma JAX would itself add up, over the devices, every gradient by a value that they share: the
    # gradients by the zeros that `clipped_gradients` adds to a layer's output, of different examples on each device.
    return jax.shard_map(
        on_each,
        mesh=mesh,
        in_specs=(everywhere, dealt, everywhere, everywhere, everywhere),
        out_specs=everywhere,
        check_vma=False,
    )(params, _filled(tile, mesh.size), clipping_norm, key, jnp.asarray(first))


def replicated(mesh: Mesh | None, tree: Params) -> Params:
    """Put arrays on every device of the mesh."""
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def _filled(tile: Tile, devices: int) -> Tile:
    inputs, labels, mask = (jnp.asarray(part) for part in tile)
    missing = -len(labels) % devices
    if not missing:
        return inputs, labels, mask
    inputs, labels, mask = (
        jnp.pad(part, [(0, missing), *[(0, 0)] * (part.ndim - 1)]) for part in (inputs, labels, mask)
    )
    return inputs, labels, mask
