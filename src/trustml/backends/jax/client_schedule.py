"""Local training of a whole cohort in one compiled program.

The clients of a round are dealt out over *lanes*. In a lane they train one after the other in a compiled loop over
their batches, with no batch of filling between them, so that the cost follows the work; lanes run side by side
under ``vmap``. One lane is a plain loop over clients, as many lanes as clients is a plain ``vmap`` over clients.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from trustml.backends.contract import Client
from trustml.backends.jax.network import Params
from trustml.backends.jax.training import loss_gradient, sgd_update
from trustml.data.dataset import Floats, LabelArray
from trustml.models.layers import Architecture
from trustml.models.tasks import DEFAULT_TASK, Task
from trustml.scenario.optimizers import SGD


class Lanes(NamedTuple):
    """The batches of a round, dealt out.

    Attributes
    ----------
    inputs, labels, mask : arrays of shape (lanes, steps, batch size, ...)
    borders : int32 array of shape (lanes, clients + 1)
        Client ``c`` of a lane has the steps ``borders[c]`` up to ``borders[c + 1]``.
    weights : float32 array of shape (lanes, clients)
        Weight of each client in the sum.
    clients : int32 array of shape (lanes,)
        Number of clients in each lane.
    """

    inputs: Array
    labels: Array
    mask: Array
    borders: Array
    weights: Array
    clients: Array


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


def pack(
    clients: Sequence[Client],
    *,
    weights: Sequence[float],
    lanes: int,
    shape: tuple[int, ...],
    least: tuple[int, int] = (1, 1),
    label_shape: tuple[int, ...] = (),
    whole_labels: bool = True,
) -> Lanes:
    """Deal clients out over lanes, longest first, each to the lane that has the least so far.

    Parameters
    ----------
    clients : sequence of Client
    weights : sequence of float
    lanes : int
    shape : tuple of int
        Of a whole batch of inputs.
    least : (int, int)
        Fewest steps and clients to make room for in a lane. Every new number of either compiles the program anew, so
        what needs more room is rounded up by a quarter at the most. What is not used costs nothing.
    label_shape : tuple of int
        Of one example's label.
    whole_labels : bool
        Whether labels are whole numbers.
    """
    dealt = _deal([len(client) for client in clients], lanes)
    steps = max(least[0], _rounded(max(sum(len(clients[k]) for k in lane) for lane in dealt)))
    places = max(least[1], _rounded(max(map(len, dealt))))
    borders = np.zeros((lanes, places + 1), np.int32)
    of_client = np.zeros((lanes, places), np.float32)
    slots: list[int] = []
    batches: list[tuple[Floats, LabelArray]] = []
    for lane, members in enumerate(dealt):
        step = 0
        for place, client in enumerate(members):
            of_client[lane, place] = weights[client]
            batches += clients[client]
            slots += range(lane * steps + step, lane * steps + step + len(clients[client]))
            step += len(clients[client])
            borders[lane, place + 1] = step
    of_all = (lanes * steps, shape[0], *label_shape)
    of_labels: npt.NDArray[np.int32] | Floats = np.zeros(of_all, np.int32)
    if not whole_labels:
        of_labels = np.zeros(of_all, np.float32)
    inputs, labels, mask = _filled(batches, slots, shape=shape, labels=of_labels)
    held = np.array([len(members) for members in dealt], np.int32)
    rows = (lanes, steps, shape[0])
    return Lanes(
        inputs.reshape(*rows, *shape[1:]),
        labels.reshape(*rows, *label_shape),
        mask.reshape(rows),
        borders,
        of_client,
        held,
    )


def train_lanes(
    architecture: Architecture,
    start: Params,
    lanes: Lanes,
    *,
    optimizer: SGD,
    proximal: float,
    clipping_norm: Array | None,
    task: Task = DEFAULT_TASK,
) -> Sums:
    """Train all clients from `start` and sum what their updates come to."""

    def one_lane(lane: Lanes) -> Sums:
        def step(number: Array, state: tuple[Params, Params]) -> tuple[Params, Params]:
            params, velocity = state
            batch = lane.inputs[number], lane.labels[number], lane.mask[number] > 0
            gradient = loss_gradient(architecture, params, *batch, task=task)
            if proximal:
                gradient = jax.tree.map(lambda g, w, w0: g + proximal * (w - w0), gradient, params, start)
            if optimizer.momentum:
                return sgd_update(params, velocity, gradient, optimizer)
            return jax.tree.map(lambda w, g: w - optimizer.learning_rate * g, params, gradient), velocity

        def client(place: Array, sums: Sums) -> Sums:
            velocity = jax.tree.map(jnp.zeros_like, start) if optimizer.momentum else {}
            params, _ = lax.fori_loop(lane.borders[place], lane.borders[place + 1], step, (start, velocity))
            update = jax.tree.map(jnp.subtract, params, start)
            return added(sums, update, lane.weights[place], clipping_norm)

        zeros = jax.tree.map(jnp.zeros_like, start)
        nothing = Sums(zeros, jnp.float32(0), jnp.float32(0), jnp.int32(0), jnp.int32(0), jnp.int32(0))
        return lax.fori_loop(0, lane.clients, client, nothing)

    if len(lanes.clients) == 1:  # not under vmap, which would run every loop to the end of the longest
        return one_lane(jax.tree.map(lambda part: part[0], lanes))
    return jax.tree.map(lambda parts: parts.sum(axis=0), jax.vmap(one_lane)(lanes))


def added(sums: Sums, update: Params, weight: Array, clipping_norm: Array | None) -> Sums:
    """Add one client, its update clipped where there is a clipping norm; one that is not finite counts as zero."""
    update = lax.optimization_barrier(update)  # what is clipped is what was measured
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


def _filled(
    batches: Sequence[tuple[Floats, LabelArray]],
    slots: Sequence[int],
    *,
    shape: tuple[int, ...],
    labels: npt.NDArray[np.int32] | Floats,
) -> tuple[Floats, npt.NDArray[np.int32] | Floats, Floats]:
    """Put batches into their slots, filled up with zeros and masked; whole batches all at once."""
    count = len(labels)
    inputs, mask = np.zeros((count, *shape), np.float32), np.zeros((count, shape[0]), np.float32)
    whole = [k for k, (_, classes) in enumerate(batches) if len(classes) == shape[0]]
    if whole:
        where = [slots[k] for k in whole]
        inputs[where] = np.concatenate([batches[k][0] for k in whole]).reshape(len(whole), *shape)
        labels[where] = np.concatenate([batches[k][1] for k in whole]).reshape(len(whole), *labels.shape[1:])
        mask[where] = 1.0
    for slot, (batch, classes) in zip(slots, batches, strict=True):
        size = len(classes)
        if size < shape[0]:
            inputs[slot, :size], labels[slot, :size], mask[slot, :size] = batch, classes, 1.0
    return inputs, labels, mask


def _deal(lengths: Sequence[int], lanes: int) -> list[list[int]]:
    """Give the clients of each lane; one without batches goes nowhere."""
    queue = [(0, lane) for lane in range(lanes)]
    dealt: list[list[int]] = [[] for _ in range(lanes)]
    for client in sorted((k for k, length in enumerate(lengths) if length), key=lambda k: -lengths[k]):
        length, lane = heapq.heappop(queue)
        dealt[lane].append(client)
        heapq.heappush(queue, (length + lengths[client], lane))
    return dealt


def _rounded(count: int) -> int:
    """Round up to two significant binary digits after the first."""
    step = 1 << max(0, count.bit_length() - 3)
    return -(-count // step) * step
