"""What every call of Captum shares: pieces of a request, its seed, and the messages that are no news."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trustml.backends.contract import ExplainRequest
from trustml.backends.torch.device import current_device
from trustml.backends.torch.network import channels_last, from_input, to_input, to_labels
from trustml.data.dataset import Floats

_NO_NEWS = (
    r"Input Tensor \d+ did not already require gradients",
    r"Setting forward, backward hooks and attributes on non-linear",
    r"Setting backward hooks on ReLU activations",
)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some examples of a request, as tensors on the device; images are channels-first.

    Attributes
    ----------
    inputs, baseline : Tensor of shape (k, *x)
    targets : Tensor of shape (k,)
    """

    inputs: Tensor
    baseline: Tensor
    targets: Tensor


def piecewise(request: ExplainRequest, attribute: Callable[[Piece], Tensor], *, rows_per_example: int = 1) -> Floats:
    """Call `attribute` on as many examples at a time as fit into the rows at once, and join what it gives.

    Each call begins with the seed of the request: what draws for every example must take one at a time
    (:func:`one_by_one`), so that its numbers do not depend on the others.

    Returns
    -------
    float32 array of shape (n, *), channels last
    """
    examples = max(1, request.rows // rows_per_example)
    found = []
    for start in range(0, len(request.inputs), examples):
        part = slice(start, start + examples)
        _seed(request.seed)
        piece = Piece(
            inputs=to_input(request.inputs[part]),
            baseline=to_input(request.baseline[part]),
            targets=to_labels(request.targets[part]),
        )
        found.append(from_input(attribute(piece).float()))
    return np.concatenate(found)


def one_by_one(request: ExplainRequest, attribute: Callable[[Piece], Tensor]) -> Floats:
    """Call `attribute` on one example at a time, each with the same random numbers."""
    return piecewise(request, attribute, rows_per_example=request.rows)


def fast_layout(rows: Tensor) -> Tensor:
    """Lay rows that Captum has made out as the network takes them fastest."""
    return channels_last(rows) if rows.ndim == 4 else rows


def summed_gradients(
    forward_fn: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    target_ind: Tensor,
    additional_forward_args: None = None,
) -> tuple[Tensor, ...]:
    """Gradients of the target logits by the inputs, for Captum's ``gradient_func``.

    Captum's own goes back from a Python list of one scalar a row, which costs more than a small network; rows do
    not meet in a network, so their sum has the same gradients.
    """
    with torch.enable_grad():
        logits = forward_fn(*map(fast_layout, inputs))
        chosen = logits.gather(1, target_ind[:, None].expand(len(logits), 1)).sum()  # Captum repeats no single target
    return torch.autograd.grad(chosen, inputs)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let all random numbers follow from `seed`, and leave the generators as they were.

    Captum draws from PyTorch's global generator, and for GradientShap from numpy's too.
    """
    device = current_device()
    before = np.random.get_state()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        _seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)


@contextmanager
def without_reminders() -> Iterator[None]:
    """Silence what Captum says at every call: that it asks for gradients and sets hooks, and takes them off again."""
    with warnings.catch_warnings():
        for message in _NO_NEWS:
            warnings.filterwarnings("ignore", message=message)
        yield
