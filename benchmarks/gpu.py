"""What private, explained and federated training cost on an accelerator, and how far that is from its ceilings.

``python benchmarks/gpu.py`` on a machine with a GPU and PyTorch or JAX (or both). One file: it needs numpy and what is
measured; Opacus, Captum and trustml (from this checkout's ``src``, with what its worker imports: msgspec, safetensors,
psutil) are measured where they are, and their absence is recorded with its reason. ``--second`` adds ResNet-18 with
GroupNorm and a small Transformer encoder.

Measured first: float32 matrix products (TF32 off; TF32 and bfloat16 beside it) and memory bandwidth. Then every kind
of work for every engine at every size, the frameworks in processes of their own, one for each network and kind, sizes
ascending. A unit of work is timed from a synchronised device to a synchronised device: the first call apart, then the
median of at least seven with quartiles. *Of the product ceiling* is the work's useful operations (those of the same
work without privacy: forward passes times three for training, times two for input gradients) a second, divided by the
measured rate; *of the bandwidth ceiling* the same with the bytes that an unfused program moves, so that more than 1
says that caches or fusion saved some; *of the roofline* the larger of the two times over the measured time.

Engines called ``trustml`` start from numpy arrays on the host, as its workers do; others find their data on the device.

``--device cpu --small`` is a test of this script: its figures are no results, and are written only where ``--output``
says.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"
CLIPPING_NORM, NOISE_MULTIPLIER, LEARNING_RATE = 1.0, 1.0, 0.1
PACKAGES = ("torch", "opacus", "captum", "jax", "jaxlib", "jax-cuda12-plugin", "numpy", "pfl")
Layers = tuple[tuple[Any, ...], ...]
Arrays = dict[str, np.ndarray]
Unit = Callable[[], object]


class AbsentError(Exception):
    """An engine cannot do this here; the message says why."""


# ---------------------------------------------------------------- networks: one description, read three times


def mlp(sizes: Sequence[int]) -> Layers:
    """Dense layers with ReLU between them."""
    layers: list[tuple[Any, ...]] = []
    for units in sizes[:-1]:
        layers += [("dense", units), ("relu",)]
    return (*layers, ("dense", sizes[-1]))


def opacus_cnn() -> Layers:
    """Network of Opacus's MNIST example."""
    first = (("conv", 16, 8, 2, 3), ("relu",), ("maxpool", 2, 1), ("conv", 32, 4, 2, 0), ("relu",), ("maxpool", 2, 1))
    return (*first, ("flatten",), ("dense", 32), ("relu",), ("dense", 10))


def resnet(width: int, blocks: Sequence[int], groups: int) -> Layers:
    """ResNet for small images with GroupNorm (Wu and He, 2018, arXiv 1803.08494) in place of BatchNorm."""
    layers: list[tuple[Any, ...]] = [("conv", width, 3, 1, 1), ("norm", groups), ("relu",)]
    channels = width
    for stage, count in enumerate(blocks):
        for block in range(count):
            out, stride = width * 2**stage, 2 if stage and not block else 1
            body = (("conv", out, 3, stride, 1), ("norm", groups), ("relu",), ("conv", out, 3, 1, 1), ("norm", groups))
            shortcut = () if stride == 1 and out == channels else (("conv", out, 1, stride, 0), ("norm", groups))
            layers += [("residual", body, shortcut), ("relu",)]
            channels = out
    return (*layers, ("mean",), ("dense", 10))


def encoder(vocabulary: int, length: int, width: int, heads: int, depth: int) -> Layers:
    """Transformer encoder that classifies texts: normalised before each part, mean over the positions at the end."""
    block = (
        ("residual", (("layernorm",), ("attention", heads)), ()),
        ("residual", (("layernorm",), ("dense", 4 * width), ("gelu",), ("dense", width)), ()),
    )
    return (("embed", vocabulary, length, width), *block * depth, ("layernorm",), ("mean",), ("dense", 10))


@dataclass(frozen=True)
class Network:
    """Layers, the shape of one input (channels first), and the size of the vocabulary of inputs that are words."""

    layers: Layers
    shape: tuple[int, ...]
    words: int = 0


def networks(small: bool) -> dict[str, Network]:
    """All networks; small ones have the same parts and fewer of them."""
    found = {
        "mlp": Network(mlp((256, 128, 10)), (784,)),
        "cnn": Network(opacus_cnn(), (1, 28, 28)),
        "shadow_mlp": Network(mlp((32, 10)), (64,)),
    }
    if small:
        texts = Network(encoder(50, 8, 16, 2, 1), (8,), 50)
        return found | {"resnet18": Network(resnet(8, (1, 1), 4), (3, 8, 8)), "transformer": texts}
    texts = Network(encoder(10_000, 128, 256, 8, 4), (128,), 10_000)
    return found | {"resnet18": Network(resnet(64, (2, 2, 2, 2), 32), (3, 32, 32)), "transformer": texts}


@dataclass
class Plan:
    """What the layers amount to for one example: weights, operations of a forward pass, values of all outputs."""

    weights: Arrays
    operations: int
    values: int
    shape: tuple[int, ...]


