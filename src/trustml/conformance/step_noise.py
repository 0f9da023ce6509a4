"""Checks of the noise of a step: its size on every kind of batch, in every call and coordinate, and that it is new."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from trustml.conformance.batches import Kind, kinds_of_batches
from trustml.conformance.draws import (
    LAGS,
    Matrix,
    Seen,
    Tell,
    Watch,
    calls_for,
    cosine_errors,
    successive,
)
from trustml.conformance.findings import CheckResult, bounded, raised
from trustml.conformance.noise_statistics import (
    Ratio,
    allowed,
    chi_square_errors,
    quietest,
    sized,
    surprises,
    surprising,
)
from trustml.conformance.subject import Subject, Vector

SAME = 3e-5
"""Noise of two calls is the same where its first coordinates agree to this; they come from a subtraction in float32."""
NOT_FINITE = "the noisy gradient is not finite"
_PERIODS = 24
_RUNS, _NUMBERS, _SUCCESSIVE = 2, 800, 8
_PAIRED = 4
_TRIED = 1000
"""Number of the run in which batches are tried; others are few."""


def check_noise(subject: Subject, *, time_limit: float, tell: Tell) -> list[CheckResult]:
    """Look at the noise of many calls of one run, and of a few of others."""
    kinds, refused = _usable(subject, kinds_of_batches(subject))
    new = [*_new_at_every_step(subject, kinds[0]), _new_in_every_run(subject, kinds[0])]
    watch = Watch(subject, kinds, seconds=time_limit, tell=tell)
    seen = watch.run()
    why = (
        f"the time limit of {time_limit:g} s came first"
        if watch.out_of_time
        else f"the coordinates hang together: the length of a call's noise varies like that of "
        f"{2 / seen.spread(seen.of_kind(0)):.3g} independent ones"
    )
    batch = subject.settings.expected_batch_size
    return [
        *refused,
        *(_size(kind, seen.ratio(number), batch, why) for number, kind in enumerate(kinds)),
        *_every_batch(kinds, seen),
        _every_coordinate(subject, seen),
        _every_call(seen),
        _along_the_sum(seen),
        *_shape(seen),
        _nothing_left(seen),
        *new,
        _never_again(seen),
    ]


def _usable(subject: Subject, kinds: list[Kind]) -> tuple[list[Kind], list[CheckResult]]:
    """Leave out kinds of batches on which the step raises an exception or is not finite, each of which is a finding.

    One such call would spoil all that is told of the others.
    """
    usable, refused = [], []
    noisy = subject.noisy_step(_TRIED)
    for kind in kinds:
        try:
            finite = all(
                np.isfinite(found).all()
                for batch in kind.batches
                for found in (subject.quiet_gradient(batch), subject.gradient(noisy, batch))
            )
        except Exception as error:  # whatever a stranger's step does, the other checks go on
            refused.append(raised(kind.check, error))
        else:
            if finite:
                usable.append(kind)
            else:
                refused.append(CheckResult(check=kind.check, passed=False, diagnosis=NOT_FINITE))
    if not usable:
        raise ValueError("the step takes no batch at all")
    return usable, refused


def _size(kind: Kind, ratio: Ratio, batch: int, why: str) -> CheckResult:
    """Compare the noise's standard deviation with the stated one, which is 1 here."""
    value = ratio.value
    if not math.isfinite(value):
        diagnosis = NOT_FINITE
    elif value < 2 / batch:
        diagnosis = f"noise scaled by the batch size twice ({value:.3g} of its stated size)"
    elif "micro-batch" in kind.check and value > 1.2:
        diagnosis = f"noise in every micro-batch ({value:.3g} times its stated size)"
    elif value < 0.75:
        diagnosis = f"too little noise, {value:.3g} of what is stated: the sensitivity is taken too small"
    else:
        diagnosis = f"noise is {value:.3g} times its stated size"
    return sized(kind.check, ratio, diagnosis=diagnosis, precision=kind.precision, why=why)


def _every_batch(kinds: list[Kind], seen: Seen) -> list[CheckResult]:
    """Look for the one batch of a kind on which there is another noise."""
    lengths, batches = np.array(seen.lengths), np.array(seen.batches, np.int64)
    counts = np.bincount(batches)
    sums = np.bincount(batches, weights=np.where(np.isfinite(lengths), lengths, 0.0))
    errors = np.abs(surprises(sums, counts * seen.coordinates))
    names = [kind.check for kind in kinds for _ in kind.batches]
    worst = int(errors.argmax())
    diagnosis = f"noise differs on one batch: {names[worst]}, {_ratio(sums[worst], counts[worst] * seen.coordinates)}"
    allowed_here = surprising(len(counts))
    return [bounded("every batch has its noise", float(errors[worst]), allowed_here, diagnosis=diagnosis)]


