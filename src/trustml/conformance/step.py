"""Checks of one step of DP-SGD as a black box: examples in, private mean gradient out.

Whatever framework it is written in, a step that passes clips each example by itself, adds Gaussian noise of the
stated size once, and divides by the declared batch size. Each check looks at the step from outside, and where it
fails, the size of the failure tells which mistake it is likely to be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.conformance.findings import Finding, bounded
from trustml.data.dataset import Floats, Ints

Vector: TypeAlias = npt.NDArray[np.float64]

ROUNDING = 1e-4
"""Relative error of float32 sums of a few dozen clipped gradients, and of the 1e-6 that Opacus adds to a norm."""
DEVIATIONS = 6.0
"""Standard errors of a statistic that pass: a right mechanism fails one in 10^8 times."""
OUTLIER = 1e6


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """What a step under test is to be made with.

    Attributes
    ----------
    clipping_norm : float
    noise_multiplier : float
        0 for no noise.
    expected_batch_size : int
        What the noisy sum is divided by, however many examples come.
    seed : int
        Another seed must give other noise. The starting weights must not depend on it.
    """

    clipping_norm: float = 1.0
    noise_multiplier: float = 0.0
    expected_batch_size: int = 16
    seed: int = 0


class Step(Protocol):
    """One step under test; each call is another step from the *same* weights."""

    def __call__(
        self, inputs: Floats, labels: Ints, micro_batch_size: int, /
    ) -> Mapping[str, npt.NDArray[np.floating]] | npt.NDArray[np.floating]:
        """Private mean gradient of a batch of any size, zero included.

        `micro_batch_size` examples may be in memory at once; 0 leaves it open, and a step without
        micro-batches may pass over it.
        """
        ...


class StepFactory(Protocol):
    """Makes a step; always with the same weights."""

    def __call__(self, settings: StepSettings, /) -> Step:
        """Make a step with these settings."""
        ...


def check_step(
    make_step: StepFactory, inputs: Floats, labels: Ints, *, settings: StepSettings | None = None
) -> list[Finding]:
    """Check a step from outside.

    Parameters
    ----------
    make_step : callable
        From :class:`StepSettings` to a step. A step takes (inputs, labels, micro_batch_size) and gives the noisy
        mean gradient, as an array or as arrays by name; with noise multiplier 0 it must be deterministic.
    inputs : float32 array of shape (n, *x)
        At least 12 examples of different gradients.
    labels : int64 array of shape (n,)
    settings : StepSettings, optional
        Its noise multiplier is used where noise is looked at; 0 means 2.

    Returns
    -------
    list of Finding
        Every check, passed or not. A step that raises an exception fails the check it was in.

    Examples
    --------
    >>> findings = check_step(make_my_step, inputs, labels)          # doctest: +SKIP
    >>> [finding.diagnosis for finding in findings if not finding.passed]  # doctest: +SKIP
    """
    if len(inputs) < 12 or len(inputs) != len(labels):
        raise ValueError(f"inputs {inputs.shape} and labels {labels.shape}: give 12 examples or more, one label each")
    settings = settings or StepSettings()
    subject = _Subject(make_step, np.asarray(inputs, np.float32), np.asarray(labels, np.int64), settings)
    checks = (
        _clipping,
        _additivity,
        _sensitivity,
        _division,
        _micro_batches,
        _empty_batch,
        _not_finite,
        _noise_size,
        _noise_independence,
    )
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check(subject)
        except Exception as error:  # whatever a stranger's step does, the other checks go on
            name = check.__name__.strip("_").replace("_", " ")
            findings.append(
                Finding(check=name, passed=False, diagnosis=f"raised {type(error).__name__}: {error}"[:300])
            )
    return findings


class _Subject:
    """A step factory with data, seen as sums of clipped gradients."""

    def __init__(self, make_step: StepFactory, inputs: Floats, labels: Ints, settings: StepSettings) -> None:
        self.make_step, self.inputs, self.labels = make_step, inputs, labels
        self.settings = replace(settings, noise_multiplier=0.0)
        self.noisy = replace(settings, noise_multiplier=settings.noise_multiplier or 2.0)
        self._quiet = make_step(self.settings)
        self._steps: dict[int, Step | None] = {}

    def sum(self, rows: list[int], *, scale: float = 1.0, wrong: bool = False, micro: int = 0) -> Vector:
        """Un-noised sum over some examples, times which the inputs are scaled, perhaps with other labels."""
        inputs = self.inputs[rows] * np.float32(scale)
        labels = self.other_labels(rows) if wrong else self.labels[rows]
        return self.total(inputs, labels, micro=micro)

    def total(self, inputs: Floats, labels: Ints, *, micro: int = 0) -> Vector:
        """Un-noised sum over a batch."""
        return flat(self._quiet(inputs, labels, micro)) * self.settings.expected_batch_size

    def other_labels(self, rows: list[int]) -> Ints:
        """Labels of other classes, so that an outlier is far from being learned."""
        classes = np.unique(self.labels)
        return np.array([classes[(np.searchsorted(classes, self.labels[row]) + 1) % len(classes)] for row in rows])

    def noise(self, *, seed: int, calls: int, micro: int = 0, rows: list[int] | None = None) -> list[Vector]:
        """Noise of successive calls, over its stated deviation."""
        settings = replace(self.noisy, seed=seed)
        step = self._steps.setdefault(seed, None) or self.make_step(settings)
        self._steps[seed] = step
        rows = list(range(8)) if rows is None else rows
        quiet = flat(self._quiet(self.inputs[rows], self.labels[rows], micro))
        stated = settings.noise_multiplier * settings.clipping_norm / settings.expected_batch_size
        return [(flat(step(self.inputs[rows], self.labels[rows], micro)) - quiet) / stated for _ in range(calls)]

    def alone(self, row: int) -> Vector:
        """Un-noised sum over an outlier of huge gradient."""
        candidates = [self.sum([row], scale=OUTLIER, wrong=wrong) for wrong in (False, True)]
        return max(candidates, key=lambda vector: _norm(vector))


def flat(gradient: Mapping[str, npt.NDArray[np.floating]] | npt.NDArray[np.floating]) -> Vector:
    """Every coordinate of a gradient as one vector."""
    if isinstance(gradient, Mapping):
        return np.concatenate([np.asarray(part, np.float64).ravel() for part in gradient.values()])
    return np.asarray(gradient, np.float64).ravel()


def _clipping(subject: _Subject) -> list[Finding]:
    """Check that no single example's clipped gradient is longer than the clipping norm."""
    norm, batch = subject.settings.clipping_norm, subject.settings.expected_batch_size
    largest = max(_norm(subject.alone(row)) for row in range(3)) / norm
    if largest > 2 * batch:
        diagnosis = "no clipping: an outlier's gradient passes at full length"
    elif largest > 1.5:
        diagnosis = "divides by the batch at hand instead of the declared size, or clips the mean of the batch"
    else:
        diagnosis = "clips to more than the clipping norm"
    return [bounded("one example is clipped to the clipping norm", largest, 1 + ROUNDING, diagnosis=diagnosis)]