def plan(layers: Layers, shape: tuple[int, ...], generator: np.random.Generator, prefix: str = "") -> Plan:
    """Draw the weights and count. An operation is a multiplication or an addition of a product or convolution."""
    made = Plan({}, 0, 0, shape)

    def matrix(name: str, out: int, into: int, *kernel: int) -> None:
        fan = into * math.prod(kernel)
        values = generator.normal(0, math.sqrt(1 / fan), (out, into, *kernel))
        made.weights[f"{name}.weight"] = values.astype(np.float32)

    def vector(name: str, part: str, size: int, value: float) -> None:
        made.weights[f"{name}.{part}"] = np.full(size, value, np.float32)

    for index, (kind, *settings) in enumerate(layers):
        name = f"{prefix}{index}"
        match kind:
            case "dense":
                matrix(name, settings[0], made.shape[-1])
                vector(name, "bias", settings[0], 0)
                made.operations += 2 * math.prod(made.shape) * settings[0]
                made.shape = (*made.shape[:-1], settings[0])
            case "conv":
                out, side, stride, padding = settings
                channels, *space = made.shape
                matrix(name, out, channels, side, side)
                vector(name, "bias", out, 0)
                made.shape = (out, *((length + 2 * padding - side) // stride + 1 for length in space))
                made.operations += 2 * math.prod(made.shape) * channels * side * side
            case "maxpool":
                side, stride = settings
                made.shape = (made.shape[0], *((length - side) // stride + 1 for length in made.shape[1:]))
            case "norm" | "layernorm":
                size = made.shape[0] if kind == "norm" else made.shape[-1]
                vector(name, "weight", size, 1)
                vector(name, "bias", size, 0)
            case "flatten":
                made.shape = (math.prod(made.shape),)
            case "mean":  # over the places of an image, or the positions of a text
                made.shape = made.shape[:1] if len(made.shape) == 3 else made.shape[1:]
            case "embed":
                words, length, width = settings
                for part, rows in (("tokens", words), ("positions", length)):
                    made.weights[f"{name}.{part}.weight"] = generator.normal(0, 0.1, (rows, width)).astype(np.float32)
                made.shape = (length, width)
            case "attention":
                length, width = made.shape
                for part, out in (("qkv", 3 * width), ("out", width)):
                    matrix(f"{name}.{part}", out, width)
                    vector(f"{name}.{part}", "bias", out, 0)
                made.operations += 2 * length * width * 4 * width + 4 * length * length * width
                made.values += 3 * length * width + 2 * settings[0] * length * length
            case "residual":
                for part, inner in zip(("body", "shortcut"), settings, strict=True):
                    below = plan(inner, made.shape, generator, f"{name}.{part}.")
                    made.weights |= below.weights
                    made.operations, made.values = made.operations + below.operations, made.values + below.values
                made.shape = below.shape if settings[1] else plan(settings[0], made.shape, generator).shape
        made.values += math.prod(made.shape)
    return made


def draw(network: Network, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, rows)
    if network.words:
        return generator.integers(0, network.words, (rows, *network.shape)), labels
    return generator.random((rows, *network.shape), np.float32), labels


# ---------------------------------------------------------------- PyTorch


def torch_module(network: Network, device: str) -> Any:
    """Build the network with its weights."""
    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def forward(self, x: Any) -> Any:
            return self.body(x) + self.shortcut(x)

    class Mean(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mean((2, 3)) if x.ndim == 4 else x.mean(1)

    class Embed(nn.Module):
        def __init__(self, words: int, length: int, width: int) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(words, width), nn.Embedding(length, width)

        def forward(self, x: Any) -> Any:
            return self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device).expand(x.shape))

    class Attention(nn.Module):  # of linear layers, which Opacus knows, and not nn.MultiheadAttention
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

        def forward(self, x: Any) -> Any:
            n, length, width = x.shape
            parts = self.qkv(x).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            scores = parts[0] @ parts[1].transpose(-1, -2) / math.sqrt(width // self.heads)
            return self.out((scores.softmax(-1) @ parts[2]).transpose(1, 2).reshape(n, length, width))

    def build(layers: Layers, shape: tuple[int, ...]) -> nn.Sequential:
        made: list[nn.Module] = []
        for layer in layers:
            kind, *settings = layer
            after = plan((layer,), shape, np.random.default_rng(0)).shape
            match kind:
                case "dense":
                    made.append(nn.Linear(shape[-1], settings[0]))
                case "conv":
                    out, side, stride, padding = settings
                    made.append(nn.Conv2d(shape[0], out, side, stride, padding))
                case "maxpool":
                    made.append(nn.MaxPool2d(*settings))
                case "norm":
                    made.append(nn.GroupNorm(settings[0], shape[0]))
                case "layernorm":
                    made.append(nn.LayerNorm(shape[-1]))
                case "relu" | "gelu" | "flatten" | "mean":
                    made.append({"relu": nn.ReLU, "gelu": nn.GELU, "flatten": nn.Flatten, "mean": Mean}[kind]())
                case "embed":
                    made.append(Embed(*settings))
                case "attention":
                    made.append(Attention(shape[-1], settings[0]))
                case "residual":
                    made.append(Residual(*(build(inner, shape) for inner in settings)))
            shape = after
        return nn.Sequential(*made)

    module = build(network.layers, network.shape)
    weights = plan(network.layers, network.shape, np.random.default_rng(1)).weights
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return module.to(device)


class Torch:
    """PyTorch on one device."""

    name = "torch"

    def __init__(self, device: str) -> None:
        import torch

        self.torch = torch
        if device == "cuda" and not torch.cuda.is_available():
            raise AbsentError("PyTorch sees no GPU")
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self.device, self.cuda = device, device == "cuda"

    def describe(self) -> str:
        """Name of the device."""
        return self.torch.cuda.get_device_name() if self.cuda else "cpu"

    def wait(self) -> None:
        """Wait until the device has done all work."""
        if self.cuda:
            self.torch.cuda.synchronize()

    def reset_peak(self) -> None:
        """Free what can be freed and begin to watch memory anew."""
        gc.collect()
        if self.cuda:
            self.torch.cuda.empty_cache()
            self.torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int:
        """Largest memory in use since then, in bytes; on a processor of the whole process so far."""
        return int(self.torch.cuda.max_memory_allocated()) if self.cuda else resident_peak()

    def put(self, array: np.ndarray) -> Any:
        """Copy to the device."""
        return self.torch.from_numpy(array).to(self.device)

    def product(self, side: int, precision: str) -> Unit:
        """Product of two square matrices."""
        torch = self.torch
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        a, b = (torch.rand(side, side, device=self.device).to(dtype) for _ in range(2))

        def unit() -> None:
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            a @ b
            torch.backends.cuda.matmul.allow_tf32 = False

        return unit

    def stream(self, count: int) -> Unit:
        """Read and write as many float32 values."""
        a = self.torch.ones(count, device=self.device)
        b = self.torch.empty_like(a)
        return lambda: self.torch.mul(a, 1.5, out=b)

    def plain(self, network: Network, size: int, *, compiled: bool = False) -> Unit:
        """One step of SGD."""
        torch = self.torch
        module, (x, y) = torch_module(network, self.device), map(self.put, draw(network, size))
        optimizer, call = torch.optim.SGD(module.parameters(), LEARNING_RATE), module
        if compiled:
            if not self.cuda:
                raise AbsentError("torch.compile is measured on GPUs alone")
            call = torch.compile(module)

        def unit() -> None:
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(call(x), y).backward()
            optimizer.step()

        return unit

    def opacus(self, network: Network, size: int, *, mode: str) -> Unit:
        """One step of Opacus in one of its modes, on a fixed batch."""
        if importlib.util.find_spec("opacus") is None:
            raise AbsentError("Opacus is not installed")
        torch = self.torch
        from opacus import PrivacyEngine
        from torch.utils.data import DataLoader, TensorDataset

        module, (x, y) = torch_module(network, self.device).train(), map(self.put, draw(network, size))
        criterion: Any = torch.nn.CrossEntropyLoss()
        made = PrivacyEngine().make_private(
            module=module,
            optimizer=torch.optim.SGD(module.parameters(), LEARNING_RATE),
            criterion=criterion,
            data_loader=DataLoader(TensorDataset(x, y), batch_size=size),
            noise_multiplier=NOISE_MULTIPLIER,
            max_grad_norm=CLIPPING_NORM,
            poisson_sampling=False,
            grad_sample_mode=mode,
        )
        private, optimizer = made[:2]
        criterion = made[2] if mode == "ghost" else criterion

        def unit() -> None:
            optimizer.zero_grad()
            criterion(private(x), y).backward()
            optimizer.step()

        return unit

    def gradients_on_path(self, network: Network, size: int, *, steps: int, rows: int) -> Unit:
        """Integrated gradients by hand, so many rows at once."""
        torch = self.torch
        module, (x, y) = torch_module(network, self.device).eval(), map(self.put, draw(network, size))
        points, shares = path_points(steps)
        images = max(1, rows // steps)

        def part(x: Any, y: Any) -> Any:
            total = torch.zeros_like(x)
            scales = self.put(points).reshape(-1, *[1] * x.ndim)
            path = (scales * x).flatten(0, 1).requires_grad_()
            chosen = module(path).gather(1, y.repeat(steps)[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, path)
            total += torch.einsum("s,s...->...", self.put(shares), gradient.reshape(steps, *x.shape))
            return total * x

        return lambda: [part(x[i : i + images], y[i : i + images]) for i in range(0, size, images)]

    def captum(self, network: Network, size: int, *, steps: int, rows: int) -> Unit:
        """Captum's integrated gradients."""
        if importlib.util.find_spec("captum") is None:
            raise AbsentError("Captum is not installed")
        from captum.attr import IntegratedGradients

        module, (x, y) = torch_module(network, self.device).eval(), map(self.put, draw(network, size))
        explainer = IntegratedGradients(module)
        at_once = max(rows, size)  # Captum takes at least one step of all images at once
        return lambda: explainer.attribute(x, target=y, n_steps=steps, internal_batch_size=at_once)

    def epoch(self, network: Network, clients: int, *, examples: int, batch: int) -> Unit:
        """One central epoch over the examples of all clients: the floor of a round."""
        torch = self.torch
        module = torch_module(network, self.device)
        x, y = map(self.put, draw(network, clients * examples))
        optimizer = torch.optim.SGD(module.parameters(), LEARNING_RATE)

        def unit() -> None:
            for start in range(0, len(y), batch):
                optimizer.zero_grad(set_to_none=True)
                part = slice(start, start + batch)
                torch.nn.functional.cross_entropy(module(x[part]), y[part]).backward()
                optimizer.step()

        return unit

    def shadows(self, network: Network, models: int, *, examples: int, batch: int, epochs: int) -> Unit:
        """Train all models side by side."""
        torch = self.torch
        from torch.func import functional_call, grad, vmap

        module = torch_module(network, self.device)
        x, y = map(self.put, draw(network, 2 * examples))
        rows = self.put(shadow_rows(models, examples, batch, epochs))
        starts = {name: torch.stack([value.detach()] * models) for name, value in module.named_parameters()}

        def loss(params: Any, x: Any, y: Any) -> Any:
            return torch.nn.functional.cross_entropy(functional_call(module, params, (x,)), y)

        gradient = vmap(grad(loss))

        def unit() -> None:
            params = starts
            for chosen in rows:
                found = gradient(params, x[chosen], y[chosen])
                params = {name: value - LEARNING_RATE * found[name] for name, value in params.items()}

        return unit


# ---------------------------------------------------------------- JAX


def jax_apply(layers: Layers, params: Any, x: Any, prefix: str = "") -> Any:
    """Logits, or what layers inside give."""
    import jax
    import jax.numpy as jnp

    for index, (kind, *settings) in enumerate(layers):
        name = f"{prefix}{index}"
        match kind:
            case "dense":
                x = x @ params[f"{name}.weight"].T + params[f"{name}.bias"]
            case "conv":
                _, _, stride, padding = settings
                shape = ("NCHW", "OIHW", "NCHW")
                x = jax.lax.conv_general_dilated(
                    x, params[f"{name}.weight"], (stride,) * 2, ((padding,) * 2,) * 2, dimension_numbers=shape
                )
                x = x + params[f"{name}.bias"][:, None, None]
            case "maxpool":
                side, stride = settings
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, side, side), (1, 1, stride, stride), "VALID")
            case "norm":
                grouped = x.reshape(len(x), settings[0], -1)
                x = _normalised(grouped).reshape(x.shape)
                x = x * params[f"{name}.weight"][:, None, None] + params[f"{name}.bias"][:, None, None]
            case "layernorm":
                x = _normalised(x) * params[f"{name}.weight"] + params[f"{name}.bias"]
            case "relu":
                x = jax.nn.relu(x)
            case "gelu":
                x = jax.nn.gelu(x, approximate=False)
            case "flatten":
                x = x.reshape(len(x), -1)
            case "mean":
                x = x.mean((2, 3)) if x.ndim == 4 else x.mean(1)
            case "embed":
                x = params[f"{name}.tokens.weight"][x] + params[f"{name}.positions.weight"]
            case "attention":
                x = _attention(params, x, name, settings[0])
            case "residual":
                body, shortcut = (
                    jax_apply(inner, params, x, f"{name}.{part}.")
                    for part, inner in zip(("body", "shortcut"), settings, strict=True)
                )
                x = body + shortcut
    return x


def _normalised(x: Any) -> Any:
    import jax

    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5)


def _attention(params: Any, x: Any, name: str, heads: int) -> Any:
    import jax

    n, length, width = x.shape
    parts = x @ params[f"{name}.qkv.weight"].T + params[f"{name}.qkv.bias"]
    parts = parts.reshape(n, length, 3, heads, -1).transpose(2, 0, 3, 1, 4)
    scores = jax.nn.softmax(parts[0] @ parts[1].swapaxes(-1, -2) / math.sqrt(width // heads), axis=-1)
    together = (scores @ parts[2]).swapaxes(1, 2).reshape(n, length, width)
    return together @ params[f"{name}.out.weight"].T + params[f"{name}.out.bias"]


class Jax:
    """JAX on one device."""

    name = "jax"

    def __init__(self, device: str) -> None:
        import jax
        import jax.flatten_util

        jax.config.update("jax_platforms", device)
        jax.config.update("jax_default_matmul_precision", "highest")
        try:
            self._device = jax.devices()[0]
        except (RuntimeError, AssertionError):
            raise AbsentError(f"JAX sees no {device} device") from None
        self.jax, self.cuda = jax, device == "cuda"

    def describe(self) -> str:
        """Name of the device."""
        return str(self._device.device_kind) if self.cuda else "cpu"

    def wait(self) -> None:
        """Wait until the device has done all work."""
        self.jax.block_until_ready(self.jax.live_arrays())

    def reset_peak(self) -> None:
        """Free what can be freed and begin to watch memory anew."""
        gc.collect()

    def peak(self) -> int:
        """Of this process so far, as JAX cannot reset it: sizes ascend, so it is that of the present one."""
        stats = self._device.memory_stats() if self.cuda else None
        return int(stats["peak_bytes_in_use"]) if stats else resident_peak()

    def put(self, array: np.ndarray) -> Any:
        """Copy to the device."""
        narrow = array.astype(np.int32) if array.dtype == np.int64 else array
        return self.jax.device_put(narrow)

    def _params(self, network: Network) -> Any:
        weights = plan(network.layers, network.shape, np.random.default_rng(1)).weights
        return {name: self.put(array) for name, array in weights.items()}

    def _loss(self, network: Network) -> Callable[..., Any]:
        jax = self.jax

        def loss(params: Any, x: Any, y: Any) -> Any:
            logits = jax.nn.log_softmax(jax_apply(network.layers, params, x))
            return -jax.numpy.take_along_axis(logits, y[:, None], axis=1).mean()

        return loss

    def _stepping(self, step: Callable[..., Any], network: Network, *data: Any) -> Unit:
        program = self.jax.jit(step, donate_argnums=0)
        held = [self._params(network)]

        def unit() -> None:
            held[0] = self.jax.block_until_ready(program(held[0], *data))

        return unit

    def _sgd(self, params: Any, gradient: Any) -> Any:
        return self.jax.tree.map(lambda w, g: w - LEARNING_RATE * g, params, gradient)

    def product(self, side: int, precision: str) -> Unit:
        """Product of two square matrices."""
        jnp = self.jax.numpy
        dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
        a, b = (self.jax.random.uniform(self.jax.random.key(k), (side, side)).astype(dtype) for k in range(2))
        asked = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "default"}[precision]
        program = self.jax.jit(lambda a, b: jnp.matmul(a, b, precision=asked))
        return lambda: program(a, b).block_until_ready()

    def stream(self, count: int) -> Unit:
        """Read and write as many float32 values."""
        program, a = self.jax.jit(lambda a: a * 1.5), self.jax.numpy.ones(count)
        return lambda: program(a).block_until_ready()

    def plain(self, network: Network, size: int) -> Unit:
        """One step of SGD, weights donated."""
        gradient = self.jax.grad(self._loss(network))
        data = map(self.put, draw(network, size))
        return self._stepping(lambda params, x, y: self._sgd(params, gradient(params, x, y)), network, *data)

    def per_example(self, network: Network, size: int, *, piece: int) -> Unit:
        """Per-example gradients under vmap, in pieces under scan: any network, and memory for one piece."""
        jax, jnp = self.jax, self.jax.numpy
        loss, piece = self._loss(network), math.gcd(size, piece)
        each = jax.vmap(jax.grad(lambda params, x, y: loss(params, x[None], y[None])), in_axes=(None, 0, 0))
        x, y = (self.put(part.reshape(-1, piece, *part.shape[1:])) for part in draw(network, size))

        def step(params: Any, x: Any, y: Any, key: Any) -> Any:
            def add(sums: Any, data: Any) -> Any:
                rows = each(params, *data)
                squares = [jnp.square(g.reshape(piece, -1)).sum(1) for g in jax.tree.leaves(rows)]
                scale = jnp.minimum(1.0, CLIPPING_NORM / jnp.maximum(jnp.sqrt(sum(squares)), 1e-12))
                return jax.tree.map(lambda s, g: s + jnp.tensordot(scale, g, 1), sums, rows), None

            sums, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), (x, y))
            flat, shaped = jax.flatten_util.ravel_pytree(sums)
            noisy = flat + NOISE_MULTIPLIER * CLIPPING_NORM * jax.random.normal(key, flat.shape)
            return self._sgd(params, shaped(noisy / size))

        return self._stepping(step, network, x, y, jax.random.key(0))

    def gradients_on_path(self, network: Network, size: int, *, steps: int, rows: int) -> Unit:
        """Integrated gradients by hand, so many rows at once."""
        jax, jnp = self.jax, self.jax.numpy
        params, images = self._params(network), math.gcd(size, max(1, rows // steps))
        x, y = (self.put(part.reshape(-1, images, *part.shape[1:])) for part in draw(network, size))
        points, shares = map(self.put, path_points(steps))

        def chosen(x: Any, params: Any, y: Any) -> Any:
            return jnp.take_along_axis(jax_apply(network.layers, params, x), y[:, None], axis=1).sum()

        def part(params: Any, data: Any) -> Any:
            x, y = data
            path = points.reshape(-1, *[1] * x.ndim) * x
            gradient = jax.vmap(jax.grad(chosen), in_axes=(0, None, None))(path, params, y)
            return jnp.tensordot(shares, gradient, 1) * x

        program = jax.jit(lambda params, x, y: jax.lax.map(lambda data: part(params, data), (x, y)))
        return lambda: program(params, x, y).block_until_ready()

    def epoch(self, network: Network, clients: int, *, examples: int, batch: int) -> Unit:
        """One central epoch over the examples of all clients: the floor of a round."""
        gradient = self.jax.grad(self._loss(network))
        x, y = (self.put(part.reshape(-1, batch, *part.shape[1:])) for part in draw(network, clients * examples))

        def through(params: Any, x: Any, y: Any) -> Any:
            return self.jax.lax.scan(lambda p, data: (self._sgd(p, gradient(p, *data)), None), params, (x, y))[0]

        return self._stepping(through, network, x, y)

    def shadows(self, network: Network, models: int, *, examples: int, batch: int, epochs: int) -> Unit:
        """Train all models side by side."""
        jax = self.jax
        gradient, params = jax.grad(self._loss(network)), self._params(network)
        x, y = map(self.put, draw(network, 2 * examples))
        rows = self.put(shadow_rows(models, examples, batch, epochs).transpose(1, 0, 2))

        def one(params: Any, rows: Any, x: Any, y: Any) -> Any:
            return jax.lax.scan(lambda p, r: (self._sgd(p, gradient(p, x[r], y[r])), None), params, rows)[0]

        program = jax.jit(jax.vmap(one, in_axes=(None, 0, None, None)))
        return lambda: jax.block_until_ready(program(params, rows, x, y))


# ---------------------------------------------------------------- trustml's own backends, from numpy


class Trustml:
    """One of trustml's backends, as its workers drive it."""

    def __init__(self, framework: str, device: str) -> None:
        sys.path.insert(0, str(SOURCE))
        try:
            from trustml.backends.table import load_backend
        except ImportError as error:
            raise AbsentError(f"trustml cannot be imported: {error}") from None
        self._backend = load_backend(framework)
        self._backend.open_device(device, 0)

    def _model(self, name: str) -> Any:
        from trustml.backends.contract import Model
        from trustml.models.weights import initial_weights
        from trustml.models.zoo import mlp, mnist_cnn

        known = {
            "mlp": (mlp([256, 128], classes=10), (784,)),
            "cnn": (mnist_cnn(), (28, 28, 1)),
            "shadow_mlp": (mlp([32], classes=10), (64,)),
        }
        if name not in known:
            raise AbsentError("trustml's layers have no residual connection")
        architecture, shape = known[name]
        weights = initial_weights(architecture, shape, generator=np.random.default_rng(1))
        return Model(architecture=architecture, input_shape=shape, weights=weights)

    @staticmethod
    def _draw(model: Any, rows: int) -> tuple[np.ndarray, np.ndarray]:
        return draw(Network((), model.input_shape), rows)

    def plain(self, name: str, size: int) -> Unit:
        """One step of the plain trainer."""
        from trustml.scenario.optimizers import SGD
        from trustml.scenario.regimes import Plain

        model = self._model(name)
        regime = Plain(epochs=1, batch_size=size, optimizer=SGD(learning_rate=LEARNING_RATE))
        trainer, (x, y) = self._backend.plain(model, regime, 0), self._draw(model, size)
        return lambda: trainer.step(x, y, learning_rate=LEARNING_RATE)

    def private(self, name: str, size: int, *, piece: int) -> Unit:
        """One step of the private trainer, the batch in pieces."""
        from trustml.backends.settings import PrivateSettings
        from trustml.scenario.optimizers import SGD

        model = self._model(name)
        settings = PrivateSettings(
            optimizer=SGD(learning_rate=LEARNING_RATE), expected_batch_size=size, noise_seed=(1, 2, 3, 4)
        )
        trainer, (x, y) = self._backend.private(model, settings, 0), self._draw(model, size)
        copies = x[:, None]

        def unit() -> None:
            for start in range(0, size, piece):
                part = slice(start, start + piece)
                trainer.accumulate(copies[part], y[part], clipping_norm=CLIPPING_NORM)
            trainer.update(clipping_norm=CLIPPING_NORM, noise_multiplier=NOISE_MULTIPLIER, learning_rate=LEARNING_RATE)

        return unit

    def integrated_gradients(self, name: str, size: int, *, steps: int) -> Unit:
        """The backend's integrated gradients."""
        from trustml.backends.contract import ExplainRequest
        from trustml.scenario.methods import IntegratedGradients

        model = self._model(name)
        x, y = self._draw(model, size)
        request = ExplainRequest(
            model=model,
            inputs=x,
            targets=y,
            method=IntegratedGradients(n_steps=steps),
            baseline=np.zeros_like(x),
            background=np.zeros((0, *x.shape[1:]), np.float32),
            features=np.arange(x[0].size).reshape(x.shape[1:]),
            layer=-1,
            seed=0,
        )
        return lambda: self._backend.explain(request)

    def round(self, name: str, clients: int, *, examples: int, batch: int) -> Unit:
        """One round of federated averaging."""
        from trustml.backends.settings import FederatedSettings
        from trustml.errors import UsageError
        from trustml.scenario.federated import FedAvg
        from trustml.scenario.optimizers import SGD

        model = self._model(name)
        regime = FedAvg(client_optimizer=SGD(learning_rate=LEARNING_RATE))
        try:
            federation = self._backend.federated(
                model, FederatedSettings(regime=regime, noise_seed=(1, 2, 3, 4), batch_size=batch)
            )
        except UsageError as error:
            raise AbsentError(str(error)) from None
        x, y = self._draw(model, clients * examples)
        batches = [(x[i : i + batch], y[i : i + batch]) for i in range(0, len(y), batch)]
        each = examples // batch
        held = [batches[i : i + each] for i in range(0, len(batches), each)]
        return lambda: federation.round(held)

    def shadows(self, name: str, models: int, *, examples: int, batch: int, epochs: int) -> Unit:
        """Train all models and give their logits over the pool."""
        from trustml.backends.shadows import ShadowModels, ShadowSettings
        from trustml.scenario.optimizers import SGD
        from trustml.scenario.regimes import Plain

        if self._backend.shadows is None:
            raise AbsentError("trustml trains shadow models in JAX alone")
        model = self._model(name)
        x, y = self._draw(model, 2 * examples)
        rows = shadow_rows(models, examples, batch, epochs).transpose(1, 0, 2).astype(np.int32)
        settings = ShadowSettings(
            architecture=model.architecture,
            inputs=x,
            regime=Plain(epochs=epochs, batch_size=batch, optimizer=SGD(learning_rate=LEARNING_RATE)),
            rates=np.full(rows.shape[1], LEARNING_RATE, np.float32),
        )
        made = ShadowModels(
            weights={key: np.stack([value] * models) for key, value in model.weights.items()},
            labels=np.repeat(y[None], models, axis=0),
            rows=rows,
            dropout_seeds=np.zeros(models, np.int64),
            noise_seeds=np.zeros((models, 4), np.uint32),
        )
        trainer = self._backend.shadows(settings)
        return lambda: trainer.train(made, done=lambda count: None)


# ---------------------------------------------------------------- what is measured


def path_points(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre points in (0, 1) and their shares."""
    points, shares = np.polynomial.legendre.leggauss(steps)
    return ((1 + points) / 2).astype(np.float32), (shares / 2).astype(np.float32)


def shadow_rows(models: int, examples: int, batch: int, epochs: int) -> np.ndarray:
    """Rows of each step's batches, shape (steps, models, batch); each model has half of the pool, in its own order."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(models):
        own = generator.permutation(2 * examples)[:examples]
        found.append(np.concatenate([generator.permutation(own) for _ in range(epochs)]).reshape(-1, batch))
    return np.stack(found, axis=1)


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    batches: tuple[int, ...] = (1024, 4096, 16384, 65536)
    second_batches: tuple[int, ...] = (64, 256, 1024)
    images: tuple[int, ...] = (1024, 4096)
    steps: int = 50
    rows: int = 16384
    clients: tuple[int, ...] = (100, 1000)
    examples: int = 64
    client_batch: int = 32
    models: tuple[int, ...] = (64, 256)
    shadow_examples: int = 1024
    epochs: int = 10
    piece: int = 8192
    micro_batch: int = 256
    side: int = 8192
    stream: int = 2**28
    repeats: int = 7
    seconds: float = 2.0


SMALL = Scale(
    batches=(8,), second_batches=(4,), images=(2,), steps=4, rows=8, clients=(2,), examples=8, client_batch=4,
    models=(2,), shadow_examples=16, epochs=1, piece=4, micro_batch=4, side=256, stream=2**20, repeats=3, seconds=0.0,
)  # fmt: skip


def parts(second: bool) -> Iterator[tuple[str, str]]:
    """Networks and kinds of work."""
    for network in ("mlp", "cnn", *(("resnet18", "transformer") if second else ())):
        yield network, "plain"
        yield network, "private"
        if network != "transformer":  # words have no gradient
            yield network, "integrated_gradients"
        if network in ("mlp", "cnn"):
            yield network, "round"
    yield "shadow_mlp", "shadows"


def sizes(name: str, kind: str, scale: Scale) -> tuple[int, ...]:
    """Examples of a batch, images, clients or models."""
    match kind:
        case "integrated_gradients":
            return scale.images if name in ("mlp", "cnn") else scale.second_batches
        case "round":
            return scale.clients
        case "shadows":
            return scale.models
        case _:
            return scale.batches if name in ("mlp", "cnn") else scale.second_batches


def engines(tool: Any, ours: Any, name: str, network: Network, kind: str, scale: Scale) -> dict[str, Callable]:
    """Engines of a framework by name; each makes a unit for a size."""
    framework = tool.name
    found: dict[str, Callable] = {}
    match kind:
        case "plain":
            found[framework] = lambda n: tool.plain(network, n)
            if framework == "torch":
                found["torch.compile"] = lambda n: tool.plain(network, n, compiled=True)
            found[f"trustml {framework}"] = lambda n: ours().plain(name, n)
        case "private":
            if framework == "torch":
                for mode in ("hooks", "ghost"):
                    found[f"Opacus {mode}"] = lambda n, mode=mode: tool.opacus(network, n, mode=mode)
            else:
                found["jax vmap in scan"] = lambda n: tool.per_example(network, n, piece=scale.micro_batch)
            found[f"trustml {framework}"] = lambda n: ours().private(name, n, piece=scale.piece)
        case "integrated_gradients":
            path = {"steps": scale.steps, "rows": scale.rows}
            found[f"{framework}, in pieces"] = lambda n: tool.gradients_on_path(network, n, **path)
            if framework == "torch":
                found["Captum"] = lambda n: tool.captum(network, n, **path)
            found[f"trustml {framework}"] = lambda n: ours().integrated_gradients(name, n, steps=scale.steps)
        case "round":
            clients = {"examples": scale.examples, "batch": scale.client_batch}
            found[f"{framework} epoch"] = lambda n: tool.epoch(network, n, **clients)
            found[f"trustml {framework}"] = lambda n: ours().round(name, n, **clients)
        case "shadows":
            half = {"examples": scale.shadow_examples, "batch": scale.client_batch, "epochs": scale.epochs}
            found[f"{framework} vmap"] = lambda n: tool.shadows(network, n, **half)
            found[f"trustml {framework}"] = lambda n: ours().shadows(name, n, **half)
    return found


def useful_work(kind: str, size: int, made: Plan, network: Network, scale: Scale) -> tuple[float, float]:
    """Operations, and bytes that an unfused program moves, of the work without privacy."""
    weights = 4 * sum(array.size for array in made.weights.values())
    inputs, values = 4 * math.prod(network.shape), 4 * made.values
    # Training: each output is written, read forwards and backwards, its gradient written and read; weights are read
    # twice, their gradient written and read, they are read and written. Input gradients lack the weights' part.
    passes, forth, of_weights = {"integrated_gradients": (2, 4, 2)}.get(kind, (3, 5, 6))
    match kind:
        case "integrated_gradients":
            rows, steps = size * scale.steps, max(1, size * scale.steps // scale.rows)
        case "round":
            rows = size * scale.examples
            steps = rows // scale.client_batch
        case "shadows":
            rows = size * scale.shadow_examples * scale.epochs
            steps = rows // scale.client_batch
        case _:
            rows, steps = size, 1
    return float(passes * rows * made.operations), float(
        rows * (inputs + forth * values) + steps * of_weights * weights
    )


def measure(unit: Unit, wait: Unit, *, repeats: int, seconds: float) -> dict[str, Any]:
    """First call, and then median and quartiles of calls, each from a synchronised device to a synchronised device."""

    def timed() -> float:
        wait()
        start = time.perf_counter()
        unit()
        wait()
        return time.perf_counter() - start

    first, found = timed(), [timed()]
    found.clear()  # one call more to warm up
    begin = time.perf_counter()
    while len(found) < repeats or (time.perf_counter() - begin < seconds and len(found) < 100):
        found.append(timed())
    low, middle, high = np.percentile(found, [25, 50, 75])
    return {"first_s": first, "median_s": middle, "low_s": low, "high_s": high, "repeats": len(found)}


def ceilings(tool: Any, scale: Scale) -> dict[str, float]:
    """Operations a second of products, and bytes a second read and written; the best of the repeats."""
    found: dict[str, float] = {}
    for precision in ("float32", "tf32", "bfloat16") if tool.cuda else ("float32",):
        seconds = measure(tool.product(scale.side, precision), tool.wait, repeats=scale.repeats, seconds=scale.seconds)
        found[f"{precision}_operations_per_s"] = 2 * scale.side**3 / seconds["low_s"]
    seconds = measure(tool.stream(scale.stream), tool.wait, repeats=scale.repeats, seconds=scale.seconds)
    found["bytes_per_s"] = 8 * scale.stream / seconds["low_s"]
    return found


def rows_of(tool: Any, ours: Any, part: tuple[str, str], args: argparse.Namespace, tops: dict) -> Iterator[dict]:
    """Measure all engines of a framework on one part, sizes ascending."""
    name, kind = part
    scale, network = SMALL if args.small else Scale(), networks(args.small)[name]
    made = plan(network.layers, network.shape, np.random.default_rng(1))
    for size in sizes(name, kind, scale):
        operations, moved = useful_work(kind, size, made, network, scale)
        floor = max(operations / tops["float32_operations_per_s"], moved / tops["bytes_per_s"])
        for engine, make in engines(tool, ours, name, network, kind, scale).items():
            row = {"network": name, "kind": kind, "size": size, "engine": engine, "framework": tool.name}
            tool.reset_peak()
            try:
                row |= measure(make(size), tool.wait, repeats=scale.repeats, seconds=scale.seconds)
            except AbsentError as error:
                yield row | {"absent": str(error)}
                continue
            except Exception as error:  # memory most of all; the others go on
                yield row | {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
                continue
            seconds = row["median_s"]
            yield row | {
                "peak_bytes": tool.peak(),
                "of_product_ceiling": operations / seconds / tops["float32_operations_per_s"],
                "of_bandwidth_ceiling": moved / seconds / tops["bytes_per_s"],
                "of_roofline": floor / seconds,
            }


def resident_peak() -> int:
    """Largest resident size of this process so far, in bytes."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def child(args: argparse.Namespace) -> int:
    """Measure one framework: its ceilings, or some parts with ceilings measured before."""
    warnings.filterwarnings("ignore")
    kinds = {"torch": Torch, "jax": Jax}
    try:
        tool = kinds[args.child](args.device)
    except (AbsentError, ImportError) as error:
        Path(args.output).write_text(json.dumps({"absent": str(error)}))
        return 0
    opened: list[Trustml] = []

    def ours() -> Trustml:
        if not opened:
            opened.append(Trustml(args.child, args.device))
        return opened[0]

    scale = SMALL if args.small else Scale()
    tops = json.loads(args.ceilings) if args.ceilings else ceilings(tool, scale)
    content = {"device": tool.describe(), "ceilings": tops, "rows": []}
    wanted = [tuple(part.split(":")) for part in args.parts.split(",") if part]
    for part in wanted:
        for row in rows_of(tool, ours, part, args, tops):
            content["rows"].append(row)
            print(line_of(row), flush=True)
    Path(args.output).write_text(json.dumps(content))
    return 0


def line_of(row: dict[str, Any]) -> str:
    """One row as text."""
    start = f"{row['kind']:21} {row['network']:11} {row['size']:>6}  {row['engine']:20}"
    if "median_s" not in row:
        return f"{start} {'absent: ' + row['absent'] if 'absent' in row else 'failed: ' + row['failed']}"
    return (
        f"{start} {1e3 * row['median_s']:10.3f} ms [{1e3 * row['low_s']:.3f}, {1e3 * row['high_s']:.3f}]  "
        f"{100 * row['of_roofline']:5.1f} % of the roofline  {row['peak_bytes'] / 2**20:8.0f} MiB"
    )


def start_child(args: argparse.Namespace, framework: str, wanted: Sequence[tuple[str, str]], tops: dict) -> dict:
    """Measure in a process of its own and read what it found."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "found.json"
        command = [sys.executable, str(Path(__file__).resolve()), "--child", framework, "--device", args.device]
        command += ["--output", str(output), "--parts", ",".join(":".join(part) for part in wanted)]
        command += ["--small"] if args.small else []
        command += ["--ceilings", json.dumps(tops)] if tops else []
        variables = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}
        if args.small:  # which is about this script, and not about the speed of what is compiled
            variables["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        try:
            done = subprocess.run(command, env=os.environ | variables, stdin=subprocess.DEVNULL, timeout=args.timeout)
        except subprocess.TimeoutExpired:
            return {"failed": f"took more than {args.timeout} s"}
        if done.returncode or not output.exists():
            return {"failed": f"ended with code {done.returncode}"}
        return json.loads(output.read_text())


def versions() -> dict[str, str]:
    """Versions of what is installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def main() -> int:
    """Measure all that is there."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to test this script")
    parser.add_argument("--second", action="store_true", help="also ResNet-18 with GroupNorm and a small Transformer")
    parser.add_argument("--apart", action="store_true", help="with --small: processes of their own, as without it")
    parser.add_argument("--framework", choices=["torch", "jax"], action="append", help="only this; may be repeated")
    parser.add_argument("--output", help="JSON file; benchmarks/results/gpu.json for a GPU, none for a processor")
    parser.add_argument("--timeout", type=float, default=1200.0, help="seconds for one network and kind of work")
    for hidden in ("--child", "--parts", "--ceilings"):
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args)
    on_cpu = args.device == "cpu"
    if on_cpu:
        print("On a processor this is a test of the script. Its figures are no results.", flush=True)
    wanted, apart = list(parts(args.second or args.small)), args.apart or not args.small
    content: dict[str, Any] = {
        "results": not on_cpu and not args.small,
        "device": "",
        "host": platform.processor() or platform.machine(),
        "versions": versions(),
        "settings": {"small": args.small, "precision": "float32, TF32 off"},
        "ceilings": {},
        "rows": [],
        "absent": {},
    }
    for framework in args.framework or ("torch", "jax"):
        found = start_child(args, framework, () if apart else wanted, {})
        if "ceilings" not in found:
            content["absent"][framework] = found.get("absent") or found["failed"]
            print(f"{framework}: {content['absent'][framework]}", flush=True)
            continue
        content["device"] = found["device"]
        content["ceilings"][framework] = found["ceilings"]
        content["rows"] += found["rows"]
        for part in wanted if apart else ():
            more = start_child(args, framework, (part,), found["ceilings"])
            content["rows"] += more.get("rows", [])
            if "failed" in more:
                content["absent"][f"{framework} {':'.join(part)}"] = more["failed"]
    if not content["ceilings"]:
        print(f"nothing could be measured on {args.device}", file=sys.stderr)
        return 2
    output = args.output or ("" if on_cpu or args.small else str(HERE / "results" / "gpu.json"))
    if output:
        Path(output).write_text(json.dumps(content, indent=1) + "\n")
        print(f"written: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
