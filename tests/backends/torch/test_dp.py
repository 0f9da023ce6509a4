"""What trustml knows of Opacus and of PyTorch's generator, and works around."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from opacus.utils.tensor_utils import unfold2d
from torch.nn import functional

from trustml.backends.torch.noise import noise_generator

pytestmark = pytest.mark.torch


def test_opacus_misreads_channels_last_activations():
    """Known defect of Opacus 1.6.0; when this fails it was fixed, and `keep_channels_first` can go."""
    images = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    settings = {"kernel_size": (3, 3), "padding": (0, 0), "stride": (1, 1), "dilation": (1, 1)}
    expected = functional.unfold(images, 3)
    assert torch.equal(unfold2d(images, **settings), expected)
    assert not torch.allclose(unfold2d(images.to(memory_format=torch.channels_last), **settings), expected)


def test_manual_seed_keeps_only_32_bits_on_the_cpu():
    """Why :func:`noise_generator` fills the whole state."""
    low, high = (torch.Generator().manual_seed(seed) for seed in (5, 5 + (7 << 32)))
    assert torch.equal(torch.randn(8, generator=low), torch.randn(8, generator=high))


@pytest.mark.parametrize("word", range(4))
def test_every_word_of_the_seed_changes_the_noise(word):
    seed = [1, 2, 3, 4]
    changed = list(seed)
    changed[word] += 1
    first, second = (
        torch.randn(1000, generator=noise_generator(tuple(words), torch.device("cpu"))) for words in (seed, changed)
    )
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


def test_the_noise_is_standard_normal_and_repeats_with_its_seed():
    draws = [torch.randn(200_000, generator=noise_generator((9, 9, 9, 9), torch.device("cpu"))) for _ in range(2)]
    assert torch.equal(*draws)
    assert abs(draws[0].mean()) < 5 / 200_000**0.5
    assert abs(draws[0].std() - 1) < 5 / 400_000**0.5
