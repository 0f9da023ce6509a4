"""Modules of PyTorch are carried over and compute the same, or are refused by name."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import trustml
from trustml.backends.contract import Model
from trustml.backends.numpy.network import logits as by_hand
from trustml.backends.torch.exported import source
from trustml.errors import UsageError
from trustml.importing.model import imported
from trustml.models.layers import GroupNorm
from trustml.models.network_files import read_network

pytestmark = pytest.mark.torch


class Residual(nn.Module):
    """A block with norms behind and before convolutions, a shortcut, ReLUs in place and a head of a flattened image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.conv2, self.down = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(3, 8, 1, stride=2)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(8 * 4 * 3, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.relu(self.bn1(self.conv1(images)))
        values = self.conv2(values)
        values += self.down(images)
        values = functional.dropout(self.relu(self.bn2(values)), 0.3, self.training)
        return self.head(functional.adaptive_avg_pool2d(values, (4, 3)).view(len(images), -1))


class Branches(nn.Module):
    """Ways side by side, as in Inception, pooling that rounds up, and layers of a ConvNeXt block."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding="same")
        self.norm, self.wide = nn.LayerNorm(12), nn.Linear(12, 12)
        self.gamma, self.head = nn.Parameter(torch.rand(12)), nn.Linear(12, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = functional.max_pool2d(functional.pad(images, (0, 1, 0, 1)), 3, 2, 1, ceil_mode=True)
        ways = [self.one(images), functional.relu(self.three(images)), functional.avg_pool2d(images, 3, 1, 1)]
        values = torch.cat(ways, dim=1)
        inner = self.wide(functional.gelu(self.norm(values.permute(0, 2, 3, 1)), approximate="tanh"))
        values = values + (self.gamma * inner).permute(0, 3, 1, 2)
        return functional.log_softmax(self.head(values.mean((2, 3))), dim=1)


class Mobile(nn.Module):
    """A depthwise convolution, ReLU6, hard swish, squeeze and excite, and channels that are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depth = nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(8)])
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.head = nn.Conv2d(8, 6, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = functional.relu6(self.norms[0](self.expand(images)))
        values = functional.hardswish(self.norms[1](self.depth(values)))
        weights = self.excite(functional.silu(self.squeeze(functional.adaptive_avg_pool2d(values, 1))))
        values = values * torch.sigmoid(weights)
        examples, channels, rows, columns = values.shape
        values = values.view(examples, 2, channels // 2, rows, columns).transpose(1, 2).reshape(values.shape)
        first, second = values.chunk(2, dim=1)
        return self.head(torch.cat([second, first], dim=1)).amax((2, 3))


class Encoder(nn.Module):
    """PyTorch's own encoder of tokens, with a mask of padding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(20, 8), nn.Parameter(torch.randn(1, 6, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.tokens(ids) + self.places, src_key_padding_mask=ids == 0).mean(1))


class Decoder(nn.Module):
    """Attention written out, causal, with heads of one product, and logits by the table of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.mixed, self.out = nn.Embedding(11, 8), nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        values = self.tokens(ids)
        examples, steps, width = values.shape
        parts = self.mixed(values).view(examples, steps, 3, 2, 4).permute(2, 0, 3, 1, 4)
        queries, keys, rest = parts.unbind(0)
        scores = queries @ keys.transpose(-2, -1) / 3.0
        scores = scores.masked_fill(torch.ones(steps, steps).triu(1).bool(), -torch.inf).softmax(-1)
        mixed = (scores @ rest).transpose(1, 2).reshape(examples, steps, width)
        return functional.linear(values + self.out(mixed), self.tokens.weight)


class Steps(nn.Module):
    """Recurrent layers, one above the other, behind a convolution of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 4, 3, padding=1), nn.BatchNorm1d(4)
        self.gru, self.lstm = nn.GRU(4, 5, 2, batch_first=True), nn.LSTM(5, 4, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        values = functional.max_pool1d(functional.leaky_relu(self.conv(series)), 2)
        states, _ = self.gru(self.norm(values).transpose(1, 2))
        states, (last, _) = self.lstm(states)
        return self.head(torch.cat([states.mean(1), last[-1]], dim=1))


IMAGES, SERIES = (2, 3, 9, 7), (3, 3, 10)


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    module = kind()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2.0)
                part.weight.uniform_(0.5, 1.5)
    return module


def ids_up_to(vocabulary: int) -> torch.Tensor:
    found = torch.randint(1, vocabulary, (3, 6))
    found[1:, 4:] = 0
    return found


CASES = {
    Residual: (lambda: torch.randn(IMAGES), (0, 2, 3, 1)),
    Branches: (lambda: torch.randn(2, 4, 9, 7), (0, 2, 3, 1)),
    Mobile: (lambda: torch.randn(IMAGES), (0, 2, 3, 1)),
    Encoder: (lambda: ids_up_to(20), (0, 1)),
    Decoder: (lambda: ids_up_to(11), (0, 1)),
    Steps: (lambda: torch.randn(SERIES), (0, 2, 1)),
}


@pytest.fixture(scope="module")
def imports() -> dict[type[nn.Module], tuple[nn.Module, trustml.ImportedModel]]:
    found = {}
    for kind, (inputs, _) in CASES.items():
        module = made(kind)
        found[kind] = module, trustml.import_model(module, example=inputs())
    return found


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_an_import_computes_what_the_module_does(imports, kind):
    module, found = imports[kind]
    assert module.training and all(part.training for part in module.modules()), "it is left as it was"
    inputs, order = CASES[kind]
    given = inputs()
    with torch.no_grad():
        expected = module.eval()(given).numpy()
    module.train()
    ours = found.logits(given.numpy().transpose(order))
    if kind is Branches:  # whose logarithms of probabilities are logits, but for a number an example
        ours = torch.log_softmax(torch.from_numpy(ours), 1).numpy()
    assert np.abs(ours - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    assert np.ptp(expected) > 1e-2, "all outputs alike would prove nothing"


def test_what_was_done_is_told(imports):
    kinds = {kind: {note.kind for note in found.report.notes} for kind, (_, found) in imports.items()}
    assert kinds[Residual] == {"folded", "written out"}
    assert "left out" in kinds[Branches], "the softmax at its end"
    layers = [type(node.layer).__name__ for node in imports[Residual][1].architecture.nodes]
    assert "Transpose" not in layers, "the order of a flattened image is one of the rows of a kernel"
    names = [node.name for node in imports[Residual][1].architecture.nodes]
    assert {"conv1", "conv2", "down", "head"} <= set(names)
    assert [type(node.layer).__name__ for node in imports[Decoder][1].architecture.nodes][-1] == "Unembedding"
    assert "equal the original's on" in str(imports[Mobile][1].report)


def test_the_oracle_agrees(imports):
    module, found = imports[Steps]
    given = torch.randn(SERIES)
    model = Model(architecture=found.architecture, input_shape=found.input_shape, weights=found.weights)
    with torch.no_grad():
        expected = module.eval()(given).numpy()
    module.train()
    assert np.abs(by_hand(model, given.numpy().transpose(0, 2, 1)) - expected).max() < 1e-5


def test_weights_are_copies(imports):
    module, found = imports[Residual]
    before = found.weights["head.kernel"].copy()
    with torch.no_grad():
        module.head.weight.add_(1.0)
    assert (found.weights["head.kernel"] == before).all()
    with torch.no_grad():
        module.head.weight.sub_(1.0)


def test_a_file_holds_architecture_and_weights(imports, tmp_path):
    found = imports[Encoder][1]
    where = found.save(tmp_path / "net")
    assert where.name == "net.safetensors"
    read, weights = read_network(where)
    assert read.architecture == found.architecture and read.input_shape == (6,)
    assert all((weights[name] == array).all() for name, array in found.weights.items())


def test_norms_are_replaced_by_name():
    module = made(Residual)
    traced = source(module, torch.randn(IMAGES))
    some = imported(traced, norms={"bn1": GroupNorm(groups=4)})
    layers = {node.name: node.layer for node in some.architecture.nodes}
    assert layers["bn1"] == GroupNorm(groups=4)
    assert "conv1.bias" not in some.weights, "nothing of the BatchNorm is folded into it"
    assert (some.weights["bn1.scale"] == module.bn1.weight.detach().numpy()).all()
    assert "something else" in some.report.unproved and some.report.proof is not None
    with pytest.raises(UsageError, match=r"norms: 'bn9' is no BatchNorm.*bn1, bn2"):
        imported(traced, norms={"bn9": GroupNorm(groups=4)})
    with pytest.raises(UsageError, match="3 groups do not divide the 8 channels of 'bn1'"):
        imported(traced, norms=GroupNorm(groups=3))


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.linear = nn.Linear(4, 2)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.linear(values)


class Branching(Counting):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.linear(values) if values.sum() > 0 else self.linear(-values)


class Two(Counting):
    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.linear(values), values


class Counted(Counting):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.linear(values) / len(values)


class Shared(Counting):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.linear(values - values.mean(0))


class Noisy(Counting):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.linear(values) + torch.randn(2)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Counting, r"changes a buffer .*\(calls\)"),
        (Branching, "cannot be traced by torch.export"),
        (Two, "more than one input or output"),
        (Counted, "gives other outputs than its import"),  # the number of examples it was traced with is in it
        (Shared, "'mean' .* mixes the examples of a batch"),
        (Noisy, "'randn' .* no layer here"),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else "",
)
def test_what_cannot_be_carried_is_refused_by_name(kind, message):
    with pytest.raises(UsageError, match=message) as raised:
        trustml.import_model(kind(), example=torch.randn(3, 4))
    assert re.fullmatch(r"model: [^\n]+; [^\n]+", str(raised.value))


def test_what_is_no_module_is_refused():
    with pytest.raises(UsageError, match=r"model: a int is not traced and is no path; give one of torch.nn.Module"):
        trustml.import_model(3, example=np.zeros((2, 3)))
    with pytest.raises(UsageError, match=r"example: has shape \(3,\)"):
        trustml.import_model(nn.Linear(3, 2), example=np.zeros(3))


class Ended(nn.Module):
    """A head so large that the end saturates."""

    def __init__(self, end: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.body, self.head, self.end = nn.Linear(4, 8), nn.Linear(8, 2), end
        with torch.no_grad():
            self.head.weight.mul_(scale)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.end(self.head(torch.tanh(self.body(values))))


@pytest.mark.parametrize(
    "end",
    [nn.Softmax(-1), *(pytest.param(end, marks=pytest.mark.long) for end in (nn.LogSoftmax(-1), nn.Sigmoid()))],
    ids=lambda end: type(end).__name__,
)
def test_what_comes_before_an_end_is_compared_though_probabilities_are_0_and_1(end):
    torch.manual_seed(0)
    module, inputs = Ended(end, 3000.0), torch.randn(4, 4)
    found = trustml.import_model(module, example=inputs)
    with torch.no_grad():
        expected = module.head(torch.tanh(module.body(inputs))).numpy()
    assert np.abs(found.logits(inputs.numpy()) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert found.report.proof.largest_logit > 100, "logits, not probabilities"
    assert "at the end: what is imported gives logits" in str(found.report)
    traced = source(module, inputs)
    moved = traced.logits
    off = dataclasses.replace(traced, logits=lambda given: moved(given) + np.float32([0, 1]))
    with pytest.raises(UsageError, match="gives other outputs than its import"):
        imported(off)


class ByBatch(Counting):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.linear(values) * (2 if values.shape[0] > 8 else 1)


class MeanOfTexts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(20, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = (ids != 0).float().unsqueeze(-1)
        return (self.tokens(ids) * mask).sum(1) / mask.sum(1)


class States(nn.Module):
    def __init__(self, recurrent: nn.Module, cells: bool = False) -> None:
        super().__init__()
        self.recurrent, self.cells = recurrent, cells

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        states = self.recurrent(series)[1]
        return (states[self.cells] if isinstance(states, tuple) else states)[-1]


class Clamped(Counting):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.linear(values.clamp(min=values * 0.5))


@pytest.mark.parametrize(
    ("module", "example", "message"),
    [
        (ByBatch(), torch.randn(3, 4), "gives other outputs than its import"),
        (MeanOfTexts(), torch.randint(1, 20, (3, 6)), "a product of a mask with another value"),
        (States(nn.LSTM(3, 4, 2, batch_first=True)), torch.randn(2, 5, 3), "states of several layers"),
        (States(nn.GRU(3, 4, 2, batch_first=True)), torch.randn(2, 5, 3), "states of several layers"),
        (States(nn.LSTM(3, 4, batch_first=True), True), torch.randn(2, 5, 3), "state of its cells"),
        (Clamped(), torch.randn(3, 4), "cuts values off at limits"),
    ],
    ids=["branch on the batch", "mean of a mask", "two LSTMs", "two GRUs", "cells", "clamp"],
)
def test_ordinary_modules_that_are_not_carried_are_refused_in_a_line(module, example, message):
    with pytest.raises(UsageError, match=message) as raised:
        trustml.import_model(module, example=example)
    assert "\n" not in str(raised.value)


def test_a_clamp_at_a_tensor_of_one_number_is_carried():
    class AtTensor(Counting):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return self.linear(values.clamp(min=torch.tensor(0.25)))

    assert trustml.import_model(AtTensor(), example=torch.randn(3, 4)).report.proof.holds


def test_what_an_import_does_not_keep_of_a_module_is_told():
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).double()
    module[0].weight.requires_grad_(False)
    told = str(trustml.import_model(module, example=torch.randn(3, 4)).report)
    assert "held against a float32 copy: the module is of float64" in told
    assert "1 of 4 weights do not train in the module" in told
    assert "copy" not in str(trustml.import_model(nn.Linear(4, 2), example=torch.randn(3, 4)).report)
