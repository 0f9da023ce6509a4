"""Weights in safetensors are taken for the networks that they are, or refused; nothing is unpickled."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from torch import nn
from torch.nn import functional

import trustml
from tests.reliability.readers import READERS
from trustml.errors import UsageError

pytestmark = pytest.mark.torch


class Block(nn.Module):
    """A basic block, or a bottleneck of groups, by torchvision's names."""

    def __init__(self, channels: int, filters: int, *, stride: int, groups: int) -> None:
        super().__init__()
        self.deep = groups > 1
        wide = 2 * filters if self.deep else filters
        if self.deep:
            self.conv1 = nn.Conv2d(channels, filters, 1, bias=False)
            self.conv2 = nn.Conv2d(filters, filters, 3, stride, 1, groups=groups, bias=False)
            self.conv3, self.bn3 = nn.Conv2d(filters, wide, 1, bias=False), nn.BatchNorm2d(wide)
        else:
            self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)
        if stride > 1 or channels != wide:
            self.downsample = nn.Sequential(nn.Conv2d(channels, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        found = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(values)))))
        if self.deep:
            found = self.bn3(self.conv3(functional.relu(found)))
        return functional.relu(found + (self.downsample(values) if hasattr(self, "downsample") else values))


class ResNet(nn.Module):
    """Stem, four stages and a head, by torchvision's names."""

    def __init__(self, *, groups: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4)
        channels = 4
        for stage, filters in enumerate((4, 4, 8, 8)):
            blocks = []
            for number in range(2 if stage == 1 else 1):
                stride = 2 if stage and not number else 1
                blocks.append(Block(channels, filters, stride=stride, groups=groups))
                channels = 2 * filters if groups > 1 else filters
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = functional.max_pool2d(functional.relu(self.bn1(self.conv1(images))), 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            found = stage(found)
        return self.fc(found.mean((2, 3)))


@pytest.mark.parametrize("groups", [1, 2], ids=["basic", "bottleneck"])
def test_a_state_dict_of_torchvision_computes_what_the_module_does(tmp_path, groups):
    torch.manual_seed(groups)
    module = ResNet(groups=groups).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
    save_tensors(module.state_dict(), tmp_path / "resnet.safetensors")
    found = trustml.import_model(tmp_path / "resnet.safetensors", example=np.zeros((1, 3, 33, 32), np.float32))
    images = torch.randn(3, 3, 33, 32)
    with torch.no_grad():
        expected = module(images).numpy()
    ours = found.logits(images.numpy().transpose(0, 2, 3, 1))
    assert np.abs(ours - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    assert found.report.proof is None and "not held against the original" in found.report.unproved


def test_what_is_left_over_is_refused(tmp_path):
    tensors = {**ResNet(groups=1).state_dict(), "aux.weight": torch.zeros(1)}
    save_tensors(tensors, tmp_path / "resnet.safetensors")
    with pytest.raises(UsageError, match=r"holds aux.weight, which the network that it is taken for does not have"):
        trustml.import_model(tmp_path / "resnet.safetensors")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no readable config.json"),
        ({"config.json": b"[]"}, "describes no model"),
        ({"config.json": b'{"model_type": "llama"}'}, "is a 'llama' of Hugging Face; known are bert, distilbert"),
        ({"config.json": b'{"model_type": "bert"}'}, "holds no model.safetensors"),
        (
            {"config.json": b'{"model_type": "bert"}', "pytorch_model.bin": b"\x80\x04"},
            "holds pytorch_model.bin, a Python pickle, which is never loaded",
        ),
        (
            {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"\x80\x04"},
            "is no readable safetensors file",
        ),
        (
            {
                "config.json": b'{"model_type": "bert"}',
                "model.safetensors.index.json": json.dumps({"weight_map": {"a": "../../etc/passwd"}}).encode(),
            },
            "leaves the run directory",
        ),
    ],
    ids=["empty", "list", "unknown", "no weights", "pickle", "damaged", "outside"],
)
def test_a_folder_that_is_none_is_refused_in_a_line(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(trustml.TrustmlError, match=message) as raised:
        trustml.import_model(tmp_path)
    assert "\n" not in str(raised.value)


def test_weights_of_another_network_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "layer_norm_eps": 1e-12, "hidden_act": "gelu"}')
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"config.json or weights are not those of a bert \(KeyError"):
        trustml.import_model(tmp_path)
    with pytest.raises(UsageError, match="no such file or folder"):
        trustml.import_model(tmp_path / "nothing")


def test_a_configuration_of_no_heads_is_refused_in_a_line(tmp_path):
    config = READERS["checkpoint folder"].make(tmp_path)
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_attention_heads": 0}))
    with pytest.raises(UsageError, match=r"cannot be carried|are not those of a bert"):
        trustml.import_model(tmp_path)
