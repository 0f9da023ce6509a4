"""Whether exported files of a run are those that its record of them speaks of."""

from __future__ import annotations

from trustml.errors import RecordError
from trustml.evidence.checks import Check
from trustml.record.exports import EXPORTS, content_of, digest_of, read_exports
from trustml.record.store import RunDirectory


def export_checks(run: RunDirectory) -> list[Check]:
    """Hold each exported file against the SHA-256 and the size that its record gives."""
    checks = []
    try:
        found = list(read_exports(run))
    except RecordError as error:
        return [Check(area="files", subject=EXPORTS, outcome="differs", message=str(error))]
    for exported in found:
        path, name = run.file(f"{EXPORTS}/{exported.name}/{exported.file}"), f"{EXPORTS}/{exported.name}"
        if not path.exists():
            problem = f"{exported.file} is not there"
        elif digest_of(path) != exported.digest:
            problem = f"{exported.file} is not the file that was asked: its SHA-256 differs"
        elif sum(one.stat().st_size for one in content_of(path)) != exported.size:
            problem = f"{exported.file} has another size than its record says"
        else:
            problem = ""
        message = problem or "is the file that was asked"
        checks.append(Check(area="files", subject=name, outcome="differs" if problem else "ok", message=message))
    return checks
