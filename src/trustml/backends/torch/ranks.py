"""Clipped sums of one private training over several processes: each clips its share, the first alone knows the rest.

The first process is the worker. It holds optimizer, noise and checkpoint as ever, gives every block of a batch out by
equal shares, and gets one sum back; the others know no seed of the noise, draw none and take no step. They meet by
gloo over the loopback device, through a folder that nobody else can read, and end with the worker.

``python -m trustml.backends.torch.ranks FOLDER RANK`` is one of the others.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from datetime import timedelta
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.distributed import FileStore, ProcessGroupGloo

from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings, filled_up
from trustml.backends.torch.clipping import Clipper, make_clipper
from trustml.backends.torch.device import current_device, open_device
from trustml.backends.torch.network import to_input, to_labels
from trustml.data.dataset import Floats, LabelArray
from trustml.errors import UsageError
from trustml.models.layers import Architecture
from trustml.models.tasks import Task, are_classes
from trustml.models.weights import encode_weights, read_weights
from trustml.processes import module_command
from trustml.scenario.optimizers import Optimizer

_TOLD, _WEIGHTS, _STORE = "told.json", "weights.safetensors", "store"
_PATIENCE = timedelta(days=7)
"""Between two blocks: a process that ends is noticed at once, whatever this is."""
_LAST_WORD = timedelta(seconds=5)
_LOOK_SECONDS = 0.1
Sums = tuple[list[Tensor], int]


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the other processes must know; of the noise, nothing."""

    architecture: Architecture
    input_shape: tuple[int, ...]
    task: Task
    names: tuple[str, ...]  # of the weights, in the order in which sums are sent; a file sorts them
    frozen: tuple[str, ...]
    mode: str
    optimizer: Optimizer
    per_layer: bool
    count_unclipped: bool
    expected_batch_size: int
    multiplicity: int
    rows_of_users: bool
    micro_batch_size: int
    dropout_seed: int
    device: str
    threads: int
    size: int
    rows: int
    label_shape: tuple[int, ...]


def clip_block(
    clipper: Clipper,
    inputs: Floats,
    labels: LabelArray,
    *,
    rows: int,
    clipping_norm: float,
    own_labels: bool,
) -> Sums:
    """Clip one block of at most so many rows, filled up to that many; the sums, and how many were not clipped.

    Copies with labels of their own are the rows of a user.
    """
    examples, copies = inputs.shape[:2]
    inputs, labels = filled_up(inputs, rows), filled_up(labels, rows)
    if own_labels:
        labels = labels.reshape(-1, *labels.shape[2:])
    elif copies > 1:
        labels = cast(LabelArray, np.repeat(labels, copies, axis=0))
    return clipper.clip(
        to_input(inputs.reshape(-1, *inputs.shape[2:])),
        to_labels(labels),
        examples=examples,
        clipping_norm=clipping_norm,
    )


