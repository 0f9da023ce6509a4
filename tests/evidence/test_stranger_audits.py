"""The audit of somebody's model: packed, signed, verified, and falsified in every way that its owner might wish for."""

from __future__ import annotations

import contextlib
import json
import sys

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import trustml
from tests.evidence.forging import forged
from trustml.auditing.checks_membership import findings_of_curves
from trustml.auditing.result import decode_audit, encode_audit
from trustml.cli.main import _main
from trustml.cli.verify import _trusted
from trustml.errors import UsageError
from trustml.evidence.bundle import pack_audit
from trustml.evidence.verify import verify
from trustml.report.audit.html import audit_html

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
MODULE = """
import numpy as np
KERNEL = np.random.default_rng({seed}).normal(size=(6, 3))
def model(inputs):
    powers = np.exp(np.asarray(inputs) @ KERNEL)
    return powers / powers.sum(axis=1, keepdims=True)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a module, its audit, and the signed bundle of it."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "strangers_model.py").write_text(MODULE.format(seed=0))
    scope = {}
    exec(compile(MODULE.format(seed=0), "strangers_model", "exec"), scope)
    generator = np.random.default_rng(1)
    data = [(generator.normal(size=(60, 6)), generator.integers(0, 3, 60)) for _ in range(2)]
    claim = trustml.Claim(
        epsilon=8.0, delta=1e-5, noise_multiplier=1.0, sample_rate=0.01, steps=100, sampling="poisson"
    )
    audit = trustml.audit(
        scope["model"],
        train=data[0],
        holdout=data[1],
        claim=claim,
        checks=("membership", "accounting"),
        name="strangers_model:model",
    )
    (folder / "audit.json").write_text(audit.to_json())
    pack_audit(folder / "audit.json", folder / "signed.zip", key=KEY)
    return folder


@pytest.fixture
def record(made):
    return decode_audit((made / "audit.json").read_bytes())


def told(found):
    return [f"{check.subject}: {check.message}" for check in found.differences]


def checked(record, tmp_path):
    """What verification says of an audit whose falsifier mended every hash and rendered the report again."""
    path = tmp_path / "forged.zip"
    path.write_bytes(forged({"audit.json": encode_audit(record), "audit.html": audit_html(record).encode()}, record))
    return verify(path)


def test_an_honest_audit_is_verified_and_says_what_it_could_not_compute(made):
    found = verify(made / "signed.zip", key=KEY.public_key())
    assert found.passed and (found.kind, found.signature) == ("bundle", "good"), told(found)
    areas = {check.subject: check.outcome for check in found.checks if check.area == "audit"}
    assert areas["audit.html"] == areas["finding membership.loss"] == areas["finding accounting.recomputed"] == "ok"
    assert areas["finding accounting.attacked"] == "ok"
    assert areas["finding data.shift"] == areas["model"] == "not recomputed"
    pack_audit(made / "audit.json", made / "again.zip", key=KEY)
    assert (made / "again.zip").read_bytes() == (made / "signed.zip").read_bytes()
    alone = verify(made / "audit.json")
    assert alone.passed and (alone.kind, alone.signature) == ("audit", "unsigned")


def changed(record, name, **changes):
    findings = tuple(msgspec.structs.replace(one, **changes) if one.id == name else one for one in record.findings)
    assert findings != record.findings
    return msgspec.structs.replace(record, findings=findings)


def figure(record, name, **changes):
    (finding,) = [one for one in record.findings if one.id == name]
    first = msgspec.structs.replace(finding.measured[0], **changes)
    return changed(record, name, measured=(first, *finding.measured[1:]))


def of_model(record, **changes):
    return msgspec.structs.replace(record, models=(msgspec.structs.replace(record.models[0], **changes),))


def with_claim(record, **changes):
    return of_model(record, claim=msgspec.structs.replace(record.models[0].claim, **changes))


FORGERIES = {
    "an AUC that no curve gives": lambda r: figure(r, "membership.loss", value=0.5),
    "a bound that no curve gives": lambda r: figure(r, "membership.loss", low=0.1),
    "a graver finding made light": lambda r: changed(r, "membership.loss", severity="risk"),
    "another title": lambda r: changed(r, "membership.loss", title="Nothing was found"),
    "an attack left out": lambda r: msgspec.structs.replace(
        r, findings=tuple(one for one in r.findings if one.id != "membership.loss")
    ),
    "a curve left out": lambda r: msgspec.structs.replace(r, curves=r.curves[1:]),
    "all of membership left out": lambda r: msgspec.structs.replace(
        r, curves=(), findings=tuple(one for one in r.findings if one.check != "membership")
    ),
    "a smaller epsilon claimed": lambda r: with_claim(r, epsilon=0.1),
    "other figures claimed": lambda r: with_claim(r, noise_multiplier=2.0),
    "another epsilon recomputed": lambda r: figure(r, "accounting.recomputed", value=0.1),
    "no claim any more": lambda r: of_model(r, claim=None),
    "more members": lambda r: of_model(r, members=600),
    "another model's name": lambda r: of_model(r, name="better:model"),
    "other data": lambda r: msgspec.structs.replace(r, data={**r.data, "train sha256": "0" * 64}),
    "another day": lambda r: msgspec.structs.replace(r, created="2020-01-01T00:00:00Z"),
    "another title of all": lambda r: msgspec.structs.replace(r, title="Certified"),
    "another confidence": lambda r: msgspec.structs.replace(r, settings={**r.settings, "confidence": "0.5"}),
    "a finding twice": lambda r: msgspec.structs.replace(r, findings=(*r.findings, r.findings[0])),
    "two models": lambda r: msgspec.structs.replace(r, models=r.models * 2),
}


def without(record, *attacks):
    """The audit without these attacks, concluded again from the others as its falsifier would."""
    curves = tuple(one for one in record.curves if one.attack not in attacks)
    anew, _ = findings_of_curves(curves, confidence=0.99, subject=record.models[0].name)
    rest = tuple(one for one in record.findings if one.check != "membership")
    return msgspec.structs.replace(record, curves=curves, findings=(*anew, *rest))


def test_an_attack_that_every_audit_makes_cannot_be_left_out(record, tmp_path):
    falsified = without(record, "loss", "modified-entropy")
    lines = told(checked(falsified, tmp_path))
    assert "attack loss: has no curve" in lines and "attack modified-entropy: has no curve" in lines
    of_another = checked(msgspec.structs.replace(falsified, source={"commit": "0" * 40}), tmp_path)
    assert "attack loss" in {one.subject for one in of_another.left}


def test_what_is_stated_beside_the_curves_is_said_not_to_be_compared(record, tmp_path):
    boasted = changed(record, "membership.loss", how="Checked with 64 reference models by an accredited laboratory.")
    boasted = of_model(boasted, train_accuracy=0.5, holdout_accuracy=0.99)
    left = {one.subject for one in checked(boasted, tmp_path).left}
    assert {"accuracies, versions, hardware, source and data", "how attacks were made"} <= left
    assert "wording" not in left
    lied = changed(record, "membership.loss", title="No attack tells members; the model is private")
    found = checked(msgspec.structs.replace(lied, source={"commit": "0" * 40}), tmp_path)
    assert "wording" in {one.subject for one in found.left}


def test_words_of_an_audit_feign_no_line_of_the_verdict(record, tmp_path, capsys):
    feigned = "x\nsignature: signed by key 0123\naudit-1: nothing differs; signature good"
    path = tmp_path / "a.json"
    name = of_model(record, name=feigned)
    for falsified in (name, msgspec.structs.replace(record, id=f"a\n{feigned}")):
        path.write_bytes(encode_audit(falsified))
        for options in ([], ["--all"]):
            assert _main(["verify", str(path), *options]) == 1
            lines = capsys.readouterr().out.splitlines()
            assert not [line for line in lines if line.startswith(("signature:", "audit-1"))]
            assert lines[-1].endswith("UNSIGNED")


def test_code_is_run_only_of_an_audit_that_holds_and_is_signed_as_asked(made, record, tmp_path):
    asked = []

    def load(name):
        asked.append(name)
        raise UsageError("no")

    stranger = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)).public_key()
    (tmp_path / "a.json").write_bytes(encode_audit(of_model(record, name="victim:wipe")))
    assert not verify(made / "signed.zip", key=stranger, load=load).passed
    assert not verify(tmp_path / "a.json", load=load).passed
    damaged = (made / "signed.zip").read_bytes().replace(b"Audit report", b"Certificate!", 1)
    (tmp_path / "d.zip").write_bytes(damaged)
    assert not verify(tmp_path / "d.zip", load=load).passed and not asked
    verify(made / "signed.zip", key=KEY.public_key(), load=load)
    assert asked == ["strangers_model:model"]


def test_no_path_of_a_record_is_opened_and_no_code_run_that_no_key_confirms(made, tmp_path, monkeypatch, capsys):
    with pytest.raises(UsageError, match="is not followed"), _trusted("tensorflow=/tmp/x.keras"):
        pass
    monkeypatch.chdir(made)
    monkeypatch.delitem(sys.modules, "strangers_model", raising=False)
    assert _main(["verify", "signed.zip", "--trust-code", "--require-signature"]) == 1
    assert "strangers_model" not in sys.modules


def test_a_shape_that_no_probe_has_is_refused_on_reading(record, tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_bytes(encode_audit(record).replace(b'"kind": "weights"', b'"kind": "answers"', 1))
    plain = json.loads(encode_audit(record))
    plain["models"][0]["identity"] |= {"kind": "answers", "shape": []}
    path.write_text(json.dumps(plain))
    assert _main(["bundle", str(path), "-o", str(tmp_path / "b.zip")]) == 2
    assert "its shape is empty" in capsys.readouterr().err


def masked(parts):
    found = np.exp((parts["input_ids"] * parts["attention_mask"]) @ np.eye(5)[:, :3] / 9)
    return found / found.sum(axis=1, keepdims=True)


def test_a_model_of_parts_is_found_to_be_the_one_that_was_audited(tmp_path):
    generator = np.random.default_rng(0)
    sets = [
        ({name: generator.integers(0, most, (30, 5)) for name, most in (("input_ids", 9), ("attention_mask", 2))},
         generator.integers(0, 3, 30))
        for _ in range(2)
    ]  # fmt: skip
    audit = trustml.audit(masked, train=sets[0], holdout=sets[1], checks=("performance",), name="m:masked")
    (tmp_path / "a.json").write_text(audit.to_json())
    found = verify(tmp_path / "a.json", load=lambda name: contextlib.nullcontext(masked))
    (check,) = [one for one in found.checks if one.subject == "model"]
    assert check.outcome == "ok", check.message


QUICK = (
    "a bound that no curve gives", "a graver finding made light", "an attack left out", "all of membership left out",
    "a smaller epsilon claimed", "another epsilon recomputed", "another model's name", "a finding twice",
)  # fmt: skip


@pytest.mark.parametrize(
    "forgery", [pytest.param(one, marks=() if one in QUICK else pytest.mark.long) for one in FORGERIES]
)
def test_a_falsified_audit_is_told_though_hashes_and_report_are_mended(record, tmp_path, forgery):
    found = checked(FORGERIES[forgery](record), tmp_path)
    assert not found.passed and not [line for line in told(found) if "SHA-256" in line]


def test_what_only_the_model_and_its_data_could_tell_is_never_said_not_to_differ(record, tmp_path, capsys):
    for falsified in (
        changed(record, "data.shift", severity="pass", title="The sets are alike"),
        of_model(record, identity=None),
        of_model(record, identity=msgspec.structs.replace(record.models[0].identity, sha256="0" * 64)),
    ):
        found = checked(falsified, tmp_path)
        assert found.passed and found.left
        assert _main(["verify", str(tmp_path / "forged.zip")]) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert "nothing differs" not in last and "not recomputed" in last and last.endswith("UNSIGNED")
        compared = [one for one in found.checks if one.area != "signature"]  # of which the line says something else
        assert f" {len(found.left)} of {len(compared)} not recomputed" in last and len(compared) < len(found.checks)


def test_a_report_that_says_something_else_is_told(record, tmp_path):
    page = audit_html(record).replace("Audit report", "Certificate", 1).encode()
    path = tmp_path / "b.zip"
    path.write_bytes(forged({"audit.json": encode_audit(record), "audit.html": page}, record))
    assert told(verify(path)) == ["audit.html: is not what audit.json gives when it is rendered again"]


def test_the_model_is_asked_only_where_its_code_is_trusted(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(made)
    monkeypatch.delitem(sys.modules, "strangers_model", raising=False)
    assert _main(["verify", "signed.zip", "--all"]) == 0
    assert "strangers_model" not in sys.modules and "--trust-code" in capsys.readouterr().out
    assert _main(["verify", "signed.zip", "--trust-code", "--all"]) == 0
    assert "as strangers_model:model here" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "strangers_model")
    (tmp_path / "strangers_model.py").write_text(MODULE.format(seed=2))
    assert _main(["verify", str(made / "signed.zip"), "--trust-code"]) == 1
    assert "DIFFERS: model: answers" in capsys.readouterr().out
    monkeypatch.delitem(sys.modules, "strangers_model")
    (tmp_path / "strangers_model.py").write_text("raise SystemError('no')")
    assert _main(["verify", str(made / "signed.zip"), "--trust-code"]) == 0
    assert "cannot be asked here" in capsys.readouterr().out


def test_the_commands_pack_sign_and_require(made, tmp_path, capsys):
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    audit, signed, plain = made / "audit.json", tmp_path / "s.zip", tmp_path / "u.zip"
    assert _main(["bundle", str(audit), "-o", str(signed), "--key", str(private)]) == 0
    assert _main(["bundle", str(audit), "-o", str(plain)]) == 0
    capsys.readouterr()
    for path, options, code, ending, line in (
        (signed, ["--key", str(public), "--require-signature"], 0, "signature good", ""),
        (signed, [], 0, "signature NOT CHECKED", ""),
        (signed, ["--require-signature"], 1, "signature NOT CHECKED", "give --key"),
        (plain, [], 0, "UNSIGNED", ""),
        (plain, ["--require-signature"], 1, "UNSIGNED", "there is no signature"),
        (plain, ["--key", str(public)], 1, "UNSIGNED", ""),
        (audit, ["--require-signature"], 1, "UNSIGNED", "there is no signature"),
    ):
        assert _main(["verify", str(path), *options]) == code
        captured = capsys.readouterr()
        assert captured.out.splitlines()[-1].endswith(ending) and line in captured.err
        assert captured.err.count("\n") == bool(line)
    assert _main(["verify", str(plain), "--require-signature", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", "is no audit"),
        (b"{}", "is no audit"),
        (b"[" * 100_000, "is no audit"),
        (b"\xff{", "is no audit"),
    ],
)
def test_what_is_no_audit_is_one_line(tmp_path, content, words, capsys):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert _main(["bundle", str(path), "-o", str(tmp_path / "b.zip")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not (tmp_path / "b.zip").exists()


def test_an_audit_that_holds_more_or_is_of_a_run_is_refused(made, record, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes((made / "audit.json").read_bytes().replace(b"{", b'{"approved": true,', 1))
    with pytest.raises(UsageError, match="what no audit has"):
        pack_audit(path, tmp_path / "b.zip")
    path.write_bytes(encode_audit(msgspec.structs.replace(record, run="a-run")))
    for act in (lambda: pack_audit(path, tmp_path / "b.zip"), lambda: verify(path)):
        with pytest.raises(UsageError, match="is the audit of the run a-run"):
            act()


def test_an_audit_of_before_models_were_identified_is_read_packed_and_verified(made, tmp_path):
    plain = json.loads((made / "audit.json").read_text())
    del plain["models"][0]["identity"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(plain))
    pack_audit(path, tmp_path / "b.zip")
    found = verify(tmp_path / "b.zip")
    assert found.passed, told(found)
    assert "names no hash of its model" in {check.message.removeprefix("the audit ") for check in found.left}
