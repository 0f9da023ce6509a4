"""Records that say less than their ledgers.

A ledger is charged before each step; the table and the statements are written when a run ends. A run that was resumed
and killed has a ledger that holds more than its record. Then the ledger is right: what is read here is the larger
epsilon, and says so.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trustml.compare.table import table_of
from trustml.errors import RecordError
from trustml.measures.measure import MEASURES
from trustml.measures.row import Row
from trustml.privacy.ledger import read_ledger
from trustml.privacy.statement import PrivacyStatement, Understated, understated_line
from trustml.record.ledgers import ledger_digests
from trustml.record.store import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

_LEAST = 1e-9  # relative; less is rounding


def changed_ledgers(run: RunDirectory, statements: list[PrivacyStatement]) -> dict[str, str]:
    """SHA-256 of each ledger from which the model's statement was not made, or that has no statement."""
    stated = {statement.model: statement for statement in statements}
    return {
        model: digest
        for model, digest in ledger_digests(run, run.manifest().jobs, private=stated).items()
        if model not in stated or not _made_from(run, stated[model], digest)
    }


def current_statements(run: RunDirectory, recorded: list[PrivacyStatement]) -> list[PrivacyStatement]:
    """Give the statements of a run, the larger of what was recorded and what the ledger comes to now."""
    changed = changed_ledgers(run, recorded)
    if not changed:
        return recorded
    anew = {statement.model: statement for statement in _from_ledgers(run.path, tuple(sorted(changed.items())))[0]}
    found = {statement.model: statement for statement in recorded}
    for model in changed:
        before, now = found.get(model), anew.get(model)
        if now is None and before is not None:  # its ledger cannot be read: no epsilon can be stated
            found[model] = msgspec.structs.replace(
                before, epsilon=None, understated=Understated(recorded=before.epsilon, readable=False)
            )
        elif now is not None and (before is None or _more(now.epsilon, before.epsilon)):
            said = Understated(recorded=None if before is None else before.epsilon, stated=before is not None)
            found[model] = msgspec.structs.replace(now, understated=said)
    return list(found.values())


def current_table(run: RunDirectory, table: pd.DataFrame, recorded: list[PrivacyStatement]) -> pd.DataFrame:
    """Give the table of a run, its epsilons the larger of what was recorded and what the ledgers come to now."""
    changed = changed_ledgers(run, recorded)
    if not changed:
        return table
    behind = {one.model for one in current_statements(run, recorded) if one.understated is not None}
    rows = _from_ledgers(run.path, tuple(sorted(changed.items())))[1]
    for row in rows:
        if row.job in behind or (not row.job and behind):
            table = _with_row(table, row)
    return table


def _made_from(run: RunDirectory, statement: PrivacyStatement, digest: str) -> bool:
    if statement.ledger:
        return statement.ledger == digest
    try:  # written before statements named their ledgers
        charges = read_ledger(run.job_folder(statement.model) / "ledger.jsonl")
    except RecordError:
        return False
    steps, attempts = sum(charge.steps for charge in charges), max((charge.attempt for charge in charges), default=0)
    return (steps, attempts) == (statement.steps, statement.attempts)


@functools.lru_cache(maxsize=16)
def _from_ledgers(path: Path, _: tuple[tuple[str, str], ...]) -> tuple[list[PrivacyStatement], list[Row]]:
    """Statements and rows from the ledgers as they are now; asked for again only when one has changed."""
    from trustml.measures.evidence import Evidence
    from trustml.measures.privacy import privacy_rows, privacy_statements

    evidence = Evidence(RunDirectory(path))
    try:
        statements = privacy_statements(evidence)
        return statements, privacy_rows(evidence, statements)
    except (ArithmeticError, ValueError, LookupError, TypeError, AssertionError) as error:
        message = f"{path.name}: a ledger says what no training is charged ({type(error).__name__}: {error})"
        raise RecordError(f"{message}; epsilon cannot be stated") from None


def _more(now: float | None, before: float | None) -> bool:
    if before is None:
        return False  # no finite epsilon was recorded
    return now is None or now > before * (1 + _LEAST)


def _with_row(table: pd.DataFrame, row: Row) -> pd.DataFrame:
    """Put a row in the place of the one of its key, unless that says an epsilon at least as large."""
    import pandas as pd

    from trustml.measures.notes import described

    same = (table.job == row.job) & (table.subject == row.subject) & (table.measure == row.measure)
    said = float(table[same].value.iloc[0]) if same.any() else math.nan
    # Without a readable ledger there is no finite epsilon; for what it is compared with there is just none.
    total = MEASURES[row.measure].guarantee
    value = (math.inf if row.value is None else row.value) if total else row.value
    if total:
        assert value is not None
        if said >= value * (1 - _LEAST):
            return table
        about = row.about
        facts = {**about.facts, "understated": understated_line(said)}
        if row.value is None:
            facts["remarks"] = facts.pop("reason")
        row = msgspec.structs.replace(row, value=value)
        row = described(row, msgspec.structs.replace(about, verdict="", facts=facts))
    kept = table[~same]
    place = int(same.to_numpy().argmax()) if same.any() else len(kept)
    line = table_of([row])[list(table.columns)].astype(table.dtypes.to_dict())
    return pd.concat([kept.iloc[:place], line, kept.iloc[place:]], ignore_index=True)
