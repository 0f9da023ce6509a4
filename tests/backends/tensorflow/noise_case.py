"""Draws and transforms of the tensorflow environment, when run in it, into a file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SIZE, DRAWS = 500_000, 8
LEADING = np.array([1 << place for place in range(2, 64)], np.uint64)
BITS = (0, 10, 30, 45)


def tail_words(bits: int) -> np.ndarray:
    """Words whose leading bits are zero."""
    return np.random.default_rng(bits).integers(2 ** (64 - bits), size=200_000, dtype=np.uint64)


def run(folder: Path) -> None:
    import tensorflow as tf

    from trustml.backends.tensorflow.noise import NoiseAhead, normal_of_words, stateless_normals

    def transform(words: np.ndarray, beyond: int) -> np.ndarray:
        return normal_of_words(tf.constant(words), beyond=tf.constant(beyond, tf.uint64)).numpy()

    draw = tf.function(lambda seed: stateless_normals([tf.TensorShape([2, SIZE // 2])], seed)[0])
    ahead = NoiseAhead((1, 2, 3, 4), SIZE)
    np.savez(
        folder / "noise.npz",
        philox=np.stack([draw(tf.constant([5, step], tf.int64)).numpy().ravel() for step in range(DRAWS)]),
        ahead=np.stack([ahead.take() for _ in range(DRAWS)]),
        outermost=transform(np.array([0, 1], np.uint64), 0),
        leading=transform(LEADING, 1 << 63),
        mirrored=transform(LEADING | np.uint64(1), 1 << 63),
        **{f"tail_{bits}": transform(tail_words(bits) & ~np.uint64(3), 1 << 63) for bits in BITS},
    )


if __name__ == "__main__":
    run(Path(sys.argv[1]))
