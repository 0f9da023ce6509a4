"""Measures and privacy statements computed anew from the files, and compared with the table line by line."""

from __future__ import annotations

import contextlib
import functools
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import numpy.typing as npt

from trustml.attacks.estimates import AttackEstimate
from trustml.compare.rows import row_functions
from trustml.compare.table import recorded_measures, recorded_statements, rows_of
from trustml.errors import RecordError, TrustmlError
from trustml.evidence.checks import NOT_COMPUTABLE, Check, same_number, text_of
from trustml.evidence.curves import Figures
from trustml.measures.entry import Family
from trustml.measures.evidence import Evidence
from trustml.measures.measure import MEASURES
from trustml.measures.membership import DISTINCT, HALVINGS, halved_once
from trustml.measures.privacy import privacy_statements
from trustml.measures.quality import SURVIVES
from trustml.measures.remembered import GIVEN_SEQUENCES, LARGEST, OVER_BOTH
from trustml.measures.resampling import drawn_as_before
from trustml.measures.row import COLUMNS, About, Row
from trustml.models.tasks import DEFAULT_TASK
from trustml.privacy.statement import PrivacyStatement
from trustml.record.schema import TYPED_ROWS
from trustml.record.store import RunDirectory

_KEY = ("job", "backend", "regime", "seed", "subject", "method", "measure")
_TYPED = (
    *("kind", "model", "verdict", "pair", "first", "second", "delta", "privacy_unit", "relation", "sampling"),
    *("p_value", "confidence", "interval"),
)
"""Columns that follow from files whatever the revision; accountants and facts hold versions and words."""
_DRAWN_ENDS = 1 / 6
"""Share of an interval's width that its ends may have been off while they were drawn, by a thousand resamples."""
_DRAWN, _EXACT = "bootstrap over examples", "exact bootstrap over examples"
_OF_PRIVATE_FACTS = {
    *("epsilon_unamplified", "curve.unamplified"),
    *("epsilon_of_group: largest user", "epsilon_of_group: median user"),
    *("epsilon_of_client: median client", "epsilon_of_client: client that takes part least"),
}
_MAY_BE_MISSING: frozenset[Family] = frozenset(
    {"privacy", "membership", "audited", "remembered", "accuracy", "deployed attacks"}
)
_RENEWED: frozenset[Family] = frozenset({"deployed", "deployed attacks"})
"""Families whose rows every export makes anew, in a table that may be of an earlier revision."""
_OF_PRIVATE_FILES = {"membership", "audited", "remembered", "deployed attacks"}
"""Families of measures that need scores of single examples."""


class NotAtHandError(RecordError):
    """A file that this copy of the run does not hold, for a stated reason."""


class PartialRun(RunDirectory):
    """A run of which some files were left out on purpose.

    Parameters
    ----------
    path : Path
    left_out : sequence of str
        Files the bundle says it does not hold; ``private/`` is always taken to be so where it is not there.
    """

    def __init__(self, run: RunDirectory, left_out: Sequence[str]) -> None:
        super().__init__(run.path)
        self._left_out = frozenset(left_out)

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Read one ``.npz`` file; raises NotAtHandError for one that was left out."""
        self._require(name)
        return super().arrays(name)

    def mapped(self, name: str, *, names: Collection[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Map one ``.npz`` file; raises NotAtHandError for one that was left out."""
        self._require(name)
        return super().mapped(name, names=names)

    def _require(self, name: str) -> None:
        if not self.file(name).is_file() and (name in self._left_out or name.startswith("private/")):
            raise NotAtHandError(f"needs {name}, which is not in the bundle")


class Recomputed(msgspec.Struct, frozen=True, kw_only=True):
    """All that could be computed anew.

    Parameters
    ----------
    rows : list of Row
    statements : list of PrivacyStatement, optional
        None if that failed.
    missing : dict
        Family of measures to why it could not be computed: a file was left out.
    failed : dict
        Family to why it could not although nothing was left out.
    """

    rows: list[Row]
    statements: list[PrivacyStatement] | None
    missing: dict[str, str]
    failed: dict[str, str]


