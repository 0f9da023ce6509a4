"""Whether the examples can carry an audit: overlap, duplicates, classes, and whether the two sets are alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trustml.attacks.estimates import AttackEstimate
from trustml.attacks.roc import auc_estimate, auc_lower_bound, roc_of_scores
from trustml.auditing.examples import Given
from trustml.auditing.findings import not_checked, reason
from trustml.auditing.models import Array
from trustml.auditing.result import Finding, Measurement
from trustml.errors import DataError

FEW = 100
"""Fewer members or non-members than this say little."""
_LARGE_OVERLAP = 0.01
_BLIND_ROWS, _BLIND_FEATURES = 1000, 256


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
    """

    train: Given
    holdout: Given
    findings: tuple[Finding, ...]
    alike: bool


def check_data(train: Given, holdout: Given, *, confidence: float, seed: int) -> CheckedData:
    """Look at both sets before any model is asked.

    Parameters
    ----------
    train, holdout : Given
    confidence : float
        Of the lower bound by which two sets are said to differ.
    seed : int

    Raises
    ------
    DataError
        If the two sets have examples of different shapes, or nothing usable is left.
    """
    if train.inputs.shape[1:] != holdout.inputs.shape[1:]:
        raise DataError(
            f"holdout: its examples have shape {holdout.inputs.shape[1:]}, those of train {train.inputs.shape[1:]}"
        )
    findings: list[Finding] = []
    train, holdout = _finite(train, "train", findings), _finite(holdout, "holdout", findings)
    holdout = _without_overlap(train, holdout, findings)
    for name, examples in (("train", train), ("holdout", holdout)):
        _look_at_classes(name, examples, findings)
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
    alike, found = _blind(train, holdout, confidence=confidence, seed=seed)
    findings.append(found)
    return CheckedData(train=train, holdout=holdout, findings=tuple(findings), alike=alike)


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


def _without_overlap(train: Given, holdout: Given, findings: list[Finding]) -> Given:
    known = set(_digests(train.inputs, like=holdout.inputs))
    digests = _digests(holdout.inputs, like=train.inputs)
    seen: npt.NDArray[np.bool_] = np.array([digest in known for digest in digests], np.bool_)
    count, total = int(seen.sum()), len(holdout)
    share = count / total
    how = "The bytes of every example were hashed; labels take no part in it."
    measured = (Measurement(measure="holdout_in_train", value=share, unit="share", n=total),)
    if count:
        findings.append(
            Finding(
                id="data.overlap",
                check="data",
                severity="risk" if share >= _LARGE_OVERLAP else "note",
                title=f"{count} of {total} hold-out examples are in the training set, and were left out of membership",
                measured=measured,
                how=how,
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
                would_change="copies that differ by more than rounding are not found",
            )
        )
        _look_at_near_duplicates(train, holdout, findings)
    return holdout.take(np.logical_not(seen).reshape(-1)) if count else holdout


def _look_at_near_duplicates(train: Given, holdout: Given, findings: list[Finding]) -> None:
    if train.inputs.dtype.kind != "f":
        return
    both = (train.inputs, holdout.inputs)
    low, high = min(float(values.min()) for values in both), max(float(values.max()) for values in both)
    if high <= low:
        return
    rounded = [np.round((values - low) * (1000 / (high - low))).astype(np.int32) for values in both]
    known = set(_digests(rounded[0], like=rounded[0]))
    count = sum(digest in known for digest in _digests(rounded[1], like=rounded[0]))
    if count:
        findings.append(
            Finding(
                id="data.near-duplicates",
                check="data",
                severity="note",
                title=f"{count} of {len(holdout)} hold-out examples are training examples but for rounding",
                measured=(
                    Measurement(measure="holdout_near_train", value=count / len(holdout), unit="share", n=len(holdout)),
                ),
                how="Values were rounded to a thousandth of the range of all values, and hashed.",
                would_change="a hold-out of other examples: copies look like members and hide what an attack finds",
            )
        )


def _digests(inputs: Array, *, like: Array) -> list[bytes]:
    values = np.ascontiguousarray(inputs.astype(np.result_type(inputs.dtype, like.dtype), copy=False))
    values = values + 0 if values.dtype.kind == "f" else values  # -0.0 becomes 0.0
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in values.reshape(len(values), -1)]


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


def _blind(train: Given, holdout: Given, *, confidence: float, seed: int) -> tuple[bool, Finding]:
    """Try to tell training from hold-out by a classifier that never sees the model."""
    try:
        found = blind_auc(train.inputs, holdout.inputs, confidence=confidence, seed=seed)
    except ImportError as error:
        return True, not_checked("data", "shift", why=f"{error.name} is not installed")
    except (ValueError, DataError) as error:
        return True, not_checked("data", "shift", why=reason(error))
    estimate, low = found
    told = low > 0.5
    return not told, Finding(
        id="data.shift",
        check="data",
        severity="note" if told else "pass",
        title="Training and hold-out can be told apart without the model"
        if told
        else "Training and hold-out could not be told apart without the model",
        measured=(
            Measurement(
                measure="blind_auc",
                value=estimate.value,
                low=estimate.low,
                high=estimate.high,
                confidence=estimate.confidence,
                n=estimate.n,
                note=estimate.note,
            ),
        ),
        how="Extremely randomised trees that see inputs alone learn from half of up to 1,000 examples of each set "
        f"and guess which set the others are from; a one-sided lower bound at {confidence:g} decides.",
        would_change="both sets drawn at random from one source" if told else "a stronger classifier, or more examples",
    )


def blind_auc(train: Array, holdout: Array, *, confidence: float, seed: int) -> tuple[AttackEstimate, float]:
    """AUC of a classifier that sees inputs alone, each end of its interval one-sided, and the lower one by itself.

    It learns from one half of the examples and is judged on the other: cross-validation would use more of them, but
    its folds hang together and the bound would not hold. Attacks on sets that differ by themselves measure that
    difference (Das, Zhang and Tramer, arXiv 2406.16201).

    Parameters
    ----------
    train, holdout : arrays of shape (n, *x)
    confidence : float
    seed : int

    Raises
    ------
    DataError
        If there are fewer than 20 examples on either side.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    generator = np.random.default_rng(seed)
    parts = [_sample(values, generator) for values in (train, holdout)]
    if min(map(len, parts)) < 20:
        raise DataError("fewer than 20 examples on one side")
    features = np.concatenate(parts).astype(np.float32)
    features = features[:, generator.permutation(features.shape[1])[:_BLIND_FEATURES]]
    members = np.repeat([True, False], [len(part) for part in parts])
    learned = np.concatenate([np.arange(len(part)) % 2 == 0 for part in parts])  # their order is random
    trees = ExtraTreesClassifier(n_estimators=50, min_samples_leaf=3, random_state=seed, n_jobs=1)
    trees.fit(features[learned], members[learned])
    scores = trees.predict_proba(features[~learned])[:, 1]
    roc = roc_of_scores(scores, members[~learned])
    return auc_estimate(roc, confidence=2 * confidence - 1), auc_lower_bound(roc, confidence=confidence)


def _sample(values: Array, generator: np.random.Generator) -> Array:
    chosen = generator.permutation(len(values))[:_BLIND_ROWS]
    return values[chosen].reshape(len(chosen), -1)
