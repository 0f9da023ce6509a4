"""Verifying a bundle or a run: every hash, and every number that its files give.

Hashes say that nothing was changed since somebody wrote them down; who changed a file can fix them too. So every
figure is computed anew from the files below it: epsilon from the ledgers, measures from predictions and attributions,
the area under a curve from its counts, predictions from the weights where their inputs are at hand, the report from the
audit. What none can tell (files changed all the way down, in agreement) is told by the signature alone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from trustml.auditing.result import AuditRecord
from trustml.errors import RecordError, TrustmlError, UsageError
from trustml.evidence.audits import audit_checks, page_checks, read_stated
from trustml.evidence.bundle import (
    BUNDLE_FORMAT,
    INDEX,
    LIMITS,
    BundleIndex,
    BundleLimits,
    promised_files,
    read_audit,
    signature_in,
    tool_version,
)
from trustml.evidence.checks import NOT_COMPUTABLE, Check, as_written
from trustml.evidence.curves import curve_checks, curve_figures
from trustml.evidence.exports import export_checks
from trustml.evidence.files import (
    index_checks,
    job_checks,
    listed_checks,
    manifest_checks,
    signed_checks,
    unsafe_files,
)
from trustml.evidence.ledgers import ledger_checks
from trustml.evidence.predictions import prediction_checks
from trustml.evidence.rows import PartialRun, read_table, recompute, row_checks, statement_checks
from trustml.evidence.signing import SignatureCheck, check_signature
from trustml.evidence.stranger_audits import Load, identity_check, stranger_checks
from trustml.evidence.unpack import NoBundleError, unpack, wrong_checksums
from trustml.measures.evidence import Evidence
from trustml.record.files import plain_bytes
from trustml.record.provenance import source_revision
from trustml.record.schema import Manifest
from trustml.record.store import AUDIT, AUDIT_REPORT, MANIFEST, RunDirectory

if TYPE_CHECKING:
    from trustml.evidence.signing import PublicKey


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was verified.

    Parameters
    ----------
    run : str
        Its identifier, or that of the audit.
    kind : {"bundle", "run", "audit"}
        ``audit`` for the file of an audit alone.
    signature : {"good", "bad", "wrong key", "not checked", "unsigned"}
    checks : tuple of Check
    """

    run: str
    kind: Literal["bundle", "run", "audit"]
    signature: Literal["good", "bad", "wrong key", "not checked", "unsigned"]
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing differs. A signature that was not asked for does not count."""
        return all(check.passed for check in self.checks)

    @property
    def left(self) -> tuple[Check, ...]:
        """What could not be compared with anything; the signature has a line of its own."""
        return tuple(one for one in self.checks if one.outcome == "not recomputed" and one.area != "signature")

    @property
    def differences(self) -> tuple[Check, ...]:
        """What differs."""
        return tuple(check for check in self.checks if not check.passed)


def verify(
    path: Path,
    *,
    key: PublicKey | None = None,
    limits: BundleLimits = LIMITS,
    load: Load | None = None,
) -> Verification:
    """Verify a bundle, a run directory, or the file of an audit, without trusting anything in it.

    Parameters
    ----------
    path : Path
        A folder is taken for a run, a file that begins as JSON for an audit, any other for a bundle.
    key : PublicKey, optional
        Public key of the signer. With it a bundle must be signed.
    limits : BundleLimits
        On what is unpacked.
    load : callable, optional
        Gives the model that the audit of somebody's model names; only where its code may be run. It is asked for
        after all else, and not if anything differs, the signature included where a `key` is given.

    Returns
    -------
    Verification

    Raises
    ------
    NoBundleError
        If the file is no bundle, or one that must not be unpacked.
    UsageError
        If a key was given for what has no signature; if there is nothing at `path`.
    RecordError
        If the run has no manifest that can be read.
    """
    if path.is_dir():
        if key is not None:
            raise UsageError(f"{path}: a run directory has no signature; bundle it with --key, and verify the bundle")
        return _verify_run(RunDirectory(path.resolve()))
    if not path.is_file():
        raise UsageError(f"{path}: no bundle and no run there; name a bundle, or a run of `trustml list`")
    if _begins_as_json(path):
        if key is not None:
            raise UsageError(f"{path}: an audit alone has no signature; bundle it with --key, and verify the bundle")
        return _verify_audit(path, load)
    with tempfile.TemporaryDirectory(prefix="trustml-bundle-") as folder:
        names = unpack(path, Path(folder), limits=limits)
        wrong = wrong_checksums(path, Path(folder))
        return _verify_bundle(path, Path(folder).resolve(), names, key, load=load, wrong=wrong)


def _begins_as_json(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(64).lstrip().startswith(b"{")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a bundle, a run or an audit") from None


def _verify_audit(path: Path, load: Load | None) -> Verification:
    record = read_audit(path)
    if record.run:
        raise UsageError(f"{path}: is the audit of the run {record.run}; verify the run, whose record it follows from")
    checks = stranger_checks(record, same_words=_made_here(record))
    if not as_written(plain_bytes(path)):
        checks.insert(
            0, Check(area="audit", subject=path.name, outcome="differs", message="is not as trustml writes it")
        )
    checks += identity_check(record, load, intact=all(check.passed for check in checks))
    return Verification(run=record.id, kind="audit", signature="unsigned", checks=tuple(checks))


def _made_here(record: AuditRecord) -> bool:
    """Whether this very trustml made an audit."""
    own = source_revision().get("commit", "")
    return record.versions.get("trustml") == tool_version() and record.source.get("commit", "") == own


def _verify_run(run: RunDirectory) -> Verification:
    manifest = run.manifest()
    return Verification(
        run=manifest.run, kind="run", signature="unsigned", checks=tuple(_content_checks(run, {}, version=None))
    )


def _verify_bundle(
    path: Path, folder: Path, names: list[str], key: PublicKey | None, *, load: Load | None, wrong: list[str]
) -> Verification:
    index = _read_index(path, folder / INDEX)
    run = RunDirectory(folder)
    own = signature_in(names)
    signature = check_signature((folder / own).read_bytes(), key) if own in names else None
    checks = _signature_checks(run, index, names, signature, asked=key is not None)
    checks += index_checks(run, index, names)
    message = "its CRC in the archive is not that of its content"
    checks += [Check(area="files", subject=name, outcome="differs", message=message) for name in wrong]
    if AUDIT in names and MANIFEST not in names:
        record, found = _stranger_bundle_checks(folder, index, names)
        checks += found
        if record is not None:
            checks += identity_check(record, load, intact=all(check.passed for check in checks))
    else:
        checks += _run_bundle_checks(run, index, names)
    return Verification(
        run=index.run,
        kind="bundle",
        signature=signature.outcome if signature else "unsigned",
        checks=tuple(
            msgspec.structs.replace(check, message=check.message.replace(f"{folder}/", "")) for check in checks
        ),
    )


def _run_bundle_checks(run: RunDirectory, index: BundleIndex, names: list[str]) -> list[Check]:
    try:
        manifest = run.manifest()
    except TrustmlError as error:
        return [Check(area="files", subject=MANIFEST, outcome="differs", message=str(error))]
    checks = listed_checks(manifest, names, index)
    if (manifest.run, manifest.ended or manifest.created) != (index.run, index.created):
        message = f"is of {index.run} of {index.created}; the manifest of {manifest.run} of {manifest.ended}"
        checks.append(Check(area="files", subject=INDEX, outcome="differs", message=message))
    left_out = {one.name: one.reason for one in index.left_out if one.name not in names}
    return checks + _content_checks(run, left_out, version=index.version)


def _stranger_bundle_checks(
    folder: Path, index: BundleIndex, names: list[str]
) -> tuple[AuditRecord | None, list[Check]]:
    """Give the audit of somebody's model, and all that holds for its bundle without its code."""
    record, checks = read_stated(folder)
    for name in sorted({AUDIT, AUDIT_REPORT} ^ set(names) - {INDEX, signature_in(names)}):
        message = "is none of the files of an audit's bundle" if name in names else "belongs into the bundle"
        checks.append(Check(area="files", subject=name, outcome="differs", message=message))
    if index.left_out:
        checks.append(Check(area="files", subject=INDEX, outcome="differs", message="nothing of an audit is left out"))
    if record is None:
        return None, checks
    if (record.id, record.created) != (index.run, index.created):
        message = f"is of {index.run} of {index.created}; the audit is {record.id} of {record.created}"
        checks.append(Check(area="files", subject=INDEX, outcome="differs", message=message))
    same_words = _made_here(record)
    checks += stranger_checks(record, same_words=same_words)
    return record, checks + page_checks(folder, record, same_words=same_words and index.version == tool_version())


