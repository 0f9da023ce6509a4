"""A model card of what was audited: Markdown with the front matter that Hugging Face reads.

Sections follow Mitchell et al., Model cards for model reporting (FAT* 2019, arXiv:1810.03993). What an audit cannot
know is the operator's; figures are only those that were measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from trustml.auditing.result import AuditedModel, AuditRecord
from trustml.measures.measure import shown_in
from trustml.report.audit.groups import finding_groups
from trustml.report.audit.prose import render
from trustml.report.audit.words import claim_rows, printable
from trustml.report.documents import write_document

_LIBRARIES = {"torch": "pytorch", "keras": "keras", "scikit-learn": "sklearn", "sklearn": "sklearn", "jax": "jax"}


@dataclass(frozen=True)
class Metric:
    """One figure of the index that the hub reads.

    Parameters
    ----------
    measure : str
    value : float
    attack : str
        Identifier of the finding it is from; empty where it is no attack's.
    attacks : int
        How many findings on the model have the measure; this one is the highest.
    """

    measure: str
    value: float
    attack: str = ""
    attacks: int = 0


def model_card(record: AuditRecord) -> str:
    """Write a model card of the audited models.

    Parameters
    ----------
    record : AuditRecord

    Returns
    -------
    str
        Markdown after a YAML front matter whose strings are all quoted.
    """
    shown = printable(record)
    libraries = {_library(model.kind) for model in shown.models}
    indexed = [(model.name, _metrics(shown, model)) for model in shown.models]
    return render(
        "model_card.md.j2",
        {
            "record": shown,
            "library": libraries.pop() if len(libraries) == 1 else "",
            "claims": claim_rows(shown),
            "indexed": [(name, metrics) for name, metrics in indexed if metrics],
            "groups": [group for groups in finding_groups(shown).values() for group in groups],
            "made": {**shown.settings, **shown.source, **shown.versions, **shown.hardware},
        },
    )


def write_model_card(record: AuditRecord, path: Path | str) -> Path:
    """Write `model_card` to a file; gives its path.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    return write_document(path, model_card(record), what="model card")


def _library(kind: str) -> str:
    """Name the library as the hub spells it; empty where the kind does not say."""
    words = kind.lower().replace(".", " ").replace("/", " ").split()
    return next((name for word, name in _LIBRARIES.items() if word in words), "")


def _metrics(record: AuditRecord, model: AuditedModel) -> list[Metric]:
    """What was measured on a model: held-out accuracy, and of each attack figure the highest."""
    found = []
    if model.holdout_accuracy is not None and math.isfinite(model.holdout_accuracy):
        found.append(Metric("accuracy", model.holdout_accuracy))
    for measure in shown_in("model card"):
        rows = [
            (one.value, finding.id)
            for finding in record.findings
            if finding.subject == model.name
            for one in finding.measured
            if one.measure == measure and one.value is not None and math.isfinite(one.value)
        ]
        if rows:
            found.append(Metric(measure, *max(rows), len(rows)))
    return found
