"""A real run, bundled, changed in every way that an owner might wish for, and verified."""

from __future__ import annotations

import functools
import io
import math
import shutil
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.conftest import measured_copy
from trustml.auditing.result import decode_audit, encode_audit
from trustml.auditing.run_audit import audit_run
from trustml.cli.main import _main
from trustml.errors import RecordError, UsageError
from trustml.evidence.bundle import INDEX, SIGNATURE, BundleIndex, entry_of, pack, promised_files
from trustml.evidence.checks import AREAS
from trustml.evidence.files import _result_problems, index_checks, job_checks, manifest_checks, unsafe_files
from trustml.evidence.ledgers import ledger_checks, verify_ledgers
from trustml.evidence.signing import check_signature
from trustml.evidence.unpack import unpack
from trustml.evidence.verify import _signature_checks, verify
from trustml.launch.prepare import prepare_run
from trustml.launch.resume import prepare_resume
from trustml.measures import privacy_statements
from trustml.measures.evidence import Evidence
from trustml.models.layers import Architecture, Dense, Flatten
from trustml.plan.job import decode_job, digest
from trustml.plan.mechanism import make_charge
from trustml.privacy.crosscheck import SecondOpinion
from trustml.privacy.ledger import charge
from trustml.record.files import encode_arrays, sha256
from trustml.record.store import AUDIT, HELDOUT, MANIFEST, RunDirectory
from trustml.scenario.regimes import DPSGD
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Explanations, Scenario

pytestmark = [pytest.mark.torch]

MODEL = "train.torch.DPSGD.s0"


@pytest.fixture(scope="module", autouse=True)
def _opacus_is_not_asked():
    """Its accountant is a process of its own that imports torch for seconds, at every verification."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            privacy_statements,
            "prv_epsilons",
            lambda models: [SecondOpinion(why="not asked in this test")] * len(models),
        )
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A private model, attacked without shadow models, measured and audited by the present code."""
    done = measured_copy(tmp_path_factory, "evidence", tmp_path_factory.mktemp("runs"))
    (done.path / AUDIT).write_bytes(encode_audit(audit_run(done.directory)))
    return done.directory


@pytest.fixture(scope="module")
def key():
    return Ed25519PrivateKey.from_private_bytes(bytes(32))


