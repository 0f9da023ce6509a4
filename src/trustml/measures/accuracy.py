"""How good models are on held-out examples, by their task, with intervals."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from trustml.measures.classification import classification_statistics, f1_statistics
from trustml.measures.evidence import Evidence
from trustml.measures.notes import absent, described
from trustml.measures.resampling import Estimate, Statistic, estimates, mean_ends
from trustml.measures.row import About, Facts, IntervalKind, Row
from trustml.models.answers import FOLLOWING, answers, in_unit, right, right_steps, score
from trustml.models.losses import AnyArray, Doubles
from trustml.models.tasks import Classes, Labels, NextToken, Regression, facts_of
from trustml.record.schema import JobRecord, tuned_runs
from trustml.record.starts import seen_by_start

_Z95 = 1.959963984540054
_SUBJECT = "held-out"
_ONE_VALUE = 1e-3
"""Share of the targets' spread below which predictions are one value."""


def accuracy_rows(evidence: Evidence) -> list[Row]:
    """The measure that leads, one row a trained model; an absent value, with the reason, for one that is not there."""
    measure = facts_of(evidence.task).score
    rows: list[Row] = []
    for record, _ in evidence.trained():
        if record.status != "ok":
            about = absent(f"training ended {record.status}: {record.reason}")
            rows.append(evidence.row(measure, None, record=record, subject=_SUBJECT, n=0, about=about))
        elif isinstance(evidence.task, NextToken):
            rows.append(_text_rows(evidence, record)[0])
        elif measure == "accuracy":
            rows.append(_accuracy_row(evidence, record))
        else:
            rows.append(_regression_rows(evidence, record)[0])
    rows = told_of_seen(evidence, rows)
    if tuned_runs(evidence.manifest) is not None:
        rows = [_chosen_by(row) for row in rows]
    for skip in evidence.manifest.skips:
        if not skip.regime:
            continue
        row = evidence.row(measure, None, record=None, subject=_SUBJECT, n=0, about=absent(skip.reason))
        rows.append(msgspec.structs.replace(row, backend=skip.backend, regime=skip.regime))
    return rows


def _chosen_by(row: Row) -> Row:
    """Say of a score that its model was chosen by it: the best of several by chance is in it."""
    if row.value is None:
        return row
    return described(row, msgspec.structs.replace(row.about, facts={**row.about.facts, "chosen_by_this": True}))


def examples_seen(evidence: Evidence) -> dict[str, int]:
    """Count the held-out examples that the start of each model was trained on, by its job."""
    return {record.id: seen_by_start(evidence.manifest, job.regime) for record, job in evidence.trained()}


def told_of_seen(evidence: Evidence, rows: list[Row]) -> list[Row]:
    """Say of every score that the start of its model was trained on some of the examples that it is over, if it was."""
    seen = examples_seen(evidence)
    return [
        described(row, msgspec.structs.replace(row.about, facts={**row.about.facts, "held_out_seen": seen[row.job]}))
        if row.value is not None and seen.get(row.job)
        else row
        for row in rows
    ]


def performance_rows(evidence: Evidence) -> list[Row]:
    """All other measures of the task, of every model that was trained."""
    rows: list[Row] = []
    for record, _ in evidence.trained():
        if record.status == "ok":
            match evidence.task:
                case Regression():
                    rows += _regression_rows(evidence, record)[1:]
                case NextToken():
                    rows.append(_text_rows(evidence, record)[1])
                case _:
                    rows += _classification_rows(evidence, record)
    return told_of_seen(evidence, rows)


def outputs_of(evidence: Evidence, record: JobRecord) -> tuple[AnyArray, AnyArray]:
    """What is recorded of the outputs, and the labels, of the held-out examples."""
    found = evidence.run.arrays(f"jobs/{record.id}/predictions.npz")["test_logits"]
    return found, evidence.heldout["test_labels"]


def held_out_score(evidence: Evidence, record: JobRecord) -> float:
    """Accuracy on held-out examples, or R2 of a regression."""
    return score(evidence.task, *outputs_of(evidence, record))


def _accuracy_row(evidence: Evidence, record: JobRecord) -> Row:
    outputs, labels = outputs_of(evidence, record)
    task = evidence.task
    said = answers(task, outputs)
    share = right(task, outputs, labels)
    different = len(np.unique(said, axis=0)) if isinstance(task, Labels) else len(np.unique(said))
    facts: Facts = {"majority": _majority(evidence, labels), "classes_answered": different}
    if isinstance(task, Labels):  # the labels of an example hang together
        facts["labels"] = labels.shape[1]
        value, (low, high) = float(share.mean()), mean_ends(share)
        about = About(interval="exact bootstrap over examples", confidence=0.95, facts=facts)
    else:
        count = int(share.sum())
        value, (low, high) = count / len(share), wilson_interval(count, len(share))
        about = About(interval="wilson", confidence=0.95, facts=facts)
    return evidence.row(
        "accuracy", value, record=record, subject=_SUBJECT, n=len(labels), interval=(low, high), about=about
    )


def _majority(evidence: Evidence, labels: AnyArray) -> float:
    """Accuracy of always answering what most examples are, of each label where there are several."""
    if isinstance(evidence.task, Classes):
        return float(np.bincount(labels).max() / len(labels))
    holds = labels.mean(axis=0)
    return float(np.maximum(holds, 1 - holds).mean())


