"""Modules that change the number of places or their order, which PyTorch lacks or has for one order of axes alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trustml.models.resizing import adaptive_means


class CroppedTranspose2d(nn.ConvTranspose2d):
    """The transpose of a convolution of images, of which rows and columns are cut off.

    Parameters
    ----------
    channels, filters : int
    kernel, stride : (int, int)
    padding : ((int, int), (int, int))
    bias : bool
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        kernel: tuple[int, int],
        *,
        stride: tuple[int, int],
        padding: tuple[tuple[int, int], tuple[int, int]],
        bias: bool,
    ) -> None:
        super().__init__(channels, filters, kernel, stride, bias=bias)
        self.cut = padding

    def forward(self, inputs: Tensor) -> Tensor:
        """Images (n, c, h, w) to larger ones."""
        found = super().forward(inputs)
        (top, bottom), (left, right) = self.cut
        return found[:, :, top : found.shape[2] - bottom, left : found.shape[3] - right]


class CroppedTranspose1d(nn.ConvTranspose1d):
    """The transpose of a convolution of sequences, of which steps are cut off.

    Parameters
    ----------
    channels, filters, kernel, stride : int
    padding : (int, int)
    bias : bool
    """

    def __init__(
        self, channels: int, filters: int, kernel: int, *, stride: int, padding: tuple[int, int], bias: bool
    ) -> None:
        super().__init__(channels, filters, kernel, stride, bias=bias)
        self.cut = padding

    def forward(self, inputs: Tensor) -> Tensor:
        """Sequences (n, c, steps) to longer ones."""
        found = super().forward(inputs)
        return found[:, :, self.cut[0] : found.shape[2] - self.cut[1]]


class GlobalMax(nn.Module):
    """Largest value of each channel over all places; of equal ones the first has the gradient, as in JAX."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (n, c)."""
        first, *others = places(inputs)
        return (inputs.flatten(first, others[-1]) if others else inputs).max(dim=first).values


class AdaptiveMean(nn.Module):
    """Means of so many windows along each axis of places.

    PyTorch's own has no deterministic gradients on an accelerator.
    """

    def __init__(self, shape: tuple[int, ...], size: tuple[int, ...]) -> None:
        super().__init__()
        for axis, (length, windows) in enumerate(zip(shape, size, strict=False)):
            self.register_buffer(f"means{axis}", torch.from_numpy(adaptive_means(length, windows)), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Images are channels-first, sequences have their channels last."""
        for axis, means in zip(places(inputs), self.buffers(), strict=True):
            inputs = (inputs.movedim(axis, -1) @ means.T).movedim(-1, axis)
        return inputs


class Scaled(nn.Module):
    """Multiply by a constant."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape of the inputs."""
        return inputs * self.value


class Transposed(nn.Module):
    """Axes of channels-last examples in another order; images are channels-first on both sides."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self._axes = (0, *(axis + 1 for axis in axes))

    def forward(self, inputs: Tensor) -> Tensor:
        """As many axes."""
        if inputs.ndim == 4:
            return inputs.permute(0, 2, 3, 1).permute(self._axes).permute(0, 3, 1, 2)
        return inputs.permute(self._axes)


def places(inputs: Tensor) -> tuple[int, ...]:
    """Axes of rows and columns, or of steps."""
    return (2, 3) if inputs.ndim == 4 else (1,)
