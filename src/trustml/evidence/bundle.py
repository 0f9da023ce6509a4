"""The evidence bundle: the public files of a run, or a stranger's audit, in one archive that they alone determine.

A bundle is a ZIP archive of stored (not compressed) entries, sorted by name, dated 1980, with nothing between
them. Stored, because the bytes of compressed entries differ between builds of zlib, and because an archive that
cannot grow when it is unpacked is no bomb. What the files are is an allow-list: the manifest's and the jobs'
artifacts, job.json and result.json, and the audit. Nothing below ``private/`` can be among them. Of somebody's model
it is the audit and its report, which is rendered when it is packed.

``bundle.json`` lists every file with its size and SHA-256. Its `root` is the SHA-256 of what ``sha256sum`` prints
for the same files in the order of their names.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trustml.auditing.result import AuditRecord, decode_audit, encode_audit
from trustml.compare.table import read_statements
from trustml.errors import RecordError, UsageError
from trustml.evidence.checks import says_no_more
from trustml.evidence.names import why_not_a_name
from trustml.privacy.statement import understated_line
from trustml.record.files import plain_bytes, sha256
from trustml.record.schema import Manifest
from trustml.record.store import (
    AUDIT,
    AUDIT_REPORT,
    BUNDLE_INDEX,
    CURVES,
    HELDOUT,
    MANIFEST,
    MEASURES,
    MODEL_CARD,
    PRIVACY,
    RunDirectory,
)

if TYPE_CHECKING:
    from trustml.evidence.signing import PrivateKey

BUNDLE_FORMAT = 1
INDEX = BUNDLE_INDEX
SIGNATURE = "bundle.dsse.json"
SIGSTORE = "bundle.sigstore.json"
"""The signature by a key of P-256, in the form that model-signing reads."""

LEFT_OUT_DATA = "data: held-out labels and the explained inputs; `trustml bundle --with-data` packs them"
_PUBLISHED = (CURVES, AUDIT, AUDIT_REPORT, MODEL_CARD)


class BundleLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle may hold at the most.

    Parameters
    ----------
    files : int
    file_bytes, total_bytes : int
    """

    files: int = 20_000
    file_bytes: int = 2**30
    total_bytes: int = 3 * 2**30


LIMITS = BundleLimits()


class BundledFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a bundle.

    Parameters
    ----------
    name : str
        As in the run directory.
    size : int
        Bytes.
    sha256 : str
    """

    name: str
    size: int
    sha256: str


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the manifest names and the bundle does not hold.

    Parameters
    ----------
    name, sha256, reason : str
    """

    name: str
    sha256: str
    reason: str


class BundleIndex(msgspec.Struct, frozen=True, kw_only=True):
    """``bundle.json``.

    Parameters
    ----------
    format : int
    run : str
        Identifier of the run, or of the audit.
    created : str
        When the run ended: the time of packing is not told, so that a run gives one bundle.
    version : str
        Of trustml.
    files : tuple of BundledFile
        All but this list and the signature.
    left_out : tuple of LeftOut
    root : str
        SHA-256 of one line for each file, ``<sha256>  <name>`` and a line feed, in the order of names.
    """

    format: int = BUNDLE_FORMAT
    run: str
    created: str
    version: str
    files: tuple[BundledFile, ...]
    left_out: tuple[LeftOut, ...] = ()
    root: str


def pack(
    run: RunDirectory,
    out: Path,
    *,
    with_data: bool = False,
    key: PrivateKey | None = None,
    limits: BundleLimits = LIMITS,
) -> BundleIndex:
    """Pack the public files of a finished run, and sign the list of them if there is a key.

    Parameters
    ----------
    run : RunDirectory
    out : Path
        The archive; must not be inside the run directory.
    with_data : bool
        Also pack ``heldout.npz``, without which accuracy cannot be computed again.
    key : PrivateKey, optional
    limits : BundleLimits

    Returns
    -------
    BundleIndex

    Raises
    ------
    UsageError
        If the run is being executed or is not measured yet, or `out` cannot be written.
    RecordError
        If a file is gone, is not the one its job wrote, is a link, or is too large.
    """
    manifest = run.manifest()
    if run.is_executed():
        raise UsageError(f"{manifest.run}: is being run; bundle it when it has ended")
    if MEASURES not in manifest.artifacts:
        raise UsageError(f"{manifest.run}: has no table of measures yet; go on with `trustml run --resume`")
    for statement in read_statements(run):
        if statement.understated is not None:
            raise RecordError(f"{manifest.run}: {statement.model}: {understated_line(statement.understated.recorded)}")
    if out.resolve().is_relative_to(run.path.resolve()):
        raise UsageError(f"{out}: is inside the run directory; write the bundle elsewhere")
    promised = promised_files(manifest)
    names, left_out = _choose(run, manifest, promised, with_data=with_data)
    files = tuple(_describe(run, name, promised.get(name), limits) for name in names)
    if len(files) > limits.files or sum(file.size for file in files) > limits.total_bytes:
        raise RecordError(f"{manifest.run}: more than {limits.files} files or {limits.total_bytes} bytes; not packed")
    index = BundleIndex(
        run=manifest.run,
        created=manifest.ended or manifest.created,
        version=tool_version(),
        files=files,
        left_out=left_out,
        root=root_digest({file.name: file.sha256 for file in files}),
    )
    _write(out, index, {name: run.path / name for name in names}, key)
    return index


