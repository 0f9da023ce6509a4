"""What comes out of models of a run beyond who was a member, as findings."""

from __future__ import annotations

from collections.abc import Iterable

from trustml.auditing.result import Finding, Severity
from trustml.auditing.run_wording import figure, untried
from trustml.measures.measure import MEASURES as MEASURES_TABLE
from trustml.measures.measure import of_family
from trustml.measures.reconstructed import FOUND, PROPERTY, TYPICAL
from trustml.measures.remembered import GUESSED
from trustml.measures.row import Row
from trustml.record.store import MEASURES

_TITLE = "{job}: {measure} of {subject} is {value} where trained on, {untrained} where not: {told}."
_TITLES = {
    FOUND: "{job}: {value} of rows are made again from updates ({subject}), {untrained} of rows that were left out: "
    "{told}.",
    TYPICAL: "{job}: the input most typical of a class is like training rows by {value}, like held-out rows by "
    "{untrained}: {told}.",
    PROPERTY: "{job}: {subject}: which one is told of {value} of models, of {untrained} by exchanged shares: {told}.",
}
_TOLD = {FOUND: "rows can be made again", PROPERTY: "a property of the data is told"}
_CHANGE = "private training, fewer epochs or copies"
_CHANGES = {
    FOUND: "noise on updates (DPFedAvg), more rows in each, or a server that sees sums alone",
    PROPERTY: "nothing that protects rows: what a data set is like has to be no secret, or answers fewer",
}


def remembered_findings(rows: list[Row]) -> Iterable[Finding]:
    """Judge what comes out of models by the tests against what was not trained on."""
    for row in rows:
        if row.measure not in of_family("remembered") or row.verdict == "" or row.p_value is None:
            continue
        measure, told = MEASURES_TABLE[row.measure], row.verdict == "above guessing"
        idle = untried(row)
        remembered = _TOLD.get(row.measure, "remembered") if told else "no difference is shown"
        yield Finding(
            id=f"membership.{row.measure}.{row.job}" + (f".{row.subject}" if row.measure in (GUESSED, FOUND) else ""),
            rule=f"membership.{row.measure}",
            check="membership",
            severity="not checked" if idle else _told_severity(row) if told else "pass",
            title=_TITLES.get(row.measure, _TITLE).format(
                job=row.job,
                measure=measure.title,
                subject=row.subject,
                value=measure.text(row.value or 0.0),
                untrained=measure.text(float(row.facts["untrained_value"])),
                told=idle or remembered,
            ),
            subject=row.job,
            measured=(figure(row),),
            how=f"{measure.meaning} {row.note}",
            artifacts=(MEASURES,),
            would_change=_CHANGES.get(row.measure, _CHANGE)
            if told
            else "more canaries, texts or rows; no attack that fails proves privacy",
        )


def _told_severity(row: Row) -> Severity:
    """What is told before noise comes to it is no risk to a guarantee that trusts whoever sees it."""
    return "note" if row.facts.get("trusted") else "risk"