@pytest.fixture(scope="module")
def bundle(run, key, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "signed.zip"
    pack(run, path, with_data=True, key=key)
    return path


@pytest.fixture
def copy(run, tmp_path):
    """The run without private/, to be changed; its name stays."""
    target = tmp_path / run.path.name
    shutil.copytree(run.path, target, ignore=shutil.ignore_patterns("private", "events.jsonl", "std*.txt", ".lock"))
    return RunDirectory(target)


def rehash(run):
    """Put the right hashes everywhere, as who changed a file can."""
    manifest = run.manifest()
    artifacts = {name: sha256(run.path / name) for name in manifest.artifacts}
    jobs = tuple(
        msgspec.structs.replace(
            record, artifacts={name: sha256(run.job_folder(record.id) / name) for name in record.artifacts}
        )
        for record in manifest.jobs
    )
    run.write_manifest(msgspec.structs.replace(manifest, artifacts=artifacts, jobs=jobs))


def told(found):
    return [f"{check.subject}: {check.message}" for check in found.differences]


def ledger_of(run):
    return run.job_folder(MODEL) / "ledger.jsonl"


def stated_epsilon(run):
    table = pd.read_parquet(run.path / "measures.parquet")
    return table[(table.measure == "epsilon") & (table.job == MODEL)].value.item()


def edit_table(run, change):
    path = run.path / "measures.parquet"
    table = pd.read_parquet(path)
    change(table).to_parquet(path, index=False)


def set_value(measure, value, job=MODEL):
    def change(table):
        chosen = (table.measure == measure) & (table.job == job)
        assert chosen.sum() >= 1
        table.loc[table.index[chosen][:1], "value"] = value
        return table

    return change


def test_an_honest_run_is_verified_to_the_last_row(run):
    found = verify(run.path)
    assert found.passed, told(found)
    assert [check for check in found.checks if check.outcome == "not recomputed"] == []
    measures = [check for check in found.checks if check.area == "measures"]
    assert len(measures) == len(pd.read_parquet(run.path / "measures.parquet"))
    assert {check.area for check in found.checks} == set(AREAS) - {"signature"}


def test_an_honest_bundle_is_verified_and_says_what_it_could_not_compute(bundle, key):
    found = verify(bundle, key=key.public_key())
    assert found.passed and found.signature == "good", told(found)
    reasons = {check.message for check in found.checks if check.outcome == "not recomputed"}
    assert reasons and all("not at hand" in reason for reason in reasons)
    from_curves = [check for check in found.checks if check.message.endswith("from its curve")]
    assert {check.subject.split()[0] for check in from_curves} == {
        *("membership_auc", "membership_auc_at_least"),
        *("membership_tpr_at_1_percent_fpr", "membership_tpr_at_0_1_percent_fpr"),
    }


def test_a_run_gives_one_bundle_with_nothing_private_and_no_data_unasked(run, bundle, key, tmp_path):
    pack(run, tmp_path / "again.zip", with_data=True, key=key)
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()
    index = pack(run, tmp_path / "plain.zip")
    names = zipfile.ZipFile(tmp_path / "plain.zip").namelist()
    assert names == sorted([INDEX, *(file.name for file in index.files)])
    assert [(one.name, one.sha256) for one in index.left_out] == [(HELDOUT, sha256(run.path / HELDOUT))]
    assert not [name for name in names if "private" in name or name.endswith(("events.jsonl", "stderr.txt", HELDOUT))]
    assert {f"jobs/{MODEL}/{name}" for name in ("job.json", "result.json", "ledger.jsonl")} <= set(names)
    found = verify(tmp_path / "plain.zip")
    assert found.passed and found.signature == "unsigned", told(found)
    left = {check.subject.split()[0]: check.message for check in found.checks if check.outcome == "not recomputed"}
    assert "heldout.npz" in left["accuracy"] and "--with-data" in left[HELDOUT]


def says_the_same(changed, content):
    """Whether JSON has the same values: the last digit of a number may round to the same number."""
    try:
        return msgspec.json.decode(changed) == msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def test_one_byte_changed_in_any_file_of_a_run_names_it(copy):
    manifest = copy.manifest()
    names = [
        *promised_files(manifest),
        *(f"jobs/{r.id}/{name}" for r in manifest.jobs for name in ("job.json", "result.json")),
    ]
    assert len(names) >= 10
    for name in names:
        path = copy.path / name
        content = path.read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            changed = bytearray(content)
            changed[place] ^= 1
            if name.endswith("result.json") and says_the_same(changed, content):
                continue
            path.write_bytes(changed)
            checks = [*manifest_checks(copy, manifest, {}), *job_checks(copy, manifest)[0]]
            wrong = {check.subject for check in checks if check.outcome == "differs"}
            assert wrong == {name} or (name.endswith(".json") and wrong == {Path(name).parent.name}), (name, place)
        path.write_bytes(content)


def test_an_identifier_of_a_run_is_held_to_its_form_in_full(copy):
    manifest = copy.manifest()
    assert all(check.passed for check in manifest_checks(copy, manifest, {}))
    for feigned in (f"{manifest.run}\nsignature: good", manifest.run + "x", f"{manifest.scenario['name']}-x"):
        checks = manifest_checks(copy, msgspec.structs.replace(manifest, run=feigned), {})
        assert any("its scenario is not the one" in check.message for check in checks if not check.passed)


def test_every_byte_of_a_result_counts(copy):
    manifest, path = copy.manifest(), copy.job_folder(MODEL) / "result.json"
    (record,) = (one for one in manifest.jobs if one.id == MODEL)
    told = msgspec.json.decode(path.read_bytes())
    content, passed = path.read_bytes(), []
    assert _result_problems(record, path.parent, told=told) == []
    for place in range(len(content)):
        path.write_bytes(changed := content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        if not _result_problems(record, path.parent, told=told) and not says_the_same(changed, content):
            passed.append(content[max(0, place - 12) : place + 12])
    assert not passed


@pytest.mark.parametrize("file", ["job.json", "result.json"])
def test_a_field_that_no_job_writes_or_one_that_is_there_twice_is_named(copy, file):
    manifest, path = copy.manifest(), copy.job_folder(MODEL) / file
    content = path.read_bytes()
    assert all(check.passed for check in job_checks(copy, manifest)[0])
    for added in (b'{\n  "more": 1,', content.split(b",")[0] + b","):
        path.write_bytes(added + content[1:])
        (check,) = (check for check in job_checks(copy, manifest)[0] if not check.passed)
        assert check.subject == MODEL and file in check.message


def test_an_audit_that_says_more_than_an_audit_is_caught(copy):
    assert verify(copy.path).passed
    path = copy.path / AUDIT
    path.write_bytes(path.read_bytes().replace(b"{", b'{\n  "approved": true,', 1))
    assert told(verify(copy.path)) == [f"audit: {AUDIT} holds what no audit has"]


def test_one_byte_changed_in_any_file_of_a_bundle_names_it(bundle, tmp_path):
    content = bundle.read_bytes()
    entries = [entry for entry in zipfile.ZipFile(bundle).infolist() if entry.filename not in (INDEX, SIGNATURE)]
    for number, entry in enumerate(entries):
        changed = bytearray(content)
        start = entry.header_offset + 30 + len(entry.filename)
        changed[start + entry.file_size // 2] ^= 1
        path, folder = tmp_path / "changed.zip", tmp_path / str(number)
        path.write_bytes(changed)
        folder.mkdir()
        names = unpack(path, folder)
        index = msgspec.json.decode((folder / INDEX).read_bytes(), type=BundleIndex)
        wrong = [
            check.subject for check in index_checks(RunDirectory(folder), index, names) if check.outcome == "differs"
        ]
        assert wrong == [entry.filename]
    path.write_bytes(changed)
    found = verify(path)
    assert not found.passed and any(line.startswith(entries[-1].filename) for line in told(found))


def test_a_deleted_ledger_line_is_named_though_all_hashes_are_mended(copy, tmp_path):
    lines = ledger_of(copy).read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    ledger_of(copy).write_bytes(b"".join(lines[:2] + lines[3:]))
    found = verify(copy.path)
    assert any(f"{MODEL}/ledger.jsonl: is not the file of the manifest" in line for line in told(found))
    rehash(copy)
    pack(copy, tmp_path / "fixed.zip", with_data=True)
    found = verify(tmp_path / "fixed.zip")
    text = told(found)
    assert f"ledger of {MODEL}: line 3 is missing: step 2 of attempt 1 is charged by no line" in text
    assert any(line.startswith(f"epsilon (ledger) of {MODEL}: value is") for line in text)
    assert any(line.startswith("epsilon_all_releases") for line in text)
    assert any(line.startswith(f"{MODEL}: curve.") or line.startswith(f"{MODEL}: epsilon") for line in text)


def test_a_ledger_may_name_what_draws_noise_now_or_drew_it_in_an_earlier_version(copy):
    path = ledger_of(copy)
    for content in (
        path.read_bytes(),
        path.read_bytes().replace(b'"noise_source":"torch"', b'"noise_source":"torch.sfc64"'),
    ):
        path.write_bytes(content)
        rehash(copy)
        (check,) = ledger_checks(Evidence(copy), job_checks(copy, copy.manifest())[1])
        assert "noise_source" not in check.message


def test_a_reordered_or_edited_ledger_is_named(copy):
    path = ledger_of(copy)
    lines = path.read_bytes().splitlines(keepends=True)
    for content, message in (
        ([lines[0], lines[2], lines[1], *lines[3:]], "line 2 is out of order"),
        (lines[:4], "line 5 is missing"),
        ([*lines, lines[4]], "line 6 charges step 4 of attempt 1 again"),
        (
            [lines[0].replace(b'"noise_multiplier":2.0', b'"noise_multiplier":3.0'), *lines[1:]],
            "says noise_multiplier 3.0",
        ),
        (
            [lines[0].replace(b'"secret_sampling":true', b'"secret_sampling":false'), *lines[1:]],
            "secret_sampling False",
        ),
        (
            [lines[0].replace(b'"noise_source":"torch"', b'"noise_source":"numpy"'), *lines[1:]],
            "says noise_source 'numpy', the record 'torch.sfc64'",
        ),
        ([*lines[:4], b'{"attempt": 1}\n'], "line 5 is damaged"),
        ([*lines[:4], lines[4][:-10]], "line 5"),
        ([], "missing or empty"),
    ):
        path.write_bytes(b"".join(content))
        rehash(copy)
        (check,) = ledger_checks(Evidence(copy), job_checks(copy, copy.manifest())[1])
        assert check.outcome == "differs" and message in check.message and "\n" not in check.message
        failed = [one for one in verify_ledgers(copy) if not one.passed]
        assert (MODEL, check.message) in [(one.subject, one.message) for one in failed]


@pytest.mark.parametrize(("measure", "job"), [("epsilon", MODEL), ("epsilon_all_releases", "")])
def test_an_epsilon_of_the_table_that_does_not_follow_from_the_ledger_fails_by_itself(copy, measure, job):
    table = pd.read_parquet(copy.path / "measures.parquet")
    before = table[(table.measure == measure) & (table.job == job)].value.item()
    for factor, fails in ((1 + 1e-12, []), (1 + 1e-7, [job]), (0.9, [job]), (math.inf, [job]), (math.nan, [job])):
        edit_table(copy, set_value(measure, before * factor, job=job))
        failed = [check for check in verify_ledgers(copy) if not check.passed]
        assert [check.subject for check in failed] == fails
        assert all("from the ledger" in check.message for check in failed)


def test_a_private_job_without_a_mechanism_is_named(copy):
    (before,) = [check for check in verify_ledgers(copy) if check.subject == MODEL and "steps charged" in check.message]
    assert before.passed and before.message == "5 steps charged for 5 steps in the model"
    job = copy.job(MODEL)
    (copy.job_folder(MODEL) / "job.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(job, mechanism=None)), indent=2) + b"\n"
    )
    (check,) = ledger_checks(Evidence(copy), job_checks(copy, copy.manifest())[1])
    assert not check.passed and "no mechanism" in check.message
    assert "no mechanism" in [check for check in verify_ledgers(copy) if not check.passed][-1].message


def test_a_ledger_that_is_gone_is_not_called_uncharged(copy):
    ledger_of(copy).unlink()
    assert [check.message for check in verify_ledgers(copy)] == [
        f"no charge can be read, yet the record states epsilon {stated_epsilon(copy):.6f}",
        "missing or empty, yet the job is done",
    ]


@pytest.mark.parametrize(
    "change, message",
    [
        (set_value("epsilon", 0.5), "epsilon (ledger) of train.torch.DPSGD.s0: value is 0.5 in the table"),
        pytest.param(
            set_value("accuracy", 0.99),
            "accuracy (held-out) of train.torch.DPSGD.s0: value is 0.99 in the table",
            marks=pytest.mark.long,
        ),
        (
            set_value("membership_auc", 0.5001),
            "membership_auc (members ~ held-out) loss of train.torch.DPSGD.s0: value",
        ),
        (set_value("epsilon_all_releases", 0.5, job=""), "epsilon_all_releases (all ledgers) of the run: value"),
        (lambda table: table[table.measure != "epsilon"], "the table has no row"),
        (lambda table: pd.concat([table, table[table.measure == "epsilon"]]), "no file of the run gives this row"),
        pytest.param(lambda table: table.assign(note=""), "note is ''", marks=pytest.mark.long),
        (
            lambda table: table.assign(privacy_unit=table.privacy_unit.replace("example", "user")),
            "privacy_unit is 'user' in the table, 'example' from the files",
        ),
        pytest.param(
            lambda table: table.assign(privacy_unit="", relation=""),
            "privacy_unit is '' in the table",
            marks=pytest.mark.long,
        ),
        pytest.param(lambda table: table.drop(columns="note"), "cannot be read as the table", marks=pytest.mark.long),
        (lambda table: table.assign(value="much"), "cannot be read as the table"),
    ],
)
def test_an_edited_table_is_caught_though_all_hashes_are_mended(copy, tmp_path, change, message):
    edit_table(copy, change)
    rehash(copy)
    pack(copy, tmp_path / "fixed.zip", with_data=True)
    found = verify(tmp_path / "fixed.zip")
    assert any(message in line for line in told(found)), told(found)
    assert not [line for line in told(found) if "SHA-256" in line]


@pytest.mark.parametrize(("factor", "found"), [(1 + 1e-7, 0), (1 + 3e-6, 1), (1 - 3e-6, 1)])
def test_a_figure_that_differs_by_more_than_rounding_is_named(copy, factor, found):
    edit_table(copy, set_value("epsilon", stated_epsilon(copy) * factor))
    rehash(copy)
    assert [line.split(" is ")[0] for line in told(verify(copy.path))] == [
        f"epsilon (ledger) of {MODEL}: value",
    ] * found


def test_an_edited_job_statement_curve_or_finding_is_caught(copy):
    def replaced(name, old, new, count=1):
        path = copy.path / name
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, count))
        return functools.partial(path.write_bytes, content)

    undo = replaced(f"jobs/{MODEL}/job.json", b'"noise_multiplier": 2.0', b'"noise_multiplier": 2.5', 2)
    assert "asks for something else" in " ".join(told(verify(copy.path)))
    manifest = copy.manifest()
    job = decode_job((copy.job_folder(MODEL) / "job.json").read_bytes())
    jobs = tuple(msgspec.structs.replace(r, digest=digest(job)) if r.id == MODEL else r for r in manifest.jobs)
    copy.write_manifest(msgspec.structs.replace(manifest, jobs=jobs))
    text = " ".join(told(verify(copy.path)))
    assert "not that of the scenario" in text and "says noise_multiplier 2.0, the record 2.5" in text
    undo()
    copy.write_manifest(manifest)

    undo = replaced("privacy.json", b'"steps": 5', b'"steps": 4')
    rehash(copy)
    assert f"{MODEL}: steps is 4, from the ledger 5" in told(verify(copy.path))
    undo()

    first = msgspec.json.decode((copy.path / "curves.json").read_bytes())[0]
    flat = msgspec.json.encode(first["true_positives"][:3])[:-1]
    undo = replaced("curves.json", flat, msgspec.json.encode([n + 1 for n in first["true_positives"][:3]])[:-1])
    rehash(copy)
    text = told(verify(copy.path))
    assert any(line.startswith("membership_auc (members ~ held-out) loss of train.torch.DPSGD.s0") for line in text)
    assert any(line == "audit: its curves are not what the record gives" for line in text)
    undo()
    rehash(copy)

    audit = decode_audit((copy.path / AUDIT).read_bytes())
    graver = next(n for n, finding in enumerate(audit.findings) if finding.check == "membership")
    changed = msgspec.structs.replace(audit.findings[graver], severity="note", title="All is well.")
    findings = (*audit.findings[:graver], changed, *audit.findings[graver + 1 :])
    (copy.path / AUDIT).write_bytes(encode_audit(msgspec.structs.replace(audit, findings=findings[1:])))
    text = " ".join(told(verify(copy.path)))
    assert f"finding {changed.id}: severity is 'note'" in text or graver == 0
    assert "and is not in the audit" in text


def test_signatures_good_wrong_missing_and_of_other_files(copy, bundle, key, tmp_path):
    def checked(path, public):
        folder = tmp_path / f"{path.stem}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        names = unpack(path, folder)
        index = msgspec.json.decode((folder / INDEX).read_bytes(), type=BundleIndex)
        signature = check_signature((folder / SIGNATURE).read_bytes(), public) if SIGNATURE in names else None
        return _signature_checks(RunDirectory(folder), index, names, signature, asked=public is not None)

    (good,) = checked(bundle, key.public_key())
    assert good.outcome == "ok"
    (unchecked,) = checked(bundle, None)
    assert unchecked.outcome == "not recomputed" and "not checked: give --key" in unchecked.message
    (wrong,) = checked(bundle, Ed25519PrivateKey.generate().public_key())
    assert wrong.outcome == "differs" and "signed by key" in wrong.message
    pack(copy, tmp_path / "unsigned.zip", with_data=True)
    (missing,) = checked(tmp_path / "unsigned.zip", key.public_key())
    assert missing.outcome == "differs" and "unsigned" in missing.message
    # The whole bundle made anew around the old signature: everything agrees but what was signed.
    edit_table(copy, set_value("peak_memory", 1.0))
    rehash(copy)
    pack(copy, tmp_path / "forged.zip", with_data=True)
    stream = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "forged.zip") as forged, zipfile.ZipFile(stream, "w") as out:
        old = zipfile.ZipFile(bundle).read(SIGNATURE)
        for name in sorted([*forged.namelist(), SIGNATURE]):
            out.writestr(entry_of(name), old if name == SIGNATURE else forged.read(name))
    (tmp_path / "resigned.zip").write_bytes(stream.getvalue())
    wrong = checked(tmp_path / "resigned.zip", key.public_key())
    assert {check.subject for check in wrong if check.outcome == "differs"} == {INDEX, MANIFEST, "measures.parquet"}


