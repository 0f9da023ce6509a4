"""A LightningModule as somebody has it; its own training step and optimizer are not asked."""

import lightning
import torch
from torch import nn


class Classifier(lightning.LightningModule):
    """A small network with what a Trainer would need."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of images (n, 1, 8, 8)."""
        return self.body(images)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        """Mean loss of a batch."""
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, in a Trainer of its owner's."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)
