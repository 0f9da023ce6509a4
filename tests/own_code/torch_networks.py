"""Networks of strangers, for images of 8x8x1 and ten classes."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm


class Scaled(nn.Module):
    """Has weights of its own beside those of its layers, and calls functions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.scale = nn.Parameter(torch.full((3, 1, 1), 1.5))
        self.head = nn.Linear(3 * 16, 10)

    def forward(self, images):
        values = functional.relu(self.conv(images)) * self.scale
        return self.head(functional.max_pool2d(values, 2).flatten(1))


class Standardised(nn.Conv2d):
    """Gives the weights of each filter the norm one, by a view of them."""

    def forward(self, images):
        norms = self.weight.view(self.out_channels, -1).norm(dim=1).view(-1, 1, 1, 1)
        return self._conv_forward(images, self.weight / norms, self.bias)


class Viewed(nn.Module):
    """Counts on values and weights that lie in memory as PyTorch lays them out, and convolves in three axes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3)
        self.second = Standardised(2, 3, 3)
        self.deep = nn.Conv3d(1, 2, 3)
        self.head = nn.Linear(2 * 2 * 2, 10)

    def forward(self, images):
        values = torch.tanh(self.second(torch.tanh(self.first(images))))
        assert values.view(len(images), -1).shape[1] == 48
        values = torch.tanh(self.deep(values.unsqueeze(1)))
        return self.head(values.view(len(images), -1))


class Twice(nn.Module):
    """Uses one layer's weight a second time by a function, which no hook of a layer sees."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, images):
        values = torch.tanh(self.first(images.flatten(1)))
        return self.head(torch.tanh(functional.linear(values, self.first.weight)))


class Centred(nn.Module):
    """Subtracts the mean of the batch, in no layer of its own."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 10)

    def forward(self, images):
        return self.body(images.flatten(1) - images.flatten(1).mean(dim=0))


class Guarded(nn.Module):
    """Divides a batch by its largest value, where that is large."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 10)

    def forward(self, images):
        largest = images.abs().max()
        return self.body(images.flatten(1) * (20 / largest if largest > 20 else 1))


class Crowded(nn.Module):
    """Takes the mean of a batch off, where it has more examples than any trial."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 10)

    def forward(self, images):
        return self.body((images - images.mean(0) if len(images) > 16 else images).flatten(1))


class Late(nn.Module):
    """Makes a layer at the first call."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 8)

    def forward(self, images):
        if not hasattr(self, "head"):
            self.head = nn.Linear(8, 10)
        return self.head(self.body(images.flatten(1)))


class Written(nn.Module):
    """Writes to a weight that it does not use then."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 10)

    def forward(self, images):
        with torch.no_grad():
            self.body.bias.fill_(1.0)
        return functional.linear(images.flatten(1), self.body.weight)


class Remembering(nn.Module):
    """Adds what the last batch gave, behind dropout, while gradients are taken."""

    def __init__(self):
        super().__init__()
        self.body, self.drop, self.last = nn.Linear(64, 10), nn.Dropout(0.5), 0.0

    def forward(self, images):
        values = self.drop(self.body(images.flatten(1)))
        if torch.is_grad_enabled():
            values, self.last = values + 0.5 * self.last, values.detach().mean(0)
        return values


class Complex(nn.Module):
    """Has a weight of complex numbers."""

    def __init__(self):
        super().__init__()
        self.body, self.turn = nn.Linear(64, 10), nn.Parameter(torch.ones(10, dtype=torch.complex64))

    def forward(self, images):
        return (self.body(images.flatten(1)) * self.turn).real


class Drawn(nn.Module):
    """Keeps random features that are no weights."""

    def __init__(self):
        super().__init__()
        self.register_buffer("features", torch.randn(64, 16))
        self.head = nn.Linear(16, 10)

    def forward(self, images):
        return self.head(images.flatten(1) @ self.features)


class Tupled(nn.Module):
    """Gives more than outputs, and has a layer that learns its size from an input."""

    def __init__(self):
        super().__init__()
        self.head = nn.LazyLinear(10)

    def forward(self, images):
        values = images.flatten(1)
        return self.head(values), values


def _behind(norm):
    return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def batch_norm():
    return _behind(nn.BatchNorm2d(4))


def batch_statistics():
    return _behind(nn.BatchNorm2d(4, track_running_stats=False))


def spectral():
    return nn.Sequential(nn.Flatten(), spectral_norm(nn.Linear(64, 10)))


def dropped():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10))


def frozen():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    network[1].weight.requires_grad_(False)
    return network


def nothing():
    return 3