def pack_audit(path: Path, out: Path, *, key: PrivateKey | None = None) -> BundleIndex:
    """Pack the audit of somebody's model with its report, and sign the list of both if there is a key.

    Parameters
    ----------
    path : Path
        What ``trustml audit ... --json -o audit.json`` wrote.
    out : Path
        The archive.
    key : PrivateKey, optional

    Raises
    ------
    UsageError
        If the file is no such audit, or `out` cannot be written.
    """
    from trustml.report.audit.html import audit_html

    record = read_audit(path)
    if record.run:
        raise UsageError(f"{path}: is the audit of the run {record.run}; bundle the run, whose record it follows from")
    content = {AUDIT: encode_audit(record), AUDIT_REPORT: audit_html(record).encode()}
    files = tuple(
        BundledFile(name=name, size=len(part), sha256=hashlib.sha256(part).hexdigest())
        for name, part in sorted(content.items())
    )
    index = BundleIndex(
        run=record.id,
        created=record.created,
        version=tool_version(),
        files=files,
        root=root_digest({file.name: file.sha256 for file in files}),
    )
    _write(out, index, content, key)
    return index


def read_audit(path: Path) -> AuditRecord:
    """Read the audit that a file holds.

    Raises
    ------
    UsageError
        If it holds anything else, or more.
    """
    make = "write one with `trustml audit TARGET --json -o audit.json`"
    try:
        content = plain_bytes(path)
        record = decode_audit(content)
        whole = says_no_more(msgspec.json.decode(content), msgspec.json.decode(encode_audit(record)))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); {make}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: is no audit ({error}); {make}") from None
    if not whole:
        raise UsageError(f"{path}: holds what no audit has; {make}")
    return record


def promised_files(manifest: Manifest) -> dict[str, str]:
    """Every file whose SHA-256 is in the manifest: of the run, and of its jobs.

    Raises
    ------
    RecordError
        If the manifest names a file that no bundle may hold.
    """
    found = dict(manifest.artifacts)
    for record in manifest.jobs:
        found |= {f"jobs/{record.id}/{name}": digest for name, digest in record.artifacts.items()}
    for name in found:
        if reason := why_not_a_name(name):
            raise RecordError(f"{manifest.run}: the manifest names {name!r}, which {reason}")
    return found


def root_digest(digests: Mapping[str, str]) -> str:
    """SHA-256 of the lines ``<sha256>  <name>`` in the order of names."""
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def tool_version() -> str:
    """Version of trustml."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("trustml")
    except PackageNotFoundError:
        return "unknown"


def _choose(
    run: RunDirectory, manifest: Manifest, promised: Mapping[str, str], *, with_data: bool
) -> tuple[list[str], tuple[LeftOut, ...]]:
    """Names to pack, sorted; and what is left out."""
    left_out: tuple[LeftOut, ...] = ()
    names, optional = names_of(manifest, promised)
    if not with_data and HELDOUT in promised:
        names.discard(HELDOUT)
        left_out = (LeftOut(name=HELDOUT, sha256=promised[HELDOUT], reason=LEFT_OUT_DATA),)
    return sorted(names | {name for name in optional if (run.path / name).exists()}), left_out


def names_of(manifest: Manifest, promised: Iterable[str]) -> tuple[set[str], set[str]]:
    """Files that a bundle of a run must hold, and those that it may hold besides."""
    names = {MANIFEST, MEASURES, PRIVACY, *promised}
    for record in manifest.jobs:
        names.add(f"jobs/{record.id}/job.json")
        if record.result is not None:
            names.add(f"jobs/{record.id}/result.json")
    return names, set(_PUBLISHED) - names


def _describe(run: RunDirectory, name: str, promised: str | None, limits: BundleLimits) -> BundledFile:
    """Size and hash of a file, after making sure that it is what it is said to be."""
    if reason := why_not_a_name(name):
        raise RecordError(f"{name!r}: {reason}; it cannot be packed")
    path = run.path / name
    if any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(run.path) and part != run.path):
        raise RecordError(f"{path}: is or lies behind a link; only files of the run itself are packed")
    if not path.is_file():
        raise RecordError(f"{path}: is gone; the run cannot be bundled whole")
    size = path.stat().st_size
    if size > limits.file_bytes:
        raise RecordError(f"{path}: {size} bytes are more than a bundle holds ({limits.file_bytes})")
    digest = sha256(path)
    if promised is not None and digest != promised:
        raise RecordError(f"{path}: is not the file that the manifest names; `trustml verify` tells more")
    return BundledFile(name=name, size=size, sha256=digest)


def _write(out: Path, index: BundleIndex, content: Mapping[str, Path | bytes], key: PrivateKey | None) -> None:
    """Write the archive beside `out`, signed if there is a key, then rename it."""
    import tempfile

    extra = {INDEX: msgspec.json.format(msgspec.json.encode(index), indent=2) + b"\n"}
    if key is not None:
        from trustml.evidence.signing import is_p256, sign, statement_of

        digests = {file.name: file.sha256 for file in index.files} | {INDEX: hashlib.sha256(extra[INDEX]).hexdigest()}
        own = SIGSTORE if is_p256(key) else SIGNATURE
        extra[own] = sign(statement_of(digests, name=index.run, signature=own), key)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".trustml-bundle-") as folder:
            temporary = Path(folder) / out.name
            with temporary.open("xb") as stream:
                _archive(stream, {**content, **extra})
            temporary.replace(out)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}); name another file") from None


def _archive(stream: io.BufferedWriter, content: Mapping[str, Path | bytes]) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            part = content[name]
            archive.writestr(entry_of(name), part if isinstance(part, bytes) else plain_bytes(part))


def signature_in(names: Iterable[str]) -> str:
    """Name of the file that signs a bundle; of both forms there is one at the most, and any more is a strange file."""
    return SIGSTORE if SIGSTORE in names and SIGNATURE not in names else SIGNATURE


def entry_of(name: str) -> zipfile.ZipInfo:
    """Entry of an archive: a regular file, readable by all, with no date of its own."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o100644 << 16
    entry.compress_type = zipfile.ZIP_STORED
    return entry
