"""How far a file that was exported still is the model that was audited."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trustml.attribution.similarity import spearman
from trustml.data.dataset import LabelArray
from trustml.measures.accuracy import outputs_of, wilson_interval
from trustml.measures.classification import classification_statistics
from trustml.measures.evidence import Evidence
from trustml.measures.notes import absent
from trustml.measures.resampling import estimates
from trustml.measures.row import About, Facts, Row
from trustml.measures.score_differences import mcnemar, paired_interval
from trustml.models.answers import answers, right
from trustml.models.tasks import Binary, Classes, NextToken, Regression
from trustml.record.exports import EXPORTS, ExportedStatement, ExportRecord, read_exports
from trustml.record.schema import JobRecord
from trustml.record.store import job_record
from trustml.scenario.read import from_plain

MOST_APART = 1e-4
"""Relative difference of logits that float32 sums in another order may make in a network of hundreds of layers."""
_BATCHES = (1, 64)


@dataclass(frozen=True, kw_only=True)
class HeldAgainst:
    """A file that somebody has, beside the model of a run that it is said to be.

    Attributes
    ----------
    run, model : str
        The run and its train job.
    exported : ExportRecord
        What the file is, and what it was asked.
    rows : tuple of Row
        How far it agrees, as of a file that the run exported itself.
    drawn_gap : float
        Largest relative difference of logits on inputs that were drawn, in the range of the data and beyond.
    rounded : bool
        Whether the file keeps weights in 8 bits, by its own numbers.
    inside : ExportedStatement, optional
        What it carries; None where it carries none that can be read.
    expected : ExportedStatement
        What it would carry, were it exported now.
    """

    run: str
    model: str
    exported: ExportRecord
    rows: tuple[Row, ...]
    drawn_gap: float
    rounded: bool
    inside: ExportedStatement | None
    expected: ExportedStatement


def deployed_rows(evidence: Evidence) -> list[Row]:
    """Rows of every exported file."""
    rows: list[Row] = []
    for exported in read_exports(evidence.run):
        record = job_record(evidence.manifest, exported.model)
        arrays = evidence.run.arrays(f"{EXPORTS}/{exported.name}/answers.npz")
        rows += file_rows(evidence, exported, record, arrays)
    return rows


def file_rows(
    evidence: Evidence, exported: ExportRecord, record: JobRecord, arrays: dict[str, npt.NDArray[np.float32]]
) -> list[Row]:
    """Rows of one file, from what it and its model answered."""
    return [
        *_agreement_rows(evidence, exported, record, arrays),
        *_explanation_rows(evidence, exported, record, arrays),
        *_cost_rows(evidence, exported, record, arrays),
    ]


def _agreement_rows(
    evidence: Evidence, exported: ExportRecord, record: JobRecord, arrays: dict[str, npt.NDArray[np.float32]]
) -> list[Row]:
    """What it says, beside what the model said when it was audited."""
    if "file.held_out_logits" in arrays:
        (model, labels), file = outputs_of(evidence, record), arrays["file.held_out_logits"]
    else:
        asked = from_plain(evidence.manifest.scenario).explanations
        places = np.array(asked.chosen(evidence.manifest.data.test_examples), np.int64)
        model, labels = (part[places] for part in outputs_of(evidence, record))
        file = arrays["file.explained_logits"]
    facts: Facts = {"asked": "held-out" if "file.held_out_logits" in arrays else "explained"}
    rows = [
        evidence.row(
            "deployed_logit_difference",
            relative_gap(file, model),
            record=record,
            subject=exported.title,
            n=len(file),
            about=About(facts=facts),
        )
    ]
    if isinstance(evidence.task, Regression | NextToken):
        return rows
    differ = (answers(evidence.task, file) != answers(evidence.task, model)).reshape(len(file), -1).any(axis=1)
    rows.append(
        evidence.row(
            "deployed_disagreement",
            float(differ.mean()),
            record=record,
            subject=exported.title,
            n=len(file),
            interval=wilson_interval(int(differ.sum()), len(file)),
            about=About(interval="wilson", confidence=0.95, facts=facts),
        )
    )
    if isinstance(evidence.task, Classes | Binary):
        hits = [right(evidence.task, logits, labels) > 0 for logits in (model, file)]
        rows.append(
            evidence.row(
                "deployed_score_difference",
                float(hits[1].mean() - hits[0].mean()),
                record=record,
                subject=exported.title,
                n=len(file),
                interval=paired_interval(*hits),
                about=About(interval="newcombe", confidence=0.95, p_value=mcnemar(*hits), facts=facts),
            )
        )
    return [*rows, *_area_rows(evidence, exported, record, (model, file, labels), facts=facts)]


def _area_rows(
    evidence: Evidence,
    exported: ExportRecord,
    record: JobRecord,
    asked: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], LabelArray],
    *,
    facts: Facts,
) -> list[Row]:
    """How much better it ranks the examples than the model; nothing where there is nothing to rank."""
    model, file, labels = asked
    if not np.isfinite(file).all():
        return []
    of_model, of_file = (
        classification_statistics(evidence.task, one, labels)[0].get("roc_auc") for one in (model, file)
    )
    if of_model is None or of_file is None:
        return []
    found = estimates({"": lambda weights: of_file(weights) - of_model(weights)}, examples=len(labels))[""]
    return [
        evidence.row(
            "deployed_roc_auc_difference",
            found.value,
            record=record,
            subject=exported.title,
            n=len(labels),
            interval=(found.low, found.high),
            about=About(interval="bootstrap over examples", confidence=0.95, facts=facts | found.facts),
        )
    ]


def relative_gap(file: npt.NDArray[np.float32], model: npt.NDArray[np.float32]) -> float:
    """Largest difference of logits, over the largest of the model's (at least 1)."""
    both = min(file.shape[-1], model.shape[-1])  # of next tokens older records keep fewer numbers a step
    file, model = file[..., :both], model[..., :both]
    return float(np.abs(file - model).max() / max(1.0, float(np.abs(model).max())))


