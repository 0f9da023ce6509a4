"""A model card of what was audited: Markdown with the front matter that Hugging Face reads.

Sections follow Mitchell et al., Model cards for model reporting (FAT* 2019, arXiv:1810.03993). What an audit cannot
know reads `OPERATOR`; figures are only those that were measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

from trustml.auditing.result import SEVERITIES, AuditedModel, AuditRecord, Finding, Measurement
from trustml.measures.measure import shown_in
from trustml.report.audit_groups import FindingGroup, finding_groups
from trustml.report.audit_texts import LIMITS
from trustml.report.audit_words import (
    OPERATOR,
    SYMBOLS,
    VERDICTS,
    claim_rows,
    finding_ranges,
    interval_text,
    measure_words,
    printable,
    stated,
    value_text,
)
from trustml.report.documents import write_document

_LIBRARIES = {"torch": "pytorch", "keras": "keras", "scikit-learn": "sklearn", "sklearn": "sklearn", "jax": "jax"}
_SPECIAL = frozenset("\\`*_[]|~#$")


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
    parts = (
        _front_matter(shown),
        _details(shown),
        _uses(),
        _data(shown),
        _evaluation(shown),
        _privacy(shown),
        _limitations(),
        _reproduce(shown),
    )
    return "\n".join(parts)


def write_model_card(record: AuditRecord, path: Path | str) -> Path:
    """Write `model_card` to a file; gives its path.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    return write_document(path, model_card(record), what="model card")


def markdown_text(text: str) -> str:
    """Escape a text so that Markdown shows it as it is, in a line or in the cell of a table."""
    return "".join(_entity(one) if one in "<>&" else f"\\{one}" if one in _SPECIAL else one for one in text)


def _entity(character: str) -> str:
    return {"<": "&lt;", ">": "&gt;", "&": "&amp;"}[character]


def _quoted(text: str) -> str:
    """Quote for YAML; its double-quoted strings read JSON's, and `printable` left out what YAML cannot hold."""
    return json.dumps(text, ensure_ascii=False)


def _front_matter(record: AuditRecord) -> str:
    tags = ["trustml", "audit", "membership-inference"]
    if claim_rows(record):
        tags.append("differential-privacy")
    lines = ["---", "license: other", f"license_name: {OPERATOR.replace(' ', '-')}"]
    libraries = {_library(model.kind) for model in record.models}
    if len(libraries) == 1 and (library := libraries.pop()):
        lines.append(f"library_name: {library}")
    lines += ["tags:", *(f"- {tag}" for tag in tags)]
    indexed = [(model, metrics) for model in record.models if (metrics := _metrics(record, model))]
    if indexed:
        lines.append("model-index:")
    for model, metrics in indexed:
        lines += [
            f"- name: {_quoted(model.name)}",
            "  results:",
            "  - task:",
            "      type: other",
            f"      name: {_quoted('audit by trustml')}",
            "    dataset:",
            f"      type: {OPERATOR.replace(' ', '-')}",
            f"      name: {_quoted(record.data.get('name', OPERATOR))}",
            "    metrics:",
        ]
        for kind, name, value in metrics:
            lines += [f"    - type: {_quoted(kind)}", f"      name: {_quoted(name)}", f"      value: {_number(value)}"]
    return "\n".join([*lines, "---", ""])


def _number(value: float) -> str:
    """Write a number rounded down, without an exponent: not every reader of YAML knows 1e-05."""
    return f"{Decimal(repr(value)).quantize(Decimal('0.000001'), rounding=ROUND_FLOOR):f}"


def _library(kind: str) -> str:
    """Name the library as the hub spells it; empty where the kind does not say."""
    words = kind.lower().replace(".", " ").replace("/", " ").split()
    return next((name for word, name in _LIBRARIES.items() if word in words), "")


def _metrics(record: AuditRecord, model: AuditedModel) -> list[tuple[str, str, float]]:
    """What was measured on a model: held-out accuracy, and of each attack figure the highest."""
    found: list[tuple[str, str, float]] = []
    if model.holdout_accuracy is not None and math.isfinite(model.holdout_accuracy):
        found.append(("accuracy", "accuracy on held-out examples", float(model.holdout_accuracy)))
    for measure in shown_in("model card"):
        rows = [
            (one.value, finding.id)
            for finding in record.findings
            if finding.subject == model.name
            for one in finding.measured
            if one.measure == measure and one.value is not None and math.isfinite(one.value)
        ]
        if rows:
            value, attack = max(rows)
            found.append((measure, f"{measure_words(measure)}, highest of {len(rows)} ({attack})", float(value)))
    return found


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in rows), ""])


