"""All pages of a report: what the runs answer and in what they differ, a page a subject, and how they came about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pandas as pd

from trustml.auditing.result import SEVERITIES, decode_audit
from trustml.compare.run_differences import run_differences
from trustml.errors import RecordError, TrustmlError
from trustml.measures.measure import MEASURES, leading
from trustml.models.tasks import in_words
from trustml.record.files import UNREADABLE, plain_bytes
from trustml.record.schema import failed_methods, task_of
from trustml.record.store import AUDIT
from trustml.report import figures
from trustml.report.audit.words import SYMBOLS, severity_counts
from trustml.report.site.content import Page, RunShown, Section, filled
from trustml.report.site.subjects import SUBJECTS
from trustml.report.summary import summary, worded
from trustml.report.tables import constant_lines, overview_frame, performance_frame

_INDEX, _RECORD = "index", "record"
OTHER_DATA = "Not all runs are of the same data: compare regimes and frameworks within a run, not runs with each other."


def pages_of(runs: Sequence[RunShown]) -> tuple[Page, ...]:
    """Make all pages of some runs; subjects of which no run has anything are left out.

    Parameters
    ----------
    runs : sequence of RunShown
        At least one.
    """
    found = [_page(name, title, make, runs) for name, (title, make) in SUBJECTS.items()]
    found += [_page("audit", "Audit", _audit, runs), _page(_RECORD, "Record", _record, runs)]
    there = [page for page in found if page.sections]
    names = {page.name for page in there}
    own = [(run.manifest.run, filled(_overview(run, names))) for run in runs]
    if len(runs) > 1:
        # Runs of one table are told apart by a few fields. Those of several differ in most, which answers nothing.
        alike = len({run.manifest.data.fingerprint for run in runs}) == 1
        differing, costs = ("", (_differing(runs),)), ("", (_costs(runs, alike=alike),))
        own = [differing, costs, *own] if alike else [costs, *own, differing]
    return (Page(name=_INDEX, title="Overview", sections=tuple(own)), *there)


def _page(name: str, title: str, make: Callable[[RunShown], tuple[Section, ...]], runs: Sequence[RunShown]) -> Page:
    made = ((run, _made(make, run)) for run in runs)
    there = tuple((run.manifest.run, (*_constant(run), *parts)) for run, parts in made if parts)
    return Page(name=name, title=title, sections=there)


def _constant(run: RunShown) -> tuple[Section, ...]:
    """Models that answer the same for every example: what a page shows of them means little."""
    section = Section(title="To be known first")
    section.say(*(f"{line}." for line in constant_lines(run.table)[1]), tone="bad")
    return filled([section])


def _made(make: Callable[[RunShown], tuple[Section, ...]], run: RunShown) -> tuple[Section, ...]:
    """Make the sections of one page; what of a record is damaged, or was left out of it, takes no other page along."""
    try:
        return make(run)
    except (TrustmlError, OSError) as error:
        section = Section(title="Cannot be shown")
        folder = str(run.directory.path)  # which is nobody's business who is given the report
        section.say(str(error).replace(folder, run.manifest.run), tone="bad")
        return (section,)


def _audit(run: RunShown) -> tuple[Section, ...]:
    """What `trustml audit` concluded of the run, where it has been asked."""
    if not run.directory.file(AUDIT).is_file():
        return ()
    try:
        record = decode_audit(plain_bytes(run.directory.file(AUDIT)))
    except UNREADABLE as error:
        raise RecordError(f"{AUDIT}: cannot be read ({error}); `trustml audit` makes it again") from None
    found = Section(title=record.title)
    counts = ", ".join(f"{count} {severity}" for severity, count in severity_counts(record).items() if count)
    found.say(f"{'Passed' if record.passed else 'Not passed'}: {counts}", tone="good" if record.passed else "bad")
    ordered = sorted(record.findings, key=lambda finding: SEVERITIES.index(finding.severity))
    rows = [
        {"": f"{SYMBOLS[one.severity]} {one.severity}", "check": one.id, "finding": one.title, "how": one.how}
        for one in ordered
    ]
    found.tabulate(pd.DataFrame(rows))
    found.say("The whole audit, with what was measured and what would change it: `trustml audit`.", tone="soft")
    return (found,)


def _overview(run: RunShown, pages: set[str]) -> list[Section]:
    """What a run answers, and what each regime costs in each framework."""
    manifest, table = run.manifest, run.table
    answers = Section(title=str(manifest.scenario.get("name", "run")))
    answers.say(str(manifest.scenario.get("description", "")), tone="soft")
    done = sum(record.status == "ok" for record in manifest.jobs)
    whole = done == len(manifest.jobs) and manifest.status == "success"
    answers.say(
        f"{done} of {len(manifest.jobs)} jobs ended well; {manifest.status}", tone="good" if whole else "warning"
    )
    same, dead = constant_lines(table)
    answers.say(*(f"{line}." for line in dead), tone="bad")
    for question, group in worded(summary(manifest, table, run.statements)):
        answers.say(question, tone="question", page=group[0].page if group[0].page in pages else "")
        answers.say(*(answer.sentence for answer in group))
    costs, judged = Section(title="What each regime costs in each framework"), Section(title="On held-out examples")
    costs.tabulate(overview_frame(manifest, table))
    costs.say(*(f"{line[:1].upper()}{line[1:]}." for line in same), tone="soft")
    _epsilon_notes(costs, table)
    score = leading(set(table.measure))
    if table[table.measure == score].value.notna().any():
        costs.show(
            figures.accuracy_points(table), f"{MEASURES[score].title} by regime and framework, with its interval"
        )
    judged.tabulate(performance_frame(manifest, table))
    warned = Section(title="To be known")
    warned.say(*manifest.warnings, *manifest.data.notes, tone="warning")
    return [answers, costs, judged, warned]


def _epsilon_notes(section: Section, table: pd.DataFrame) -> None:
    notes = table[table.measure == "epsilon"].dropna(subset="value").note
    section.say(*(f"Epsilon: {note}." for note in notes), tone="soft")
    if len(notes):
        section.say("Epsilon 'none': trained without privacy, so no finite epsilon holds.", tone="soft")


def _differing(runs: Sequence[RunShown]) -> Section:
    """In what runs differ."""
    found = Section(title="In what the runs differ")
    manifests = [run.manifest for run in runs]
    differences = run_differences(manifests)
    if not differences:
        found.say("Asked the same, of the same data, with the same versions on the same machine.", tone="good")
    else:
        rows = [
            {"part": one.part, "field": one.field}
            | {manifest.run: value for manifest, value in zip(manifests, one.values, strict=True)}
            for one in differences
        ]
        found.tabulate(pd.DataFrame(rows))
    return found


def _costs(runs: Sequence[RunShown], *, alike: bool) -> Section:
    """What each of several runs measured, those of one score together."""
    found = Section(title="What each regime costs in each framework")
    if not alike:
        found.say(OTHER_DATA, tone="warning")
    for run in runs:
        found.say(*(f"{run.manifest.run}: {line}." for line in constant_lines(run.table)[1]), tone="bad")
    groups: dict[str, list[RunShown]] = {}
    for run in runs:
        groups.setdefault(leading(set(run.table.measure)), []).append(run)
    for score, group in groups.items():
        frames = [overview_frame(run.manifest, run.table) for run in group]
        for run, frame in zip(group, frames, strict=True):
            frame.insert(0, "run", run.manifest.run)
        found.tabulate(pd.concat(frames, ignore_index=True), title=f"by {MEASURES[score].title}")
        letters = {run.manifest.run: chr(65 + number % 26) for number, run in enumerate(group)}
        found.say("; ".join(f"{letter}: {run}" for run, letter in letters.items()), tone="soft")
        together = pd.concat(
            [run.table.assign(regime=f"{letters[run.manifest.run]}: " + run.table.regime) for run in group],
            ignore_index=True,
        )
        if together[together.measure == score].value.notna().any():
            found.show(figures.accuracy_points(together), f"{MEASURES[score].title} of all runs, with its interval")
    return found


def _record(run: RunShown) -> tuple[Section, ...]:
    """How every job ended, and what the results depend on."""
    manifest = run.manifest
    jobs, skips, data, versions = (Section(title=t) for t in ("Jobs", "Not run", "Data", "Machine and versions"))
    jobs.tabulate(
        pd.DataFrame(
            [
                {
                    "job": record.id,
                    "status": record.status,
                    "seconds": round(record.seconds, 1),
                    "peak MiB": round(record.peak_memory / 2**20) if record.peak_memory else None,
                    "attempt": record.attempt,
                    "reason": record.reason,
                }
                for record in manifest.jobs
            ]
        )
    )
    failed = [
        f"{one.method} in {record.id}: {one.reason}" for record in manifest.jobs for one in failed_methods(record)
    ]
    jobs.say(*failed, tone="warning")
    left = [{"framework": s.backend, "regime or method": s.cell, "why": s.reason} for s in manifest.skips]
    skips.tabulate(pd.DataFrame(left))
    facts = manifest.data
    data.say(
        f"{facts.train_examples:,} training and {facts.test_examples:,} held-out examples of shape "
        f"{facts.input_shape}; {in_words(task_of(manifest), len(facts.class_names))}"
    )
    rows = [("trustml", name, text) for name, text in manifest.source.items()]
    rows += [("machine", name, text) for name, text in manifest.hardware.items()]
    rows += [("main", name, text) for name, text in manifest.versions.items()]
    for record in manifest.jobs:
        if record.result is not None:
            rows += [(record.backend, name, text) for name, text in record.result.versions.items()]
    versions.tabulate(pd.DataFrame(list(dict.fromkeys(rows)), columns=["of", "what", "is"]).astype(str))
    asked = Section(title="Scenario")
    fields = _fields(msgspec.to_builtins(manifest.scenario), "")
    asked.tabulate(pd.DataFrame(fields, columns=["field", "value"]))
    return filled([jobs, skips, data, asked, versions])


def _fields(value: object, path: str) -> list[tuple[str, str]]:
    """Give every field of a scenario by its path, as overrides name them."""
    if isinstance(value, dict) and value:
        parts = [(str(name), one) for name, one in value.items()]
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        parts = [(str(number), one) for number, one in enumerate(value)]
    else:
        return [(path, str(value))]
    return [found for name, one in parts for found in _fields(one, f"{path}.{name}" if path else name)]