def recompute(evidence: Evidence) -> Recomputed:
    """Compute every measure anew, each family on its own, so that one that cannot be does not hide the others."""
    rows: list[Row] = []
    missing: dict[str, str] = {}
    failed: dict[str, str] = {}
    statements: list[PrivacyStatement] | None = None

    def attempt(name: str, compute: Callable[[], list[Row]]) -> None:
        try:
            rows.extend(compute())
        except NotAtHandError as error:
            missing[name] = str(error)
        except NOT_COMPUTABLE as error:
            failed[name] = f"{type(error).__name__}: {error}"

    def private() -> list[Row]:
        nonlocal statements
        statements = evidence.once(privacy_statements)
        return []

    attempt("privacy", private)
    for path, give in row_functions().items():
        attempt(path.partition(":")[0].rpartition(".")[2], functools.partial(give, evidence))
    return Recomputed(rows=rows, statements=statements, missing=missing, failed=failed)


def row_checks(evidence: Evidence, found: Recomputed, figures: Figures, *, same_words: bool) -> list[Check]:
    """Compare the table with what was computed anew, from the files or else from published curves."""
    try:
        stated = read_table(evidence.run)
    except NOT_COMPUTABLE as error:
        message = f"cannot be read as the table of measures ({type(error).__name__}: {error})"
        return [Check(area="measures", subject="measures.parquet", outcome="differs", message=message)]
    untyped = evidence.manifest.format < TYPED_ROWS
    checks = [
        Check(area="measures", subject=f"{family} measures", outcome="differs", message=f"cannot be computed: {reason}")
        for family, reason in found.failed.items()
    ]
    anew: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    absent = dict(found.missing | found.failed)
    for row in found.rows:
        family = _family(row.measure)
        if family in _OF_PRIVATE_FILES and _left_out(row):
            absent[family] = str(row.facts["reason"])
        anew[_key(row)].append(row)
    made, renewed = (math.inf, math.inf) if same_words else _newest(evidence, stated)
    again = {} if same_words else _drawn_again(evidence, stated, anew, untyped=untyped)
    for row in stated:
        same = anew[_key(row)]
        figure = figures.get((row.job, row.method, row.measure))
        reason = absent.get(_family(row.measure))
        if same:
            drawn = again[_key(row)].pop(0) if again.get(_key(row)) else None
            now = same.pop(0)
            if not same_words and HALVINGS in now.facts and HALVINGS not in row.facts:
                now = halved_once(evidence, now, with_copies=DISTINCT in row.facts)
            checks.append(_compare(row, now, same_words=same_words, untyped=untyped, again=drawn))
        elif figure is not None and reason is not None:
            checks.append(_compare_figure(row, figure))
        elif reason is not None and row.measure in MEASURES:
            checks.append(_check(row, "not recomputed", reason))
        else:
            checks.append(_check(row, "differs", "no file of the run gives this row"))
    for left in anew.values():
        checks += [
            _check(row, "differs", f"the files give {text_of(row.value)}, the table has no row")
            for row in left
            if not (_family(row.measure) in absent and _left_out(row))
            and MEASURES[row.measure].since <= (renewed if MEASURES[row.measure].family in _RENEWED else made)
        ]
    return checks


def statement_checks(evidence: Evidence, found: Recomputed) -> list[Check]:
    """Compare ``privacy.json`` with the statements that follow from the ledgers."""
    try:
        stated = {one.model: one for one in recorded_statements(evidence.run)}
    except TrustmlError as error:
        return [Check(area="statements", subject="privacy.json", outcome="differs", message=str(error))]
    if found.statements is None:
        message = "nothing to compare with: the ledgers could not be read"
        return [Check(area="statements", subject="privacy.json", outcome="differs", message=message)]
    checks = []
    anew = {one.model: one for one in found.statements}
    for model in sorted(stated.keys() | anew.keys()):
        if model not in stated or model not in anew:
            message = "has no statement" if model not in stated else "has a statement, and no ledger to make it from"
            checks.append(Check(area="statements", subject=model, outcome="differs", message=message))
            continue
        left, right = _facts(stated[model]), _facts(anew[model])
        different = [
            f"{name} is {text_of(left.get(name))}, from the ledger {text_of(right.get(name))}"
            for name in sorted(left.keys() | right.keys())
            if not _same(left.get(name), right.get(name))
            and not (name in _OF_PRIVATE_FACTS and not evidence.plans)
            and not (name == "epsilon_prv" and right.get(name) is None)
        ]
        message = "; ".join(different[:5]) if different else f"epsilon {text_of(anew[model].epsilon)} from the ledger"
        checks.append(
            Check(area="statements", subject=model, outcome="differs" if different else "ok", message=message)
        )
    return checks


