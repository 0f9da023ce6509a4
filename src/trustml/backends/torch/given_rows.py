"""Clipping by Opacus's rule where there is no Opacus at work: norms are known, or gradients come from outside."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_RUN = 32
"""Numbers of a row whose norm torch takes at once."""


def clipping_scales(squares: list[Tensor], *, clipping_norm: float, per_layer: bool) -> list[Tensor]:
    """Scale of each example's gradient by each parameter.

    Parameters
    ----------
    squares : list of Tensor of shape (n,)
        Squared L2 norms, one tensor a parameter.
    clipping_norm : float
        Largest L2 norm over all parameters together.
    per_layer : bool
        Clip each parameter by itself, to ``clipping_norm / sqrt(number of parameters)``.

    Returns
    -------
    list of Tensor of shape (n,)
        At most 1; not a number where a norm is none.
    """
    if per_layer:
        return [_scale(square, clipping_norm / math.sqrt(len(squares))) for square in squares]
    return [_scale(torch.stack(squares).sum(dim=0), clipping_norm)] * len(squares)


def clip_rows(rows: list[Tensor], *, clipping_norm: float, per_layer: bool) -> list[Tensor]:
    """Sum of gradients that are given along a leading axis, one tensor a parameter, each scaled down."""
    squares = [square_norms(row.flatten(1)) for row in rows]
    scales = clipping_scales(squares, clipping_norm=clipping_norm, per_layer=per_layer)
    return [torch.einsum("i,i...", scale, row) for scale, row in zip(scales, rows, strict=True)]


def square_norms(rows: Tensor) -> Tensor:
    """Squared L2 norms of rows (n, m), shape (n,), right to 1e-6.

    Torch adds up a norm in float32 one by one on a processor, and loses what is small beside the sum so far: up to
    0.8 % of a norm of 2 million numbers. Sums it takes in pairs.
    """
    whole = rows.shape[1] // _RUN * _RUN
    runs = torch.linalg.vector_norm(rows[:, :whole].unflatten(1, (-1, _RUN)), dim=2)
    squares = runs.square().sum(dim=1)
    return squares if whole == rows.shape[1] else squares + rows[:, whole:].square().sum(dim=1)


def outer_square_norms(inputs: Tensor, outputs: Tensor, *, of_outputs: Tensor | None = None) -> Tensor:
    """Squared norms of ``g a^T``, from rows (n, in) and (n, out): never too small, though squares may underflow.

    The squared norms of ``outputs`` may be given where they are known.
    """
    of_outputs = square_norms(outputs) if of_outputs is None else of_outputs
    a, g = (
        squares + rows.shape[1] * torch.finfo(rows.dtype).tiny
        for squares, rows in ((square_norms(inputs), inputs), (of_outputs, outputs))
    )
    return a * g


def _scale(square: Tensor, clipping_norm: float) -> Tensor:
    return (clipping_norm / (square.sqrt() + 1e-6)).clamp(max=1.0)  # 1e-6 as in Opacus
