"""A search by machine for what verification lets through: every file of a bundle, changed in every way that there is.

Two bundles are searched: of somebody's audit, verified whole each time; and of a run, by the checks that look at its
files. ``TRUSTML_TESTS=all`` verifies the run whole for every change, and exchanges files between its jobs too.
"""

from __future__ import annotations

import itertools
import os
import stat

import msgspec
import numpy as np
import pytest

import trustml
from tests.conftest import measured_copy
from tests.evidence.forging import archived, forged, index_of
from tests.records import unasked_second_opinion
from trustml.auditing.result import decode_audit, encode_audit
from trustml.auditing.run_audit import audit_run
from trustml.evidence.bundle import INDEX, SIGNATURE, entry_of, pack, pack_audit
from trustml.evidence.files import index_checks, listed_checks
from trustml.evidence.stranger_audits import stranger_checks
from trustml.evidence.unpack import NoBundleError, unpack, wrong_checksums
from trustml.evidence.verify import _read_index, verify
from trustml.record.files import sha256
from trustml.record.store import AUDIT, AUDIT_REPORT, RunDirectory
from trustml.report.audit.html import audit_html

LONG = os.environ.get("TRUSTML_TESTS") == "all"


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def link(name):
    entry = entry_of(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def dated(name):
    entry = entry_of(name)
    entry.date_time = (2026, 1, 1, 0, 0, 0)
    return entry


def changes(entries):
    """Every change of one file of an archive, or of two: what was done, and the entries then."""
    names = list(entries)
    for name in names:
        rest = {other: part for other, part in entries.items() if other != name}
        content = entries[name]
        for place in sorted({0, len(content) // 3, len(content) // 2, len(content) - 1} if content else ()):
            yield f"byte {place} of {name}", [*rest.items(), (name, flipped(content, place))]
        yield f"{name} cut short", [*rest.items(), (name, content[:-1])]
        yield f"{name} longer", [*rest.items(), (name, content + b"\n")]
        yield f"{name} left out", list(rest.items())
        yield f"{name} there twice", [*entries.items(), (name, content)]
        yield f"{name} in capitals", [*rest.items(), (name.upper(), content)]
        yield f"{name} and in capitals", [*entries.items(), (name.upper(), content)]
        yield f"{name} elsewhere", [*rest.items(), (f"more/{name}", content)]
        yield f"{name} above", [*rest.items(), (f"../{name}", content)]
        yield f"{name} absolute", [*rest.items(), (f"/{name}", content)]
        yield f"{name} a link", [*rest.items(), (link(name), b"/etc/passwd")]
        yield f"{name} dated", [*rest.items(), (dated(name), content)]
        yield f"a file beside {name}", [*entries.items(), (f"{name}.more", b"more")]
    yield "private", [*entries.items(), ("private/data.npz", b"")]
    for one, other in itertools.combinations(names, 2):
        if entries[one] != entries[other]:
            yield f"{one} and {other} exchanged", [*{**entries, one: entries[other], other: entries[one]}.items()]


def named(pair):
    return pair[0] if isinstance(pair[0], str) else pair[0].filename


def let_through(entries, passes):
    """What was done to the archives that pass; in short of every third change, of another kind for the next file."""
    some = itertools.islice(changes(entries), 0, None, 1 if LONG else 3)
    return [what for what, changed in some if passes(archived(sorted(changed, key=named)))]


def contents(path, folder):
    names = unpack(path, folder)
    return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Files of the bundle of somebody's audit."""
    folder = tmp_path_factory.mktemp("audit")
    generator = np.random.default_rng(0)
    data = [(generator.random((20, 3)), generator.integers(0, 2, 20)) for _ in range(2)]
    audit = trustml.audit(
        lambda inputs: np.stack([inputs[:, 0], 1 - inputs[:, 0]], axis=1),
        train=data[0],
        holdout=data[1],
        checks=("membership",),
        name="a model",
    )
    (folder / "audit.json").write_text(audit.to_json())
    pack_audit(folder / "audit.json", folder / "b.zip")
    (folder / "out").mkdir()
    return contents(folder / "b.zip", folder / "out")


def test_no_change_of_an_audits_bundle_is_let_through(audited, tmp_path):
    path = tmp_path / "b.zip"

    def passes(content):
        path.write_bytes(content)
        try:
            return verify(path).passed
        except NoBundleError:
            return False

    assert passes(archived(sorted(audited.items())))
    assert not let_through(audited, passes)
    backwards = archived(sorted(audited.items(), reverse=True))
    assert not passes(backwards)


def leaves(plain, path=()):
    if isinstance(plain, dict | list):
        for key, value in plain.items() if isinstance(plain, dict) else enumerate(plain):
            yield from leaves(value, (*path, key))
    else:
        yield path, plain


def put(plain, path, value):
    for key in path[:-1]:
        plain = plain[key]
    plain[path[-1]] = value


def other(value):
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
    return "x"


@pytest.mark.long
def test_a_field_of_an_audit_that_may_be_changed_is_one_that_only_its_maker_knows(audited):
    """With every hash mended and the report rendered again: what stays is for the signature to tell."""
    content, free, seen = audited[AUDIT], set(), set()
    for place, value in leaves(msgspec.json.decode(content)):
        kind = tuple(key for key in place if isinstance(key, str))
        if kind in seen and not LONG:
            continue  # one of each kind
        seen.add(kind)
        plain = msgspec.json.decode(content)
        put(plain, place, other(value))
        try:
            record = decode_audit(msgspec.json.encode(plain))
        except msgspec.ValidationError:
            continue
        if place[0] == "findings" and record.findings[place[1]].severity == "not checked":
            continue
        if all(check.passed for check in stranger_checks(record, same_words=True)):
            finding = record.findings[place[1]] if place[0] == "findings" else None
            told = place[2] if finding else ""
            free.add(place[0] if finding is None else f"{finding.check} {told}")
    for told in sorted(free):
        area, _, field = told.partition(" ")
        of_model = area in ("data", "format", "hardware", "models", "settings", "source", "versions")
        assert of_model or field in ("how", "measured", "title", "reason", "would_change"), told
    assert {"membership severity", "membership id", "curves", "id", "created", "title"} & free == set()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two private models and what explains them, audited, without what is private."""
    done = measured_copy(tmp_path_factory, "twice" if LONG else "evidence", tmp_path_factory.mktemp("runs"))
    record = audit_run(done.directory)
    (done.path / AUDIT).write_bytes(encode_audit(record))
    (done.path / AUDIT_REPORT).write_text(audit_html(record))
    return done.directory


@pytest.fixture(scope="module")
def packed(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    pack(run, folder / "b.zip", with_data=True)
    (folder / "out").mkdir()
    return contents(folder / "b.zip", folder / "out")


def test_no_change_of_a_files_bundle_is_let_through_by_the_checks_of_files(run, packed, tmp_path):
    path, manifest, number = tmp_path / "b.zip", run.manifest(), itertools.count()

    def passes(content):
        path.write_bytes(content)
        folder = tmp_path / str(next(number))
        folder.mkdir()
        try:
            names = unpack(path, folder)
            index = _read_index(path, folder / INDEX)
        except NoBundleError:
            return False
        checks = [*index_checks(RunDirectory(folder), index, names), *listed_checks(manifest, names, index)]
        return all(check.passed for check in checks) and not wrong_checksums(path, folder)

    assert passes(archived(sorted(packed.items())))
    assert not let_through(packed, passes)


class _OfRun:
    """What a list of files says of a run."""

    def __init__(self, manifest):
        self.id, self.created = manifest.run, manifest.ended or manifest.created


@pytest.mark.parametrize("left", [False, True])
def test_files_that_no_run_has_and_files_that_are_gone_are_told_though_the_list_was_mended(run, packed, tmp_path, left):
    path, manifest = tmp_path / "b.zip", run.manifest()
    content = {name: part for name, part in packed.items() if name != INDEX}
    passed = []
    for name in list(content) if left else ["more.txt", "jobs/more/job.json", "audit.pdf", "jobs/readme.md"]:
        changed = {other: part for other, part in content.items() if other != name} if left else {**content, name: b"x"}
        path.write_bytes(forged(changed, _OfRun(manifest)))
        folder = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        names = unpack(path, folder)
        index = _read_index(path, folder / INDEX)
        if all(check.passed for check in listed_checks(manifest, names, index)):
            passed.append(name)
    promised = {*manifest.artifacts, *(f"jobs/{job.id}/{name}" for job in manifest.jobs for name in job.artifacts)}
    allowed = promised | {AUDIT, AUDIT_REPORT}  # the first are told with the manifest; an audit there need not be
    assert set(passed) <= (allowed if left else set())


def test_only_data_may_be_left_out_and_a_list_holds_nothing_else(packed, run, tmp_path):
    manifest, folder = run.manifest(), tmp_path / "out"
    content = {name: part for name, part in packed.items() if name != INDEX}
    index = msgspec.json.decode(index_of(content, _OfRun(manifest)))
    for change in (
        {"left_out": [{"name": "measures.parquet", "sha256": "0" * 64, "reason": "large"}]},
        {"left_out": [{"name": "heldout.npz", "sha256": "0" * 64, "reason": "approved"}]},
        {"approved": True},
        {"files": index["files"][::-1]},
    ):
        folder.mkdir(exist_ok=True)
        for name, part in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(part)
        (folder / INDEX).write_bytes(msgspec.json.format(msgspec.json.encode({**index, **change}), indent=2) + b"\n")
        read = _read_index(tmp_path / "b.zip", folder / INDEX)
        checks = index_checks(RunDirectory(folder), read, sorted(packed))
        assert [check for check in checks if not check.passed], change


@pytest.mark.long
def test_no_change_of_a_runs_bundle_is_let_through(packed, tmp_path):
    path = tmp_path / "b.zip"

    def passes(content):
        path.write_bytes(content)
        try:
            return verify(path).passed
        except NoBundleError:
            return False

    with unasked_second_opinion():
        assert not let_through({name: part for name, part in packed.items() if name != SIGNATURE}, passes)


@pytest.mark.long
def test_files_exchanged_between_jobs_are_told_though_every_hash_was_mended(run, tmp_path):
    """But for ledgers that say the same of two seeds: which is whose is told by the secret plan, and the signature."""
    manifest, passed = run.manifest(), []
    pairs = [
        (run.job_folder(one.id) / name, run.job_folder(two.id) / name)
        for one, two in itertools.combinations(manifest.jobs, 2)
        if one.kind == two.kind
        for name in sorted(set(one.artifacts) & set(two.artifacts))
    ]
    assert len(pairs) >= 4
    for first, second in pairs:
        before = first.read_bytes(), second.read_bytes()
        first.write_bytes(before[1])
        second.write_bytes(before[0])
        jobs = tuple(
            msgspec.structs.replace(
                job, artifacts={name: sha256(run.job_folder(job.id) / name) for name in job.artifacts}
            )
            for job in manifest.jobs
        )
        run.write_manifest(msgspec.structs.replace(manifest, jobs=jobs))
        with unasked_second_opinion():
            pack(run, tmp_path / "b.zip", with_data=True)
            if verify(tmp_path / "b.zip").passed:
                passed.append(first.name)
        first.write_bytes(before[0])
        second.write_bytes(before[1])
        run.write_manifest(manifest)
    assert set(passed) <= {"ledger.jsonl"}
