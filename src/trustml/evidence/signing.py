"""Signatures of bundles: a DSSE envelope around an in-toto statement in the form of OpenSSF Model Signing 1.0.

The statement names every file with its SHA-256 (``predicate.resources``), and as its one subject the SHA-256 of those
digests, one behind the other in the order of names. A key of the curve P-256 signs in a bundle of Sigstore, version
0.3, which the reference tool checks, too: ``model_signing verify key FOLDER --signature bundle.sigstore.json
--public_key public.pem``, for the bundle unpacked. An ed25519 key, which that tool does not read, signs the bare
envelope.

A pair of keys is made by one of the first two lines, and the third::

    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem
    openssl genpkey -algorithm ed25519 -out key.pem
    openssl pkey -in key.pem -pubout -out public.pem
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from trustml.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    PrivateKey: TypeAlias = Ed25519PrivateKey | EllipticCurvePrivateKey
    PublicKey: TypeAlias = Ed25519PublicKey | EllipticCurvePublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
SIGSTORE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_LARGEST_KEY = 1 << 16
_MAKE_KEYS = (
    "make one with `openssl genpkey -algorithm ed25519 -out key.pem`, or of P-256 with `openssl genpkey -algorithm EC "
    "-pkeyopt ec_paramgen_curve:P-256 -out key.pem`"
)
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


class KeyHint(msgspec.Struct, frozen=True, kw_only=True):
    """The key that is said to have signed."""

    hint: str = ""


class VerificationMaterial(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """By what a signature is checked: a key that is known otherwise; no log was written."""

    public_key: KeyHint
    tlog_entries: tuple[()] = ()


class SigstoreBundle(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A bundle of Sigstore, version 0.3, with a key and without a log."""

    media_type: str
    verification_material: VerificationMaterial
    dsse_envelope: Envelope


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


def statement_of(digests: Mapping[str, str], *, name: str, signature: str = "bundle.dsse.json") -> Statement:
    """Make the statement that these files, and no others, are what `name` is.

    Parameters
    ----------
    digests : mapping of str to str
        File to SHA-256 in hexadecimal.
    name : str
        Identifier of the run.
    signature : str
        File that the signature will be in, and that it does not name.
    """
    names = sorted(digests)
    return Statement(
        type=STATEMENT_TYPE,
        subject=(SignedSubject(name=name, digest={"sha256": _joint([digests[file] for file in names])}),),
        predicate_type=PREDICATE_TYPE,
        predicate=Predicate(
            resources=tuple(Resource(name=file, algorithm="sha256", digest=digests[file]) for file in names),
            serialization=Serialization(ignore_paths=(signature,)),
        ),
    )


def is_p256(key: PrivateKey | PublicKey) -> bool:
    """Whether a key is of the curve P-256; any other here is an ed25519 key."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

    return isinstance(key, EllipticCurvePrivateKey | EllipticCurvePublicKey)


def sign(statement: Statement, key: PrivateKey) -> bytes:
    """Sign a statement; the envelope as JSON, of P-256 in a bundle of Sigstore.

    The same statement and key give the same bytes, of P-256 where OpenSSL can derive its random number (3.2 and newer).
    """
    payload = msgspec.json.encode(statement)
    own, signature = key_id(key.public_key()), _signature(key, pae(PAYLOAD_TYPE, payload))
    envelope = Envelope(
        payload=base64.b64encode(payload).decode(),
        payload_type=PAYLOAD_TYPE,
        signatures=(EnvelopeSignature(keyid=own, sig=base64.b64encode(signature).decode()),),
    )
    if not is_p256(key):
        return msgspec.json.format(msgspec.json.encode(envelope), indent=2) + b"\n"
    material = VerificationMaterial(public_key=KeyHint(hint=_pem_id(key.public_key())))
    bundle = SigstoreBundle(media_type=SIGSTORE_TYPE, verification_material=material, dsse_envelope=envelope)
    return msgspec.json.format(msgspec.json.encode(bundle), indent=2) + b"\n"


def _signature(key: PrivateKey, content: bytes) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(key, Ed25519PrivateKey):
        return key.sign(content)
    try:
        return key.sign(content, ECDSA(SHA256(), deterministic_signing=True))
    except UnsupportedAlgorithm:
        return key.sign(content, ECDSA(SHA256()))


def check_signature(content: bytes, key: PublicKey | None) -> SignatureCheck:
    """Check an envelope with a public key, and only then read what was signed.

    Parameters
    ----------
    content : bytes
        JSON of the envelope, or of a bundle of Sigstore.
    key : PublicKey, optional
        Without one the answer is ``not checked``.
    """
    try:
        envelope = _envelope(content)
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


def read_private_key(path: Path) -> PrivateKey:
    """Read a private key of ed25519 or P-256 (PEM, no passphrase).

    Raises
    ------
    UsageError
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
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
    if not isinstance(key, Ed25519PrivateKey) and not (
        isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)
    ):
        raise UsageError(f"{path}: neither an ed25519 key nor one of P-256; {_MAKE_KEYS}")
    return key


def read_public_key(path: Path) -> PublicKey:
    """Read a public key of ed25519 or P-256 (PEM).

    Raises
    ------
    UsageError
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _read_key(path)
    if b"PRIVATE KEY" in content:
        raise UsageError(f"{path}: is a private key, which a verifier must not have; {_MAKE_PUBLIC}")
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{path}: not a public key in PEM; {_MAKE_PUBLIC}") from None
    if not isinstance(key, Ed25519PublicKey) and not (
        isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    ):
        raise UsageError(f"{path}: neither an ed25519 key nor one of P-256; bundles are signed with one of these")
    return key


def key_id(key: PublicKey) -> str:
    """SHA-256 of a public key (DER, SubjectPublicKeyInfo)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _pem_id(key: PublicKey) -> str:
    """SHA-256 of a public key in PEM, by which model-signing tells keys apart."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _envelope(content: bytes) -> Envelope:
    """Give the envelope of either form."""
    found = msgspec.json.decode(content)
    if isinstance(found, dict) and "dsseEnvelope" in found:
        bundle = msgspec.convert(found, SigstoreBundle)
        if bundle.media_type != SIGSTORE_TYPE:
            raise ValueError(f"a bundle of another form: {bundle.media_type[:80]!r}")
        return bundle.dsse_envelope
    return msgspec.convert(found, Envelope)


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


def _holds(key: PublicKey, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, content)
        else:
            key.verify(signature, content, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_LARGEST_KEY)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a key file in PEM") from None