def read_table(run: RunDirectory) -> list[Row]:
    """Read the table as rows.

    Raises
    ------
    RecordError, ValueError, LookupError, TypeError
        If it is no table of measures.
    """
    table = recorded_measures(run)
    if list(table.columns) != list(COLUMNS):
        raise RecordError(f"has the columns {', '.join(map(str, table.columns))}")
    return rows_of(table)


def _newest(evidence: Evidence, stated: Sequence[Row]) -> tuple[int, int]:
    """Up to which measure there was any when a table was made, and when its rows of exported files were made anew.

    A table that has a row of some measure was made after it came, and must have all that came before it.
    """
    first = False
    with contextlib.suppress(RecordError):
        first = evidence.task == DEFAULT_TASK
    oldest = 0 if first else MEASURES["r2"].since  # of the other tasks, which came with it
    known = [MEASURES[row.measure] for row in stated if row.measure in MEASURES]
    made = max([oldest, *(one.since for one in known if one.family not in _RENEWED)])
    return made, max([made, *(one.since for one in known if one.family in _RENEWED)])


def _facts(statement: PrivacyStatement) -> dict[str, object]:
    """Figures and terms of a statement, without its prose."""
    found: dict[str, object] = {
        name: getattr(statement, name)
        for name in (
            *("epsilon", "delta", "unit_of_privacy", "neighboring_relation", "mechanism", "clipping"),
            *("clipping_norm", "noise_multiplier", "sampling", "sample_rate", "expected_batch_size", "steps"),
            *("attempts", "data_size", "data_size_public", "trust_setting", "released", "hyperparameter_tuning"),
            "composed_with",
        )
    }
    found |= {
        f"{other.name}: {other.group}" if other.group else other.name: other.value for other in statement.comparisons
    }
    if statement.cyclic is not None:
        found |= {f"groups.{name}": getattr(statement.cyclic, name) for name in statement.cyclic.__struct_fields__}
    found |= {f"assumption: {one.name}": one.status for one in statement.assumptions}
    if statement.curve is not None:
        found |= {f"curve.{name}": getattr(statement.curve, name) for name in statement.curve.__struct_fields__}
    return found


