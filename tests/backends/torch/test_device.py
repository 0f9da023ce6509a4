"""The device of PyTorch, and what reduced precision would do to clipping."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings
from trustml.backends.torch.clipping import make_clipper
from trustml.backends.torch.device import open_device
from trustml.backends.torch.network import to_input, to_labels
from trustml.errors import UsageError
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp
from trustml.scenario.optimizers import SGD

pytestmark = pytest.mark.torch


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def products_in_bfloat16() -> Iterator[None]:
    part = torch.backends.mkldnn.matmul
    before = part.fp32_precision
    part.fp32_precision = "bf16"
    try:
        yield
    finally:
        part.fp32_precision = before


def test_nothing_reduces_precision_as_we_open_the_device():
    assert open_device("cpu", threads=0).reduced_precision() == ()


def test_opening_the_device_turns_off_what_the_caller_allowed():
    torch.set_float32_matmul_precision("medium")
    device = open_device("cpu", threads=0)
    assert torch.get_float32_matmul_precision() == "highest"
    assert device.reduced_precision() == ()


@pytest.mark.parametrize(
    ("switch", "named"),
    [
        (lambda: torch.autocast("cpu", torch.bfloat16), "autocast.*torch.bfloat16; leave it"),
        (lambda: default_dtype(torch.bfloat16), "default_dtype.*torch.bfloat16; set_default_dtype"),
        (products_in_bfloat16, "mkldnn.matmul.fp32_precision is 'bf16'; set it to 'ieee'"),
    ],
)
def test_each_switch_is_named_with_its_value_and_the_way_out(switch, named):
    device = open_device("cpu", threads=0)
    with switch():
        (found,) = device.reduced_precision()
    assert device.reduced_precision() == ()
    assert re.search(named, found), found


def test_a_gpu_that_is_not_there_is_an_error_that_says_what_to_do():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UsageError, match=r"'cuda' but PyTorch .* use cpu or auto"):
        open_device("cuda", threads=0)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_clipped_gradients_are_longer_than_the_clipping_norm_in_bfloat16_alone():
    """Why private training is refused there: epsilon is computed for the clipping norm."""
    generator = np.random.default_rng(1)
    weights = initial_weights(mlp([64], classes=10), (64,), generator=np.random.default_rng(0))
    model = Model(architecture=mlp([64], classes=10), input_shape=(64,), weights=weights)
    settings = PrivateSettings(
        optimizer=SGD(learning_rate=0.1),
        per_layer=False,
        count_unclipped=False,
        expected_batch_size=16,
        multiplicity=1,
        noise_seed=(1, 2, 3, 4),
        micro_batch_size=0,
        grad_sample_mode="hooks",
    )
    inputs, labels = generator.normal(size=(16, 64)).astype(np.float32), generator.integers(0, 10, 16)

    def longest(reduced: bool) -> float:
        """Norm of the longest clipped gradient of a single example, in clipping norms."""
        clipper = make_clipper("hooks", model, settings)
        norms = []
        for row in range(len(labels)):
            with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
                one = to_input(inputs[[row]]), to_labels(labels[[row]])
                sums, _ = clipper.clip(*one, examples=1, clipping_norm=0.1)
            norms.append(sum(float(part.double().square().sum()) for part in sums) ** 0.5)
        return max(norms) / 0.1

    assert longest(reduced=False) <= 1 + 1e-6
    assert longest(reduced=True) > 1.001
