"""Gaussian noise with both tails: Threefry's words (Salmon et al., SC 2011) through the inverse of the error function.

``jax.random.normal`` keeps 23 bits of each word, so that no number lies beyond -5.42 or +5.22. Here a number is made
of a sign and 62 bits of a tail probability, the whole output of one call; where those are all zero, a word for all
numbers of the draw goes on from there, down to 2**-95. Threefry's rounds are written out, where JAX runs a loop that
writes every round to memory: they become one loop over the numbers together with what makes them normal.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array, lax

from trustml.backends.jax.network import Params
from trustml.privacy.noise_strategy import NoiseStrategy

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
_SMALL = 2**12
"""Numbers of an array that is drawn together with others: to copy it costs less than to compile its own draw."""
_BORDER = np.float32(5)
_CENTRE = (
    3.9583209598959e-08,
    4.851791004512052e-07,
    -4.981194706488168e-06,
    -6.207880232977914e-06,
    3.0911510111764073e-04,
    -1.773041789419949e-03,
    -5.90812973678112e-03,
    3.4880268573760986e-01,
    2.12331366539001460,
)
"""Normal quantile over ``x = 1 - p``, by ``w - 2.5`` where ``w = -log(1 - x * x) < 5``; relative error 1e-7."""
_TAIL = (
    11.649507522583008,
    6.049492359161377,
    -5.791397571563721,
    1.0944184064865112,
    -1.2208820581436157,
    0.78395015001297,
    0.11339422315359116,
    -0.280293345451355,
    1.3575685024261475,
)
"""The same over ``sqrt(w)``, by ``1 / sqrt(w) - 1/4`` where 5 <= w < 92; relative error 5e-8."""


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
        One after the other they are made of the counters (0, 0), (0, 1), ... of the key, as the bits of
        ``jax.random.bits`` are, where JAX's form is the partitionable one.
    """
    words = jax.random.key_data(key)
    leaves, structure = jax.tree.flatten(like)
    begins = np.cumsum([0, *(leaf.size for leaf in leaves)]).tolist()
    assert begins[-1] < 2**32
    beyond = _below_one(words)
    drawn: list[Array | None] = [None] * len(leaves)
    for group in _drawn_together(leaves):
        counters = [np.uint32(begins[place]) + lax.iota(np.uint32, leaves[place].size) for place in group]
        numbers = _normal(words, jnp.concatenate(counters) if len(group) > 1 else counters[0], beyond)
        ends = np.cumsum([leaves[place].size for place in group]).tolist()
        for place, end in zip(group, ends, strict=True):
            drawn[place] = numbers[end - leaves[place].size : end].reshape(leaves[place].shape)
    return jax.tree.unflatten(structure, drawn)


def _drawn_together(leaves: Sequence[Array]) -> list[list[int]]:
    """Places of small arrays, all in one group, and of each large one: what draws a group is traced and compiled."""
    small = [place for place, leaf in enumerate(leaves) if leaf.size <= _SMALL]
    return ([small] if small else []) + [[place] for place, leaf in enumerate(leaves) if leaf.size > _SMALL]


def standard_number(key: Array) -> Array:
    """Draw one standard normal number."""
    return standard_noise(key, like={"": jax.ShapeDtypeStruct((1,), np.float32)})[""][0]


