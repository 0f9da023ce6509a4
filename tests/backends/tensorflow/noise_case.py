"""Draws and transforms of the tensorflow environment, when run in it, into a file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tests import WHOLE

SIZE, DRAWS = 500_000, 8
LEADING = np.array([1 << place for place in range(2, 64)], np.uint64)
BITS = (0, 10, 30, 45)


def tail_words(bits: int) -> np.ndarray:
    """Words whose leading bits are zero."""
    return np.random.default_rng(bits).integers(2 ** (64 - bits), size=200_000, dtype=np.uint64)


def noise_of_private_steps() -> dict[str, np.ndarray]:
    """Noise of a few private steps for each strategy, and of one step too many the error."""
    from tests.backends.correlated_case import SHORT, STEPS, STRATEGIES, noise_of_steps
    from tests.backends.task_case import force
    from trustml.backends.table import load_backend
    from trustml.errors import PrivacyError

    backend, found = load_backend("tensorflow"), {}
    force("book_keeping")  # to choose, it would compile each way to clip
    for name in (*SHORT, "independent"):
        rows = noise_of_steps(backend, STRATEGIES.get(name))
        found[name] = np.concatenate([part.reshape(STEPS, -1) for part in rows.values()], axis=1)
    try:
        noise_of_steps(backend, STRATEGIES["blt"], STEPS + 1)
    except PrivacyError as error:
        found["beyond"] = np.array(str(error))
    return found


def steps_of_ablations(folder: Path) -> dict[str, np.ndarray]:
    """What ablations of private training come to."""
    from tests.backends.ablated_case import findings
    from trustml.backends.table import load_backend

    return {f"ablated_{name}": np.array(value) for name, value in findings(load_backend("tensorflow"), folder).items()}


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
        **{f"steps_{name}": noise for name, noise in noise_of_private_steps().items()},
        **(steps_of_ablations(folder) if WHOLE else {}),
        outermost=transform(np.array([0, 1], np.uint64), 0),
        leading=transform(LEADING, 1 << 63),
        mirrored=transform(LEADING | np.uint64(1), 1 << 63),
        **{f"tail_{bits}": transform(tail_words(bits) & ~np.uint64(3), 1 << 63) for bits in BITS},
    )


if __name__ == "__main__":
    run(Path(sys.argv[1]))
