"""Forward and backward passes that integrated gradients take to a completeness error of 1, 0.1 and 0.01 %.

``python benchmarks/quadrature.py``. Networks are trained on scikit-learn's digits by the JAX backend, and 64 held-out
images are explained from a baseline of zeros. A fixed rule of n points is judged by the error of the median and of
the 95th percentile image at each n, and the smallest n that is good enough counts, which nobody knows beforehand.
The adaptive rule is the product's (``max_completeness_error``): it is told the error alone, and what counts are the
passes of the median and of the 95th percentile image. Completeness can be right by accident, so that the L1 distance of
the attributions from those of a very fine trapezoid rule is told beside it. Nothing is timed. Writes
``benchmarks/results/quadrature.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from trustml.attribution.quadrature import (
    PATTERSON_SIZES,
    Rule,
    clenshaw_curtis,
    gauss_legendre,
    left,
    midpoint,
    patterson,
    right,
    trapezoid,
)
from trustml.backends.contract import Model, Network
from trustml.models.layers import GELU, Architecture, AvgPool, Conv2D, Dense, Flatten, Tanh
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp, mnist_cnn, small_cnn
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Plain
from trustml.worker.common_lane import integrated_gradients_to_error

HERE = Path(__file__).resolve().parent
WANTED = (0.01, 0.001, 0.0001)
IMAGES, TRAINED, ROWS = 64, 1408, 1024
SMALL = (*range(1, 25), 28, 30, 32, 36, 40, 48, 60, 64, 96, 128)


@dataclass(frozen=True, kw_only=True)
class Paths:
    """A trained network, and the paths from zero to 64 images."""

    network: Network
    inputs: np.ndarray
    targets: np.ndarray
    changes: np.ndarray

    def contributions(self, image: int, points: np.ndarray) -> np.ndarray:
        """Gradient times input at points of one path, shape (k, d)."""
        at = points.astype(np.float32).reshape(-1, *[1] * (self.inputs.ndim - 1)) * self.inputs[image]
        parts = []
        for start in range(0, len(at), ROWS):
            piece = at[start : start + ROWS]
            rows = np.minimum(np.arange(ROWS), len(piece) - 1)
            parts.append(self.network.input_gradients(piece[rows], np.full(ROWS, self.targets[image]))[: len(piece)])
        return np.concatenate(parts).reshape(len(points), -1) * self.inputs[image].ravel()


def smooth(activation: type, *, convolutions: bool) -> Architecture:
    """Twins of the networks below without a kink."""
    if not convolutions:
        return Architecture(layers=(Dense(units=128), activation(), Dense(units=64), activation(), Dense(units=10)))
    return Architecture(
        layers=(
            Conv2D(filters=16, kernel=(3, 3), padding=((1, 1), (1, 1))),
            activation(),
            AvgPool(size=(2, 2), stride=(2, 2)),
            Conv2D(filters=32, kernel=(3, 3)),
            activation(),
            Flatten(),
            Dense(units=64),
            activation(),
            Dense(units=10),
        )
    )


NETWORKS: dict[str, tuple[Architecture, tuple[int, ...], int]] = {
    "tanh mlp": (smooth(Tanh, convolutions=False), (64,), 10080),
    "GELU mlp": (smooth(GELU, convolutions=False), (64,), 10080),
    "tanh cnn": (smooth(Tanh, convolutions=True), (8, 8, 1), 2520),
    "GELU cnn": (smooth(GELU, convolutions=True), (8, 8, 1), 2520),
    "ReLU mlp": (mlp([128, 64], classes=10), (64,), 10080),
    "ReLU small_cnn": (small_cnn(), (8, 8, 1), 2520),
    "ReLU mnist_cnn": (mnist_cnn(), (28, 28, 1), 1260),
}
"""Architecture, shape of an input, and steps of the reference."""


def trained(name: str, seed: int) -> Paths:
    """Train a network on 1,408 digits, each drawn at 28 x 28 for the MNIST network."""
    from sklearn.datasets import load_digits

    from trustml.backends.jax import BACKEND

    architecture, shape, _ = NETWORKS[name]
    digits = load_digits()
    inputs, labels = (digits.data / 16).astype(np.float32), digits.target.astype(np.int64)
    if len(shape) == 3:
        inputs = inputs.reshape(-1, 8, 8, 1)
    if shape[0] == 28:
        inputs = np.pad(inputs.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2), (0, 0)))
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    inputs, labels = inputs[order], labels[order]
    weights = initial_weights(architecture, shape, generator=generator)
    regime = Plain(epochs=15, batch_size=64, optimizer=SGD(learning_rate=0.05, momentum=0.9))
    trainer = BACKEND.plain(Model(architecture=architecture, input_shape=shape, weights=weights), regime, 0)
    for _ in range(regime.epochs):
        rows = generator.permutation(TRAINED)
        for start in range(0, TRAINED, 64):
            batch = rows[start : start + 64]
            trainer.step(inputs[batch], labels[batch], learning_rate=0.05)
    network = BACKEND.network(Model(architecture=architecture, input_shape=shape, weights=trainer.weights()))
    chosen = slice(TRAINED, TRAINED + IMAGES)
    inputs, labels = inputs[chosen], labels[chosen]
    ends = [network.logits(at).astype(np.float64)[np.arange(IMAGES), labels] for at in (inputs, np.zeros_like(inputs))]
    print(f"{name}: {(network.logits(inputs).argmax(axis=1) == labels).mean():.2f} of the images are right", flush=True)
    return Paths(network=network, inputs=inputs, targets=labels, changes=ends[0] - ends[1])


def fixed_rules(steps: int) -> dict[str, dict[int, Callable[[], Rule]]]:
    """Rules by their number of points; the larger uniform ones have their points among the reference's."""
    divisors = [n for n in range(1, steps // 4 + 1) if steps % n == 0 and (steps // n) % 2 == 0]
    many = [n for n in divisors if n > SMALL[-1]]
    uniform = {"midpoint": midpoint, "left": left, "right": right}
    rules = {name: {n: _lazy(make, n) for n in (*SMALL, *many)} for name, make in uniform.items()}
    rules["trapezoid"] = {n: _lazy(trapezoid, n) for n in (*SMALL[1:], *(n + 1 for n in many))}
    rules["Gauss-Legendre"] = {n: _lazy(gauss_legendre, n) for n in SMALL}
    rules["Clenshaw-Curtis"] = {n: _lazy(clenshaw_curtis, n) for n in SMALL[1:] if n <= 64}
    rules["Patterson"] = {n: _lazy(patterson, n) for n in PATTERSON_SIZES}
    return rules


def _lazy(make: Callable[[int], Rule], n: int) -> Callable[[], Rule]:
    return lambda: make(n)


def judge_fixed(paths: Paths, steps: int) -> tuple[dict[str, dict[int, np.ndarray]], np.ndarray]:
    """Completeness and L1 error, (2, images), by rule and number of points; and the reference, (images, d)."""
    rules = {name: {n: make() for n, make in by_size.items()} for name, by_size in fixed_rules(steps).items()}
    found = {name: {n: np.zeros((2, IMAGES)) for n in by_size} for name, by_size in rules.items()}
    grid = np.arange(steps + 1) / steps
    elsewhere = np.unique([p for by_size in rules.values() for rule in by_size.values() for p in rule.points])
    elsewhere = elsewhere[np.abs(elsewhere * steps - np.round(elsewhere * steps)) > 1e-9]
    points = np.concatenate([grid, elsewhere])
    order = np.argsort(points)
    references = []
    for image in range(IMAGES):
        seen = paths.contributions(image, points)
        weights = trapezoid(steps + 1).weights
        references.append(weights @ seen[: steps + 1].astype(np.float64))
        for name, by_size in rules.items():
            for n, rule in by_size.items():
                nearest = np.searchsorted(points[order], rule.points - 1e-12)
                attributions = rule.weights @ seen[order[nearest]]
                found[name][n][:, image] = errors(attributions[None], paths.changes[[image]], references[-1][None])[
                    :, 0
                ]
    return found, np.stack(references)


def errors(attributions: np.ndarray, changes: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Completeness error and L1 error, both relative, shape (2, n)."""
    complete = np.abs(attributions.sum(axis=1) - changes) / np.abs(changes)
    return np.stack([complete, np.abs(attributions - references).sum(axis=1) / np.abs(references).sum(axis=1)])


def first_size(by_size: dict[int, np.ndarray], share: float, wanted: float) -> dict[str, float] | None:
    """Fewest points at which that quantile of the images is good enough, and the L1 errors there."""
    for n, (complete, distance) in sorted(by_size.items()):
        if np.quantile(complete, share) <= wanted:
            return {"passes": n, "l1_median": float(np.median(distance)), "l1_p95": float(np.quantile(distance, 0.95))}
    return None


def adaptive(paths: Paths, references: np.ndarray, wanted: float) -> dict[str, float]:
    """What the product takes, with at most 256 passes an image."""
    done = integrated_gradients_to_error(
        paths.network,
        paths.inputs,
        paths.targets,
        baseline=np.zeros_like(paths.inputs),
        changes=paths.changes,
        max_completeness_error=wanted,
        n_steps=256,
    )
    found = errors(done.attributions.reshape(IMAGES, -1).astype(np.float64), paths.changes, references)
    return {
        "median": float(np.median(done.passes)),
        "p95": float(np.quantile(done.passes, 0.95, method="higher")),
        "mean": float(done.passes.mean()),
        "missed": int((found[0] > wanted * (1 + 1e-5)).sum()),
        "l1_median": float(np.median(found[1])),
        "l1_p95": float(np.quantile(found[1], 0.95)),
    }


def measure(name: str, seed: int) -> dict:
    """All rules on one network."""
    paths = trained(name, seed)
    found, references = judge_fixed(paths, NETWORKS[name][2])
    result: dict = {}
    for wanted in WANTED:
        fixed = {
            rule: {"median": first_size(by_size, 0.5, wanted), "p95": first_size(by_size, 0.95, wanted)}
            for rule, by_size in found.items()
        }
        result[f"{wanted:g}"] = {"fixed": fixed, "adaptive": adaptive(paths, references, wanted)}
    at = {n: [float(np.median(found[rule][n][1])) for rule in ("midpoint", "Gauss-Legendre")] for n in (4, 8, 16, 32)}
    return {**result, "l1_median_of_midpoint_and_gauss": at}


def table(results: dict, wanted: str) -> str:
    """One error asked for, as a Markdown table."""
    rules = ("left", "right", "trapezoid", "midpoint", "Clenshaw-Curtis", "Gauss-Legendre", "Patterson")
    lines = [
        f"| network | {' | '.join(rules)} | adaptive | its mean | adaptive / midpoint | adaptive / left | "
        "L1, midpoint | L1, adaptive |",
        "|" + "---|" * (len(rules) + 7),
    ]
    for name, found in results.items():
        fixed, ours = found[wanted]["fixed"], found[wanted]["adaptive"]
        cells = [_both(fixed[rule]) for rule in rules]
        middle, first = (_ratios(ours, fixed[rule]) for rule in ("midpoint", "left"))
        best = fixed["midpoint"]["p95"]
        distance = "-" if best is None else f"{best['l1_median']:.1e}"
        missed = f" ({ours['missed']} missed)" if ours["missed"] else ""
        lines.append(
            f"| {name} | {' | '.join(cells)} | {ours['median']:.0f}, {ours['p95']:.0f}{missed} | {ours['mean']:.1f} | "
            f"{middle} | {first} | {distance} | {ours['l1_median']:.1e} |"
        )
    return "\n".join(lines)


def _both(found: dict) -> str:
    return ", ".join("-" if found[part] is None else str(found[part]["passes"]) for part in ("median", "p95"))


def _ratios(ours: dict, fixed: dict) -> str:
    parts = ("median", "p95")
    return ", ".join("-" if fixed[part] is None else f"{ours[part] / fixed[part]['passes']:.2f}" for part in parts)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=2, help="0 and 1 served to choose the constants of the rule")
    parser.add_argument("--network", choices=sorted(NETWORKS), nargs="+", default=list(NETWORKS))
    parser.add_argument("--out", default=str(HERE / "results" / "quadrature"))
    asked = parser.parse_args()
    results = {}
    for name in asked.network:
        results[name] = measure(name, asked.seed)
        print("\n".join(table({name: results[name]}, f"{wanted:g}") for wanted in WANTED), flush=True)
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    machine |= {package: version(package) for package in ("jax", "jaxlib", "numpy")}
    setting = {"images": IMAGES, "trained on": TRAINED, "seed": asked.seed, "baseline": 0}
    write(Path(asked.out), {"machine": machine, "setting": setting, "results": results})


def write(out: Path, content: dict) -> None:
    """Write the results as numbers and as tables."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n")
    tables = [f"## Completeness error of {100 * w:g} %\n\n{table(content['results'], f'{w:g}')}" for w in WANTED]
    about = ", ".join(f"{key} {value}" for key, value in {**content["machine"], **content["setting"]}.items())
    out.with_suffix(".md").write_text(
        f"""# Passes of integrated gradients at equal error

Made by `python benchmarks/quadrature.py`. Pairs are for the median and the 95th percentile of {IMAGES} held-out digits,
baseline zero, one logit. Fixed rules: the fewest points at which that image is good enough, which nobody knows
beforehand; beyond 24 points not every number was tried. Adaptive: the passes it really took, told the error alone;
its two forward passes an image for the change of the logit are not in it. L1: median distance of attributions from
those of a trapezoid rule of 10,080 steps (2,520 for the cnns, 1,260 for mnist_cnn), relative; for the midpoint rule at
the points of its 95th percentile. Attributions may add up by accident: read L1 beside the passes.

{(chr(10) * 2).join(tables)}

On: {about}
"""
    )


if __name__ == "__main__":
    main()
