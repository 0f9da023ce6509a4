"""Archives that anybody may have made: names, links, sizes, and what else is refused before anything is written."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import zipfile

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trustml.evidence.bundle import (
    INDEX,
    BundledFile,
    BundleIndex,
    BundleLimits,
    entry_of,
    root_digest,
)
from trustml.evidence.names import clashes, why_not_a_name
from trustml.evidence.unpack import NoBundleError, unpack

LIST = b"{}\n"


def archive(entries, *, index=True):
    """A stored archive of (name or ZipInfo, content)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in [*([(INDEX, LIST)] if index else []), *entries]:
            file.writestr(entry_of(name) if isinstance(name, str) else name, content)
    return stream.getvalue()


def opened(tmp_path, content, limits=None):
    path, folder = tmp_path / "b.zip", tmp_path / "out"
    path.write_bytes(content)
    folder.mkdir(exist_ok=True)
    return unpack(path, folder, limits=limits or BundleLimits()), folder


def refused(tmp_path, content, match, limits=None):
    with pytest.raises(NoBundleError, match=match):
        opened(tmp_path, content, limits)
    assert {path.name for path in tmp_path.iterdir()} == {"b.zip", "out"}
    assert not list((tmp_path / "out").iterdir())


def test_what_was_packed_comes_out(tmp_path):
    names, folder = opened(tmp_path, archive([("a", b"1"), ("jobs/ä.s0/x", b"")]))
    assert names == [INDEX, "a", "jobs/ä.s0/x"]
    assert (folder / "a").read_bytes() == b"1" and (folder / "jobs/ä.s0/x").read_bytes() == b""


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "a/../../evil", "/etc/passwd", "//host/share", "C:evil", "C:/evil", "a\\..\\evil", "\\evil"),
        *("a\x00b", "a\nb", "a/", "a//b", "./a", "a/./b", "..", "a. ", "b.", "NUL", "jobs/con.txt", " a", "a:stream"),
        *("x" * 201, "/".join(["x" * 150] * 4), "private/data.npz", "Private/data.npz", "a\u202eb"),
    ],
)
def test_names_that_escape_or_differ_between_systems_are_refused(tmp_path, name):
    entry = entry_of("a")
    entry.filename = name
    refused(tmp_path, archive([(entry, b"evil")]), ".")


@pytest.mark.parametrize(
    "first, second", [("a", "a"), ("a/B", "A/b"), ("\u00e9", "e\u0301"), ("a", "a/b"), ("A/b", "a")]
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_names_of_one_file_are_refused(tmp_path, first, second):
    refused(tmp_path, archive([(first, b"1"), (second, b"2")]), "twice|one file|folder of")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFDIR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path, kind):
    entry = entry_of("link")
    entry.external_attr = (kind | 0o777) << 16
    refused(tmp_path, archive([(entry, b"/etc/passwd")]), "'link' is a")


def test_compressed_and_encrypted_entries_are_refused(tmp_path):
    entry = entry_of("bomb")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr(entry_of(INDEX), LIST)
        file.writestr(entry, b"\0" * 1_000_000, zipfile.ZIP_DEFLATED)
    refused(tmp_path, stream.getvalue(), "'bomb' is compressed")
    content = bytearray(archive([("secret", b"x")]))
    central = content.rindex(b"PK\x01\x02")
    content[central + 8] |= 1
    refused(tmp_path, bytes(content), "'secret' is encrypted")


def test_more_or_larger_than_the_limits_is_refused(tmp_path):
    limits = BundleLimits(files=3, file_bytes=10, total_bytes=25)
    refused(tmp_path, archive([(f"f{n}", b"") for n in range(6)]), "holds 7 files", limits)
    refused(tmp_path, archive([("large", b"x" * 11)]), "11 bytes, more than 10", limits)
    refused(tmp_path, archive([(f"f{n}", b"x" * 9) for n in range(3)]), "30 bytes in all", limits)


def test_sizes_that_lie_are_refused(tmp_path):
    honest = archive([("a", b"x" * 50)])
    central = honest.rindex(b"PK\x01\x02")
    for size in (10, 49, 51, 2**31):
        content = bytearray(honest)
        content[central + 20 : central + 28] = struct.pack("<II", size, size)
        refused(tmp_path, bytes(content), ".")


