"""Signatures of bundles: ed25519, in a DSSE envelope around an in-toto statement in the form of model-signing.

The statement names every file with its SHA-256 (OpenSSF Model Signing 1.0: ``predicate.resources``), and as its one
subject the SHA-256 of those digests, one behind the other in the order of names. The key is ed25519, which the
reference tool of model-signing does not read: the form is its own, the check is ``trustml verify --key``.

A pair of keys is made by::

    openssl genpkey -algorithm ed25519 -out key.pem
    openssl pkey -in key.pem -pubout -out public.pem
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from trustml.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_OWN_NAME = "bundle.dsse.json"
_LARGEST_KEY = 1 << 16
_MAKE_KEYS = "make one with `openssl genpkey -algorithm ed25519 -out key.pem`"
_MAKE_PUBLIC = "take it out of the private one with `openssl pkey -in key.pem -pubout -out public.pem`"


class SignedSubject(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement is about: a name, and digests by algorithm."""

    name: str
    digest: dict[str, str]


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One signed file."""

    name: str
    algorithm: str
    digest: str


class Serialization(msgspec.Struct, frozen=True, kw_only=True):
    """How files were turned into digests."""

    method: str = "files"
    hash_type: str = "sha256"
    allow_symlinks: bool = False
    ignore_paths: tuple[str, ...] = ()


class Predicate(msgspec.Struct, frozen=True, kw_only=True):
    """The signed files, and how they were hashed."""

    resources: tuple[Resource, ...]
    serialization: Serialization


class Statement(msgspec.Struct, frozen=True, kw_only=True, rename={"type": "_type", "predicate_type": "predicateType"}):
    """An in-toto statement, version 1."""

    type: str
    subject: tuple[SignedSubject, ...]
    predicate_type: str
    predicate: Predicate


class EnvelopeSignature(msgspec.Struct, frozen=True, kw_only=True):
    """One signature; `keyid` is a hint that nobody signed."""

    keyid: str = ""
    sig: str


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A DSSE envelope; `payload` is base64."""

    payload: str
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]


class SignatureCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a signature.

    Parameters
    ----------
    outcome : {"good", "bad", "wrong key", "not checked"}
    message : str
    digests : dict
        File to SHA-256, as signed; empty unless the signature is good.
    """

    outcome: Literal["good", "bad", "wrong key", "not checked"]
    message: str
    digests: dict[str, str] = {}


def pae(payload_type: str, payload: bytes) -> bytes:
    """What a DSSE signature is over: the pre-authentication encoding, version 1."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def statement_of(digests: Mapping[str, str], *, name: str) -> Statement:
    """Make the statement that these files, and no others, are what `name` is.

    Parameters
    ----------
    digests : mapping of str to str
        File to SHA-256 in hexadecimal.
    name : str
        Identifier of the run.
    """
    names = sorted(digests)
    return Statement(
        type=STATEMENT_TYPE,
        subject=(SignedSubject(name=name, digest={"sha256": _joint([digests[file] for file in names])}),),
        predicate_type=PREDICATE_TYPE,
        predicate=Predicate(
            resources=tuple(Resource(name=file, algorithm="sha256", digest=digests[file]) for file in names),
            serialization=Serialization(ignore_paths=(_OWN_NAME,)),
        ),
    )


def sign(statement: Statement, key: Ed25519PrivateKey) -> bytes:
    """Sign a statement; the envelope as JSON. The same statement and key give the same bytes."""
    payload = msgspec.json.encode(statement)
    signature = key.sign(pae(PAYLOAD_TYPE, payload))
    envelope = Envelope(
        payload=base64.b64encode(payload).decode(),
        payload_type=PAYLOAD_TYPE,
        signatures=(EnvelopeSignature(keyid=key_id(key.public_key()), sig=base64.b64encode(signature).decode()),),
    )
    return msgspec.json.format(msgspec.json.encode(envelope), indent=2) + b"\n"


def check_signature(content: bytes, key: Ed25519PublicKey | None) -> SignatureCheck:
    """Check an envelope with a public key, and only then read what was signed.

    Parameters
    ----------
    content : bytes
        JSON of the envelope.
    key : Ed25519PublicKey, optional
        Without one the answer is ``not checked``.
    """
    try:
        envelope = msgspec.json.decode(content, type=Envelope)
        payload = base64.b64decode(envelope.payload, validate=True)
        signatures = [(one.keyid, base64.b64decode(one.sig, validate=True)) for one in envelope.signatures]
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return SignatureCheck(outcome="bad", message=f"the signature cannot be read ({error})")
    hints = ", ".join(keyid[:16] or "unnamed" for keyid, _ in signatures)
    if key is None:
        return SignatureCheck(
            outcome="not checked",
            message=f"signed (key {hints}), not checked: give --key with the signer's public key",
        )
    encoded = pae(envelope.payload_type, payload)
    own = key_id(key)
    if not any(_holds(key, signature, encoded) for _, signature in signatures):
        if signatures and all(keyid and keyid != own for keyid, _ in signatures):
            return SignatureCheck(outcome="wrong key", message=f"signed by key {hints}, not by {own[:16]}")
        return SignatureCheck(outcome="bad", message=f"the signature is not one of key {own[:16]} over this statement")
    return _read_statement(payload, envelope.payload_type, own)


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read an ed25519 private key (PEM, PKCS #8, no passphrase).

    Raises
    ------
    UsageError
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _read_key(path)
    if b"PUBLIC KEY" in content:
        raise UsageError(f"{path}: is a public key; signing needs the private one")
    if b"ENCRYPTED" in content:
        raise UsageError(f"{path}: has a passphrase; sign with a copy without one (`openssl pkey -in ... -out ...`)")
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UsageError(f"{path}: not a private key in PEM; {_MAKE_KEYS}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path}: not an ed25519 key; {_MAKE_KEYS}")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read an ed25519 public key (PEM).

    Raises
    ------
    UsageError
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _read_key(path)
    if b"PRIVATE KEY" in content:
        raise UsageError(f"{path}: is a private key, which a verifier must not have; {_MAKE_PUBLIC}")
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{path}: not a public key in PEM; {_MAKE_PUBLIC}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path}: not an ed25519 key; bundles are signed with ed25519")
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of a public key (DER, SubjectPublicKeyInfo)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _read_statement(payload: bytes, payload_type: str, own: str) -> SignatureCheck:
    try:
        statement = msgspec.json.decode(payload, type=Statement)
        resources = statement.predicate.resources
        subject = {"sha256": _joint([one.digest for one in resources])}
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return SignatureCheck(outcome="bad", message=f"key {own[:16]} signed something else than a bundle ({error})")
    kinds = (payload_type, statement.type, statement.predicate_type, statement.predicate.serialization.method)
    if kinds != (PAYLOAD_TYPE, STATEMENT_TYPE, PREDICATE_TYPE, "files") or len(statement.subject) != 1:
        return SignatureCheck(outcome="bad", message=f"key {own[:16]} signed something else than a bundle")
    names = [one.name for one in resources]
    if statement.subject[0].digest != subject or names != sorted(set(names)):
        return SignatureCheck(outcome="bad", message="the signed list of files contradicts itself")
    digests = {one.name: one.digest for one in resources}
    message = f"signed by key {own[:16]}: {len(digests)} files of {statement.subject[0].name}"
    return SignatureCheck(outcome="good", message=message, digests=digests)


def _joint(digests: list[str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()


def _holds(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_LARGEST_KEY)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a key file in PEM") from None
