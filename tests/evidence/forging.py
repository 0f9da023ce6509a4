"""Bundles as a falsifier makes them: every hash mended, nothing signed; and archives written entry by entry."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile

import msgspec

from trustml.evidence.bundle import INDEX, BundledFile, BundleIndex, entry_of, root_digest, tool_version


def index_of(content, record):
    """The list of these files, as whoever changed them would write it."""
    digests = {name: hashlib.sha256(part).hexdigest() for name, part in sorted(content.items())}
    index = BundleIndex(
        run=record.id,
        created=record.created,
        version=tool_version(),
        files=tuple(BundledFile(name=name, size=len(content[name]), sha256=digests[name]) for name in digests),
        root=root_digest(digests),
    )
    return msgspec.json.format(msgspec.json.encode(index), indent=2) + b"\n"


def archived(entries):
    """An archive of (name or ZipInfo, content), in this order."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, part in entries:
            archive.writestr(entry_of(name) if isinstance(name, str) else name, part)
    return stream.getvalue()


def forged(content, record):
    """The bundle of these files."""
    return archived(sorted([*content.items(), (INDEX, index_of(content, record))]))