def test_arrays_that_would_not_fit_or_hold_objects_are_never_read(copy):
    name = f"jobs/{MODEL}/predictions.npz"

    def reason(content):
        (copy.path / name).write_bytes(content)
        (check,) = unsafe_files(copy, [name])
        return check.message

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**20)})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("test_logits.npy", header.getvalue() + b"\0" * 64)
    assert "announces" in reason(stream.getvalue())
    stream = io.BytesIO()
    np.savez(stream, test_logits=np.array([{}], dtype=object))
    assert "objects" in reason(stream.getvalue())
    assert "not a readable" in reason(b"PK\x03\x04 nothing")
    rehash(copy)
    found = verify(copy.path)
    assert not found.passed and any("nothing was computed" in check.message for check in found.checks)
    (copy.path / name).write_bytes(encode_arrays({"test_logits": np.zeros((3, 10), np.float32)}))
    rehash(copy)
    assert any("accuracy" in line for line in told(verify(copy.path)))


def test_links_and_private_names_are_never_packed(copy, tmp_path):
    weights = copy.job_folder(MODEL) / "weights.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match="link"):
        pack(copy, tmp_path / "b.zip")
    assert any("link" in line for line in told(verify(copy.path)))
    weights.unlink()
    with pytest.raises(RecordError, match="gone"):
        pack(copy, tmp_path / "b.zip")
    manifest = copy.manifest()
    copy.write_manifest(
        msgspec.structs.replace(manifest, artifacts={"private/data.npz": "0" * 64, **manifest.artifacts})
    )
    with pytest.raises(RecordError, match="private"):
        pack(copy, tmp_path / "b.zip")
    assert any("private" in line for line in told(verify(copy.path)))
    with pytest.raises(UsageError, match="inside the run"):
        pack(copy, copy.path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_the_commands(run, key, tmp_path, capsys):
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    out = tmp_path / "run.zip"
    assert _main(["bundle", str(run.path), "-o", str(out), "--key", str(private)]) == 0
    assert "signed" in capsys.readouterr().out
    assert _main(["verify", str(out), "--key", str(public)]) == 0
    text = capsys.readouterr().out
    assert "nothing differs" not in text and "signature: signed by key" in text and "not recomputed: " in text
    assert "no difference found" in text.splitlines()[-1] and text.endswith("; signature good\n")
    content = bytearray(out.read_bytes())
    content[content.index(b"PAR1") + 100] ^= 1
    out.write_bytes(content)
    assert _main(["verify", str(out), "--json"]) == 1
    answer = msgspec.json.decode(capsys.readouterr().out)
    assert answer["passed"] is False and answer["signature"] == "not checked"
    assert "measures.parquet" in {check["subject"] for check in answer["checks"] if check["outcome"] == "differs"}


def test_a_job_that_was_planned_again_after_a_crash_agrees_with_the_manifest(tmp_path):
    scenario = Scenario(
        name="resumed",
        data=Digits(test_fraction=0.8),
        model=Architecture(layers=(Flatten(), Dense(units=10))),
        backends=("torch",),
        training=(DPSGD(noise_multiplier=2.0, steps=5, batch_size=64),),
        explanations=Explanations(examples=4, methods=()),
    )
    run = prepare_run(scenario, root=tmp_path)
    job = decode_job((run.job_folder(MODEL) / "job.json").read_bytes())
    charge(ledger_of(run), make_charge(job.mechanism, first=0, end=1, plan="lost", data=job.data_fingerprint))
    again = prepare_resume(run, allow_overrun=False)
    assert decode_job((run.job_folder(MODEL) / "job.json").read_bytes()).mechanism.attempt == 2
    (check,) = job_checks(run, again)[0]
    assert check.outcome == "ok", check.message


def test_words_of_another_revision_are_not_compared_and_numbers_are(copy):
    manifest = copy.manifest()
    copy.write_manifest(msgspec.structs.replace(manifest, source={"commit": "0" * 40}))
    (copy.path / AUDIT).unlink()
    edit_table(copy, lambda table: table.assign(note="in other words"))
    rehash(copy)
    found = verify(copy.path)
    assert found.passed, told(found)
    assert "wording" in {check.subject for check in found.checks if check.outcome == "not recomputed"}
    edit_table(copy, set_value("epsilon", 0.5))
    rehash(copy)
    assert told(verify(copy.path))[0].startswith("epsilon (ledger)")