class Ranks:
    """The other processes of a training, and the way to them.

    Parameters
    ----------
    model : Model
    settings : PrivateSettings
        With ``devices`` of two or more.
    clipper : Clipper
        Of this process.
    mode : str
        How all of them clip.
    dropout_seed : int
    rows : int
        Of a block; a multiple of the number of processes.
    """

    def __init__(
        self, model: Model, settings: PrivateSettings, *, clipper: Clipper, mode: str, dropout_seed: int, rows: int
    ) -> None:
        self._clipper, self._size, self._own_labels = clipper, settings.devices, settings.rows_of_users
        self._share = rows // self._size
        if current_device().type == "cuda" and torch.cuda.device_count() < self._size:
            raise UsageError(f"execution.devices: {self._size}, but PyTorch sees {torch.cuda.device_count()} GPUs")
        threads = max(1, torch.get_num_threads() // self._size)
        torch.set_num_threads(threads)
        self._folder = tempfile.TemporaryDirectory(prefix="trustml-ranks-")
        folder = Path(self._folder.name)
        told = _Told(
            architecture=model.architecture,
            input_shape=model.input_shape,
            task=model.task,
            names=tuple(model.weights),
            frozen=tuple(sorted(model.frozen)),
            mode=mode,
            optimizer=settings.optimizer,
            per_layer=settings.per_layer,
            count_unclipped=settings.count_unclipped,
            expected_batch_size=settings.expected_batch_size,
            multiplicity=settings.multiplicity,
            rows_of_users=settings.rows_of_users,
            micro_batch_size=settings.micro_batch_size,
            dropout_seed=dropout_seed,
            device=current_device().type,
            threads=threads,
            size=self._size,
            rows=self._share,
            label_shape=(settings.multiplicity, *model.label_shape) if settings.rows_of_users else model.label_shape,
        )
        (folder / _TOLD).write_bytes(msgspec.json.encode(told))
        (folder / _WEIGHTS).write_bytes(encode_weights(model.weights))
        others = [_start(folder, rank) for rank in range(1, self._size)]
        weakref.finalize(self, _finish, others, self._folder)
        self._group = _join_with(others, folder, self._size)
        weakref.finalize(self, _end, self._group)

    def clip(self, inputs: Floats, labels: LabelArray, *, clipping_norm: float) -> Sums:
        """Give a block out, clip a share of it here, and add up; see :func:`clip_block`."""
        parts = np.array_split(np.arange(len(labels)), self._size)
        self._group.broadcast(torch.tensor([clipping_norm], dtype=torch.float64), 0).wait()
        _share_weights(self._group, self._clipper)
        counts = [torch.tensor([len(part)]) for part in parts]
        rows = [[torch.from_numpy(filled_up(of[part], self._share)) for part in parts] for of in (inputs, labels)]
        for shares in (counts, *rows):
            self._group.scatter(torch.empty_like(shares[0]), shares, 0).wait()
        own = clip_block(
            self._clipper,
            inputs[parts[0]],
            labels[parts[0]],
            rows=self._share,
            clipping_norm=clipping_norm,
            own_labels=self._own_labels,
        )
        return _added(self._group, own)


def serve(folder: Path, rank: int) -> None:
    """Clip shares until the first process says that there are no more, or ends."""
    told = msgspec.json.decode((folder / _TOLD).read_bytes(), type=_Told)
    if told.device == "cuda":
        torch.cuda.set_device(rank)
    open_device(told.device, threads=told.threads)
    found = read_weights(folder / _WEIGHTS)
    model = Model(
        architecture=told.architecture,
        input_shape=told.input_shape,
        weights={name: found[name] for name in told.names},
        task=told.task,
        frozen=frozenset(told.frozen),
    )
    settings = PrivateSettings(
        optimizer=told.optimizer,
        per_layer=told.per_layer,
        count_unclipped=told.count_unclipped,
        expected_batch_size=told.expected_batch_size,
        multiplicity=told.multiplicity,
        rows_of_users=told.rows_of_users,
        micro_batch_size=told.micro_batch_size,
        noise_seed=(0, 0, 0, 0),  # never used: noise is the first process's
    )
    clipper = make_clipper(told.mode, model, settings)
    torch.manual_seed(told.dropout_seed + rank)
    group = _join(folder, rank, told.size)
    label_kind = torch.int64 if are_classes(told.task) else torch.float32
    while True:
        clipping_norm = torch.zeros(1, dtype=torch.float64)
        group.broadcast(clipping_norm, 0).wait()
        if math.isnan(float(clipping_norm)):
            return
        _share_weights(group, clipper)
        count = torch.zeros(1, dtype=torch.int64)
        inputs = torch.zeros((told.rows, told.multiplicity, *told.input_shape))
        labels = torch.zeros((told.rows, *told.label_shape), dtype=label_kind)
        for share in (count, inputs, labels):
            group.scatter(share, [], 0).wait()
        own = clip_block(
            clipper,
            inputs.numpy()[: int(count)],
            labels.numpy()[: int(count)],
            rows=told.rows,
            clipping_norm=float(clipping_norm),
            own_labels=told.rows_of_users,
        )
        _added(group, own)


def _share_weights(group: ProcessGroupGloo, clipper: Clipper) -> None:
    """Give every process the weights of the first: before each block, so that nothing can drift apart."""
    tensors = [parameter.detach() for parameter in clipper.module.parameters()]
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).cpu()
    group.broadcast(flat, 0).wait()
    with torch.no_grad():
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


def _added(group: ProcessGroupGloo, own: Sums) -> Sums:
    """Add the sums of all processes up; the first has them, the others what they had."""
    sums, unclipped = own
    flat = torch.cat([tensor.reshape(-1) for tensor in sums]).cpu()
    count = torch.tensor([unclipped])
    group.reduce(flat, 0).wait()
    group.reduce(count, 0).wait()
    parts = flat.split([tensor.numel() for tensor in sums])
    return [part.view_as(tensor).to(tensor.device) for part, tensor in zip(parts, sums, strict=True)], int(count)


def _start(folder: Path, rank: int) -> subprocess.Popen[bytes]:
    """Start one of the others, in the group of this process and with its output, so that it ends with it."""
    command = module_command(Path(sys.executable), "trustml.backends.torch.ranks", str(folder), str(rank))
    return subprocess.Popen(command.arguments, pass_fds=command.inherited, stdin=subprocess.DEVNULL)


def _join(folder: Path, rank: int, size: int) -> ProcessGroupGloo:
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else it listens wherever the machine's name leads
    return ProcessGroupGloo(FileStore(str(folder / _STORE), size), rank, size, _PATIENCE)


def _join_with(others: list[subprocess.Popen[bytes]], folder: Path, size: int) -> ProcessGroupGloo:
    """Join as the first process; one of the others that has ended before it could join would never come."""
    joined: list[ProcessGroupGloo] = []
    failed: list[RuntimeError] = []

    def join() -> None:
        try:
            joined.append(_join(folder, 0, size))
        except RuntimeError as error:
            failed.append(error)

    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_SECONDS)
        ended = [(rank, one.returncode) for rank, one in enumerate(others, start=1) if one.poll() is not None]
        if thread.is_alive() and ended:
            rank, code = ended[0]
            raise UsageError(
                f"execution.devices: process {rank} of {size} ended with code {code} before it joined; what it said is "
                "in the log of the job"
            )
    if failed:
        raise failed[0]
    return joined[0]


def _end(group: ProcessGroupGloo) -> None:
    """Say that there are no more blocks."""
    with contextlib.suppress(RuntimeError):  # one that has died, or is in the middle of one
        group.broadcast(torch.tensor([math.nan], dtype=torch.float64), 0).wait(_LAST_WORD)


def _finish(others: list[subprocess.Popen[bytes]], folder: tempfile.TemporaryDirectory[str]) -> None:
    for process in others:
        try:
            process.wait(_LAST_WORD.total_seconds())
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    folder.cleanup()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)  # there is nothing to put away, which takes Python seconds
