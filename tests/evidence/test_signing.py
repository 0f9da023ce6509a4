"""DSSE envelopes and in-toto statements, ed25519."""

from __future__ import annotations

import base64
import hashlib

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, derive_private_key, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from trustml.errors import UsageError
from trustml.evidence.signing import (
    PAYLOAD_TYPE,
    SIGSTORE_TYPE,
    Envelope,
    EnvelopeSignature,
    _signature,
    check_signature,
    pae,
    read_private_key,
    read_public_key,
    sign,
    statement_of,
)

DIGESTS = {"b": hashlib.sha256(b"2").hexdigest(), "a": hashlib.sha256(b"1").hexdigest()}


@pytest.fixture(scope="module", params=["ed25519", "P-256"])
def key(request):
    if request.param == "P-256":
        return derive_private_key(int.from_bytes(bytes(range(32))), SECP256R1())
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="module")
def envelope(key):
    return sign(statement_of(DIGESTS, name="run-1"), key)


def changed(content, **fields):
    """The same form, with another envelope."""
    found = msgspec.json.decode(content)
    replaced = msgspec.to_builtins(msgspec.structs.replace(envelope_of(content), **fields))
    return msgspec.json.encode({**found, "dsseEnvelope": replaced} if "dsseEnvelope" in found else replaced)


def envelope_of(content) -> Envelope:
    found = msgspec.json.decode(content)
    return msgspec.convert(found.get("dsseEnvelope", found), Envelope)


def test_the_encoding_is_that_of_the_specification():
    # protocol.md of DSSE, its own example
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"") == "DSSEv1 2 é 0 ".encode()  # lengths are of bytes


def test_the_statement_has_the_form_of_model_signing():
    statement = msgspec.to_builtins(statement_of(DIGESTS, name="run-1"))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    joint = hashlib.sha256(bytes.fromhex(DIGESTS["a"]) + bytes.fromhex(DIGESTS["b"])).hexdigest()
    assert statement["subject"] == ({"name": "run-1", "digest": {"sha256": joint}},)
    assert statement["predicate"]["resources"] == (
        {"name": "a", "algorithm": "sha256", "digest": DIGESTS["a"]},
        {"name": "b", "algorithm": "sha256", "digest": DIGESTS["b"]},
    )
    assert statement["predicate"]["serialization"]["method"] == "files"


def test_a_good_signature_gives_back_what_was_signed(key, envelope):
    found = check_signature(envelope, key.public_key())
    assert (found.outcome, found.digests) == ("good", DIGESTS) and "2 files of run-1" in found.message
    assert sign(statement_of(DIGESTS, name="run-1"), key) == envelope


def test_without_a_key_nothing_is_said_of_it(envelope):
    found = check_signature(envelope, None)
    assert found.outcome == "not checked" and "--key" in found.message and not found.digests


def test_another_key_is_told_from_a_broken_signature(key, envelope):
    for other in (Ed25519PrivateKey.generate(), generate_private_key(SECP256R1())):
        assert check_signature(envelope, other.public_key()).outcome == "wrong key"
    signature = envelope_of(envelope).signatures[0]
    broken = base64.b64encode(bytes(64)).decode()
    for damaged in (
        changed(envelope, signatures=(msgspec.structs.replace(signature, sig=broken),)),
        changed(envelope, signatures=()),
        changed(envelope, payload=base64.b64encode(b"{}").decode()),
        changed(envelope, payload_type="text/plain"),
        changed(envelope, payload="not base64!"),
        b"not json",
        b"[" * 100_000,
    ):
        found = check_signature(damaged, key.public_key())
        assert found.outcome == "bad" and not found.digests and "\n" not in found.message


def test_the_name_of_a_key_is_a_hint_and_no_more(key, envelope):
    signature = envelope_of(envelope).signatures[0]
    renamed = changed(envelope, signatures=(msgspec.structs.replace(signature, keyid="0" * 64),))
    assert check_signature(renamed, key.public_key()).outcome == "good"


@pytest.mark.parametrize("key", ["P-256"], indirect=True)
def test_a_key_of_p256_signs_a_bundle_of_sigstore(key, envelope):
    """The form that model_signing 1.1.1 reads; test_others_tools.py has it read it."""
    found = msgspec.json.decode(envelope)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    hint = hashlib.sha256(pem).hexdigest()
    assert found["mediaType"] == SIGSTORE_TYPE == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert found["verificationMaterial"] == {"publicKey": {"hint": hint}, "tlogEntries": []}
    assert set(found) == {"mediaType", "verificationMaterial", "dsseEnvelope"}
    other = {**found, "mediaType": "application/vnd.dev.sigstore.bundle.v0.9+json"}
    assert check_signature(msgspec.json.encode(other), key.public_key()).outcome == "bad"


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"[]",
        msgspec.json.encode(statement_of(DIGESTS, name="x")).replace(b"model_signing", b"something"),
        msgspec.json.encode(statement_of(DIGESTS, name="x")).replace(DIGESTS["a"].encode(), b"0" * 64),
        msgspec.json.encode(statement_of(DIGESTS, name="x")).replace(DIGESTS["a"].encode(), b"not hexadecimal"),
    ],
)
def test_a_signed_statement_of_something_else_is_no_signature_of_a_bundle(key, payload):
    signature = EnvelopeSignature(sig=base64.b64encode(_signature(key, pae(PAYLOAD_TYPE, payload))).decode())
    content = msgspec.json.encode(
        Envelope(payload=base64.b64encode(payload).decode(), payload_type=PAYLOAD_TYPE, signatures=(signature,))
    )
    assert check_signature(content, key.public_key()).outcome == "bad"


def test_key_files_are_read_and_bad_ones_named(tmp_path, key):
    def written(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    other = generate_private_key(SECP384R1())
    read = read_private_key(written("key.pem", private))
    assert sign(statement_of(DIGESTS, name="r"), read) == sign(statement_of(DIGESTS, name="r"), key)
    assert read_public_key(written("public.pem", public)) == key.public_key()
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    elliptic = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, match in ((public, "is a public key"), (locked, "passphrase"), (elliptic, "P-256"), (b"x", "PEM")):
        with pytest.raises(UsageError, match=match):
            read_private_key(written("bad.pem", content))
    elliptic = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for content, match in ((private, "must not have"), (elliptic, "P-256"), (b"", "PEM")):
        with pytest.raises(UsageError, match=match):
            read_public_key(written("bad.pem", content))
    with pytest.raises(UsageError, match="cannot be read"):
        read_public_key(tmp_path / "nothing.pem")
