"""A network as somebody has it: residual, with a weight of its own, and nothing of trustml's."""

import torch
from torch import nn


class Residual(nn.Module):
    """A convolution, a residual step, and a head; `gain` is a parameter that no layer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.step = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.gain = nn.Parameter(torch.ones(16, 1, 1))
        self.head = nn.Linear(16 * 16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of images (n, 1, 8, 8)."""
        values = torch.relu(self.stem(images))
        values = values + self.gain * torch.relu(self.step(values))
        return self.head(nn.functional.max_pool2d(values, 2).flatten(1))
