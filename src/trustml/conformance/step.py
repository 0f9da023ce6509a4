"""Checks of one step of DP-SGD as a black box: examples in, private mean gradient out.

Whatever framework it is written in, a step that passes clips each example by itself, adds Gaussian noise of the
stated size once, and divides by the declared batch size. Each check looks at the step from outside, and where it
fails, the size of the failure tells which mistake it is likely to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trustml.conformance.batches import Batch
from trustml.conformance.draws import Tell
from trustml.conformance.findings import CheckResult, bounded, raised
from trustml.conformance.step_noise import check_noise
from trustml.conformance.subject import OUTLIER, StepFactory, StepSettings, Subject, Vector, norm_of
from trustml.data.dataset import Floats, Ints

ROUNDING = 1e-4
"""Relative error of float32 sums of a few dozen clipped gradients, and of the 1e-6 that Opacus adds to a norm."""
TIME_LIMIT = 600.0
"""Seconds that calls with noise may take."""
SAME_SUM = 1e-4
"""Largest difference of two sums over the same batch, over the clipping norm: float32 in another order of threads."""
_COPIES = 64
_REPEATS = 5


def check_step(
    make_step: StepFactory,
    inputs: Floats,
    labels: Ints,
    *,
    settings: StepSettings | None = None,
    time_limit: float = TIME_LIMIT,
    tell: Tell = lambda done, total: None,
) -> list[CheckResult]:
    """Check a step from outside.

    The deviation of the noise is measured to 0.3 % on ordinary batches and to 1 % on each other kind, whatever the
    number of coordinates: some 8,000 calls for 13 of them, about 130 for 10,000 or more.

    Parameters
    ----------
    make_step : callable
        From :class:`StepSettings` to a step. A step takes (inputs, labels, micro_batch_size) and gives the noisy
        mean gradient, as an array or as a tree of arrays, such as a framework has for its parameters; with noise
        multiplier 0 it must be deterministic.
    inputs : float32 array of shape (n, *x), or DataFrame
        At least 12 examples of different gradients; some are multiplied by a million, so give the embeddings of tokens.
    labels : int64 array of shape (n,)
    settings : StepSettings, optional
        Its noise multiplier is used where noise is looked at; 0 means 2.
    time_limit : float
        Seconds that calls with noise may take. What is not known by then is not decided, and so not passed.
    tell : callable
        Is told about every second how many noisy calls are done, and of how many.

    Returns
    -------
    list of CheckResult
        Every check, passed or not. A step that raises an exception fails the check it was in. Findings about the
        size of noise hold its ratio to the declared size, with an interval of 99.9 %; they fail where all of it lies
        below 0.99 or above 1.01.

    Examples
    --------
    >>> findings = check_step(make_my_step, inputs, labels)          # doctest: +SKIP
    >>> [finding.diagnosis for finding in findings if not finding.passed]  # doctest: +SKIP
    """
    if not time_limit > 0:
        raise ValueError(f"time_limit: {time_limit!r} seconds; give more than 0")

    def _noise(subject: Subject) -> list[CheckResult]:
        return check_noise(subject, time_limit=time_limit, tell=tell)

    return _checked(_subject(make_step, inputs, labels, settings), (*_QUIET, check_state, _noise))


def check_sum(make_step: StepFactory, inputs: Floats, labels: Ints, *, draws: bool = False) -> list[CheckResult]:
    """Check all of a step but its noise, in a few dozen calls; see :func:`check_step`.

    A network that `draws` masks of dropout gives another sum each time: then the length of what is clipped and batches
    without examples are looked at alone.
    """
    checks = (_clipping, _empty_batch) if draws else (*_QUIET, check_state)
    return _checked(_subject(make_step, inputs, labels, None), checks)


def _subject(make_step: StepFactory, inputs: Floats, labels: Ints, settings: StepSettings | None) -> Subject:
    _check_examples(inputs, labels)
    arrays = np.asarray(inputs, np.float32), np.asarray(labels, np.int64)
    return Subject(make_step, *arrays, settings or StepSettings())


def _checked(subject: Subject, checks: Sequence[Callable[[Subject], list[CheckResult]]]) -> list[CheckResult]:
    findings: list[CheckResult] = []
    for check in checks:
        try:
            findings += check(subject)
        except Exception as error:  # whatever a stranger's step does, the other checks go on
            name = check.__name__.removeprefix("check").strip("_").replace("_", " ")
            findings.append(raised(name, error))
    return findings


def _check_examples(inputs: Any, labels: Ints) -> None:
    if isinstance(inputs, Mapping):
        raise ValueError(
            f"inputs: of the parts {', '.join(map(str, inputs))} no outliers can be made; give one array, of tokens "
            "their embeddings"
        )
    if len(inputs) < 12 or len(inputs) != len(labels):
        raise ValueError(f"inputs {inputs.shape} and labels {labels.shape}: give 12 examples or more, one label each")


def _clipping(subject: Subject) -> list[CheckResult]:
    """Check that no single example's clipped gradient is longer than the clipping norm."""
    norm, batch = subject.settings.clipping_norm, subject.settings.expected_batch_size
    largest = max(norm_of(subject.alone(row)) for row in range(3)) / norm
    if largest > 2 * batch:
        diagnosis = "no clipping: an outlier's gradient passes at full length"
    elif largest > 1.5 and subject.averages():
        diagnosis = "divides by the batch at hand instead of the declared size; what follows is of the sum behind it"
        subject.averaged = True
    elif largest > 1.5:
        diagnosis = "divides by the batch at hand instead of the declared size, or clips the mean of the batch"
    else:
        diagnosis = "clips to more than the clipping norm"
    return [bounded("one example is clipped to the clipping norm", largest, 1 + ROUNDING, diagnosis=diagnosis)]


