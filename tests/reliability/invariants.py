"""What must hold of a run whatever happened to it, looked at from outside: its files, and commands that read it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.launched import told
from trustml.launch.intact import NEXT_JOB, spent_by
from trustml.privacy.accounting import epsilon_of
from trustml.privacy.ledger import read_ledger
from trustml.record.store import RunDirectory

TEMPORARY = re.compile(r"\.(?!lock$).*")
"""Names of files that are being written: but for its lock no file of a run is hidden."""
READERS = (("show",), ("show", "--privacy"), ("ledger",), ("compare",), ("list",), ("jobs",), ("audit",))


@dataclass
class Known:
    """What was seen of a run so far, none of which may ever be less.

    Attributes
    ----------
    artifacts : dict
        Of every finished job, the hashes of its files.
    ledgers : dict
        Whole lines of every job's ledger.
    """

    artifacts: dict[str, dict[str, str]] = field(default_factory=dict)
    ledgers: dict[str, bytes] = field(default_factory=dict)


def check(path: Path, known: Known) -> None:
    """Fail where the run at `path` lost something, or holds less of a count than was done.

    Raises
    ------
    AssertionError
    """
    run = RunDirectory(path)
    manifest = run.manifest()
    for record in manifest.jobs:
        before = known.artifacts.get(record.id)
        if before is not None:
            assert record.status == "ok" and dict(record.artifacts) == before, f"{record.id} was finished, and is not"
        elif record.status == "ok":
            known.artifacts[record.id] = dict(record.artifacts)
        ledger = path / "jobs" / record.id / "ledger.jsonl"
        content = ledger.read_bytes() if ledger.exists() else b""
        assert content.startswith(known.ledgers.get(record.id, b"")), f"{record.id}: charges were taken back"
        known.ledgers[record.id] = content[: content.rfind(b"\n") + 1]
        spent_by(run, run.job(record.id))  # raises where steps were told of or saved that were not charged


def check_readers(path: Path, commands: tuple[tuple[str, ...], ...], *, output: Path) -> None:
    """Fail where a command that reads the run breaks off, or refuses it in more than a line.

    Raises
    ------
    AssertionError
    """
    for command in commands:
        of = ["--runs", str(path.parent)] if command[0] in ("list", "jobs") else [str(path)]
        code, said = told([*command, *of], output=output)
        assert code in (0, 1, 2, 4), f"{command} ended with {code}: {said[-500:]}"
        assert "Traceback" not in said and "Internal error" not in said, f"{command}: {said[-500:]}"
        if code == 2:
            assert len(said.strip().splitlines()) == 1, f"{command}: {said[-500:]}"


def check_ended(path: Path, *, output: Path) -> None:
    """Fail where a run that was gone on with to its end is not whole, or not as one that nobody disturbed.

    Raises
    ------
    AssertionError
    """
    from trustml.api import load

    run = load(path)
    assert run.status == "success", [(record.id, record.status, record.reason) for record in run.manifest.jobs]
    left = [str(file.relative_to(path)) for file in path.rglob("*") if TEMPORARY.fullmatch(file.name)]
    left += [str(file.relative_to(path)) for file in path.glob(f"jobs/*/{NEXT_JOB}")]
    left += [name for name in ("private/runner.json", "private/asked_to_end.json") if (path / name).exists()]
    left += [str(file.relative_to(path)) for file in (path / "private").glob("checkpoints/*")]
    assert not left, f"left behind: {left}"
    statements = {statement.model: statement for statement in run.privacy()}
    for record in run.manifest.jobs:
        job = run.directory.job(record.id)
        if record.kind != "train" or getattr(job, "mechanism", None) is None:
            continue
        charges = read_ledger(run.directory.job_folder(record.id) / "ledger.jsonl")
        statement = statements[record.id]
        assert sum(charge.steps for charge in charges) == statement.steps, record.id
        assert statement.epsilon >= epsilon_of(charges, delta=statement.delta).value, record.id
    code, said = told(["verify", str(path)], output=output)
    assert code == 0, said[-2000:]
