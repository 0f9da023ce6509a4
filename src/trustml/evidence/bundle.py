"""The evidence bundle: the public files of a run in one archive whose bytes depend on nothing but those files.

A bundle is a ZIP archive of stored (not compressed) entries, sorted by name, dated 1980, with nothing between
them. Stored, because the bytes of compressed entries differ between builds of zlib, and because an archive that
cannot grow when it is unpacked is no bomb. What the files are is an allow-list: the manifest's and the jobs'
artifacts, job.json and result.json, and the audit. Nothing below ``private/`` can be among them.

``bundle.json`` lists every file with its size and SHA-256. Its `root` is the SHA-256 of what ``sha256sum`` prints
for the same files in the order of their names.
"""

from __future__ import annotations

import hashlib
import io
import unicodedata
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trustml.compare.table import read_statements
from trustml.errors import RecordError, UsageError
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
    PRIVACY,
    RunDirectory,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

BUNDLE_FORMAT = 1
INDEX = BUNDLE_INDEX
SIGNATURE = "bundle.dsse.json"
MODEL_CARD = "model_card.md"

_DATA = "data: held-out labels and the explained inputs; `trustml bundle --with-data` packs them"
_PUBLISHED = (CURVES, AUDIT, AUDIT_REPORT, MODEL_CARD)

LONGEST_NAME = 500
_LONGEST_PART = 200
_NOT_ALLOWED = set('\\:*?"<>|')
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


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
    key: Ed25519PrivateKey | None = None,
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
    key : Ed25519PrivateKey, optional
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
    extra = {INDEX: msgspec.json.format(msgspec.json.encode(index), indent=2) + b"\n"}
    if key is not None:
        from trustml.evidence.signing import sign, statement_of

        digests = {file.name: file.sha256 for file in files} | {INDEX: hashlib.sha256(extra[INDEX]).hexdigest()}
        extra[SIGNATURE] = sign(statement_of(digests, name=manifest.run), key)
    _write(run, out, index, extra)
    return index


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


def why_not_a_name(name: str) -> str:
    """Tell why a bundle may not hold a file of this name; empty where it may.

    Refused: what leaves the folder (``..``, absolute, drive letters), what only some systems can write
    (backslashes, control characters, device names, trailing dots, very long names), and ``private/``.
    """
    parts = name.split("/")
    if not name or name.startswith("/"):
        return "is absolute" if name else "is empty"
    if len(name.encode(errors="surrogatepass")) > LONGEST_NAME or any(len(part) > _LONGEST_PART for part in parts):
        return "is too long"
    if any(character in _NOT_ALLOWED or not character.isprintable() for character in name):
        return "has a character that file names may not have"
    if ".." in parts:
        return "leaves the folder by '..'"
    if "" in parts or "." in parts:
        return "has an empty part"
    if any(part.endswith((".", " ")) or part.startswith(" ") for part in parts):
        return "has a part that begins or ends with a space, or ends with a dot"
    if any(part.split(".")[0].casefold() in _DEVICES for part in parts):
        return "is the name of a device"
    if parts[0].casefold() == "private":
        return "is private: no bundle may hold it"
    return ""


def clashes(names: Iterable[str]) -> str:
    """Tell which names are one and the same file on some system, or a file and a folder at once; empty if none."""
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            return f"{seen[key]!r} and {name!r} are one file" if seen[key] != name else f"{name!r} is there twice"
        seen[key] = name
    for key, name in seen.items():
        place = key.rfind("/")
        while place > 0:
            if key[:place] in seen:
                return f"{seen[key[:place]]!r} is a file and the folder of {name!r}"
            place = key.rfind("/", 0, place)
    return ""


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
    names = {MANIFEST, MEASURES, PRIVACY, *promised}
    if not with_data and HELDOUT in promised:
        names.discard(HELDOUT)
        left_out = (LeftOut(name=HELDOUT, sha256=promised[HELDOUT], reason=_DATA),)
    optional = {name for name in _PUBLISHED if (run.path / name).exists()}
    for record in manifest.jobs:
        names.add(f"jobs/{record.id}/job.json")
        if record.result is not None:
            optional.add(f"jobs/{record.id}/result.json")
    return sorted(names | optional), left_out


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


def _write(run: RunDirectory, out: Path, index: BundleIndex, extra: Mapping[str, bytes]) -> None:
    """Write the archive beside `out`, then rename it."""
    import tempfile

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".trustml-bundle-") as folder:
            temporary = Path(folder) / out.name
            with temporary.open("xb") as stream:
                _archive(stream, run, [file.name for file in index.files], extra)
            temporary.replace(out)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}); name another file") from None


def _archive(stream: io.BufferedWriter, run: RunDirectory, names: Sequence[str], extra: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted([*names, *extra]):
            content = extra[name] if name in extra else plain_bytes(run.path / name)
            archive.writestr(entry_of(name), content)


def entry_of(name: str) -> zipfile.ZipInfo:
    """Entry of an archive: a regular file, readable by all, with no date of its own."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o100644 << 16
    entry.compress_type = zipfile.ZIP_STORED
    return entry
