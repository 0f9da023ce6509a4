"""Modules of Flax NNX are carried over and compute the same, or are refused by name; where Flax is installed."""

from __future__ import annotations

import numpy as np
import pytest

import trustml
from trustml.errors import UsageError
from trustml.models.layers import GroupNorm

nnx = pytest.importorskip("flax.nnx", reason="flax is not installed: this looks at the real one")
jax = pytest.importorskip("jax")
jnp = jax.numpy
pytestmark = pytest.mark.jax
GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.normal(size=(2, 8, 8, 3)).astype(np.float32)
IDS = GENERATOR.integers(1, 11, (2, 6))
ROWS = GENERATOR.normal(size=(2, 4)).astype(np.float32)


class Residual(nnx.Module):
    """Norms of all kinds, a depthwise and a transposed convolution, dropout, pooling with and without edges."""

    def __init__(self, rngs):
        self.stem, self.bn = nnx.Conv(3, 8, (3, 3), strides=2, use_bias=False, rngs=rngs), nnx.BatchNorm(8, rngs=rngs)
        self.deep = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=rngs)
        self.gn, self.inorm = nnx.GroupNorm(8, 4, rngs=rngs), nnx.InstanceNorm(8, rngs=rngs)
        self.up = nnx.ConvTranspose(8, 8, (3, 3), strides=(2, 2), rngs=rngs)
        self.drop, self.head = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, images):
        values = nnx.relu(self.bn(self.stem(images)))
        values = values + nnx.gelu(self.gn(self.deep(values)))
        values = nnx.silu(self.inorm(self.up(values)))
        values = nnx.avg_pool(nnx.max_pool(values, (2, 2), strides=(2, 2)), (2, 2), strides=(2, 2))
        return nnx.log_softmax(self.head(self.drop(values.mean((1, 2)))))


class Encoder(nnx.Module):
    """Tokens with positions, blocks in a list with attention masked where tokens are padding, a mean of steps."""

    def __init__(self, rngs):
        self.embed, self.position = nnx.Embed(11, 8, rngs=rngs), nnx.Param(jnp.ones((6, 8)) * 0.1)
        self.blocks = nnx.List([Block(rngs), Block(rngs)])
        self.last, self.head = nnx.RMSNorm(8, rngs=rngs), nnx.Linear(8, 3, use_bias=False, rngs=rngs)

    def __call__(self, ids):
        values, mask = self.embed(ids) + self.position, (ids != 0)[:, None, None, :]
        for block in self.blocks:
            values = block(values, mask)
        return self.head(self.last(values).mean(1))


class Block(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = nnx.LayerNorm(8, rngs=rngs), nnx.LayerNorm(8, use_bias=False, rngs=rngs)
        self.attend = nnx.MultiHeadAttention(2, 8, dropout_rate=0.1, decode=False, rngs=rngs)
        self.wide, self.narrow = nnx.Linear(8, 16, rngs=rngs), nnx.LinearGeneral(16, 8, rngs=rngs)

    def __call__(self, values, mask):
        values = values + self.attend(self.first(values), mask=mask)
        return values + self.narrow(nnx.gelu(self.wide(self.second(values)), approximate=False))


class Decoder(nnx.Module):
    """A causal mask, positions from a table, and the table of tokens again for the logits."""

    def __init__(self, rngs):
        self.embed, self.position = nnx.Embed(11, 8, rngs=rngs), nnx.Embed(6, 8, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.attend = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)

    def __call__(self, ids):
        values = self.embed(ids) + self.position(jnp.arange(ids.shape[1]))
        values = values + self.attend(self.norm(values), mask=nnx.make_causal_mask(ids))
        return self.embed.attend(values)


def moved(module):
    """Weights and running statistics that a fresh module does not have."""
    generator = np.random.default_rng(2)
    for _, variable in nnx.to_flat_state(nnx.state(module)):
        old = variable.get_value()
        if old.ndim == 1 and jnp.issubdtype(old.dtype, jnp.floating):
            variable.set_value(old + jnp.asarray(generator.uniform(0.1, 0.5, old.shape), jnp.float32))
    nnx.update(module, nnx.state(module))
    return module


CASES = {Residual: IMAGES, Encoder: IDS, Decoder: IDS}


@pytest.mark.parametrize(("kind", "example"), CASES.items())
def test_modules_are_carried_and_compute_the_same(kind, example):
    module = moved(kind(nnx.Rngs(0)))
    before = {path: np.asarray(one.get_value()) for path, one in nnx.to_flat_state(nnx.state(module, nnx.Param))}
    found = trustml.import_model(module, example=example)
    assert found.report.proof is not None and found.report.kind == f"Flax NNX module ({kind.__name__})"
    for path, one in nnx.to_flat_state(nnx.state(module, nnx.Param)):
        np.testing.assert_array_equal(before[path], one.get_value())
    if kind is Residual:
        assert not module.drop.deterministic and type(module.bn) is nnx.BatchNorm  # left as it was
    module.eval()
    logits = found.logits(example.astype(np.float32))
    logits = np.asarray(jax.nn.log_softmax(logits)) if kind is Residual else logits
    np.testing.assert_allclose(logits, module(jnp.asarray(example)), atol=2e-5)


def test_nodes_have_the_names_of_modules():
    found = trustml.import_model(moved(Encoder(nnx.Rngs(0))), example=IDS)
    names = [node.name for node in found.architecture.nodes]
    assert {"blocks.0.first", "blocks.1.attend.query", "blocks.1.narrow", "last", "head"} <= {
        name.removesuffix(".kernel") for name in names
    }, names


def test_batch_norms_are_replaced_on_request():
    found = trustml.import_model(moved(Residual(nnx.Rngs(0))), example=IMAGES, norms={"bn": GroupNorm(groups=4)})
    layers = {node.name: node.layer for node in found.architecture.nodes}
    assert isinstance(layers["bn"], GroupNorm)


class Counting(nnx.Module):
    def __init__(self, rngs):
        self.count, self.head = nnx.Variable(jnp.zeros(())), nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, rows):
        self.count[...] = self.count[...] + 1
        return self.head(rows)


class OfTheBatch(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(4, use_running_average=False, rngs=rngs)

    def __call__(self, rows):
        return self.norm(rows, use_running_average=False)


class Recurrent(nnx.Module):
    def __init__(self, rngs):
        self.cells = nnx.RNN(nnx.GRUCell(3, 4, rngs=rngs))

    def __call__(self, images):
        return self.cells(images[:, 0])[:, -1]


@pytest.mark.parametrize(
    ("kind", "example", "line"),
    [
        (Counting, ROWS, "changes a buffer or its input when it is called"),
        (OfTheBatch, ROWS, "changes a buffer|mixes the examples|normalises by the statistics"),
        (Recurrent, IMAGES, "changes a buffer|cannot be carried"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(kind, example, line):
    with pytest.raises(UsageError, match=line) as caught:
        trustml.import_model(kind(nnx.Rngs(0)), example=example)
    assert len(str(caught.value).splitlines()) == 1