def _additivity(subject: Subject) -> list[CheckResult]:
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


def _sensitivity(subject: Subject) -> list[CheckResult]:
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


def _division(subject: Subject) -> list[CheckResult]:
    """Check that a huge gradient reaches the clipping norm after the declared division."""
    norm, batch = subject.settings.clipping_norm, subject.settings.expected_batch_size
    used = max(norm_of(subject.alone(row)) for row in range(3)) / norm
    diagnosis = (
        "divides by the batch size twice" if used < 2 / batch else "a huge gradient does not reach the clipping norm"
    )
    # Half of it is enough: with per-layer clipping some tensors of an outlier stay short of their share.
    return [bounded("an outlier uses most of the clipping norm", 1 - used, 0.5, diagnosis=diagnosis)]


def _micro_batches(subject: Subject) -> list[CheckResult]:
    """Check that micro-batches change nothing but memory."""
    rows = list(range(11))
    whole = subject.sum(rows)
    error = max(norm_of(subject.sum(rows, micro=size) - whole) for size in (1, 3, 4)) / max(norm_of(whole), 1e-12)
    diagnosis = "the size of micro-batches changes the sum: groups are clipped, or averaged"
    return [bounded("micro-batches change nothing", error, ROUNDING, diagnosis=diagnosis)]


def _empty_batch(subject: Subject) -> list[CheckResult]:
    """Check that an empty batch sums to zero."""
    silent = norm_of(subject.sum([]))
    return [bounded("an empty batch sums to zero", silent, 0.0, diagnosis="an empty batch gives a gradient")]


def _not_finite(subject: Subject) -> list[CheckResult]:
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


def check_state(subject: Subject) -> list[CheckResult]:
    """Compare sums over the same batches, again, in another order, and by steps that were made anew."""
    batches = [batch for batch in _batches(subject) if _taken(subject, batch)]
    count = len(batches)
    found = _sums(subject, [*batches, *reversed(batches), *(batch for batch in batches for _ in range(_REPEATS))])
    first, back, many = found[:count], found[count : 2 * count], found[2 * count :]
    anew = _sums(subject, batches[::-1])  # few steps are made: making one may compile
    repeated = [norm_of(total - many[place // _REPEATS * _REPEATS]) for place, total in enumerate(many)]
    ordered = [norm_of(one - two) for one, two in zip(first, back[::-1], strict=True)]
    alone = [norm_of(one - two) for one, two in zip(first, anew[::-1], strict=True)]
    changed = "what a step gives depends on what it was called with before: it keeps a sum, a gradient or a count"
    return [
        bounded("the same batch has the same sum again", _worst(repeated), SAME_SUM, diagnosis=changed),
        bounded("sums do not depend on the order of batches", _worst(ordered), SAME_SUM, diagnosis=changed),
        bounded("a step that is made anew has the same sums", _worst(alone), SAME_SUM, diagnosis=changed),
    ]


def _taken(subject: Subject, batch: Batch) -> bool:
    """Whether a step takes a batch at all, and gives numbers; if not, other checks say so."""
    try:
        return bool(np.isfinite(subject.quiet_gradient(batch)).all())
    except Exception:  # whatever a stranger's step does
        return False


def _batches(subject: Subject) -> list[Batch]:
    """Give ordinary batches of several sizes, an empty one, and one with an outlier."""
    inputs, labels = subject.inputs, subject.labels
    outlier = inputs[8:10].copy()
    outlier[0] *= np.float32(OUTLIER)
    return [
        Batch(inputs[:6], labels[:6]),
        Batch(outlier, subject.other_labels([8, 9])),
        Batch(inputs[:0], labels[:0]),
        Batch(inputs[4:5], labels[4:5]),
        Batch(inputs[3:11], labels[3:11]),
    ]


def _sums(subject: Subject, batches: Sequence[Batch]) -> list[Vector]:
    """Sums of one new step over batches, one after the other, over the clipping norm."""
    step = subject.quiet_step()
    scale = subject.settings.expected_batch_size / subject.settings.clipping_norm
    return [subject.gradient(step, batch) * scale for batch in batches]


def _worst(errors: list[float]) -> float:
    return float(np.max(errors)) if np.isfinite(errors).all() else float("inf")


_QUIET = (_clipping, _additivity, _sensitivity, _division, _micro_batches, _empty_batch, _not_finite)
"""What is looked at without noise; of these none needs a second step."""