def _every_coordinate(subject: Subject, seen: Seen) -> CheckResult:
    """Look for coordinates, and runs of neighbours, with too little noise."""
    worst, at, width = quietest(seen.squares, seen.calls)
    part = subject.part_at(at)
    place = f"coordinates {at} to {at + width - 1}" + (f" (in {part})" if part else "")
    return bounded(
        "every coordinate has its noise",
        worst,
        surprising(2 * seen.coordinates),
        diagnosis=f"too little noise in {place}",
    )


def _every_call(seen: Seen) -> CheckResult:
    """Look for calls, stretches of calls, and every so many-th call, with another noise."""
    lengths = np.array(seen.lengths)
    finite = np.isfinite(lengths)
    lengths = np.where(finite, lengths, 0.0)
    found = [
        (name, float(errors[place]), int(place), len(errors), float(sums[place]), float(degrees[place]))
        for name, sums, degrees in _stretches(lengths, finite * float(seen.coordinates))
        for errors in [np.abs(surprises(sums, degrees))]
        for place in [errors.argmax()]
    ]
    tests = sum(count for _, _, _, count, _, _ in found)
    name, worst, place, _, squares, degrees = max(found, key=lambda entry: entry[1])
    diagnosis = f"noise depends on the number of calls before: {name} {place}, {_ratio(squares, degrees)}"
    return bounded("every call has its noise", worst, surprising(tests), diagnosis=diagnosis)


