"""Where findings may be of use in NIST SP 800-226, the NIST AI RMF and Annex IV of the EU AI Act.

Headings are in our own words and short: nothing here quotes a standard. What only the operator can know reads
`OPERATOR`, and so does what the record happens to hold nothing on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trustml.auditing.result import AuditRecord
from trustml.report.audit.groups import numbered
from trustml.report.audit.svg import short
from trustml.report.audit.words import OPERATOR, claim_rows, finding_ranges, measure_words, percent, stated

TO_BE_CHECKED = "Headings in our words, to be checked against the official text."


@dataclass(frozen=True)
class MappingRow:
    """One point of a framework.

    Parameters
    ----------
    point, heading : str
        Number or place, and what it is about in our words.
    filled : str
        What this audit has to say on it; empty where it has nothing.
    findings : str
        Numbers of the findings it rests on, such as ``F1-F3``.
    operator : str
        What is left to the operator; empty where nothing is.
    """

    point: str
    heading: str
    filled: str = ""
    findings: str = ""
    operator: str = ""


@dataclass(frozen=True)
class MappingTable:
    """A framework and its points.

    Parameters
    ----------
    name : str
    source : str
        What is known of its text, and from where.
    rows : tuple of MappingRow
    """

    name: str
    source: str
    rows: tuple[MappingRow, ...]


def mapping_tables(record: AuditRecord) -> tuple[MappingTable, ...]:
    """Fill the tables of all three frameworks from an audit."""
    return (_sp_800_226(record), _ai_rmf(record), _annex_iv(record))


def _row(point: str, heading: str, filled: str, findings: str = "", *, left: str = "") -> MappingRow:
    """Make a row: without content it is the operator's, whatever else is left to them."""
    if not filled and not findings:
        return MappingRow(point, heading, operator=f"{OPERATOR}{': ' + left if left else ''}")
    text = filled or "The findings named here."
    return MappingRow(point, heading, text, findings, f"{OPERATOR}: {left}" if left else "")


def _of(record: AuditRecord, *checks: str) -> str:
    """Numbers of the findings of these checks, of all without any; a check that was not made is no evidence."""
    made = ((number, one) for number, one in numbered(record) if one.severity != "not checked")
    return finding_ranges(number for number, finding in made if finding.check in checks or not checks)


def _sentence(parts: Iterable[str], *, start: str = "") -> str:
    text = "; ".join(part for part in parts if part)
    return f"{start}{text}." if text else ""


def _parameters(record: AuditRecord) -> str:
    parts = (
        f"{_models(row.models)}: epsilon {stated(row.claim.epsilon)} at delta {stated(row.claim.delta)}"
        for row in claim_rows(record)
    )
    return _sentence(parts, start="Claimed: ")


def _units(record: AuditRecord) -> str:
    parts = (
        f"{_models(row.models)}: one {row.claim.unit}, neighbours by {row.claim.relation}" for row in claim_rows(record)
    )
    return _sentence(parts, start="Claimed: ")


def _mechanisms(record: AuditRecord) -> str:
    said = dict.fromkeys(
        f"{row.claim.mechanism or 'a mechanism without a name'}, noise multiplier "
        f"{stated(row.claim.noise_multiplier)}, sampling rate {stated(row.claim.sample_rate)}, "
        f"steps {stated(row.claim.steps)}, batches drawn: {row.claim.sampling}"
        for row in claim_rows(record)
    )
    return _sentence(said, start="As stated: ")


def _models(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} models ({names[0]} and others)"


def _accuracies(record: AuditRecord) -> str:
    known = [model.holdout_accuracy for model in record.models if model.holdout_accuracy is not None]
    if not known:
        return ""
    low, high = percent(min(known)), percent(max(known))
    between = low if low == high else f"from {low} to {high}"
    return f"Accuracy on held-out examples of {len(known)} models: {between} (section 3)."


