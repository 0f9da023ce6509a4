"""Opacus 1.6.0: one example that is not finite makes the private gradient NaN, whatever the noise.

The clipping factor of such an example is NaN, and NaN times its gradient is NaN: every weight is lost, and whoever sees
the weights knows that the example was in the batch. No epsilon covers that. (jax-privacy's `nan_safe` leaves it out.)
"""

import sys
import warnings

import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("ignore")
data = TensorDataset(torch.randn(8, 5), torch.zeros(8, dtype=torch.int64))
network = nn.Linear(5, 2)
network, optimizer, _ = PrivacyEngine().make_private(
    module=network,
    optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
    data_loader=DataLoader(data, batch_size=4),
    noise_multiplier=1.0,
    max_grad_norm=1.0,
)
inputs, labels = torch.randn(4, 5), torch.zeros(4, dtype=torch.int64)
inputs[2] = float("nan")
nn.functional.cross_entropy(network(inputs), labels).backward()
optimizer.step()
lost = not all(torch.isfinite(weight).all() for weight in network.parameters())
print("every weight is NaN" if lost else "the example was left out")
sys.exit(3 if lost else 0)