def _additivity(subject: _Subject) -> list[Finding]:
    """Check that the sum over a batch is the sum of its examples taken one by one."""
    rows = list(range(6))
    together = subject.sum(rows)
    apart = np.sum([subject.sum([row]) for row in rows], axis=0)
    error = _norm(together - apart) / max(_norm(apart), 1e-12)
    ratio = float(together @ apart) / max(float(apart @ apart), 1e-24)
    if error < 0.9 and ratio > 0.6:
        diagnosis = "examples influence one another's gradient: a BatchNorm or another cross-example layer"
    elif _norm(together) <= 1.01 * _norm(apart) / len(rows) * 2 and ratio < 0.6:
        diagnosis = "mean/sum mix-up: gradients of a mean loss, or a division by the batch at hand"
    else:
        diagnosis = "examples are not clipped one by one"
    return [bounded("a batch is the sum of its examples", error, 10 * ROUNDING, diagnosis=diagnosis)]


def _sensitivity(subject: _Subject) -> list[Finding]:
    """Check how far one more example, an outlier included, moves the sum."""
    norm = subject.settings.clipping_norm
    rows = list(range(8))
    base_inputs, base_labels = subject.inputs[rows], subject.labels[rows]
    base = subject.total(base_inputs, base_labels)
    moved = []
    for row, scale, wrong in ((8, 1.0, False), (9, OUTLIER, False), (10, OUTLIER, True), (11, 10.0, True)):
        label = subject.other_labels([row]) if wrong else subject.labels[[row]]
        inputs = np.concatenate([base_inputs, subject.inputs[[row]] * np.float32(scale)])
        added = subject.total(inputs, np.concatenate([base_labels, label]))
        moved.append(_norm(added - base) / norm)
    diagnosis = "adding one example moves the sum by more than the clipping norm: the mean is clipped, or nothing is"
    return [
        bounded(
            "adding an example moves the sum by the clipping norm at most",
            max(moved),
            1 + 10 * ROUNDING,
            diagnosis=diagnosis,
        )
    ]


def _division(subject: _Subject) -> list[Finding]:
    """Check that a huge gradient reaches the clipping norm after the declared division."""
    norm, batch = subject.settings.clipping_norm, subject.settings.expected_batch_size
    used = max(_norm(subject.alone(row)) for row in range(3)) / norm
    diagnosis = (
        "divides by the batch size twice" if used < 2 / batch else "a huge gradient does not reach the clipping norm"
    )
    # Half of it is enough: with per-layer clipping some tensors of an outlier stay short of their share.
    return [bounded("an outlier uses most of the clipping norm", 1 - used, 0.5, diagnosis=diagnosis)]


