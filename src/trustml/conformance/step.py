"""Checks of one step of DP-SGD as a black box: examples in, private mean gradient out.

Whatever framework it is written in, a step that passes clips each example by itself, adds Gaussian noise of the
stated size once, and divides by the declared batch size. Each check looks at the step from outside, and where it
fails, the size of the failure tells which mistake it is likely to be.
"""

from __future__ import annotations

import math

import numpy as np

from trustml.conformance.findings import Finding, bounded
from trustml.conformance.subject import OUTLIER, StepFactory, StepSettings, Subject, Vector, norm_of
from trustml.data.dataset import Floats, Ints

ROUNDING = 1e-4
"""Relative error of float32 sums of a few dozen clipped gradients, and of the 1e-6 that Opacus adds to a norm."""
DEVIATIONS = 6.0
"""Standard errors of a statistic that pass: a right mechanism fails one in 10^8 times."""
_COPIES = 64


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
    subject = Subject(make_step, np.asarray(inputs, np.float32), np.asarray(labels, np.int64), settings)
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


def _clipping(subject: Subject) -> list[Finding]:
    """Check that no single example's clipped gradient is longer than the clipping norm."""
    norm, batch = subject.settings.clipping_norm, subject.settings.expected_batch_size
    largest = max(norm_of(subject.alone(row)) for row in range(3)) / norm
    if largest > 2 * batch:
        diagnosis = "no clipping: an outlier's gradient passes at full length"
    elif largest > 1.5:
        diagnosis = "divides by the batch at hand instead of the declared size, or clips the mean of the batch"
    else:
        diagnosis = "clips to more than the clipping norm"
    return [bounded("one example is clipped to the clipping norm", largest, 1 + ROUNDING, diagnosis=diagnosis)]


def _additivity(subject: Subject) -> list[Finding]:
    """Check that the sum over a batch is the sum of its examples taken one by one."""
    rows = list(range(6))
    together = subject.sum(rows)
    apart = np.sum([subject.sum([row]) for row in rows], axis=0)
    error = norm_of(together - apart) / max(norm_of(apart), 1e-12)
    # Copies of one example cannot change one another through a statistic of the batch; groups and means can.
    copies = norm_of(subject.sum([0] * _COPIES)) / max(_COPIES * norm_of(subject.sum([0])), 1e-12)
    if copies > 0.99:
        diagnosis = "examples influence one another's gradient: a BatchNorm or another cross-example layer"
    elif copies < 0.45:
        diagnosis = "mean/sum mix-up: gradients of a mean loss, or a division by the batch at hand"
    else:
        diagnosis = "examples are not clipped one by one"
    return [bounded("a batch is the sum of its examples", error, 10 * ROUNDING, diagnosis=diagnosis)]


def _sensitivity(subject: Subject) -> list[Finding]:
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
        moved.append(norm_of(added - base) / norm)
    diagnosis = "adding one example moves the sum by more than the clipping norm: the mean is clipped, or nothing is"
    return [
        bounded(
            "adding an example moves the sum by the clipping norm at most",
            max(moved),
            1 + 10 * ROUNDING,
            diagnosis=diagnosis,
        )
    ]


def _division(subject: Subject) -> list[Finding]:
    """Check that a huge gradient reaches the clipping norm after the declared division."""
    norm, batch = subject.settings.clipping_norm, subject.settings.expected_batch_size
    used = max(norm_of(subject.alone(row)) for row in range(3)) / norm
    diagnosis = (
        "divides by the batch size twice" if used < 2 / batch else "a huge gradient does not reach the clipping norm"
    )
    # Half of it is enough: with per-layer clipping some tensors of an outlier stay short of their share.
    return [bounded("an outlier uses most of the clipping norm", 1 - used, 0.5, diagnosis=diagnosis)]


def _micro_batches(subject: Subject) -> list[Finding]:
    """Check that micro-batches change nothing but memory."""
    rows = list(range(11))
    whole = subject.sum(rows)
    error = max(norm_of(subject.sum(rows, micro=size) - whole) for size in (1, 3, 4)) / max(norm_of(whole), 1e-12)
    diagnosis = "the size of micro-batches changes the sum: groups are clipped, or averaged"
    return [bounded("micro-batches change nothing", error, ROUNDING, diagnosis=diagnosis)]


def _empty_batch(subject: Subject) -> list[Finding]:
    """Check that an empty batch is a step with noise."""
    silent = norm_of(subject.sum([]))
    noise = subject.noise(seed=1, calls=1, rows=[])[0]
    return [
        bounded("an empty batch sums to zero", silent, 0.0, diagnosis="an empty batch gives a gradient"),
        _deviation("an empty batch is a step with noise", noise, subject, micro=False),
    ]


def _not_finite(subject: Subject) -> list[Finding]:
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
        error = norm_of(subject.total(inputs, labels) - expected) / max(norm_of(expected), 1e-12)
        worst = max(worst, error if math.isfinite(error) else math.inf)
    diagnosis = "an example that is not finite spoils the batch, and so tells that it was there"
    return [bounded("a NaN or infinite example adds zero", worst, ROUNDING, diagnosis=diagnosis)]


def _noise_size(subject: Subject) -> list[Finding]:
    """Check that noise has its stated size, whatever the micro-batches."""
    whole = np.concatenate(subject.noise(seed=1, calls=4))
    pieces = subject.noise(seed=1, calls=1, micro=2)[0]
    bias = abs(float(whole.mean())) * math.sqrt(len(whole))
    return [
        _deviation("noise has its stated size", whole, subject, micro=False),
        _deviation("noise is added once, not in every micro-batch", pieces, subject, micro=True),
        bounded("noise has mean zero", bias, DEVIATIONS, diagnosis="the noise is biased"),
        _normality(whole),
    ]


def _noise_independence(subject: Subject) -> list[Finding]:
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


def _deviation(check: str, noise: Vector, subject: Subject, *, micro: bool) -> Finding:
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