def _stretches(lengths: Vector, degrees: Vector) -> Iterator[tuple[str, Vector, Vector]]:
    """Sums over stretches of 1, 2, 4, ... calls, and over each remainder by the first whole numbers."""
    yield "call", lengths, degrees
    width, sums, counts = 1, lengths, degrees
    while len(sums) > 1:
        even = len(sums) // 2 * 2
        width *= 2
        sums, counts = (part[:even].reshape(-1, 2).sum(axis=1) for part in (sums, counts))
        yield f"{width} calls, stretch", sums, counts
    remainders = np.arange(len(lengths))
    for period in range(2, min(_PERIODS, len(lengths) // 2) + 1):
        by_call = [
            np.asarray(np.bincount(remainders % period, weights=part), np.float64) for part in (lengths, degrees)
        ]
        yield f"every {period}th call, from number", by_call[0], by_call[1]


def _along_the_sum(seen: Seen) -> CheckResult:
    """Look at noise in the direction that it is there to hide."""
    along = np.array(seen.along)
    along = along[np.isfinite(along)]
    squares = float((along**2).sum())
    return bounded(
        "noise hides the sum's own direction",
        -float(surprises(squares, len(along))),
        surprising(),
        diagnosis=f"too little noise along the sum of clipped gradients: {_ratio(squares, len(along))}",
    )


def _shape(seen: Seen) -> list[CheckResult]:
    """Look at mean, fourth moment, and how the coordinates of a call hang together."""
    numbers, columns = seen.calls * seen.coordinates, seen.coordinates
    means = seen.sums / math.sqrt(seen.calls)
    biases = [
        abs(float(means.sum())) / math.sqrt(columns) / allowed(),
        float(np.abs(means).max()) / allowed(columns),
        float(surprises(float((means**2).sum()), columns)) / surprising(),
    ]
    mean_square = max(float(seen.squares.sum()) / numbers, 1e-30)
    fourth = abs(seen.fourth / numbers / mean_square**2 - 3) / math.sqrt(24 / numbers)
    neighbours = abs(seen.neighbours) / mean_square / math.sqrt(seen.calls * max(columns - 1, 1))
    return [
        bounded("noise has mean zero", max(biases) * allowed(), allowed(), diagnosis="the noise is biased"),
        bounded("noise is Gaussian in its fourth moment", fourth, allowed(), diagnosis="the noise is not Gaussian"),
        bounded(
            "noise is independent between coordinates",
            max(neighbours, _hanging_together(seen)),
            allowed(2),
            diagnosis="noise repeats between coordinates",
        ),
        bounded(
            "calls have equally much noise",
            _unequal(seen),
            allowed(),
            diagnosis="noise is larger in some calls and smaller in others",
        ),
    ]


def _hanging_together(seen: Seen) -> float:
    """Count standard errors by which cosines between calls are too large for so many independent coordinates."""
    columns, pairs = seen.coordinates, float(seen.pairs.sum())
    if columns < 2 or not pairs:
        return 0.0
    square = float(seen.squares.sum()) / seen.calls
    mean = float(seen.squared_products.sum()) / pairs / max(square, 1e-30) ** 2 * columns
    # Variance of (x @ y)**2 / columns, and its covariance with the pairs that share x or y, 2 / columns each.
    degrees = 2 * pairs / (2 + 6 / columns + (4 * LAGS - 2) * 2 / columns)
    return chi_square_errors(mean * degrees, degrees)


def _unequal(seen: Seen) -> float:
    """Count standard errors by which the lengths of calls vary more or less than those of normal vectors."""
    columns = seen.coordinates
    lengths = np.array(seen.lengths)
    lengths = lengths[np.isfinite(lengths)]
    scaled = lengths / max(float(lengths.mean()), 1e-30) * columns
    # A centred chi-square number over its deviation has fourth moment 3 + 12 / degrees.
    degrees = 2 * len(lengths) / (2 + 12 / columns)
    return abs(chi_square_errors(float(((scaled - columns) ** 2).mean()) / (2 * columns) * degrees, degrees))


def _nothing_left(seen: Seen) -> CheckResult:
    """Check that noise has nothing of the sums of this batch and of those before in it."""
    scale = math.sqrt(max(float(seen.squares.sum()) / (seen.calls * seen.coordinates), 1e-30))
    errors = np.abs(seen.left) / np.sqrt(np.maximum(seen.weights, 1e-30)) / scale
    worst = int(errors.argmax())
    diagnosis = f"a step remembers the sum of {worst} batches before" if worst else "noise holds a part of the sum"
    return bounded("nothing of earlier batches is left", float(errors[worst]), allowed(LAGS + 1), diagnosis=diagnosis)


def _new_at_every_step(subject: Subject, ordinary: Kind) -> list[CheckResult]:
    """Compare successive calls on one and the same batch."""
    batch, step = ordinary.batches[0], subject.noisy_step(1)
    subject.quiet_gradient(batch)
    noise = successive(subject, step, batch, calls=max(_SUCCESSIVE, calls_for(subject, _NUMBERS)))
    if not np.isfinite(noise).all() or not noise.any():
        return [CheckResult(check="noise is new at every step", passed=False, diagnosis="there is no noise")]
    errors = [cosine_errors(noise[lag:], noise[:-lag]) for lag in range(1, LAGS + 1)]
    return [
        bounded("noise is new at every step", max(errors), allowed(LAGS), diagnosis="noise reused between steps"),
    ]


def _new_in_every_run(subject: Subject, ordinary: Kind) -> CheckResult:
    """Compare runs of several seeds, call by call and shifted by some calls."""
    batch, runs = ordinary.batches[0], []
    calls = max(_SUCCESSIVE, calls_for(subject, _NUMBERS))
    for run in range(2, 2 + _RUNS):
        runs.append(successive(subject, subject.noisy_step(run), batch, calls=calls))
    errors = [
        error
        for number, one in enumerate(runs)
        for two in runs[number + 1 :]
        for shift in range(_PAIRED)
        for error in (_shifted(one, two, shift), _shifted(two, one, shift))
    ]
    return bounded(
        "noise is new in every run",
        max(errors),
        allowed(len(errors)),
        diagnosis="noise does not depend on the seed: it is replayed",
    )


def _shifted(one: Matrix, two: Matrix, shift: int) -> float:
    count = len(one) - shift
    return cosine_errors(one[shift : shift + count], two[:count])


def _never_again(seen: Seen) -> CheckResult:
    """Look for noise that comes a second time, perhaps with the other sign, however much later."""
    shown = np.array(seen.sketches)
    shown = shown * np.where(shown[:, :1] < 0, -1.0, 1.0)
    ordered = shown[np.argsort(shown[:, 0])]
    again = 0
    if shown.shape[1] >= 4:  # with fewer, chance gives equal ones among thousands
        for places in range(1, _PAIRED + 1):
            again += int((np.abs(ordered[places:] - ordered[:-places]).max(axis=1) < SAME).sum())
    return bounded("no noise comes again", again, 0, diagnosis="noise reused between steps")


def _ratio(squares: float, degrees: float) -> str:
    return f"{math.sqrt(squares / max(degrees, 1e-30)):.3g} of what is stated"