def test_nothing_hides_before_between_or_behind_the_files(tmp_path):
    honest = archive([("a", b"1"), ("b", b"2")])
    refused(tmp_path, b"#!/bin/sh\n" + honest, "no ZIP archive")
    refused(tmp_path, honest + b"more", "does not end")
    refused(tmp_path, honest[:-1], "does not end|no ZIP")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr(entry_of(INDEX), LIST)
        file.writestr(entry_of("a"), b"1")
        file.comment = b"hidden"
    refused(tmp_path, stream.getvalue(), "does not end")
    second = honest.index(b"PK\x03\x04", 40)
    central, end = honest.index(b"PK\x01\x02"), honest.rindex(b"PK\x05\x06")
    moved = honest[:second] + b"hidden" + honest[second:central]
    directory = bytearray(honest[central:end])
    for place in [n for n in range(len(directory)) if directory[n : n + 4] == b"PK\x01\x02"][1:]:
        (offset,) = struct.unpack_from("<I", directory, place + 42)
        struct.pack_into("<I", directory, place + 42, offset + 6)
    tail = bytearray(honest[end:])
    struct.pack_into("<I", tail, 16, len(moved))
    refused(tmp_path, moved + bytes(directory) + bytes(tail), "something lies before|overlaps")


def test_overlapping_entries_are_refused(tmp_path):
    honest = archive([("a", b"x" * 40), ("b", b"x" * 40)])
    content = bytearray(honest)
    last = honest.rindex(b"PK\x01\x02")
    first = honest.index(b"PK\x01\x02", honest.index(b"PK\x01\x02") + 4)
    content[last + 42 : last + 46] = content[first + 42 : first + 46]
    refused(tmp_path, bytes(content), "overlaps")


def test_a_local_header_that_tells_another_story_is_refused(tmp_path):
    content = bytearray(archive([("abc", b"1")]))
    place = content.index(b"abc")
    content[place : place + 3] = b"../"
    with pytest.raises(NoBundleError, match="in two ways"):
        opened(tmp_path, bytes(content))


def test_what_is_no_archive_or_no_bundle_says_so(tmp_path):
    for content in (b"", b"PK", b"PK\x03\x04", b"\x1f\x8b" + b"0" * 100, b"PK\x05\x06" + b"\0" * 18):
        refused(tmp_path, content, "bundle")
    refused(tmp_path, archive([("a", b"1")], index=False), "no bundle.json")


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_told_or_changes_a_file_and_writes_nowhere_else(tmp_path_factory, data):
    tmp_path = tmp_path_factory.mktemp("fuzz")
    honest = archive([("a", b"12345678"), ("b/c", b"12345678")])
    content = bytearray(honest)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    (tmp_path / "out").mkdir()
    try:
        names, folder = opened(tmp_path, bytes(content))
    except NoBundleError:
        names, folder = None, tmp_path / "out"
    assert {path.name for path in tmp_path.iterdir()} == {"b.zip", "out"}
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert all(path.resolve().is_relative_to(folder) and not path.is_symlink() for path in written)
    if names is not None:
        assert sorted(path.relative_to(folder).as_posix() for path in written) == sorted(names)


@given(st.text(alphabet=" ./\\:abcCONnul\0\n\u00e9~-", max_size=40))
@example("a/../b")
@example("con")
def test_a_name_that_is_let_through_stays_inside(name):
    if not why_not_a_name(name):
        parts = name.split("/")
        assert parts and not {"", ".", ".."} & set(parts) and "\\" not in name and "\0" not in name
        assert not name.startswith("/") and parts[0].lower() != "private"


def test_names_of_real_runs_are_let_through():
    names = [
        "jobs/canary.torch.DPSGD.dirac-gradient/ledger.jsonl",
        "jobs/explain.jax.of.torch.DPSGD-eps 3 (a).s0/x.npz",
    ]
    assert [why_not_a_name(name) for name in names] == ["", ""] and not clashes(names)


def test_the_root_is_what_sha256sum_of_the_files_hashes_to():
    digests = {"b": hashlib.sha256(b"2").hexdigest(), "a": hashlib.sha256(b"1").hexdigest()}
    printed = f"{digests['a']}  a\n{digests['b']}  b\n".encode()
    assert root_digest(digests) == hashlib.sha256(printed).hexdigest()


def test_a_list_of_another_format_is_refused(tmp_path):
    from trustml.evidence.verify import verify

    file = BundledFile(name="a", size=1, sha256="0" * 64)
    index = BundleIndex(format=99, run="r", created="", version="", files=(file,), root="")
    for content, match in (
        (msgspec.json.encode(index), "format 99"),
        (b"[1", "cannot be read"),
        (b"[" * 10_000, "cannot"),
    ):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as out:
            out.writestr(entry_of(INDEX), content)
        (tmp_path / "b.zip").write_bytes(stream.getvalue())
        with pytest.raises(NoBundleError, match=match):
            verify(tmp_path / "b.zip")
