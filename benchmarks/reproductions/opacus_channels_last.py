"""Opacus 1.6.0: per-example gradients of a convolution are wrong where its input is laid out channels-last.

`opacus.utils.tensor_utils.unfold2d` reads activations by `as_strided` with the strides of a contiguous channels-first
tensor. After `permute` of images with one channel PyTorch computes channels-last on its own, and the second
convolution gets the gradient of other numbers. Nothing is raised.
"""

import sys

import torch
from opacus import GradSampleModule
from torch import nn

torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.Flatten())
images = torch.randn(4, 8, 8, 1).permute(0, 3, 1, 2)  # as arrays of (n, height, width, channels) come

network(images).square().sum().backward()
right = network[2].weight.grad.clone()
network.zero_grad()
wrapped = GradSampleModule(network, loss_reduction="sum")
wrapped(images).square().sum().backward()
found = network[2].weight.grad_sample.sum(0)
error = float((found - right).norm() / right.norm())
print(f"sum of per-example gradients, relative error: {error:.3g} (1e-6 is rounding)")
sys.exit(3 if error > 1e-3 else 0)
