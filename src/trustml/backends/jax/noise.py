"""Gaussian noise from Threefry (Salmon et al., SC 2011), the numbers of ``jax.random.normal`` in half of its time.

JAX runs Threefry's rounds as a loop on a processor, which writes every round to memory. Written out they become one
loop over the numbers together with what makes them normal.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from trustml.backends.jax.network import Params

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
_MANTISSA, _ONE = np.uint32(9), np.uint32(0x3F800000)


def noise_key(seed: tuple[int, int, int, int]) -> Array:
    """Make a Threefry key, 64 bits wide, from 128 bits of entropy."""
    return threefry_key(noise_words(seed))


def threefry_key(words: npt.ArrayLike | Array) -> Array:
    """Make a key of its two words."""
    return jax.random.wrap_key_data(jnp.asarray(words, np.uint32), impl="threefry2x32")


def noise_words(seed: Sequence[int]) -> npt.NDArray[np.uint32]:
    """Give the two words of that key."""
    return np.random.SeedSequence(list(seed)).generate_state(2).astype(np.uint32)


def add_noise(sums: Params, key: Array, *, deviation: Array | float) -> Params:
    """Add Gaussian noise of one standard deviation to every coordinate, independently."""
    return jax.tree.map(lambda total, drawn: total + deviation * drawn, sums, standard_noise(key, like=sums))


def standard_noise(key: Array, *, like: Params) -> Params:
    """Draw an independent standard normal number for every coordinate of what has such shapes.

    Parameters
    ----------
    key : JAX key
        Of Threefry.
    like : dict of str to array
        Fewer than 2**32 numbers.

    Returns
    -------
    dict of str to array
        One after the other they are ``jax.random.normal(key, (total,))``, where JAX's form is the partitionable one.
    """
    words = jax.random.key_data(key)
    leaves, structure = jax.tree.flatten(like)
    begins = np.cumsum([0, *(leaf.size for leaf in leaves)]).tolist()
    assert begins[-1] < 2**32
    drawn = [
        _normal(words, (np.uint32(begin) + lax.iota(np.uint32, leaf.size)).reshape(leaf.shape))
        for begin, leaf in zip(begins, leaves, strict=False)
    ]
    return jax.tree.unflatten(structure, drawn)


def _normal(words: Array, counters: Array) -> Array:
    """Turn a random word for each counter into a normal number, as JAX does."""
    high, low = _threefry(words[0], words[1], jnp.zeros_like(counters), counters)
    between = lax.bitcast_convert_type((high ^ low) >> _MANTISSA | _ONE, np.float32) - np.float32(1)
    least = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(least, between * (np.float32(1) - least) + least)
    return np.float32(np.sqrt(2)) * lax.erf_inv(uniform)


def _threefry(key: Array, other: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """Threefry 2x32 with 20 rounds."""
    keys = (key, other, key ^ other ^ _PARITY)
    first, second = first + keys[0], second + keys[1]
    for turn in range(5):
        for rotation in _ROTATIONS[turn % 2]:
            first = first + second
            second = (second << np.uint32(rotation) | second >> np.uint32(32 - rotation)) ^ first
        first, second = first + keys[(turn + 1) % 3], second + keys[(turn + 2) % 3] + np.uint32(turn + 1)
    return first, second
