"""All measures of a run as one table, in memory and in ``measures.parquet``."""

from __future__ import annotations

import io
import pkgutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.compare.behind import changed_ledgers
from trustml.compare.table import rows_of, table_of
from trustml.errors import DataError, PrivacyError, RecordError, UsageError, printable
from trustml.measures.entry import Family
from trustml.measures.evidence import Evidence
from trustml.measures.measure import MEASURES as MEASURES_TABLE
from trustml.measures.measure import made_by, row_paths
from trustml.measures.membership import attacked_models, curves_of, exposed_examples
from trustml.measures.notes import absent
from trustml.measures.privacy import privacy_statements
from trustml.measures.row import Row
from trustml.privacy.ledger import read_ledger
from trustml.privacy.statement import PrivacyStatement
from trustml.record.curves import RocCounts, write_curves
from trustml.record.files import encode_arrays, sha256, write_atomic
from trustml.record.schema import FORMAT
from trustml.record.store import CURVES, EXPOSED, MEASURES, PRIVACY, RunDirectory

if TYPE_CHECKING:
    import pandas as pd


class MeasuredRun(NamedTuple):
    """What a run comes to.

    Attributes
    ----------
    rows : list of Row
    statements : list of PrivacyStatement
        Of each private model.
    curves : list of RocCounts
        ROC curves of each attacked model.
    exposed : dict of str to int array
        Of each attacked model, the members that attacks are surest of. Secret.
    """

    rows: list[Row]
    statements: list[PrivacyStatement]
    curves: list[RocCounts]
    exposed: dict[str, npt.NDArray[np.int64]]


def row_functions() -> dict[str, Callable[[Evidence], list[Row]]]:
    """Functions that give the rows of all measures, each once: by ``module:name``, in the order of the table."""
    return {path: pkgutil.resolve_name(path) for path in row_paths()}


def measure_run(run: RunDirectory, *, second_opinion: bool = True) -> MeasuredRun:
    """Apply every measure to what the run left behind, or has so far.

    Parameters
    ----------
    run : RunDirectory
    second_opinion : bool
        As for :class:`~trustml.measures.evidence.Evidence`.
    """
    evidence = Evidence(run, second_opinion=second_opinion)
    rows: list[Row] = []
    for path, give in row_functions().items():
        found = _rows_or_why_not(evidence, path, give)
        assert not (strange := {row.measure for row in found} - made_by(path)), f"{path} does not make {strange}"
        rows += found
    attacked = evidence.once(attacked_models)
    return MeasuredRun(
        rows=rows,
        statements=evidence.once(privacy_statements),
        curves=curves_of(attacked),
        exposed=exposed_examples(attacked),
    )


def _rows_or_why_not(evidence: Evidence, path: str, give: Callable[[Evidence], list[Row]]) -> list[Row]:
    """Rows of one function; where it fails, the reason in the place of each of its measures.

    One measure that cannot be computed never costs the table. Not so epsilons: what a ledger says is told whole, or it
    is an error.
    """
    try:
        return give(evidence)
    except (DataError, RecordError, UsageError, ValueError, ArithmeticError, LookupError, MemoryError) as error:
        measures = sorted(made_by(path))
        if any(MEASURES_TABLE[name].family == "privacy" for name in measures):
            raise
        about = absent(f"cannot be computed ({type(error).__name__}: {printable(str(error))})")
        return [evidence.row(name, None, record=None, subject="-", n=0, about=about) for name in measures]


def write_measures(run: RunDirectory) -> pd.DataFrame:
    """Measure a run and write the table into its directory; the manifest gets its hash.

    Raises
    ------
    PrivacyError
        If a ledger was charged meanwhile: what would be written says less than it.
    """
    rows, statements, curves, exposed = measure_run(run)
    if charged := changed_ledgers(run, statements):
        readable = {model for model in charged if _is_readable(run, model)}
        if readable:
            raise PrivacyError(
                f"{sorted(readable)[0]}: was charged while it was measured; end what trains it, and resume"
            )
    table = table_of(rows)
    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    write_atomic(run.path / MEASURES, stream.getvalue())
    write_atomic(run.path / PRIVACY, msgspec.json.format(msgspec.json.encode(statements), indent=2) + b"\n")
    written = [MEASURES, PRIVACY]
    if curves:
        write_curves(run, curves)
        write_atomic(run.file(EXPOSED), encode_arrays(exposed), private=True)
        written.append(CURVES)
    manifest = run.manifest()
    artifacts = {**manifest.artifacts, **{name: sha256(run.path / name) for name in written}}
    run.write_manifest(msgspec.structs.replace(manifest, artifacts=artifacts, format=FORMAT))
    return table


def renew_rows(run: RunDirectory, *, family: Family, files: Mapping[str, str]) -> None:
    """Make the rows of one family anew in a table that is there, after what they follow from has changed.

    A table of an earlier format is made anew as a whole.

    Parameters
    ----------
    run : RunDirectory
    family : Family
    files : mapping of str to str
        What else of the run the manifest now names, with SHA-256.

    Raises
    ------
    RecordError
        If the run was not measured yet.
    """
    from trustml.compare.table import recorded_measures

    manifest = run.manifest()
    if MEASURES not in manifest.artifacts:
        raise RecordError(f"{manifest.run}: has no table of measures yet; `trustml run --resume` makes one")
    if manifest.format != FORMAT:
        write_measures(run)
        manifest = run.manifest()
    evidence = Evidence(run, second_opinion=False)
    names = {name for name, measure in MEASURES_TABLE.items() if measure.family == family}
    paths = {path for name in names for path in MEASURES_TABLE[name].rows}
    new = [row for path, give in row_functions().items() if path in paths for row in give(evidence)]
    kept = [row for row in rows_of(recorded_measures(run)) if row.measure not in names]
    stream = io.BytesIO()
    table_of([*kept, *new]).to_parquet(stream, index=False)
    write_atomic(run.path / MEASURES, stream.getvalue())
    artifacts = {**manifest.artifacts, **files, MEASURES: sha256(run.path / MEASURES)}
    run.write_manifest(msgspec.structs.replace(manifest, artifacts=artifacts))


def _is_readable(run: RunDirectory, model: str) -> bool:
    try:
        return bool(read_ledger(run.job_folder(model) / "ledger.jsonl"))
    except RecordError:
        return False