def _details(record: AuditRecord) -> str:
    rows = [(markdown_text(model.name), markdown_text(model.kind)) for model in record.models]
    head = f"# Model card: {markdown_text(record.title or record.id)}\n"
    about = (
        f"Written by trustml from audit {markdown_text(record.id)} of {markdown_text(record.created)} (UTC). "
        f"Owner, version, licence, contact: **{OPERATOR}**.\n"
    )
    models = _table(("model", "kind"), rows) if rows else "No model was audited.\n"
    return "\n".join((head, "## Model details\n", about, models))


def _uses() -> str:
    return "\n".join(
        (
            "## Intended use\n",
            f"- Intended use and users: **{OPERATOR}**",
            f"- Uses out of scope: **{OPERATOR}**",
            f"- Groups, instruments and environments that matter: **{OPERATOR}**\n",
        )
    )


def _data(record: AuditRecord) -> str:
    known = _table(("", "recorded"), ((markdown_text(key), markdown_text(value)) for key, value in record.data.items()))
    said = known if record.data else "Nothing was recorded of the data.\n"
    left = f"Provenance, collection, consent, labelling and cleaning: **{OPERATOR}**\n"
    return "\n".join(("## Training data\n", said, left))


def _evaluation(record: AuditRecord) -> str:
    rows = [
        (
            markdown_text(model.name),
            "-" if model.train_accuracy is None else f"{model.train_accuracy:.3f}",
            "-" if model.holdout_accuracy is None else f"{model.holdout_accuracy:.3f}",
            f"{model.members:,}" if model.members else "-",
            f"{model.non_members:,}" if model.non_members else "-",
        )
        for model in record.models
    ]
    head = ("model", "accuracy on training examples", "on held-out examples", "training examples", "held-out examples")
    table = _table(head, rows) if rows else "Nothing was measured.\n"
    return "\n".join(("## Evaluation\n", table, f"Accuracy by group: **{OPERATOR}**\n"))


def _privacy(record: AuditRecord) -> str:
    lines = ["## Privacy: what is claimed\n"]
    for row in claim_rows(record):
        claim = row.claim
        names = ", ".join(markdown_text(name) for name in row.models)
        lines.append(
            f"- **epsilon at most {stated(claim.epsilon)}, delta {stated(claim.delta)}**, for one {claim.unit}, "
            f"neighbours by {claim.relation}; {markdown_text(claim.mechanism)}, batches drawn: {claim.sampling}"
            f"{' (in the code: ' + claim.loader + ')' if row.mismatch else ''}; "
            f"accountant: {markdown_text(claim.accountant or 'not stated')}. Models: {names}"
        )
    if len(lines) == 1:
        lines.append("No privacy claim was made.")
    lines += ["\n## Privacy: what the audit found\n", f"**{record.worst.capitalize()}.** {VERDICTS[record.worst]}\n"]
    groups = finding_groups(record)
    for severity in SEVERITIES:
        lines += [_finding_line(group) for group in groups.get(severity, ())]
    return "\n".join([*lines, ""])


def _finding_line(group: FindingGroup) -> str:
    severity = group.first.severity
    about = ", ".join(markdown_text(name) for name in group.subjects[:4])
    more = f" and {len(group.subjects) - 4} more" if len(group.subjects) > 4 else ""
    subjects = f" ({about}{more})" if about else ""
    gravest = _strongest([finding for _, finding in group.findings])
    figure = f": {_figure(gravest)}" if gravest is not None else ""
    which = ", highest shown" if gravest is not None and len(group.findings) > 1 else ""
    numbers = finding_ranges(group.numbers)
    return f"- {SYMBOLS[severity]} {severity} {numbers}: {markdown_text(group.title)}{subjects}{figure}{which}"


def _strongest(findings: Iterable[Finding]) -> Measurement | None:
    first = [finding.measured[0] for finding in findings if finding.measured]
    known = [one for one in first if one.value is not None]
    return max(known, key=lambda one: one.value or 0.0) if known else (first[0] if first else None)


def _figure(measured: Measurement) -> str:
    interval = interval_text(measured)
    text = f"{measure_words(measured.measure)}: {value_text(measured)}{f', {interval}' if interval else ''}"
    return markdown_text(text + (f", n = {measured.n:,}" if measured.n else ""))


def _limitations() -> str:
    lines = [f"- **{title}** {text}" for title, text in LIMITS]
    return "\n".join(("## Limitations\n", *lines, f"- Risks of use, fairness, misuse: **{OPERATOR}**\n"))


def _reproduce(record: AuditRecord) -> str:
    facts = {**record.settings, **record.source, **record.versions, **record.hardware}
    rows = ((markdown_text(key), markdown_text(value)) for key, value in facts.items())
    return "\n".join(("## How it was made\n", _table(("", "recorded"), rows) if facts else "Nothing was recorded.\n"))
