"""What an audit found, on a page: the verdict, every finding, its evidence, and the files to hand on."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from page_parts import text_table

from trustml.auditing.result import AuditRecord, Finding, encode_audit
from trustml.report.audit.html import audit_html
from trustml.report.audit.words import interval_text, reading, severity_counts, value_text
from trustml.report.documents import plain_text

_SIGNS = {"violation": "✖", "risk": "▲", "note": "●", "pass": "✔", "not checked": "○"}


def show_audit(record: AuditRecord, *, key: str) -> None:
    """Show a finished audit.

    Parameters
    ----------
    record : AuditRecord
    key : str
        Of the page's widgets, and name of the files.
    """
    counts = {name: count for name, count in severity_counts(record).items() if count}
    told = f"{'Passed' if record.passed else 'Not passed'}; worst finding: {record.worst}. " + ", ".join(
        f"{count} {name}" for name, count in counts.items()
    )
    (st.success if record.passed else st.error)(plain_text(told))
    with st.container(horizontal=True):
        st.download_button(
            "Report (HTML)",
            lambda: audit_html(record).encode(),
            f"{key}.audit.html",
            "text/html",
            on_click="ignore",
            key=f"{key} html",
        )
        content = encode_audit(record)
        st.download_button(
            "Audit (JSON)", content, f"{key}.audit.json", "application/json", on_click="ignore", key=f"{key} json"
        )
    wanted = st.multiselect(
        "Severity",
        list(counts),
        default=list(counts),
        format_func=lambda one: f"{_SIGNS[one]} {one}",
        key=f"{key} kinds",
    )
    graver = list(counts)  # from the gravest on
    shown = sorted(
        (one for one in record.findings if one.severity in wanted), key=lambda one: graver.index(one.severity)
    )
    if shown:
        text_table(
            [
                {
                    "": f"{_SIGNS[one.severity]} {one.severity}",
                    "conclusion": one.title + (f" [{one.subject}]" if one.subject else ""),
                    "finding": one.id,
                }
                for one in shown
            ]
        )
        names = [f"{_SIGNS[one.severity]} {one.id} {one.subject}" for one in shown]
        number = st.selectbox(
            "Evidence of", range(len(shown)), format_func=lambda one: names[one], key=f"{key} finding"
        )
        _evidence(shown[number or 0])


def _evidence(finding: Finding) -> None:
    st.markdown("**" + plain_text(finding.title) + "**")
    for head, line in (
        ("The claim", finding.claim),
        ("How it was measured", finding.how),
        ("How to read it", reading(finding)),
        ("Why it was not checked", finding.reason),
        ("What would change it", finding.would_change),
    ):
        if line:
            st.markdown("*" + plain_text(head) + ":* " + plain_text(line))
    if finding.measured:
        rows = [
            {
                "measure": one.measure,
                "of": one.label,
                "value": value_text(one),
                "interval": interval_text(one),
                "n": one.n or None,
                "note": one.note,
            }
            for one in finding.measured
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    if finding.artifacts:
        st.caption(plain_text("Files of the evidence: " + ", ".join(finding.artifacts)))
