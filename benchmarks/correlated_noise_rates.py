"""The network of `correlated_noise.py` in plain numpy, the choice of learning rates with it, and what that does."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trustml.data.dataset import Examples


def flat(examples: Examples) -> np.ndarray:
    """Inputs as rows."""
    return np.ascontiguousarray(examples.inputs.reshape(len(examples), -1))


def accuracy_on(examples: Examples, weights: list[np.ndarray]) -> float:
    """Share of rows that are classified right."""
    return float((values(weights, flat(examples))[-1].argmax(axis=1) == examples.labels).mean())


def values(weights: list[np.ndarray], inputs: np.ndarray) -> list[np.ndarray]:
    """Inputs of each dense layer, and the logits."""
    found = [inputs]
    for place in range(0, len(weights), 2):
        after = found[-1] @ weights[place] + weights[place + 1]
        found.append(np.maximum(after, 0) if place + 2 < len(weights) else after)
    return found


def clipped_sum(weights: list[np.ndarray], inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Sum of the examples' gradients, each no longer than 1, as one vector."""
    seen = values(weights, inputs)
    chances = np.exp(seen[-1] - seen[-1].max(axis=1, keepdims=True))
    back = chances / chances.sum(axis=1, keepdims=True)
    back[np.arange(len(labels)), labels] -= 1
    pairs = []
    for place in reversed(range(0, len(weights), 2)):
        before = seen[place // 2]
        pairs.append((before, back))
        back = (back @ weights[place].T) * (before > 0)
    # a dense layer's gradient is an outer product, whose norm is the product of both norms; 1 is for the bias
    squares = sum(((before**2).sum(axis=1) + 1) * (error**2).sum(axis=1) for before, error in pairs)
    scale = 1 / np.maximum(1, np.sqrt(squares))[:, None]
    parts = [part for before, error in reversed(pairs) for part in (before.T @ (error * scale), (error * scale).sum(0))]
    return np.concatenate([part.ravel() for part in parts])


def best_rate(accuracy: Callable[[float], float], first: float) -> float:
    """Climb from `first`, by powers of two, while accuracy on training rows rises.

    A hill climb with one noise seed: it may stop at a lesser hill, and does not tell rates apart that differ by less
    than another seed would change. Held-out rows have no say, so a rate may be too high for them.
    """
    known, best = functools.cache(accuracy), first
    with np.errstate(all="ignore"):  # too high a rate
        for factor in (0.5, 2.0):
            while known(best * factor) > known(best):
                best *= factor
    return best


def held_out_lines(
    found: Mapping[str, Sequence[Mapping[str, float]]], chosen: Mapping[str, float], *, where: str
) -> list[str]:
    """Say what the choice of rates by training rows does to the comparison with DP-SGD."""
    lines = ["", "## What the choice of rates does", ""]
    lines += [f"Rates are a hill climb on training rows with one noise seed. {where}, mean accuracy:", ""]
    lines += ["| mechanism | rate | training rows | held-out rows |", "|---|---|---|---|"]
    for mechanism, tried in found.items():
        for one in tried:
            rate = f"{one['rate']:g}" + (", chosen" if one["rate"] == chosen[mechanism] else "")
            lines.append(f"| {mechanism} | {rate} | {one['train']:.4f} | {one['test']:.4f} |")
    ours, theirs = (
        {one["rate"]: one["test"] for one in found[mechanism]} for mechanism in ("amplified banded", "amplified")
    )
    at_chosen = ours[chosen["amplified banded"]] - theirs[chosen["amplified"]]
    at_best = max(ours.values()) - max(theirs.values())
    return [
        *lines,
        "",
        f"*Amplified banded* is ahead of *amplified* by {at_chosen:+.4f} at the chosen rates, and by {at_best:+.4f}",
        "where each has the one of its rates that is better on held-out rows: the choice of rates is "
        f"{at_chosen - at_best:+.4f}",
        "of the difference. Take that off what the table above says of the two there.",
    ]
