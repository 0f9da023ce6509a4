"""Local training of a whole cohort in one compiled program.

The clients of a round are dealt out over *lanes*. In a lane they train one after the other in a compiled loop over
their batches, with no batch of filling between them, so that the cost follows the work; lanes run side by side
under ``vmap``. One lane is a plain loop over clients, as many lanes as clients is a plain ``vmap`` over clients.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from trustml.backends.contract import Client
from trustml.backends.jax.network import Params
from trustml.backends.jax.training import Batch, cross_entropy, sgd_update
from trustml.models.layers import Architecture
from trustml.scenario.optimizers import SGD


class Lanes(NamedTuple):
    """The batches of a round, dealt out: arrays of shape (lanes, steps, ...).

    Attributes
    ----------
    inputs, labels, mask : arrays of shape (lanes, steps, batch size, ...)
    begins, ends : bool arrays
        Whether a client begins or ends with this step.
    weights : float array
        Weight of the client in the sum.
    real : bool array
        Whether there is anything to do.
    """

    inputs: Array
    labels: Array
    mask: Array
    begins: Array
    ends: Array
    weights: Array
    real: Array


class Sums(NamedTuple):
    """What a lane, or a round, adds up over its clients.

    Attributes
    ----------
    updates : params
        Weighted, and clipped where there is a clipping norm.
    weight, norm : float
        Of the clients whose update was finite; the norm is that before clipping.
    clients, unclipped : int
        Clients that trained; those among them whose update was finite and no longer than the clipping norm.
    left_out : int
        Clients whose update was not finite and counts as zero.
    """

    updates: Params
    weight: Array
    norm: Array
    clients: Array
    unclipped: Array
    left_out: Array


_Carry: TypeAlias = tuple[Params, Params, Sums]


def pack(
    clients: Sequence[Client], *, weights: Sequence[float], lanes: int, batch_size: int, least_steps: int = 1
) -> Lanes:
    """Deal clients out over lanes, longest first, each to the lane that has the least so far.

    Every new number of steps compiles the program anew, so a lane is never shorter than `least_steps`, and a longer
    one is rounded up by a quarter at the most. A single lane passes over what is not real at no cost.
    """
    queue = [(0, lane) for lane in range(lanes)]
    order = sorted((k for k in range(len(clients)) if clients[k]), key=lambda k: len(clients[k]), reverse=True)
    places: list[tuple[int, int, int]] = []
    for client in order:
        length, lane = heapq.heappop(queue)
        places.append((client, lane, length))
        heapq.heappush(queue, (length + len(clients[client]), lane))
    steps = max(least_steps, _rounded(max(length for length, _ in queue)))
    some = next(batch for client in clients for batch in client)
    shape = (lanes, steps)
    inputs = np.zeros((*shape, batch_size, *some[0].shape[1:]), np.float32)
    labels = np.zeros((*shape, batch_size), np.int32)
    mask = np.zeros((*shape, batch_size), np.float32)
    begins, ends, real = (np.zeros(shape, np.bool_) for _ in range(3))
    of_client = np.zeros(shape, np.float32)
    for client, lane, start in places:
        end = start + len(clients[client])
        begins[lane, start] = ends[lane, end - 1] = True
        real[lane, start:end] = True
        of_client[lane, start:end] = weights[client]
        for step, (batch, classes) in enumerate(clients[client], start=start):
            inputs[lane, step, : len(classes)] = batch
            labels[lane, step, : len(classes)] = classes
            mask[lane, step, : len(classes)] = 1.0
    return Lanes(inputs, labels, mask, begins, ends, of_client, real)


def train_lanes(
    architecture: Architecture,
    start: Params,
    lanes: Lanes,
    *,
    optimizer: SGD,
    proximal: float,
    clipping_norm: Array | None,
) -> Sums:
    """Train all clients from `start` and sum what their updates come to."""

    def one_lane(lane: Lanes) -> Sums:
        def step(carry: _Carry, now: Lanes) -> tuple[_Carry, None]:
            return lax.cond(now.real, work, lambda carry, _: carry, carry, now), None

        def work(carry: _Carry, now: Lanes) -> _Carry:
            params, velocity, sums = carry
            params = jax.tree.map(lambda begin, here: jnp.where(now.begins, begin, here), start, params)
            velocity = jax.tree.map(lambda here: jnp.where(now.begins, 0.0, here), velocity)
            batch: Batch = (now.inputs, now.labels, now.mask)
            gradient = jax.grad(lambda weights: cross_entropy(architecture, weights, batch))(params)
            if proximal:
                gradient = jax.tree.map(lambda g, w, w0: g + proximal * (w - w0), gradient, params, start)
            params, velocity = sgd_update(params, velocity, gradient, optimizer)
            return params, velocity, lax.cond(now.ends, finish, lambda sums, *_: sums, sums, params, now.weights)

        def finish(sums: Sums, params: Params, weight: Array) -> Sums:
            update = jax.tree.map(jnp.subtract, params, start)
            norm = jnp.sqrt(sum(jnp.vdot(part, part) for part in jax.tree.leaves(update)))
            finite = jnp.isfinite(norm)
            kept = finite.astype(jnp.float32)
            scale = weight * kept
            if clipping_norm is not None:
                scale = scale * jnp.minimum(1.0, clipping_norm / jnp.maximum(norm, 1e-30))
            whole = jnp.bool_(True) if clipping_norm is None else norm <= clipping_norm
            return Sums(
                updates=jax.tree.map(lambda t, u: t + jnp.where(finite, scale * u, 0.0), sums.updates, update),
                weight=sums.weight + weight * kept,
                norm=sums.norm + jnp.where(finite, norm, 0.0),
                clients=sums.clients + 1,
                unclipped=sums.unclipped + (finite & whole),
                left_out=sums.left_out + ~finite,
            )

        zeros = jax.tree.map(jnp.zeros_like, start)
        nothing = Sums(zeros, jnp.float32(0), jnp.float32(0), jnp.int32(0), jnp.int32(0), jnp.int32(0))
        (_, _, sums), _ = lax.scan(step, (start, zeros, nothing), lane)
        return sums

    if lanes.real.shape[0] == 1:  # not under vmap, which would do what a condition passes over
        return one_lane(jax.tree.map(lambda part: part[0], lanes))
    return jax.tree.map(lambda parts: parts.sum(axis=0), jax.vmap(one_lane)(lanes))


def _rounded(count: int) -> int:
    """Round up to two significant binary digits after the first."""
    step = 1 << max(0, count.bit_length() - 3)
    return -(-count // step) * step