def _ranks(file: npt.NDArray[np.float32], model: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Rank correlation of each example; 0 where only the file's are constant or not finite, NaN if the model's are."""
    finite = np.isfinite(model).all(axis=1, keepdims=True)
    model, filled = np.where(finite, model, 0), np.nan_to_num(file)
    flat = ~np.isfinite(file).all(axis=1) | (np.ptp(filled, axis=1) == 0)
    return np.where(flat & (np.ptp(model, axis=1) > 0), 0.0, spearman(filled, model))


def _explanation_rows(
    evidence: Evidence, exported: ExportRecord, record: JobRecord, arrays: dict[str, npt.NDArray[np.float32]]
) -> list[Row]:
    """Rank agreement of its explanations with those of the model, a row for each way of explaining."""
    measure = "deployed_attribution_agreement"
    if not exported.attributions:
        about = absent("no example is explained, or inputs are token ids, between which there is nothing to change")
        return [evidence.row(measure, None, record=record, subject=exported.title, n=0, about=about)]
    ways = [(exported.attributions, exported.attributions.replace(" ", "_")), ("KernelSHAP", "kernel_shap")]
    moved = arrays.get("model.moved_gradients")
    return [
        _explanation_row(
            evidence,
            exported,
            record,
            method,
            (arrays[f"file.{name}"], arrays[f"model.{name}"]),
            moved=moved if name == "input_gradients" else None,
        )
        for method, name in ways
        if f"file.{name}" in arrays
    ]


def _explanation_row(
    evidence: Evidence,
    exported: ExportRecord,
    record: JobRecord,
    method: str,
    found: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    *,
    moved: npt.NDArray[np.float32] | None = None,
) -> Row:
    """Rank agreement of explanations by one method, of file and model; beside that of the model with itself, moved."""
    measure = "deployed_attribution_agreement"
    file, model = (one.reshape(exported.explained, -1) for one in found)
    ranks = _ranks(file, model)
    defined = ranks[np.isfinite(ranks)]
    if not len(defined):
        finite = np.isfinite(model).all(axis=1)
        what = "constant" if finite.all() else "constant or not finite" if finite.any() else "not finite"
        about = absent(f"the model's attributions of every explained example are {what}, and rank nothing")
        return evidence.row(measure, None, record=record, subject=exported.title, method=method, n=0, about=about)
    facts: Facts = {"least_agreement": float(defined.min()), "largest_difference": _largest(file, model)}
    if moved is not None:
        moved = moved.reshape(model.shape)
        facts["own_agreement"] = float(np.nanmin(_ranks(moved, model)))
        facts["own_difference"] = _largest(moved, model)
    return evidence.row(
        measure,
        float(defined.mean()),
        record=record,
        subject=exported.title,
        method=method,
        n=len(defined),
        about=About(facts=facts),
    )


def _largest(file: npt.NDArray[np.float32], model: npt.NDArray[np.float32]) -> float:
    finite = np.isfinite(model).all(axis=1)
    file, model = file[finite], model[finite]
    largest = float(np.abs(model).max())
    return float(np.abs(file - model).max() / largest) if largest else 0.0


def _cost_rows(
    evidence: Evidence, exported: ExportRecord, record: JobRecord, arrays: dict[str, npt.NDArray[np.float32]]
) -> list[Row]:
    """Size, and time of a call in turns with the framework's own."""
    rows = [
        evidence.row("deployed_size", exported.size, record=record, subject=exported.title, n=1),
        evidence.row("deployed_first_call", exported.first_call, record=record, subject=exported.title, n=1),
    ]
    for batch in _BATCHES:
        seconds, own = (arrays[f"{who}.seconds_{batch}"].astype(float) for who in ("file", "model"))
        low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75])
        facts: Facts = {"framework": exported.backend, "framework_seconds": float(np.median(own))}
        rows.append(
            evidence.row(
                f"deployed_latency_{batch}",
                middle,
                record=record,
                subject=exported.title,
                n=len(seconds),
                interval=(low, high),
                about=About(interval="quartiles", facts=facts),
            )
        )
    return rows
