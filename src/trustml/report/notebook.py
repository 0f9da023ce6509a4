"""Runs and audits as notebooks show them: short, and every text of a record escaped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from trustml.auditing.result import SEVERITIES, AuditRecord
from trustml.privacy.statement import PrivacyStatement
from trustml.record.schema import Manifest
from trustml.report.documents import Cell
from trustml.report.summary import summary, worded
from trustml.report.tables import constant_lines, overview_frame

if TYPE_CHECKING:
    import pandas as pd

MOST_FINDINGS = 20
"""The gravest first."""
_MOST_COLUMNS = 10
_AUDIT = "audit.html"
_BAD = "color:#d6303f;font-weight:bold"


def explanation_html(
    title: str, *, library: str, shape: tuple[int, ...], strongest: Sequence[float] | None, residual: float | None
) -> str:
    """Write one explanation in short.

    Parameters
    ----------
    title : str
        Of the method.
    library : str
    shape : tuple of int
        Of the attributions.
    strongest : sequence of float, optional
        Largest magnitude of each column of a table.
    residual : float, optional
        How far the attributions of a complete method are from the change of the output, at the most.
    """
    size = " x ".join(map(str, shape))
    parts = [Markup("<p><b>{}</b> by {}: attributions of {}</p>").format(title, library, size)]
    if residual is not None:
        parts.append(Markup("<p>sum less the change of the output: at most {:.2g}</p>").format(residual))
    if strongest is not None:
        order = sorted(range(len(strongest)), key=lambda column: -strongest[column])[:_MOST_COLUMNS]
        cells = ", ".join(f"{column}: {strongest[column]:.3g}" for column in order)
        parts.append(Markup("<p>strongest columns: {}</p>").format(cells))
    return str(Markup("").join(parts))


def run_html(path: Path, manifest: Manifest, table: pd.DataFrame | None, statements: Sequence[PrivacyStatement]) -> str:
    """Write a run in short: how it went, what it answers, what each regime costs, and where more is.

    Parameters
    ----------
    path : Path
    manifest : Manifest
    table : DataFrame or None
        The tidy rows; None where nothing has been measured yet.
    statements : sequence of PrivacyStatement
    """
    done = sum(record.status == "ok" for record in manifest.jobs)
    parts = [
        Markup("<p><b>{}</b>: {}, {} of {} jobs ended well</p>").format(
            manifest.run, manifest.status, done, len(manifest.jobs)
        )
    ]
    if table is not None:
        parts += [Markup('<p style="{}">{}</p>').format(_BAD, f"{line}.") for line in constant_lines(table)[1]]
        for question, answers in worded(summary(manifest, table, statements)):
            text = " ".join(answer.sentence for answer in answers)
            parts.append(Markup("<p><b>{}</b> {}</p>").format(question, text))
        parts.append(table_html(overview_frame(manifest, table)))
    if (path / _AUDIT).is_file():
        parts.append(Markup('<p><a href="{}">Its audit</a></p>').format((path / _AUDIT).resolve().as_uri()))
    more = f"trustml report {path} -o report.html"
    return "".join((*parts, Markup("<p>All of it: <code>{}</code></p>").format(more)))


def audit_html_in_short(record: AuditRecord) -> str:
    """Write an audit in short: the verdict, how many findings of each severity, and the gravest."""
    counts = {one: sum(finding.severity == one for finding in record.findings) for one in SEVERITIES}
    told = ", ".join(f"{count} {severity}" for severity, count in counts.items() if count)
    verdict = "passed" if record.passed else "not passed"
    style = "" if record.passed else _BAD
    ordered = sorted(record.findings, key=lambda finding: SEVERITIES.index(finding.severity))
    rows = Markup("").join(
        Markup("<tr><td>{}</td><td><code>{}</code></td><td>{}</td></tr>").format(one.severity, one.id, one.title)
        for one in ordered[:MOST_FINDINGS]
    )
    more = len(ordered) - MOST_FINDINGS
    left = Markup("<p>{}</p>").format(f"{more} more in .findings") if more > 0 else ""
    head = Markup('<p><b>{}</b>: <span style="{}">{}</span> ({})</p>').format(record.title, style, verdict, told)
    return f"{head}<table>{_head(('severity', 'check', 'finding'))}{rows}</table>{left}"


def table_html(frame: pd.DataFrame) -> Markup:
    """Write a table of cells; numbers stand at the right."""
    rows = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(map(_cell, record.values())))
        for record in frame.to_dict("records")
    )
    return Markup("<table>{}{}</table>").format(_head(frame.columns), rows)


def _cell(value: object) -> Markup:
    align = "right" if isinstance(value, Cell) else "left"
    return Markup('<td style="text-align:{}">{}</td>').format(align, str(value))


def _head(names: Sequence[str] | pd.Index[str]) -> Markup:
    heads = Markup("").join(Markup("<th>{}</th>").format(escape(name)) for name in names)
    return Markup("<tr>{}</tr>").format(heads)