def _micro_batches(subject: _Subject) -> list[Finding]:
    """Check that micro-batches change nothing but memory."""
    rows = list(range(11))
    whole = subject.sum(rows)
    error = max(_norm(subject.sum(rows, micro=size) - whole) for size in (1, 3, 4)) / max(_norm(whole), 1e-12)
    diagnosis = "the size of micro-batches changes the sum: groups are clipped, or averaged"
    return [bounded("micro-batches change nothing", error, ROUNDING, diagnosis=diagnosis)]


def _empty_batch(subject: _Subject) -> list[Finding]:
    """Check that an empty batch is a step with noise."""
    silent = _norm(subject.sum([]))
    noise = subject.noise(seed=1, calls=1, rows=[])[0]
    return [
        bounded("an empty batch sums to zero", silent, 0.0, diagnosis="an empty batch gives a gradient"),
        _deviation("an empty batch is a step with noise", noise, subject, micro=False),
    ]


def _not_finite(subject: _Subject) -> list[Finding]:
    """Check that an example that is not finite adds zero."""
    rows = list(range(6))
    expected = subject.sum(rows)
    worst = 0.0
    for value in (np.nan, np.inf):
        inputs = np.concatenate([subject.inputs[rows], subject.inputs[[6]]])
        inputs[3:] = np.roll(inputs[3:], 1, axis=0)  # the bad one stands in the middle
        labels = np.concatenate([subject.labels[rows], subject.labels[[6]]])
        labels[3:] = np.roll(labels[3:], 1)
        inputs[3] = np.float32(value)
        error = _norm(subject.total(inputs, labels) - expected) / max(_norm(expected), 1e-12)
        worst = max(worst, error if math.isfinite(error) else math.inf)
    diagnosis = "an example that is not finite spoils the batch, and so tells that it was there"
    return [bounded("a NaN or infinite example adds zero", worst, ROUNDING, diagnosis=diagnosis)]


def _noise_size(subject: _Subject) -> list[Finding]:
    """Check that noise has its stated size, whatever the micro-batches."""
    whole = subject.noise(seed=1, calls=1)[0]
    pieces = subject.noise(seed=1, calls=1, micro=2)[0]
    bias = abs(float(whole.mean())) * math.sqrt(len(whole))
    return [
        _deviation("noise has its stated size", whole, subject, micro=False),
        _deviation("noise is added once, not in every micro-batch", pieces, subject, micro=True),
        bounded("noise has mean zero", bias, DEVIATIONS, diagnosis="the noise is biased"),
        _normality(whole),
    ]


def _noise_independence(subject: _Subject) -> list[Finding]:
    """Check that noise is independent between coordinates, steps and runs."""
    first, second = subject.noise(seed=2, calls=2)
    other = subject.noise(seed=3, calls=1)[0]
    reused = "noise reused between steps"
    return [
        _uncorrelated("noise is new at every step", first, second, reused),
        _uncorrelated("noise is new in every run", first, other, "noise does not depend on the seed: it is replayed"),
        _uncorrelated(
            "noise is independent between coordinates", first[:-1], first[1:], "noise repeats between coordinates"
        ),
    ]


def _deviation(check: str, noise: Vector, subject: _Subject, *, micro: bool) -> Finding:
    """Compare the noise's standard deviation with the stated one, which is 1 here."""
    ratio = float(noise.std())
    error = abs(ratio - 1) * math.sqrt(2 * len(noise))
    batch = subject.settings.expected_batch_size
    if ratio < 2 / batch:
        diagnosis = f"noise scaled by the batch size twice ({ratio:.3g} of its stated size)"
    elif micro and ratio > 1.2:
        diagnosis = f"noise in every micro-batch ({ratio:.3g} times its stated size)"
    elif ratio < 0.75:
        diagnosis = f"too little noise, {ratio:.3g} of what is stated: the sensitivity is taken too small"
    else:
        diagnosis = f"noise is {ratio:.3g} times its stated size"
    return bounded(check, error, DEVIATIONS, diagnosis=diagnosis)


def _normality(noise: Vector) -> Finding:
    """Look at the fourth moment: 3 for a Gaussian, with a standard error of sqrt(24 / n)."""
    scaled = (noise - noise.mean()) / max(float(noise.std()), 1e-30)
    error = abs(float((scaled**4).mean()) - 3) / math.sqrt(24 / len(noise))
    return bounded("noise is Gaussian in its fourth moment", error, DEVIATIONS, diagnosis="the noise is not Gaussian")


def _uncorrelated(check: str, one: Vector, other: Vector, diagnosis: str) -> Finding:
    if one.std() == 0 or other.std() == 0:
        return Finding(check=check, passed=False, diagnosis="there is no noise")
    correlation = abs(float(np.corrcoef(one, other)[0, 1])) * math.sqrt(len(one))
    return bounded(check, correlation, DEVIATIONS, diagnosis=diagnosis)


def _norm(vector: Vector) -> float:
    return float(np.linalg.norm(vector))