def _same(first: object, second: object) -> bool:
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(_same(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, int | float) and isinstance(second, int | float):
        return same_number(float(first), float(second))
    return first == second


def _drawn_again(
    evidence: Evidence, stated: Sequence[Row], anew: dict[tuple[Any, ...], list[Row]], *, untyped: bool
) -> dict[tuple[Any, ...], list[Row]]:
    """Rows with ends as they were drawn before they were exact, of the functions whose rows have other ends."""
    asked = {
        row.measure
        for row in stated
        if any(_was_drawn(row, one, untyped=untyped) and not _same_figures(row, one) for one in anew.get(_key(row), ()))
    }
    paths = {path for measure in asked for path in MEASURES[measure].rows}
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    functions = row_functions()
    with drawn_as_before():
        for path in paths:
            with contextlib.suppress(*NOT_COMPUTABLE):  # which has been told
                for row in functions[path](evidence):
                    found[_key(row)].append(row)
    return found


def _was_drawn(stated: Row, anew: Row, *, untyped: bool) -> bool:
    """Whether a row of another revision was made as it is not made now: by resamples, or given the sequences."""
    if stated.measure == LARGEST:
        return not same_number(anew.value, stated.value)
    if anew.interval == OVER_BOTH:
        return stated.interval == GIVEN_SEQUENCES
    return anew.interval == _EXACT and (stated.interval == _DRAWN or (untyped and not stated.interval))


def _same_figures(stated: Row, anew: Row) -> bool:
    return all(same_number(getattr(anew, name), getattr(stated, name)) for name in ("value", "low", "high"))


def _compare(stated: Row, anew: Row, *, same_words: bool, untyped: bool, again: Row | None = None) -> Check:
    gone = anew.value is None and stated.value is not None
    if gone and (_left_out(anew) or anew.measure == "epsilon_prv"):
        return _check(stated, "not recomputed", str(anew.facts.get("reason", "")))
    older = not same_words and DISTINCT in anew.facts and DISTINCT not in stated.facts
    drawn = not same_words and _was_drawn(stated, anew, untyped=untyped)
    if drawn and again is not None and _same_figures(stated, again):
        anew = again
    unsure = ""
    for name in ("value", "low", "high"):
        before, now = getattr(stated, name), getattr(anew, name)
        if same_number(now, before):
            continue
        if drawn and name != "value" and _is_near(before, now, anew):
            unsure = (
                unsure or f"{name} is {text_of(before)} as it was drawn, which no seed gives; exact, {text_of(now)}"
            )
            continue
        if older and _counts_copies(name, stated, anew):
            unsure = unsure or f"{name} is {text_of(before)} of before copies were counted once, {text_of(now)} since"
            continue
        return _check(stated, "differs", f"{name} is {text_of(before)} in the table, {text_of(now)} from the files")
    # A table of before format 3 has nothing there; one that has something is held to it, whatever format it names.
    typed = () if untyped and stated.about == About() else _TYPED
    if older and unsure:
        anew = _as_counted(stated, anew)
    for name in ("n", "unit", *typed, *(("note",) if same_words else ())):
        before, now = getattr(stated, name), getattr(anew, name)
        if drawn and name == "interval":
            continue
        if not _same(before, now) and not _left_out(anew):
            return _check(stated, "differs", f"{name} is {before!r} in the table, {now!r} from the files")
    return _check(stated, "not recomputed", unsure) if unsure else _check(stated, "ok", text_of(stated.value))


def _counts_copies(name: str, stated: Row, anew: Row) -> bool:
    """Whether a bound or end may be of before copies were counted once: intervals of one model were never wider."""
    if stated.value is None:
        return False
    if stated.measure == "membership_auc_at_least":
        return name == "value" and (anew.value is None or stated.value > anew.value)
    if name == "value" or stated.low is None or stated.high is None or not stated.low <= stated.value <= stated.high:
        return False
    return not stated.job or anew.low is None or anew.high is None or anew.low <= stated.low <= stated.high <= anew.high


def _as_counted(stated: Row, anew: Row) -> Row:
    """What columns of before copies were counted once follow from: where there is none now, an interval's are lost."""
    if stated.measure == "membership_auc_at_least" and stated.value is not None:
        return msgspec.structs.replace(anew, verdict="above guessing" if stated.value > 0.5 else "not above guessing")
    if not stated.job or anew.low is None:
        return msgspec.structs.replace(anew, interval=stated.interval, confidence=stated.confidence)
    return anew


def _is_near(drawn: float | None, exact: float | None, anew: Row) -> bool:
    """Whether an end may have been drawn: two thirds of a standard error away, and concluding the same from it."""
    if drawn is None or exact is None or anew.low is None or anew.high is None or anew.interval != _EXACT:
        return False
    limits = (0.0, SURVIVES.get(anew.measure, 0.0))
    if any((drawn > limit) != (exact > limit) or (drawn < limit) != (exact < limit) for limit in limits):
        return False
    return abs(drawn - exact) <= _DRAWN_ENDS * (anew.high - anew.low)


def _left_out(row: Row) -> bool:
    """Whether a row has no value because a file was left out of this copy."""
    return row.value is None and row.facts.get("not_at_hand") is True


def _compare_figure(stated: Row, figure: AttackEstimate) -> Check:
    for name in ("value", "low", "high"):
        before, now = getattr(stated, name), getattr(figure, name)
        if not same_number(now, before):
            message = f"{name} is {text_of(before)} in the table, {text_of(now)} from its curve"
            return _check(stated, "differs", message)
    if figure.n != stated.n:
        return _check(stated, "differs", f"n is {stated.n} in the table, {figure.n} from its curve")
    return _check(stated, "ok", f"{text_of(stated.value)} from its curve")


def _family(measure: str) -> str:
    """Family of a measure, for those whose rows may all be missing; empty for others."""
    family = MEASURES[measure].family if measure in MEASURES else None
    return family if family is not None and family in _MAY_BE_MISSING else ""


def _check(row: Row, outcome: Any, message: str) -> Check:
    of = row.job or f"{row.backend} {row.regime}".strip(" -") or "the run"
    what = " ".join(part for part in (row.measure, f"({row.subject})" if row.subject else "", row.method) if part)
    return Check(area="measures", subject=f"{what} of {of}", outcome=outcome, message=message)


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in _KEY)