def _read_index(path: Path, file: Path) -> BundleIndex:
    try:
        index = msgspec.json.decode(file.read_bytes(), type=BundleIndex)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NoBundleError(f"{path}: {INDEX} cannot be read ({error})") from None
    if index.format != BUNDLE_FORMAT:
        raise NoBundleError(f"{path}: bundle format {index.format}; this trustml reads {BUNDLE_FORMAT}")
    return index


def _same_words(manifest: Manifest, version: str | None) -> bool:
    """Whether this very trustml wrote the run, so that even its words can be compared."""
    own = source_revision().get("commit", "")
    return version in (None, tool_version()) and manifest.source.get("commit", "") == own


def _signature_checks(
    run: RunDirectory, index: BundleIndex, names: list[str], signature: SignatureCheck | None, *, asked: bool
) -> list[Check]:
    own = signature_in(names)
    if signature is None:
        message = "unsigned: anybody could have made it" + ("; a key was given to check it by" if asked else "")
        outcome: Literal["differs", "not recomputed"] = "differs" if asked else "not recomputed"
        return [Check(area="signature", subject=own, outcome=outcome, message=message)]
    if signature.outcome != "good":
        outcome = "not recomputed" if signature.outcome == "not checked" else "differs"
        return [Check(area="signature", subject=own, outcome=outcome, message=signature.message)]
    checks = signed_checks(run, index, names, signature)
    if not checks:
        checks = [Check(area="signature", subject=own, outcome="ok", message=signature.message)]
    return checks


