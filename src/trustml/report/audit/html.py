"""An audit as one HTML file that somebody can read, print and sign.

It holds no script and loads nothing: figures are SVG inside it, and a content policy forbids everything else.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from trustml.auditing.result import SEVERITIES, AuditRecord, Severity, encode_audit
from trustml.report.audit import words
from trustml.report.audit.figures import auc_figure, epsilon_figure, roc_figures, worst_of
from trustml.report.audit.groups import finding_groups
from trustml.report.audit.mapping import framework_facts
from trustml.report.audit.prose import render
from trustml.report.documents import write_document


def audit_html(record: AuditRecord) -> str:
    """Write an audit as one self-contained HTML page.

    Parameters
    ----------
    record : AuditRecord

    Returns
    -------
    str
        Without scripts and without references to other files; every string of the record is escaped.
    """
    shown = words.printable(record)
    figures = [figure for figure in (epsilon_figure(shown), auc_figure(shown)) if figure is not None]
    groups = finding_groups(shown)
    return render(
        "page.html.j2",
        {
            "record": shown,
            "digest": hashlib.sha256(encode_audit(record)).hexdigest(),
            "style": Markup(_style(shown)),
            "severities": SEVERITIES,
            "counts": words.severity_counts(shown),
            "checks": check_counts(shown),
            "headlines": [*groups.get("violation", ()), *groups.get("risk", ())],
            "groups": groups,
            "claims": words.claim_rows(shown),
            "worst": {model.name: worst_of(shown, model.name) for model in shown.models},
            "figures": figures,
            "rocs": roc_figures(shown),
            "curve_subjects": len({curve.subject for curve in shown.curves}),
            "known": framework_facts(shown),
        },
    )


def write_audit_html(record: AuditRecord, path: Path | str) -> Path:
    """Write `audit_html` to a file; gives its path.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    return write_document(path, audit_html(record), what="report")


def check_counts(record: AuditRecord) -> dict[str, dict[Severity, int]]:
    """How many findings of each severity every family of checks has, in the order they were made."""
    counts: dict[str, dict[Severity, int]] = {}
    for finding in record.findings:
        counts.setdefault(finding.check, dict.fromkeys(SEVERITIES, 0))[finding.severity] += 1
    return counts


def _style(record: AuditRecord) -> str:
    """Give the style sheet, with the identification that stands at the head of every printed page."""
    sheet = resources.files("trustml.report.audit").joinpath("templates", "audit.css").read_text(encoding="utf-8")
    head = css_string(f"Audit {record.id} · {record.created}")
    return sheet.replace('"IDENTIFICATION"', head)


def css_string(text: str) -> str:
    """Quote a text for a style sheet so that nothing in it can end the string or the sheet."""
    safe = (one if one.isascii() and (one.isalnum() or one in " .:,-_") else f"\\{ord(one):x} " for one in text)
    return '"' + "".join(safe) + '"'
