"""Layers of Keras and operators of ONNX become the calls that compute the same, without either library."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import trustml
from trustml.backends.contract import Model
from trustml.backends.numpy.network import logits
from trustml.errors import EnvironmentMissingError, UsageError
from trustml.importing.calls import Writer
from trustml.importing.carrying import carry
from trustml.importing.keras_models import _Model
from trustml.importing.onnx_nodes import NODES, NodeWriter
from trustml.importing.program import Constant, Program, Ref
from trustml.importing.published import NETWORKS
from trustml.models.keras_files import why_not_keras

GENERATOR = np.random.default_rng(0)


def drawn(*shape: int) -> np.ndarray:
    return GENERATOR.normal(size=shape).astype(np.float32)


def computed(program: Program, inputs: np.ndarray) -> np.ndarray:
    carried = carry(program)
    model = Model(architecture=carried.architecture, input_shape=carried.input_shape, weights=carried.weights)
    return logits(model, inputs.transpose(carried.order))


def layer(kind: str, name: str, *sources: tuple[str, int], version: int = 3, **config: Any) -> dict[str, Any]:
    """Describe a layer as Keras 2 or 3 writes it."""
    if version == 2:
        nodes: list[Any] = [[[source, number, 0, {}] for source, number in sources]]
    else:
        tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [*one, 0]}} for one in sources]
        nodes = [{"args": [tensors if len(tensors) > 1 else tensors[0]], "kwargs": {}}] if tensors else []
    return {"class_name": kind, "config": {"name": name, **config}, "inbound_nodes": nodes if sources else []}


CONVOLUTION = {"strides": [2, 2], "padding": "same", "dilation_rate": [1, 1], "use_bias": True, "activation": "relu"}


@pytest.mark.parametrize("version", [2, 3])
def test_keras_pads_the_smaller_half_first(version):
    """``same`` with a stride, by loops over windows; then a depthwise convolution and a flattened end."""
    arrays = {
        "conv2d/vars/0": drawn(3, 3, 2, 3), "conv2d/vars/1": drawn(3), "depthwise_conv2d/vars/0": drawn(2, 2, 3, 2),
        "dense/vars/0": drawn(3 * 2 * 6, 4), "dense/vars/1": drawn(4),
    }  # fmt: skip
    base = "layers" if version == 3 else "_layer_checkpoint_dependencies"
    layers = [
        layer("InputLayer", "in", batch_shape=[None, 6, 5, 2]),
        layer("Conv2D", "conv", ("in", 0), version=version, **CONVOLUTION),
        layer("DepthwiseConv2D", "depth", ("conv", 0), version=version, strides=[1, 1], padding="same", use_bias=False),
        layer("ZeroPadding2D", "pad", ("depth", 0), version=version, padding=[[0, 0], [0, 0]]),
        layer("Flatten", "flat", ("pad", 0), version=version),
        layer("Dense", "end", ("flat", 0), version=version, use_bias=True, activation="softmax"),
    ]
    # 6x5 becomes 3x3 behind the convolution
    arrays["dense/vars/0"] = drawn(3 * 3 * 6, 4)
    config = {"layers": layers, "input_layers": [["in", 0, 0]], "output_layers": [["end", 0, 0]]}
    model = _Model(config, {f"{base}/{name}": array for name, array in arrays.items()})
    program = model.writer.program(model.read())
    images = drawn(2, 6, 5, 2)
    values = np.maximum(by_windows(images, arrays["conv2d/vars/0"], 2) + arrays["conv2d/vars/1"], 0)
    depth = np.stack(
        [by_windows(values[..., [c]], arrays["depthwise_conv2d/vars/0"][:, :, [c]], 1) for c in range(3)], axis=3
    ).reshape(2, 3, 3, 6)
    expected = depth.reshape(2, -1) @ arrays["dense/vars/0"] + arrays["dense/vars/1"]
    assert np.allclose(computed(program, images), expected, atol=1e-4)
    assert carry(program).ending == "softmax" and carry(program).architecture.nodes[-1].name == "end"


def by_windows(images: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Convolve with TensorFlow's ``same`` padding, window by window."""
    counts = [-(-n // stride) for n in images.shape[1:3]]
    pads = [
        max((count - 1) * stride + k - n, 0)
        for count, k, n in zip(counts, kernel.shape[:2], images.shape[1:3], strict=True)
    ]
    around = [(0, 0), *((pad // 2, pad - pad // 2) for pad in pads), (0, 0)]
    padded, found = np.pad(images, around), np.zeros((len(images), *counts, kernel.shape[-1]))
    for row in range(counts[0]):
        for column in range(counts[1]):
            window = padded[:, row * stride :, column * stride :][:, : kernel.shape[0], : kernel.shape[1]]
            found[:, row, column] = np.einsum("nijc,ijco->no", window, kernel)
    return found


def test_a_layer_of_keras_that_is_used_twice_waits_for_its_input():
    shared = layer("Dense", "shared", ("in", 0), use_bias=False, activation="tanh")
    shared["inbound_nodes"] += layer("Dense", "", ("middle", 0))["inbound_nodes"]
    layers = [
        layer("InputLayer", "in", batch_shape=[None, 3]),
        shared,
        layer("LeakyReLU", "middle", ("shared", 0), negative_slope=0.5),
        layer("Subtract", "end", ("shared", 1), ("in", 0)),
    ]
    kernel = drawn(3, 3)
    model = _Model(
        {"layers": layers, "input_layers": [], "output_layers": ["end", 0, 0]}, {"layers/dense/vars/0": kernel}
    )
    values = drawn(4, 3)
    once = np.tanh(values @ kernel)
    expected = np.tanh(np.where(once > 0, once, once / 2) @ kernel) - values
    program = model.writer.program(model.read())
    assert np.allclose(computed(program, values), expected, atol=1e-5)
    assert "copied" in {note.kind for note in carry(program).notes}


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("Lambda", {}, r"'one' cannot be carried: .*\(Lambda\)"),
        ("AveragePooling2D", {"pool_size": [2, 2], "padding": "same"}, "divides windows at the edge"),
        ("Activation", {"activation": "selu"}, r"\(activation selu\)"),
        ("ReLU", {"threshold": 1.0}, "a ReLU with a threshold"),
        ("Flatten", {"data_format": "channels_first"}, "channels first"),
    ],
)
def test_a_layer_of_keras_that_is_not_carried_is_named(kind, config, message):
    layers = [layer("InputLayer", "in", batch_shape=[None, 5, 5, 1]), layer(kind, "one", ("in", 0), **config)]
    model = _Model({"layers": layers, "input_layers": [], "output_layers": ["one", 0, 0]}, {})
    with pytest.raises(UsageError, match=message):
        carry(model.writer.program(model.read()))


def test_files_need_their_library(tmp_path, monkeypatch):
    (tmp_path / "net.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EnvironmentMissingError, match=r"net\.onnx: needs onnx to be read; pip install onnx"):
        trustml.import_model(tmp_path / "net.onnx")
    (tmp_path / "net.keras").write_bytes(b"\x80\x04")
    with pytest.raises(UsageError, match="a Python pickle"):
        trustml.import_model(tmp_path / "net.keras")
    assert "Keras 3" in why_not_keras(keras_3()) and not why_not_keras(keras_3(), any_version=True)
    (tmp_path / "net.keras").write_bytes(keras_3())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(EnvironmentMissingError, match="needs h5py; pip install h5py"):
        trustml.import_model(tmp_path / "net.keras")


def keras_3() -> bytes:
    import io
    import json
    import zipfile

    stream = io.BytesIO()
    config = {"class_name": "Sequential", "module": "keras", "config": {"layers": []}, "registered_name": None}
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", b"")
    return stream.getvalue()


class Onnx(NodeWriter):
    """Nodes one after the other, each of which takes what the one before gave."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.before: Any = Ref("x")
        self.shapes["x"] = self.shape_now = shape

    def node(self, kind: str, *given: Any, gives: tuple[int, ...], **attributes: Any) -> None:
        found = NODES[kind](self, [self.before, *given], attributes)
        self.before = found[0] if isinstance(found, list) else found
        self.shapes[self.before.name] = self.shape_now = gives

    def program(self) -> Program:
        shape = self.shapes["x"]
        return Program(calls=tuple(self.calls), input="x", input_shape=shape, output=self.before.name, batch=shape[0])


def test_nodes_of_onnx_compute_what_the_standard_says():
    kernel, matrix, bias = drawn(4, 2, 3, 3), drawn(16, 3), drawn(1, 3)
    net = Onnx((5, 2, 4, 4))
    net.node("Conv", Constant(kernel), gives=(5, 4, 5, 5), pads=[2, 1, 1, 2], kernel_shape=[3, 3])
    net.node("Clip", Constant(np.asarray(-0.5)), Constant(np.asarray(1.0)), gives=(5, 4, 5, 5))
    net.node("MaxPool", gives=(5, 4, 2, 2), kernel_shape=[3, 3], strides=[2, 2])
    net.node("Transpose", gives=(5, 2, 2, 4), perm=[0, 2, 3, 1])
    net.node("Reshape", Constant(np.asarray([0, -1])), gives=(5, 16))
    net.node("Gemm", Constant(matrix), Constant(bias), gives=(5, 3))
    net.node("Pow", Constant(np.asarray(2.0)), gives=(5, 3))
    images = drawn(2, 2, 4, 4)
    padded = np.pad(images, ((0, 0), (0, 0), (2, 1), (1, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    values = np.clip(np.einsum("nchwij,ocij->nohw", windows, kernel), -0.5, 1.0)
    largest = np.lib.stride_tricks.sliding_window_view(values, (3, 3), axis=(2, 3))[:, :, ::2, ::2].max(axis=(4, 5))
    expected = (largest.transpose(0, 2, 3, 1).reshape(2, -1) @ matrix + bias) ** 2
    assert np.allclose(computed(net.program(), images), expected, atol=1e-4)


def test_layers_of_keras_that_wait_for_one_another_are_told():
    layers = [layer("InputLayer", "in", batch_shape=[None, 4])]
    layers += [layer("ReLU", "a", ("b", 0)), layer("ReLU", "b", ("a", 0))]
    model = _Model({"layers": layers, "input_layers": [], "output_layers": ["b", 0, 0]}, {})
    with pytest.raises(ValueError, match="'a' waits for what follows from it"):
        model.read()


def test_weights_that_are_no_hdf5_are_told_in_a_line(tmp_path, monkeypatch):
    class NoFile:
        def __init__(self, *given: Any) -> None:
            raise OSError("file signature not found")

    (tmp_path / "net.keras").write_bytes(keras_3())
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=NoFile))
    with pytest.raises(UsageError, match=r"weights are not as Keras writes them \(OSError: file signature not found\)"):
        trustml.import_model(tmp_path / "net.keras")


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights: is false"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention: is set"),
        ("bert", {"is_decoder": True}, "is_decoder: is set"),
    ],
)
def test_networks_that_compute_otherwise_than_published_are_refused(kind, config, message):
    with pytest.raises(UsageError, match=message):
        NETWORKS[kind].calls(Writer({}, input_shape=(4,)), config)