def _classification_rows(evidence: Evidence, record: JobRecord) -> list[Row]:
    outputs, labels = outputs_of(evidence, record)
    statistics, missing = classification_statistics(evidence.task, outputs, labels)
    rows = []
    for name, found in estimates(statistics, examples=len(labels)).items():
        rows.append(_estimate_row(evidence, record, name, found, n=len(labels)))
    for name, reason in missing.items():
        rows.append(evidence.row(name, None, record=record, subject=_SUBJECT, n=0, about=absent(reason)))
    if isinstance(evidence.task, Labels):
        names = evidence.manifest.data.class_names
        of_labels = estimates(f1_statistics(evidence.task, outputs, labels, names), examples=len(labels))
        for name, found in of_labels.items():
            why = "no held-out example has the label, and none is given it"
            rows.append(_estimate_row(evidence, record, "f1", found, n=len(labels), subject=name, without=why))
    return rows


def _regression_rows(evidence: Evidence, record: JobRecord) -> list[Row]:
    """R2, RMSE and MAE, with what the best constant comes to beside them."""
    outputs, labels = outputs_of(evidence, record)
    true, predicted = (in_unit(evidence.task, part)[:, 0] for part in (labels, outputs))
    found = error_estimates(true, predicted)
    of_constant: dict[str, Facts] = {
        "r2": {"one_value": bool(predicted.std() < _ONE_VALUE * true.std())},
        "rmse": {"of_mean": float(true.std())},
        "mae": {"of_median": float(np.abs(true - np.median(true)).mean())},
    }
    why = "all held-out targets are the same"
    return [
        _estimate_row(evidence, record, name, one, n=len(true), without=why, facts=of_constant[name])
        for name, one in found.items()
    ]


def _estimate_row(
    evidence: Evidence,
    record: JobRecord,
    name: str,
    found: Estimate,
    *,
    n: int,
    subject: str = _SUBJECT,
    without: str = "",
    facts: Facts | None = None,
) -> Row:
    """Give a figure with its bootstrap interval, or say why there is none."""
    if without and not math.isfinite(found.value):
        return evidence.row(name, None, record=record, subject=subject, n=n, about=absent(without))
    kind: IntervalKind = "bootstrap over examples" if found.ends_error else "exact bootstrap over examples"
    about = About(interval=kind, confidence=0.95, facts={**(facts or {}), **found.facts})
    return evidence.row(
        name, found.value, record=record, subject=subject, n=n, interval=(found.low, found.high), about=about
    )


def explained(true: Doubles, predicted: Doubles) -> Statistic:
    """R2 of predictions."""
    squares = (predicted - true) ** 2
    centred = true - true.mean()  # else the sums of squares cancel, as those of times in seconds

    def r_squared(weights: Doubles) -> Doubles:
        count = weights.sum(axis=1)
        mean = weights @ centred / count
        spread = weights @ centred**2 - count * mean**2
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Doubles = np.where(spread > 0, 1 - weights @ squares / spread, np.nan)
        return found

    return r_squared


def error_estimates(true: Doubles, predicted: Doubles) -> dict[str, Estimate]:
    """R2, RMSE and MAE of predictions, each with its 95 % interval; the bootstrap over examples.

    Parameters
    ----------
    true, predicted : float64 arrays of shape (n,)
    """
    squares, sizes = (predicted - true) ** 2, np.abs(predicted - true)
    found = estimates(
        {
            "r2": explained(true, predicted),
            "rmse": lambda weights: np.sqrt(weights @ squares / weights.sum(axis=1)),
        },
        examples=len(true),
    )
    low, high = mean_ends(sizes)
    return found | {"mae": Estimate(value=float(sizes.mean()), low=low, high=high, ends_error=0.0)}


def _text_rows(evidence: Evidence, record: JobRecord) -> list[Row]:
    """Accuracy and perplexity over all steps that a token follows, resampled by text, beside those without context."""
    outputs, labels = outputs_of(evidence, record)
    steps = (labels > 0).sum(axis=1).astype(np.float64)
    losses = -np.where(labels > 0, outputs[..., FOLLOWING], 0.0).sum(axis=1, dtype=np.float64)
    shares = np.bincount(labels[labels > 0]) / steps.sum()
    unigram = float(np.exp(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()))
    found = estimates(
        {
            "accuracy": right_tokens(outputs, labels),
            "perplexity": lambda weights: np.exp(weights @ losses / (weights @ steps)),
        },
        examples=len(labels),
    )
    beside: dict[str, Facts] = {
        "accuracy": {"majority": float(shares.max()), "tokens": int(steps.sum())},
        "perplexity": {"of_unigram": unigram},
    }
    return [
        _estimate_row(evidence, record, name, one, n=len(labels), facts=beside[name]) for name, one in found.items()
    ]


def right_tokens(outputs: AnyArray, labels: AnyArray) -> Statistic:
    """Share of the tokens of recorded texts that are right, over all steps that a token follows."""
    steps, hits = (labels > 0).sum(axis=1).astype(np.float64), right_steps(outputs, labels).sum(axis=1)
    return lambda weights: weights @ hits / (weights @ steps)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Score interval of a proportion, 95 % (Wilson, JASA 1927)."""
    z = _Z95
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)
