"""Random streams, one for each purpose, so that no draw of one ever moves another."""

from __future__ import annotations

import enum
import secrets

import numpy as np


class Stream(enum.IntEnum):
    """What a stream of random numbers is for."""

    SPLIT = 1
    WEIGHTS = 2
    BATCHES = 3
    CLIENTS = 4
    DROPOUT = 5
    LABELS = 6
    EXPLANATIONS = 7
    PROBES = 8
    COHORTS = 9
    SHADOWS = 10
    ABLATION_NOISE = 11
    AUGMENTATION = 12
    ADAPTERS = 13


def public_generator(seed: int, stream: Stream) -> np.random.Generator:
    """Return a stream that anyone can repeat from the manifest."""
    return np.random.default_rng([seed, int(stream)])


def secret_generator() -> np.random.Generator:
    """Return a stream from 256 bits of operating-system entropy that nobody can repeat.

    The generator is numpy's PCG64, which is not a cryptographic one.
    """
    return np.random.default_rng(secrets.randbits(256))
