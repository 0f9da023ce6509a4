"""Steps that make less noise than they say, or remember: a table of what the suite must catch, at any size of model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from trustml.conformance import Step, StepFactory, StepSettings


@dataclass(frozen=True)
class Call:
    """One call of a step, before its noise is added to its sum."""

    inputs: np.ndarray
    labels: np.ndarray
    total: np.ndarray
    number: int
    deviation: float
    generator: np.random.Generator
    settings: StepSettings
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    micro: int = 0

    def noise(self, generator: np.random.Generator | None = None) -> np.ndarray:
        return self.deviation * (generator or self.generator).normal(size=len(self.total))


Cheat = Callable[[Call], np.ndarray]


def data(coordinates: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.normal(size=(24, coordinates - 1)).astype(np.float32), generator.integers(0, 3, 24)


def honest(call: Call) -> np.ndarray:
    return call.total + call.noise()


def factory(cheat: Cheat = honest) -> StepFactory:
    """Linear regression of the label with a bias, gradients in closed form."""

    def make(settings: StepSettings) -> Step:
        generator, number, kept = np.random.default_rng(settings.seed), 0, {}

        def step(inputs: np.ndarray, labels: np.ndarray, micro_batch_size: int) -> dict[str, np.ndarray]:
            nonlocal number
            deviation = settings.noise_multiplier * settings.clipping_norm
            good = np.isfinite(inputs).all(axis=1)
            total = clipped_sum(inputs[good].astype(np.float64), labels[good], settings.clipping_norm)
            call = Call(
                inputs, labels, total, number, deviation, generator, settings, kept=kept, micro=micro_batch_size
            )
            found = cheat(call) / settings.expected_batch_size
            number += 1
            return {"kernel": found[:-1], "bias": found[-1:]}

        return step

    return make


def clipped_sum(inputs: np.ndarray, labels: np.ndarray, norm: float) -> np.ndarray:
    weights = np.cos(np.arange(inputs.shape[1])) / max(1, inputs.shape[1]) ** 0.5
    errors = inputs @ weights + 0.3 - labels
    each = errors[:, None] * np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    norms = np.sqrt((each**2).sum(axis=1))
    return np.minimum(1.0, norm / np.maximum(norms, 1e-12)) @ each


def times(factor: float) -> Cheat:
    return lambda call: call.total + factor * call.noise()


def times_where(factor: float, where: Callable[[Call], bool]) -> Cheat:
    return lambda call: call.total + (factor if where(call) else 1.0) * call.noise()


def at_coordinates(factor: float, where: Callable[[int], slice]) -> Cheat:
    def cheat(call: Call) -> np.ndarray:
        noise = call.noise()
        noise[where(len(noise))] *= factor
        return call.total + noise

    return cheat


def nothing_along_the_sum(call: Call) -> np.ndarray:
    noise, length = call.noise(), np.linalg.norm(call.total)
    direction = call.total / length if length else np.zeros_like(call.total)
    return call.total + noise - (noise @ direction) * direction


def one_number_for_all(call: Call) -> np.ndarray:
    return call.total + call.noise()[0]


def of_few_numbers(call: Call) -> np.ndarray:
    mixing = np.random.default_rng(5).normal(size=(len(call.total), 4))
    return call.total + call.deviation * mixing / 2 @ call.generator.normal(size=4)


def rescaled_by_chance(call: Call) -> np.ndarray:
    return call.total + call.generator.choice([0.5, np.sqrt(1.75)]) * call.noise()


def every_second_reused(call: Call) -> np.ndarray:
    if call.number % 2 == 0 or "noise" not in call.kept:
        call.kept["noise"] = call.noise()
    return call.total + call.kept["noise"]


def again_after_40(call: Call) -> np.ndarray:
    return call.total + call.noise(np.random.default_rng([call.settings.seed, call.number % 40]))


def taken_back(call: Call) -> np.ndarray:
    """Every second call takes the noise of the one before back, so that two steps together have none."""
    if call.number % 2 == 0 or "noise" not in call.kept:
        call.kept["noise"] = call.noise()
        return call.total + call.kept["noise"]
    return call.total - call.kept["noise"]


def differences(call: Call) -> np.ndarray:
    """Noise that telescopes: over many steps together there is next to none."""
    noise = call.noise()
    before = call.kept.get("noise", call.noise())
    call.kept["noise"] = noise
    return call.total + (noise - before) / np.sqrt(2)


def of_the_batch(call: Call) -> np.ndarray:
    digest = hashlib.sha256(call.inputs.tobytes() + call.labels.tobytes()).digest()
    return call.total + call.noise(np.random.default_rng([call.settings.seed, *digest]))


def half_fixed(call: Call) -> np.ndarray:
    fixed = call.noise(np.random.default_rng(call.settings.seed))
    return call.total + np.sqrt(0.5) * (fixed + call.noise())


def shifted_between_runs(call: Call) -> np.ndarray:
    """Each seed begins one call later in the same stream."""
    return call.total + call.noise(np.random.default_rng([5, call.number + call.settings.seed]))


def part_of_the_batch_before(call: Call) -> np.ndarray:
    before = call.kept.get("total", np.zeros_like(call.total))
    call.kept["total"] = call.total
    return call.total + 0.1 * before + call.noise()


def part_of_the_batch_before_where_noisy(call: Call) -> np.ndarray:
    return part_of_the_batch_before(call) if call.deviation else call.total


def former_gradient(call: Call) -> np.ndarray:
    """Every seventh call gives what the call before gave."""
    if call.number % 7 != 6:
        call.kept["gradient"] = call.total + call.noise()
    return call.kept["gradient"]


def growing_sum(call: Call) -> np.ndarray:
    call.kept["all"] = call.kept.get("all", np.zeros_like(call.total)) + call.total
    return call.total + 1e-3 * call.kept["all"] + call.noise()


def fading(call: Call) -> np.ndarray:
    return call.total + call.noise() / (1 + call.number / 400)


def large(call: Call) -> bool:
    return bool(np.abs(call.inputs).max(initial=0) > 100)


SIZE, CALLS = "noise has its stated size", "every call has its noise"
CHEATS: dict[str, tuple[Cheat, str]] = {
    "half the noise": (times(0.5), SIZE),
    "0.7 of the noise": (times(0.7), SIZE),
    "0.9 of the noise": (times(0.9), SIZE),
    "0.97 of the noise": (times(0.97), SIZE),
    "1.05 times the noise": (times(1.05), SIZE),
    "no noise": (times(0.0), SIZE),
    "halved when an input exceeds 100": (times_where(0.5, large), "noise does not depend on large inputs"),
    "0.9 when an input exceeds 100": (times_where(0.9, large), "noise does not depend on large inputs"),
    "0.8 when an input is below -500": (
        times_where(0.8, lambda call: bool(np.nanmin(call.inputs, initial=0) < -500)),
        "noise does not depend on large inputs",
    ),
    "halved in large batches": (times_where(0.5, lambda call: len(call.labels) > 8), "a full batch has its noise"),
    "0.9 for one example": (times_where(0.9, lambda call: len(call.labels) == 1), "a batch of one example has its"),
    "none in an empty batch": (times_where(0.0, lambda call: not len(call.labels)), "an empty batch is a step"),
    "0.9 in micro-batches": (times_where(0.9, lambda call: call.micro > 0), "noise is added once"),
    "0.9 where the sum is large": (
        times_where(0.9, lambda call: bool(np.linalg.norm(call.total) > 20 * call.settings.clipping_norm)),
        "noise does not depend on the size of the sum",
    ),
    "halved for one class": (
        times_where(0.5, lambda call: len(call.labels) > 1 and bool((call.labels == 1).all())),
        "every batch has its noise",
    ),
    "0.9 on zeros": (
        times_where(0.9, lambda call: bool(len(call.labels)) and not call.inputs.any()),
        "noise does not depend on inputs that are zero",
    ),
    "0.9 beside a NaN": (
        times_where(0.9, lambda call: not np.isfinite(call.inputs).all()),
        "noise does not depend on inputs that are not finite",
    ),
    "off at every 10th step": (times_where(0.0, lambda call: call.number % 10 == 9), CALLS),
    "0.7 at every 10th step": (times_where(0.7, lambda call: call.number % 10 == 9), CALLS),
    "halved after 50 steps": (times_where(0.5, lambda call: call.number >= 50), CALLS),
    "off in the first step": (times_where(0.0, lambda call: call.number == 0), CALLS),
    "fading": (fading, CALLS),
    "bias without noise": (at_coordinates(0.0, lambda count: slice(count - 1, None)), "every coordinate has its"),
    "one coordinate at half": (at_coordinates(0.5, lambda count: slice(2, 3)), "every coordinate has its noise"),
    "half of the coordinates": (at_coordinates(0.0, lambda count: slice(count // 2)), "every coordinate has its noise"),
    "nothing along the sum": (nothing_along_the_sum, "noise hides the sum's own direction"),
    "one number for all coordinates": (one_number_for_all, "noise is independent between coordinates"),
    "four numbers for all coordinates": (of_few_numbers, "noise is independent between coordinates"),
    "rescaled by chance": (rescaled_by_chance, "calls have equally much noise"),
    "every second reused": (every_second_reused, "noise is new at every step"),
    "the same after 40 calls": (again_after_40, "no noise comes again"),
    "taken back in the next step": (taken_back, "noise is new at every step"),
    "differences": (differences, "noise is new at every step"),
    "noise of the batch": (of_the_batch, "noise is new at every step"),
    "half of it fixed": (half_fixed, "noise is new at every step"),
    "shifted between runs": (shifted_between_runs, "noise is new in every run"),
    "a part of the batch before": (part_of_the_batch_before, "the same batch has the same sum again"),
    "a part of the batch before, under noise": (
        part_of_the_batch_before_where_noisy,
        "nothing of earlier batches is left",
    ),
    "a former gradient": (former_gradient, "sums do not depend on the order"),
    "a growing sum": (growing_sum, "the same batch has the same sum again"),
    "biased": (lambda call: call.total + call.noise() + 0.2 * call.deviation, "noise has mean zero"),
}
"""What is wrong, and the check that says so (its beginning)."""
SHRUNK = (0.5, 0.7, 0.9, 0.97)
COORDINATES = (13, 30, 100, 1000, 100_000)


def reseeded(make: StepFactory, seed: int) -> StepFactory:
    """Shift every seed that the suite asks for."""
    return lambda settings: make(replace(settings, seed=settings.seed + 1000 * seed))