def _content_checks(run: RunDirectory, left_out: dict[str, str], *, version: str | None) -> list[Check]:
    """All that holds for a bundle and a run alike."""
    manifest = run.manifest()
    checks = manifest_checks(run, manifest, left_out)
    same_words = _same_words(manifest, version)
    if not same_words:
        message = "written by another revision of trustml, whose words may differ: notes and titles are not compared"
        checks.append(Check(area="measures", subject="wording", outcome="not recomputed", message=message))
    found, jobs = job_checks(run, manifest)
    checks += found
    try:
        named = [*promised_files(manifest), "measures.parquet", "privacy.json"]
    except RecordError:
        return checks
    unsafe = unsafe_files(run, named)
    if unsafe or len(jobs) < len(manifest.jobs):
        message = "nothing was computed: a file it would be computed from cannot be trusted to be read"
        skipped = Check(area="measures", subject="measures.parquet", outcome="not recomputed", message=message)
        return [*checks, *unsafe, skipped]
    evidence = Evidence(PartialRun(run, left_out=tuple(left_out)))
    checks += ledger_checks(evidence, jobs)
    checks += prediction_checks(evidence, jobs)
    checks += export_checks(run)
    anew = recompute(evidence)
    figures, problems = curve_figures(evidence)
    checks += row_checks(evidence, anew, figures, same_words=same_words)
    checks += statement_checks(evidence, anew)
    checks += problems
    try:
        checks += curve_checks(figures, read_table(run))
    except NOT_COMPUTABLE:
        pass  # row_checks has told that the table cannot be read
    return [*checks, *audit_checks(run, same_words=same_words)]
