"""Findings put together for reading: those of one check that differ only in the model and its figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from trustml.auditing.result import SEVERITIES, AuditRecord, Finding, Measurement, Severity
from trustml.report.audit_words import interval_parts, measure_label, measure_words, measured_named, value_text

MOST_COLUMNS = 4
MOST_NOTES = 8


@dataclass(frozen=True)
class Column:
    """One measure of all findings of a group.

    Parameters
    ----------
    head : str
        What is measured.
    shared : str
        What holds for every cell: confidence, number of examples, note.
    cells : tuple of str
        One for each finding.
    """

    head: str
    shared: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class FindingGroup:
    """Findings of one severity and one check with the same words.

    Parameters
    ----------
    findings : tuple of (int, Finding)
        With their numbers, which follow each other; at least one.
    """

    findings: tuple[tuple[int, Finding], ...]

    @property
    def first(self) -> Finding:
        """What all of them share can be read off the first."""
        return self.findings[0][1]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the findings."""
        return tuple(number for number, _ in self.findings)

    @property
    def name(self) -> str:
        """Identifier of the check that was made, without that of the model."""
        return check_name(self.first)

    @property
    def titles(self) -> tuple[str, ...]:
        """Conclusions, each once."""
        return tuple(dict.fromkeys(finding.title for _, finding in self.findings))

    @property
    def title(self) -> str:
        """The conclusion they share; else what they are and how many."""
        return self.first.title if len(self.titles) == 1 else f"{self.name}: {len(self.findings)} findings"

    @property
    def subjects(self) -> tuple[str, ...]:
        """Models they are about, each once."""
        return tuple(dict.fromkeys(finding.subject for _, finding in self.findings if finding.subject))

    @property
    def artifacts(self) -> tuple[str, ...]:
        """Files of the evidence, each once."""
        return tuple(dict.fromkeys(name for _, finding in self.findings for name in finding.artifacts))

    @property
    def columns(self) -> tuple[Column, ...]:
        """Their measures side by side; empty for a single finding and where they differ in what was measured."""
        names = {tuple(one.measure for one in finding.measured) for _, finding in self.findings}
        if len(self.findings) == 1 or len(names) != 1 or not 1 <= len(next(iter(names))) <= MOST_COLUMNS:
            return ()
        width = len(self.first.measured)
        columns = [_column([finding.measured[place] for _, finding in self.findings]) for place in range(width)]
        shares = tuple(attainable_share(finding) for _, finding in self.findings)
        if any(shares):
            columns.append(Column("audited, as a share of the attainable", "", shares))
        return tuple(columns)

    @property
    def is_long(self) -> bool:
        """Whether there are too many figures for columns, so that they are listed."""
        return any(len(finding.measured) > MOST_COLUMNS for _, finding in self.findings)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the figures of a long group have in common, each once; after `MOST_NOTES` how many are left."""
        texts: dict[str, None] = {}
        for _, finding in self.findings:
            for one, label in zip(finding.measured, _labels(finding), strict=True):
                note = one.note.removeprefix(f"{label}: ") if label else one.note
                facts = (interval_parts(one)[1], f"n = {one.n:,}" if one.n else "", note)
                shared = "; ".join(part for part in facts if part)
                if shared:
                    texts.setdefault(f"{measure_words(one.measure)}: {shared}")
        left = len(texts) - MOST_NOTES
        more = (f"and {left} more notes, in the JSON record",) if left > 0 else ()
        return (*tuple(texts)[:MOST_NOTES], *more)


def check_name(finding: Finding) -> str:
    """Identifier of a finding, without the model's where it ends in that."""
    return finding.id.removesuffix(finding.subject).rstrip(".") or finding.check if finding.subject else finding.id


def figure_lines(finding: Finding) -> tuple[str, ...]:
    """All figures of a finding, briefly; those of one attack on one line."""
    lines: dict[str, list[str]] = {}
    for one, label in zip(finding.measured, _labels(finding), strict=True):
        numbers = interval_parts(one)[0]
        brief = (measure_label if label else measure_words)(one.measure)
        text = f"{brief} {value_text(one)}{f' ({numbers})' if numbers else ''}"
        lines.setdefault(label or text, []).append(text)
    return tuple(
        ", ".join(texts) if label in texts else f"{label}: {', '.join(texts)}" for label, texts in lines.items()
    )


def _labels(finding: Finding) -> tuple[str, ...]:
    """What tells figures of the same measure apart: how their notes begin; empty for a measure that stands alone."""
    times = Counter(one.measure for one in finding.measured)
    return tuple(one.note.partition(": ")[0] if times[one.measure] > 1 else "" for one in finding.measured)


def finding_groups(record: AuditRecord) -> dict[Severity, tuple[FindingGroup, ...]]:
    """Give all findings, from the gravest severity on, numbered from 1 in the order in which they are read."""
    found: dict[Severity, dict[tuple[str, ...], list[Finding]]] = {one: {} for one in SEVERITIES}
    for finding in record.findings:
        key = (finding.check, check_name(finding), finding.claim, finding.how, finding.would_change)
        found[finding.severity].setdefault(key, []).append(finding)
    number = 0
    groups: dict[Severity, list[FindingGroup]] = {}
    for severity, parts in found.items():
        for findings in parts.values():
            group = FindingGroup(tuple(enumerate(findings, start=number + 1)))
            number += len(findings)
            groups.setdefault(severity, []).append(group)
    return {severity: tuple(parts) for severity, parts in groups.items()}


def numbered(record: AuditRecord) -> tuple[tuple[int, Finding], ...]:
    """Every finding with the number it has in the report."""
    return tuple(one for groups in finding_groups(record).values() for group in groups for one in group.findings)


def attainable_share(finding: Finding) -> str:
    """How much of what an ideal attacker would have shown an audit did show; empty where that is not known."""
    audited = measured_named(finding, "audited_epsilon")
    attainable = measured_named(finding, "attainable_at_claim")
    if audited is None or attainable is None or audited.value is None or not attainable.value:
        return ""
    return f"{100 * audited.value / attainable.value:.0f} %"


def _column(cells: list[Measurement]) -> Column:
    """What is the same in every cell is said once, at the head."""
    facts = [
        (interval_parts(one)[1], f"n = {one.n:,}" if one.n else "", one.note)  # kept apart: each may be shared
        for one in cells
    ]
    shared = [facts[0][place] if len({fact[place] for fact in facts}) == 1 else "" for place in range(3)]
    texts = []
    for one, fact in zip(cells, facts, strict=True):
        numbers = interval_parts(one)[0].replace(" ", "\N{NO-BREAK SPACE}")
        own = [fact[place] for place in range(3) if fact[place] and not shared[place]]
        texts.append(value_text(one) + "".join(f", {part}" for part in own) + (f" ({numbers})" if numbers else ""))
    return Column(measure_words(cells[0].measure), "; ".join(part for part in shared if part), tuple(texts))
