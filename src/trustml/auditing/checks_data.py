"""Whether the examples can carry an audit: overlap, duplicates, classes, and whether the two sets are alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from trustml.auditing.blind import SPLITS, blind_auc, blind_label_auc
from trustml.auditing.examples import Given
from trustml.auditing.findings import measured_figure, not_checked, reason
from trustml.auditing.models import Array
from trustml.auditing.result import Finding, Measurement
from trustml.data.copies import MOST_FEATURES, NEAR, Ints, digests, groups_of, near_duplicates
from trustml.errors import DataError

FEW = 100
"""Fewer members or non-members than this say little."""
_LARGE_OVERLAP = 0.01


@dataclass(frozen=True, kw_only=True)
class CheckedData:
    """Examples that may be used, and what was found about them.

    Attributes
    ----------
    train, holdout : Given
        Without examples that are not finite; the hold-out also without those that are in the training set.
    findings : tuple of Finding
    alike : bool
        Whether training and hold-out could not be told apart without the model.
    groups : int array of shape (n + m,)
        Of training examples, then the hold-out, each set by itself: the same number for copies of one example.
    shared : int array of shape (k,)
        Place in the training set of every hold-out example that was left out as it is there.
    shared_labels : array of shape (k,)
        Labels that those have in the hold-out.
    """

    train: Given
    holdout: Given
    findings: tuple[Finding, ...]
    alike: bool
    groups: Ints
    shared: Ints
    shared_labels: Array


def check_data(train: Given, holdout: Given, *, confidence: float, seed: int, targets: bool = False) -> CheckedData:
    """Look at both sets before any model is asked.

    Parameters
    ----------
    train, holdout : Given
    confidence : float
        Of the lower bound by which two sets are said to differ.
    seed : int
    targets : bool
        Whether labels are numbers of a regression.

    Raises
    ------
    DataError
        If the two sets have examples of different shapes, or nothing usable is left: every hold-out example may be
        in the training set.
    """
    if train.inputs.shape[1:] != holdout.inputs.shape[1:]:
        raise DataError(
            f"holdout: its examples have shape {holdout.inputs.shape[1:]}, those of train {train.inputs.shape[1:]}"
        )
    findings: list[Finding] = []
    train, holdout = _finite(train, "train", findings), _finite(holdout, "holdout", findings)
    holdout, shared, labels = _without_overlap(train, holdout, findings)
    copies = groups_of(train.inputs), groups_of(holdout.inputs)
    for name, examples, groups in (("train", train, copies[0]), ("holdout", holdout, copies[1])):
        _look_at_classes(name, examples, findings)
        _look_at_copies(name, groups, findings)
    if len(train) and len(holdout) and min(len(train), len(holdout)) < FEW:
        findings.append(
            Finding(
                id="data.size",
                check="data",
                severity="note",
                title=f"{len(train)} training and {len(holdout)} hold-out examples are few: intervals are wide",
                would_change=f"{FEW} examples or more on either side",
            )
        )
    # two ways to tell the sets apart: half of the error for each
    each = (1 + confidence) / 2
    alike = True
    for check in (_blind, partial(_blind_labels, targets=targets)):
        same, found = check(train, holdout, copies, confidence=each, seed=seed)
        findings.append(found)
        alike = alike and same
    return CheckedData(
        train=train,
        holdout=holdout,
        findings=tuple(findings),
        alike=alike,
        groups=np.concatenate([copies[0], copies[1] + len(train)]),
        shared=shared,
        shared_labels=labels,
    )


def _finite(examples: Given, name: str, findings: list[Finding]) -> Given:
    if examples.inputs.dtype.kind != "f":
        return examples
    good = np.isfinite(examples.inputs.reshape(len(examples), -1)).all(axis=-1).reshape(-1)
    bad = int((~good).sum())
    if bad == len(examples):
        raise DataError(f"{name}: no example is finite; fill in what is missing as for training")
    if bad:
        findings.append(
            Finding(
                id=f"data.finite.{name}",
                check="data",
                severity="note",
                title=f"{bad} of {len(examples)} examples of {name} are not finite and were left out",
                measured=(Measurement(measure="examples_not_finite", value=bad, n=len(examples)),),
                would_change="fill in what is missing, as was done for training",
            )
        )
    return examples.take(good) if bad else examples


def _without_overlap(train: Given, holdout: Given, findings: list[Finding]) -> tuple[Given, Ints, Array]:
    known, first = np.unique(digests(train.inputs, like=holdout.inputs), return_index=True)
    asked = digests(holdout.inputs, like=train.inputs)
    places = np.searchsorted(known, asked).clip(0, len(known) - 1)
    seen: npt.NDArray[np.bool_] = known[places] == asked
    count, total = int(seen.sum()), len(holdout)
    share = count / total
    how = "The bytes of every example were hashed; labels take no part in it."
    measured = (Measurement(measure="holdout_in_train", value=share, unit="share", n=total),)
    if count == total:
        raise DataError(
            f"holdout: all of its {total} examples are in train; give examples that the model was not trained on"
        )
    if count:
        findings.append(
            Finding(
                id="data.overlap",
                check="data",
                severity="risk" if share >= _LARGE_OVERLAP else "note",
                title=f"{count} of {total} hold-out examples are in the training set, and were left out of membership",
                measured=measured,
                how=f"{how} Attacks are judged without them; no bound or test is surer than with them, as of examples "
                "that repeat by chance rare ones alone would be left.",
                would_change="a hold-out without training examples; what was measured on this one is too good",
            )
        )
    else:
        findings.append(
            Finding(
                id="data.overlap",
                check="data",
                severity="pass",
                title="No hold-out example is in the training set",
                measured=measured,
                how=how,
                would_change="copies that differ are not found here; see data.near-duplicates",
            )
        )
    left = holdout.take(np.logical_not(seen).reshape(-1)) if count else holdout
    _look_at_near_duplicates(train, left, findings)
    return left, first[places[seen]].astype(np.int64), holdout.labels[seen]


def _look_at_near_duplicates(train: Given, holdout: Given, findings: list[Finding]) -> None:
    if train.inputs.dtype.kind != "f" or len(train) < 2:
        return
    looked, count = min(len(holdout), 500), near_duplicates(train.inputs, holdout.inputs)
    if count:
        findings.append(
            Finding(
                id="data.near-duplicates",
                check="data",
                severity="note",
                title=f"{count} of {looked} hold-out examples looked at are training examples but for small changes",
                measured=(Measurement(measure="holdout_near_train", value=count / looked, unit="share", n=looked),),
                how=f"Up to {MOST_FEATURES} columns were divided by their standard deviations; counted are examples "
                f"whose nearest training example is closer than {NEAR:.0%} of the median distance that training "
                "examples, but for copies of them, have to theirs.",
                would_change="a hold-out of other examples: copies look like members and hide what an attack finds",
            )
        )


def _look_at_classes(name: str, examples: Given, findings: list[Finding]) -> None:
    classes = np.unique(examples.labels)
    if len(classes) == 1:
        findings.append(
            Finding(
                id=f"data.single-class.{name}",
                check="data",
                severity="risk",
                title=f"All {len(examples)} labels of {name} are {classes[0]!s}",
                how="The labels were counted.",
                would_change="labels of at least two classes; with one, accuracy and membership say nothing",
            )
        )


def _look_at_copies(name: str, groups: Ints, findings: list[Finding]) -> None:
    """Tell of examples that are there more than once."""
    total, distinct = len(groups), len(np.unique(groups))
    if distinct < total:
        findings.append(
            Finding(
                id=f"data.copies.{name}",
                check="data",
                severity="note",
                title=f"{distinct} of {total} examples of {name} are distinct; copies make no finding surer",
                measured=(Measurement(measure="distinct_examples", value=distinct, n=total),),
                how="Copies are examples of the same bytes, and among decimals those that differ from the first of "
                f"them by less than {NEAR:.0%} of what others do, after up to {MOST_FEATURES} columns were divided by "
                "their standard deviations; labels take no part. All examples make the figures of membership, and "
                "their intervals and tests hold for one example of each group too.",
                would_change="nothing, where copies were wanted; each example once, where they were not",
            )
        )


def _blind(
    train: Given, holdout: Given, copies: tuple[Ints, Ints], *, confidence: float, seed: int
) -> tuple[bool, Finding]:
    """Try to tell training from hold-out by a classifier that never sees the model."""
    try:
        estimate = blind_auc(train.inputs, holdout.inputs, copies, confidence=confidence, seed=seed)
    except ImportError as error:
        return True, not_checked("data", "shift", why=f"{error.name} is not installed")
    except (ValueError, DataError) as error:
        return True, not_checked("data", "shift", why=reason(error))
    assert estimate.low is not None
    told = estimate.low > 0.5
    return not told, Finding(
        id="data.shift",
        check="data",
        severity="note" if told else "pass",
        title="Training and hold-out can be told apart without the model"
        if told
        else "Training and hold-out could not be told apart without the model",
        measured=(measured_figure("blind_auc", estimate),),
        how="Extremely randomised trees that see inputs alone learn from half of up to 1,000 examples of each set "
        f"and guess which set the others are from, {SPLITS} times over; a one-sided lower bound at {confidence:g} "
        "decides.",
        would_change="both sets drawn at random from one source" if told else "a stronger classifier, or more examples",
    )


def _blind_labels(
    train: Given, holdout: Given, copies: tuple[Ints, Ints], *, confidence: float, seed: int, targets: bool
) -> tuple[bool, Finding]:
    """Try to tell training from hold-out by how well labels go with inputs, for a classifier that is not the model."""
    try:
        estimate = blind_label_auc(train, holdout, copies, confidence=confidence, seed=seed, targets=targets)
    except ImportError as error:
        return True, not_checked("data", "labels", why=f"{error.name} is not installed")
    except (ValueError, TypeError, DataError) as error:
        return True, not_checked("data", "labels", why=reason(error))
    assert estimate.low is not None and estimate.high is not None
    told = estimate.low > 0.5 or estimate.high < 0.5
    worse = "hold-out" if estimate.low > 0.5 else "training set"
    return not told, Finding(
        id="data.labels",
        check="data",
        severity="note" if told else "pass",
        title=f"Labels of the {worse} go less well with their inputs than those of the other set, without the model"
        if told
        else "Labels go as well with their inputs in training as in hold-out, without the model",
        measured=(measured_figure("blind_label_auc", estimate),),
        how="Extremely randomised trees learn labels from half of up to 1,000 examples of both sets, "
        f"{SPLITS} times over; {'how far they are from' if targets else 'the probability they give to'} the labels of "
        f"the others is compared between the sets, two-sided at {confidence:g}.",
        would_change="a look at the labels: are they in the order of their inputs, and made the same way in both sets?"
        if told
        else "a stronger classifier, or more examples",
    )
