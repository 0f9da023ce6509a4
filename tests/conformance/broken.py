"""DP-SGD in numpy, right and in many ways wrong: what the suite must let through, and what it must catch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trustml.conformance import Step, StepSettings

CLASSES, FEATURES = 10, 40


@dataclass(frozen=True)
class Flaws:
    """Which mistakes a step makes; none by default."""

    clip: str = "each"  # "each", "none", "mean"
    noise_scale: float = 1.0
    noise_over_batch_twice: bool = False
    noise_every_micro_batch: bool = False
    reused_noise: bool = False
    seedless_noise: bool = False
    batch_norm: bool = False
    mean_loss: bool = False
    divide_by_actual: bool = False
    nan_spoils: bool = False
    groups_clipped: bool = False
    clipping_factor: float = 1.0
    uniform_noise: bool = False
    no_noise_when_empty: bool = False


def data() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.normal(size=(24, FEATURES)).astype(np.float32), generator.integers(0, CLASSES, 24)


def factory(flaws: Flaws = Flaws()) -> Callable[[StepSettings], Step]:
    """Softmax regression, per-example gradients in closed form."""
    weights = np.random.default_rng(1).normal(0, 0.1, (FEATURES, CLASSES))

    def make(settings: StepSettings) -> Step:
        generator = np.random.default_rng(7 if flaws.seedless_noise else settings.seed)
        calls = 0

        def noise() -> np.ndarray:
            nonlocal calls, generator
            if flaws.reused_noise:
                generator = np.random.default_rng(settings.seed)
            calls += 1
            deviation = settings.noise_multiplier * settings.clipping_norm * flaws.noise_scale
            if flaws.noise_over_batch_twice:
                deviation /= settings.expected_batch_size
            shape = (FEATURES + 1, CLASSES)
            if flaws.uniform_noise:
                return generator.uniform(-1, 1, shape) * np.sqrt(3) * deviation
            return generator.normal(size=shape) * deviation

        def step(inputs: np.ndarray, labels: np.ndarray, micro_batch_size: int) -> dict[str, np.ndarray]:
            total = np.zeros((FEATURES + 1, CLASSES))
            size = micro_batch_size or max(1, len(labels))
            pieces = 0
            for start in range(0, len(labels), size):
                each = gradients(inputs[start : start + size].astype(np.float64), labels[start : start + size])
                total += clipped_sum(each, settings.clipping_norm * flaws.clipping_factor)
                pieces += 1
            repeats = max(1, pieces) if flaws.noise_every_micro_batch else 1
            if flaws.no_noise_when_empty and not len(labels):
                repeats = 0
            for _ in range(repeats):
                total += noise()
            divisor = max(1, len(labels)) if flaws.divide_by_actual else settings.expected_batch_size
            return {"kernel": total[:-1] / divisor, "bias": total[-1] / divisor}

        def gradients(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
            if not flaws.nan_spoils:
                good = np.isfinite(inputs).all(axis=1)
                inputs, labels = inputs[good], labels[good]
            if flaws.batch_norm and len(inputs):
                inputs = (inputs - inputs.mean(axis=0)) / np.sqrt(inputs.var(axis=0) + 1.0)
            with np.errstate(all="ignore"):
                logits = inputs @ weights
                shares = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
                shares /= shares.sum(axis=1, keepdims=True)
            shares[np.arange(len(labels)), labels] -= 1
            each = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)[:, :, None] * shares[:, None, :]
            return each / max(1, len(each)) if flaws.mean_loss else each

        def clipped_sum(each: np.ndarray, norm: float) -> np.ndarray:
            if flaws.clip == "none":
                return each.sum(axis=0)
            if flaws.clip == "mean":
                mean = each.mean(axis=0) if len(each) else np.zeros((FEATURES + 1, CLASSES))
                return settings.expected_batch_size * mean * min(1.0, norm / max(np.linalg.norm(mean), 1e-12))
            if flaws.groups_clipped:
                groups = [part.mean(axis=0) for part in np.array_split(each, max(1, len(each) // 2)) if len(part)]
                each = np.array(groups).reshape(-1, FEATURES + 1, CLASSES)
            norms = np.linalg.norm(each.reshape(len(each), -1), axis=1)
            return np.tensordot(np.minimum(1.0, norm / np.maximum(norms, 1e-12)), each, axes=1)

        return step

    return make


BROKEN_STEPS: dict[str, tuple[Flaws, str]] = {
    "no clipping": (Flaws(clip="none"), "no clipping"),
    "clipping the batch mean": (Flaws(clip="mean"), "clips the mean of the batch"),
    "noise scaled by the batch twice": (Flaws(noise_over_batch_twice=True), "noise scaled by the batch size twice"),
    "noise on every micro-batch": (Flaws(noise_every_micro_batch=True), "noise in every micro-batch"),
    "noise reused between steps": (Flaws(reused_noise=True), "noise reused between steps"),
    "noise does not depend on the run": (Flaws(seedless_noise=True), "noise does not depend on the seed"),
    "BatchNorm let through": (Flaws(batch_norm=True), "BatchNorm"),
    "mean/sum loss mix-up": (Flaws(mean_loss=True), "mean/sum mix-up"),
    "sensitivity halved": (Flaws(noise_scale=0.5), "sensitivity is taken too small"),
    "division by the batch at hand": (Flaws(divide_by_actual=True), "divides by the batch at hand"),
    "NaN spoils the batch": (Flaws(nan_spoils=True), "not finite spoils the batch"),
    "groups of examples clipped": (Flaws(groups_clipped=True), "groups are clipped"),
    "clipping to twice the norm": (Flaws(clipping_factor=1.4), "more than the clipping norm"),
    "uniform noise": (Flaws(uniform_noise=True), "not Gaussian"),
    "no noise on an empty batch": (Flaws(no_noise_when_empty=True), "of its stated size"),
}
