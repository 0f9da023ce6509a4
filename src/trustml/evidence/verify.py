"""Verifying a bundle or a run: every hash, and every number that its files give.

Hashes say that nothing was changed since somebody wrote them down; who changed a file can fix them too. So every
figure is computed anew from the files below it: epsilon from the ledgers, measures from predictions and attributions,
the area under a curve from its counts. What neither can tell (files changed all the way down, in agreement) is told by
the signature alone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from trustml.errors import RecordError, TrustmlError, UsageError
from trustml.evidence.audits import audit_checks
from trustml.evidence.bundle import (
    BUNDLE_FORMAT,
    INDEX,
    LIMITS,
    SIGNATURE,
    BundleIndex,
    BundleLimits,
    promised_files,
    tool_version,
)
from trustml.evidence.checks import NOT_COMPUTABLE, Check
from trustml.evidence.curves import curve_checks, curve_figures
from trustml.evidence.files import (
    index_checks,
    job_checks,
    manifest_checks,
    signed_checks,
    unsafe_files,
)
from trustml.evidence.ledgers import ledger_checks
from trustml.evidence.rows import PartialRun, read_table, recompute, row_checks, statement_checks
from trustml.evidence.signing import SignatureCheck, check_signature
from trustml.evidence.unpack import NoBundleError, unpack
from trustml.measures.evidence import Evidence
from trustml.record.provenance import source_revision
from trustml.record.schema import Manifest
from trustml.record.store import RunDirectory

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was verified.

    Parameters
    ----------
    run : str
    kind : {"bundle", "run"}
    signature : {"good", "bad", "wrong key", "not checked", "unsigned"}
    checks : tuple of Check
    """

    run: str
    kind: Literal["bundle", "run"]
    signature: Literal["good", "bad", "wrong key", "not checked", "unsigned"]
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing differs. A signature that was not asked for does not count."""
        return all(check.passed for check in self.checks)

    @property
    def differences(self) -> tuple[Check, ...]:
        """What differs."""
        return tuple(check for check in self.checks if not check.passed)


def verify(path: Path, *, key: Ed25519PublicKey | None = None, limits: BundleLimits = LIMITS) -> Verification:
    """Verify a bundle, or a run directory, without trusting anything in it.

    Parameters
    ----------
    path : Path
        A file is taken for a bundle, a folder for a run.
    key : Ed25519PublicKey, optional
        Public key of the signer. With it a bundle must be signed.
    limits : BundleLimits
        On what is unpacked.

    Returns
    -------
    Verification

    Raises
    ------
    NoBundleError
        If the file is no bundle, or one that must not be unpacked.
    UsageError
        If a key was given for a run directory, which has no signature; if there is nothing at `path`.
    RecordError
        If the run has no manifest that can be read.
    """
    if path.is_dir():
        if key is not None:
            raise UsageError(f"{path}: a run directory has no signature; bundle it with --key, and verify the bundle")
        return _verify_run(RunDirectory(path.resolve()))
    if not path.is_file():
        raise UsageError(f"{path}: no bundle and no run there; name a bundle, or a run of `trustml list`")
    with tempfile.TemporaryDirectory(prefix="trustml-bundle-") as folder:
        names = unpack(path, Path(folder), limits=limits)
        return _verify_bundle(path, Path(folder).resolve(), names, key)


def _verify_run(run: RunDirectory) -> Verification:
    manifest = run.manifest()
    return Verification(
        run=manifest.run, kind="run", signature="unsigned", checks=tuple(_content_checks(run, {}, version=None))
    )


def _verify_bundle(path: Path, folder: Path, names: list[str], key: Ed25519PublicKey | None) -> Verification:
    index = _read_index(path, folder / INDEX)
    run = RunDirectory(folder)
    signature = check_signature((folder / SIGNATURE).read_bytes(), key) if SIGNATURE in names else None
    checks = _signature_checks(run, index, names, signature, asked=key is not None)
    checks += index_checks(run, index, names)
    try:
        manifest = run.manifest()
    except TrustmlError as error:
        message = str(error).replace(f"{folder}/", "")
        checks.append(Check(area="files", subject="manifest.json", outcome="differs", message=message))
    else:
        if (manifest.run, manifest.ended or manifest.created) != (index.run, index.created):
            message = f"is of {index.run} of {index.created}; the manifest of {manifest.run} of {manifest.ended}"
            checks.append(Check(area="files", subject=INDEX, outcome="differs", message=message))
        left_out = {one.name: one.reason for one in index.left_out if one.name not in names}
        checks += _content_checks(run, left_out, version=index.version)
    return Verification(
        run=index.run,
        kind="bundle",
        signature=signature.outcome if signature else "unsigned",
        checks=tuple(
            msgspec.structs.replace(check, message=check.message.replace(f"{folder}/", "")) for check in checks
        ),
    )


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
    if signature is None:
        message = "unsigned: anybody could have made it" + ("; a key was given to check it by" if asked else "")
        outcome: Literal["differs", "not recomputed"] = "differs" if asked else "not recomputed"
        return [Check(area="signature", subject=SIGNATURE, outcome=outcome, message=message)]
    if signature.outcome != "good":
        outcome = "not recomputed" if signature.outcome == "not checked" else "differs"
        return [Check(area="signature", subject=SIGNATURE, outcome=outcome, message=signature.message)]
    checks = signed_checks(run, index, names, signature)
    if not checks:
        checks = [Check(area="signature", subject=SIGNATURE, outcome="ok", message=signature.message)]
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