def _sp_800_226(record: AuditRecord) -> MappingTable:
    top, middle, bottom = "top layer", "middle layer", "bottom layer"
    rows = (
        _row(top, "privacy parameters", _parameters(record), _of(record, "accounting", "canaries", "mechanism")),
        _row(top, "unit of privacy", _units(record), left="whether this unit protects the right people"),
        _row(middle, "algorithms", _mechanisms(record), _of(record, "sampling", "accounting", "canaries", "mechanism")),
        _row(middle, "utility and bias", _accuracies(record), _of(record, "performance"), left="accuracy by group"),
        _row(middle, "security and side channels", "", left="not examined by this audit"),
        _row(middle, "trust model", "", left="who sees data, gradients and intermediate models"),
        _row(bottom, "exposure in the collection of data", "", left="not examined by this audit"),
    )
    source = (
        "Structure known from public announcements and summaries (second-hand), not read in the publication: layers "
        "that rest on each other, parameters and unit of privacy at the top. The publication's own list of privacy "
        f"hazards is not reproduced here. {TO_BE_CHECKED}"
    )
    return MappingTable("NIST SP 800-226, guidelines for evaluating differential privacy", source, rows)


def _ai_rmf(record: AuditRecord) -> MappingTable:
    explained = _of(record, "explanations", "performance")
    private = _of(record, "membership", "canaries", "mechanism", "accounting", "sampling")
    documented = "Models, how each figure was made, and its limits (sections 3, 4 and 6)." if _of(record) else ""
    examined = "Attacks and the check of claims, with intervals." if private else ""
    rows = (
        _row(
            "MEASURE 2.9",
            "the model is explained, validated and documented",
            documented,
            explained,
            left="how outputs are to be understood in the context of use",
        ),
        _row(
            "MEASURE 2.10",
            "privacy risk is examined and documented",
            examined,
            private,
            left="risks outside the trained model, such as collection, access and retention",
        ),
    )
    source = f"Known from copies of the framework in public repositories. Not a checklist. {TO_BE_CHECKED}"
    return MappingTable("NIST AI Risk Management Framework 1.0, function MEASURE", source, rows)


def _annex_iv(record: AuditRecord) -> MappingTable:
    every = _of(record)
    kinds = list(dict.fromkeys(model.kind for model in record.models if model.kind))
    if len(kinds) > 3:
        kinds = [*kinds[:3], f"{len(kinds) - 3} more kinds (section 3)"]
    machine = (f"{key}: {value}" for key, value in record.hardware.items())
    compute = _sentence([*kinds, *machine], start="Models, hardware: ")
    data = _sentence(f"{key}: {short(value, 40)}" for key, value in record.data.items())
    measures = dict.fromkeys(measure_words(one.measure) for finding in record.findings for one in finding.measured)
    chosen = _sentence(measures, start="Measures used, each explained in the glossary or with its finding: ")
    versions = _sentence(f"{key} {short(value, 40)}" for key, value in {**record.source, **record.versions}.items())
    change = f"State that was audited: {versions}" if versions else ""
    tested = "Tests, figures, intervals and the date of this report; signatures in section 10." if every else ""
    rows = (
        _row("1", "general description of the system", ""),
        _row("2(a)", "methods and steps of development, third-party parts", ""),
        _row("2(b)", "design, key choices and trade-offs", _mechanisms(record), left="reasons for these choices"),
        _row("2(c)", "architecture and computing resources", compute, left="architecture of the whole system"),
        _row("2(d)", "data", data, _of(record, "data"), left="provenance, collection, labelling, cleaning"),
        _row("2(e)", "human oversight", ""),
        _row("2(f)", "changes determined in advance", ""),
        _row("2(g)", "validation and testing, dated, signed", tested, every, left="discriminatory impact; signatures"),
        _row("2(h)", "cybersecurity", ""),
        _row(
            "3",
            "monitoring, functioning and control",
            _accuracies(record),
            _of(record, "performance"),
            left="accuracy by group, foreseeable risks, oversight, input specifications",
        ),
        _row("4", "appropriateness of performance metrics", chosen, every, left="why they suit the intended purpose"),
        _row("5", "risk management", ""),
        _row("6", "changes over the life cycle", change, left="what changed since the last version"),
        _row("7", "harmonised standards or other solutions applied", ""),
        _row("8", "EU declaration of conformity", ""),
        _row("9", "monitoring after placing on the market", ""),
    )
    source = (
        "Points 1 to 9 and their order as in public transcriptions (second-hand), not checked against the Official "
        f"Journal. Filled are only the points that a tool can fill. {TO_BE_CHECKED}"
    )
    return MappingTable("EU AI Act, Annex IV, technical documentation", source, rows)