def normal_of_words(high: Array, low: Array, beyond: Array) -> Array:
    """Turn two random words each into a normal number.

    Parameters
    ----------
    high, low : uint32 array
        The last bit of `low` is the sign, the last one of `high` is not used. The others, high ones first, are the
        probability of a number farther out, from 0 to 2**62 - 1.
    beyond : float32
        In (0, 1]: where in the outermost of those 2**62 parts a number lies that falls there. One is enough for a
        draw, as two numbers of it are out there with probability 2**-125 a pair.
    """
    upper = lax.bitcast_convert_type(high >> np.uint32(1), np.int32)
    lower = lax.bitcast_convert_type(low >> np.uint32(1), np.int32)
    within = jnp.where((upper | lower) == 0, beyond, np.float32(0.5))
    p = upper.astype(np.float32) * np.float32(2**-31) + (lower.astype(np.float32) + within) * np.float32(2**-62)
    # 1 - x * x for x = 1 - p, without cancellation where p is tiny
    w = -jnp.log(p * (2 - p))
    root = jnp.sqrt(w)
    central = w < _BORDER
    place = jnp.where(central, w - np.float32(2.5), 1 / root - np.float32(0.25))
    ratio = jnp.where(central, np.float32(_CENTRE[0]), np.float32(_TAIL[0]))
    for middle, outer in zip(_CENTRE[1:], _TAIL[1:], strict=True):
        ratio = ratio * place + jnp.where(central, np.float32(middle), np.float32(outer))
    size = ratio * jnp.where(central, 1 - p, root)
    # the last bit of `low` flips the sign bit: nothing is rounded
    sign = low << np.uint32(31)
    return lax.bitcast_convert_type(lax.bitcast_convert_type(size, np.uint32) ^ sign, np.float32)


def _normal(words: Array, counters: Array, beyond: Array) -> Array:
    high, low = _threefry(words[0], words[1], jnp.zeros_like(counters), counters)
    return normal_of_words(high, low, beyond)


def _below_one(words: Array) -> Array:
    """Draw one of the middles of 2**32 parts of (0, 1), of a counter that no coordinate has."""
    high, _ = _threefry(words[0], words[1], jnp.uint32(1), jnp.uint32(0))
    return (high.astype(np.float32) + np.float32(0.5)) * np.float32(2**-32)


def _threefry(key: Array, other: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """Threefry 2x32 with 20 rounds."""
    keys = (key, other, key ^ other ^ _PARITY)
    first, second = first + keys[0], second + keys[1]
    for turn in range(5):
        for rotation in _ROTATIONS[turn % 2]:
            first = first + second
            # rotated to the left
            second = (second << np.uint32(rotation) | second >> np.uint32(32 - rotation)) ^ first
        # a key, and the number of the injection, after every four rounds
        first, second = first + keys[(turn + 1) % 3], second + keys[(turn + 2) % 3] + np.uint32(turn + 1)
    return first, second


class CorrelatedNoise:
    """Noise that is made of the vectors of several steps, as a strategy says, and what it keeps of them.

    Parameters
    ----------
    strategy : NoiseStrategy
    like : dict of str to array
        For the shapes.
    """

    def __init__(self, strategy: NoiseStrategy, *, like: Params) -> None:
        self._strategy, self._step = strategy, 0
        self._kept = {name: jnp.zeros((strategy.kept, *part.shape), np.float32) for name, part in like.items()}
        self._make = jax.jit(_combined, donate_argnums=(0,))

    def take(self, words: npt.NDArray[np.uint32] | Array, draw: int) -> Params:
        """Make the noise of the next step, over the standard deviation.

        Parameters
        ----------
        words : uint32 array of shape (2,)
            Of the key.
        draw : int
            Folded into the key; no other vector of the key may have the same.
        """
        table = self._strategy.table(self._step)
        self._step += 1
        weights, slots = table.weights.astype(np.float32), np.array(table.slots, np.int32)
        noise, self._kept = self._make(self._kept, words, np.uint32(draw), weights, slots)
        return noise


def _combined(kept: Params, words: Array, draw: Array, weights: Array, slots: Array) -> tuple[Params, Params]:
    like = {name: jax.ShapeDtypeStruct(part.shape[1:], np.float32) for name, part in kept.items()}
    fresh = lax.optimization_barrier(standard_noise(jax.random.fold_in(threefry_key(words), draw), like=like))

    def made(one: Array, before: Array) -> Array:
        # in full precision: else accelerators would round the vectors to fewer bits before they add them up
        rest = jnp.tensordot(weights[:, 1:], before, 1, precision=lax.Precision.HIGHEST)
        return rest + weights[:, 0].reshape(-1, *[1] * one.ndim) * one

    rows = {name: made(fresh[name], before) for name, before in kept.items()}
    noise = {name: row[0] for name, row in rows.items()}
    return noise, {name: before.at[slots].set(rows[name][1:]) for name, before in kept.items()}
