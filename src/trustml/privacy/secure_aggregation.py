"""Sums of clients' vectors that a server learns without learning any vector: secure aggregation by pairwise masks.

Bonawitz et al., CCS 2017 (doi 10.1145/3133956.3133982), with the round of consistency and without signed keys: X25519
and HKDF agree on a seed for each pair, ChaCha20 makes a mask of it that one adds and the other subtracts, each client
adds a mask of its own, and Shamir's shares bring back what those who drop out leave behind. The implementation is
trustml's own: Flower's SecAgg+ (flwr 1.42) seeds a Mersenne Twister with 32 bits for its masks, and its clients reveal
both secrets of a client that the server names twice. Keys, masks and shares are real; there is no network: messages are
values that :func:`encoded` writes as bytes, and whoever has a wire moves them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from trustml.errors import PrivacyError, UsageError
from trustml.privacy.secret_sharing import SECRET_BYTES, SHARE_BYTES, combine, split
from trustml.privacy.secure_settings import SecureAggregation, Vector, Words


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """A client's first message: its public keys.

    Attributes
    ----------
    mask, channel : bytes
        For what a pair adds and subtracts, and for what clients send each other through the server.
    """

    mask: bytes
    channel: bytes


class Revealed(msgspec.Struct, frozen=True, kw_only=True):
    """A client's last message: a share of one secret of each client that shared, itself included.

    Attributes
    ----------
    seeds : dict of int to bytes
        Shares of the seed of the own mask, of those whose vectors are in the sum.
    keys : dict of int to bytes
        Shares of the mask key, of those who dropped out.
    """

    seeds: dict[int, bytes]
    keys: dict[int, bytes]


Sealed: TypeAlias = dict[int, bytes]
"""What only one client can open, by client: by receiver from a client, by sender from the server."""


def encoded(message: Keys | Revealed | Sealed | bytes | Mapping[int, Keys] | Collection[object]) -> bytes:
    """Write a message as it goes over a wire."""
    return msgspec.msgpack.encode(message)


class SecureClient:
    """One client in one round.

    Its methods are the protocol's rounds, each called once, in this order; after a refusal it refuses everything.

    Parameters
    ----------
    number : int
    settings : SecureAggregation
    """

    def __init__(self, number: int, settings: SecureAggregation) -> None:
        self.number, self._settings = number, settings
        self._mask_key, self._channel_key = X25519PrivateKey.generate(), X25519PrivateKey.generate()
        self._seed = secrets.token_bytes(SECRET_BYTES)
        self._keys: dict[int, Keys] = {}
        self._channels: dict[int, ChaCha20Poly1305] = {}
        self._shares: dict[int, bytes] = {}
        self._alive: set[int] = set()
        self._next = 1

    def advertise(self) -> Keys:
        """Tell the public keys."""
        self._enter(1)
        return self._public()

    def share(self, keys: Mapping[int, Keys]) -> Sealed:
        """Split both secrets among the clients with these keys, and seal the shares of each for it."""
        self._enter(2)
        self._enough(len(keys))
        every = [key for one in keys.values() for key in (one.mask, one.channel)]
        if keys.get(self.number) != self._public() or len(set(every)) < len(every):
            self._refuse("a list of keys that is not what clients sent")
        if not all(0 <= number < self._settings.clients for number in keys):
            self._refuse(f"a list of keys of more than {self._settings.clients} clients")
        self._keys = dict(keys)
        points = [number + 1 for number in keys]
        seeds = split(self._seed, points, threshold=self._settings.threshold)
        owns = split(self._mask_key.private_bytes_raw(), points, threshold=self._settings.threshold)
        shares = {number: seeds[number + 1] + owns[number + 1] for number in keys}
        self._shares[self.number] = shares.pop(self.number)
        return self._sealed(shares)

    def masked(self, sealed: Sealed, vector: npt.ArrayLike) -> bytes:
        """Keep the shares of others, and give the vector under the mask of each pair and the own one."""
        self._enter(3)
        self._enough(len(sealed) + 1)
        for other, text in sealed.items():
            if other == self.number or other not in self._keys:
                self._refuse(f"shares of client {other}, which has sent no keys")
            self._shares[other] = self._opened(other, text)
        words = self._settings.quantised(vector)
        words = words + mask(self._seed, like=words)
        for other in sealed:
            words = words + pair_mask(self._mask_key, self.number, other, self._keys[other], like=words)
        return words.tobytes()

    def confirm(self, survivors: Collection[int]) -> Sealed:
        """Tell each survivor of whose shares and survivors this client was told, sealed from the server."""
        self._enter(4)
        alive = set(survivors)
        self._enough(len(alive))
        if self.number not in alive:
            self._refuse("to have dropped out, for it has sent its vector")
        if strangers := sorted(alive - set(self._shares)):
            self._refuse(f"survivors that never shared: {strangers}")
        self._alive = alive
        return self._sealed(dict.fromkeys(sorted(alive - {self.number}), self._told()))

    def reveal(self, confirmed: Sealed) -> Revealed:
        """Give shares of the seeds of survivors and of the keys of all others, where enough clients were told the same.

        They are never both of one client, and no client answers to two accounts of who survived.
        """
        self._enter(5)
        self._enough(len(confirmed) + 1)
        for other, text in confirmed.items():
            if other == self.number or other not in self._alive:
                self._refuse(f"a word of client {other}, which is no other survivor")
            if self._opened(other, text) != self._told():
                self._refuse(f"survivors of whom client {other} was told otherwise")
        return Revealed(
            seeds={other: share[:SHARE_BYTES] for other, share in self._shares.items() if other in self._alive},
            keys={other: share[SHARE_BYTES:] for other, share in self._shares.items() if other not in self._alive},
        )

    def kept(self) -> bytes:
        """Give what a client that is one process after another keeps between messages. It holds every secret."""
        keys = [key.private_bytes_raw() for key in (self._mask_key, self._channel_key)]
        return msgspec.msgpack.encode(
            (self.number, self._next, keys, self._seed, self._keys, self._shares, self._alive)
        )

    @classmethod
    def restored(cls, kept: bytes, settings: SecureAggregation) -> SecureClient:
        """Give the client that was kept. Each state is restored once: who answers twice may reveal two secrets."""
        kind = tuple[int, int, list[bytes], bytes, dict[int, Keys], dict[int, bytes], set[int]]
        number, stage, keys, seed, public, shares, alive = msgspec.msgpack.decode(kept, type=kind)
        client = cls(number, settings)
        client._mask_key, client._channel_key = map(X25519PrivateKey.from_private_bytes, keys)
        client._seed, client._keys, client._shares, client._alive, client._next = seed, public, shares, alive, stage
        return client

    def _public(self) -> Keys:
        mask_key, channel = self._mask_key.public_key(), self._channel_key.public_key()
        return Keys(mask=mask_key.public_bytes_raw(), channel=channel.public_bytes_raw())

    def _told(self) -> bytes:
        return hashlib.sha256(encoded([sorted(self._shares), sorted(self._alive)])).digest()

    def _sealed(self, texts: Mapping[int, bytes]) -> Sealed:
        return {
            other: self._channel(other).encrypt(*_addressed(self._next, self.number, other, text))
            for other, text in texts.items()
        }

    def _opened(self, other: int, text: bytes) -> bytes:
        try:
            return self._channel(other).decrypt(*_addressed(self._next - 1, other, self.number, text))
        except InvalidTag:
            self._refuse(f"what client {other} has not sealed for it")

    def _channel(self, other: int) -> ChaCha20Poly1305:
        if other not in self._channels:  # agreed on once: most of a round's time is keys
            agreed = _agreed(self._channel_key, self._keys[other].channel, b"trustml channel")
            self._channels[other] = ChaCha20Poly1305(agreed)
        return self._channels[other]

    def _enter(self, stage: int) -> None:
        if self._next != stage:
            self._refuse("a message out of turn: each round has its own once")
        self._next = stage + 1

    def _enough(self, count: int) -> None:
        if count < self._settings.threshold:
            self._refuse(f"to go on with {count} clients, where {self._settings.threshold} must stay")

    def _refuse(self, what: str) -> NoReturn:
        self._next = 0
        raise PrivacyError(f"client {self.number} refuses {what}")


class SecureServer:
    """The server of one round. It holds what clients send and no secret of its own.

    Parameters
    ----------
    settings : SecureAggregation

    Attributes
    ----------
    survivors : tuple of int
        Whose vectors are in the sum.
    """

    def __init__(self, settings: SecureAggregation) -> None:
        self._settings = settings
        self._keys: dict[int, Keys] = {}
        self._shared: tuple[int, ...] = ()
        self._sum: Words | None = None
        self.survivors: tuple[int, ...] = ()

    def keys(self, advertised: Mapping[int, Keys]) -> dict[int, Keys]:
        """Give the list of keys that every client is sent."""
        self._enough(advertised)
        self._keys = dict(advertised)
        return self._keys

    def routed(self, sealed: Mapping[int, Sealed]) -> dict[int, Sealed]:
        """Give shares by receiver that came by sender, among those that shared."""
        self._enough(sealed)
        self._shared = tuple(sorted(sealed))
        return _by_receiver(sealed)

    def collected(self, masked: Mapping[int, bytes]) -> tuple[int, ...]:
        """Add the masked vectors up, and name those that sent one."""
        self._enough(masked)
        if strangers := sorted(set(masked) - set(self._shared)):
            raise PrivacyError(f"vectors of clients that dropped out before: {strangers}; leave them out")
        vectors = [np.frombuffer(words, f"<u{self._settings.bits // 8}") for words in masked.values()]
        if len({len(words) for words in vectors}) > 1:
            raise PrivacyError("masked vectors have different lengths")
        self._sum = np.add.reduce(vectors, axis=0, dtype=vectors[0].dtype)
        self.survivors = tuple(sorted(masked))
        return self.survivors

    def confirmed(self, sealed: Mapping[int, Sealed]) -> dict[int, Sealed]:
        """Give by receiver what survivors have confirmed by sender, among those that are still there."""
        self._enough(sealed)
        return _by_receiver(sealed)

    def total(self, revealed: Mapping[int, Revealed]) -> Words:
        """Take all masks off the sum.

        Raises
        ------
        PrivacyError
            If fewer clients than the threshold have revealed their shares.
        """
        self._enough(revealed)
        assert self._sum is not None
        total, threshold = self._sum, self._settings.threshold
        for client in self.survivors:
            shares = {teller + 1: one.seeds[client] for teller, one in revealed.items() if client in one.seeds}
            total = total - mask(combine(shares, threshold=threshold), like=total)
        for gone in sorted(set(self._shared) - set(self.survivors)):
            shares = {teller + 1: one.keys[gone] for teller, one in revealed.items() if gone in one.keys}
            key = X25519PrivateKey.from_private_bytes(combine(shares, threshold=threshold))
            if key.public_key().public_bytes_raw() != self._keys[gone].mask:
                raise PrivacyError(f"client {gone} has shared another key than that of its masks")
            for client in self.survivors:  # what it would have cancelled
                total = total + pair_mask(key, gone, client, self._keys[client], like=total)
        return total

    def _enough(self, clients: Collection[int]) -> None:
        if len(clients) < self._settings.threshold:
            raise PrivacyError(
                f"{len(clients)} of {self._settings.clients} clients are left, and {self._settings.threshold} must "
                "stay: the round gives nothing"
            )


def _by_receiver(sealed: Mapping[int, Sealed]) -> dict[int, Sealed]:
    clients = sorted(sealed)
    return {
        receiver: {sender: sealed[sender][receiver] for sender in clients if sender != receiver} for receiver in clients
    }


def mask(seed: bytes, *, like: Words) -> Words:
    """Give the mask that a seed of 32 bytes stands for: ChaCha20's stream. A seed is of one mask alone."""
    stream = Cipher(ChaCha20(seed, bytes(16)), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(like.nbytes)), like.dtype)


def pair_mask(key: X25519PrivateKey, own: int, other: int, public: Keys, *, like: Words) -> Words:
    """Give what one of a pair adds: the pair's mask, or its negative for the one with the larger number."""
    words = mask(_agreed(key, public.mask, b"trustml mask"), like=like)
    return words if own < other else np.negative(words)


def _agreed(key: X25519PrivateKey, public: bytes, purpose: bytes) -> bytes:
    try:
        secret = key.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise PrivacyError("a public key of a client is none of X25519") from error
    return HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=None, info=purpose).derive(secret)


def _addressed(stage: int, sender: int, receiver: int, text: bytes) -> tuple[bytes, bytes, bytes]:
    """Nonce, text and associated data; a pair's key seals one text in each direction and stage, so none comes twice."""
    way = stage.to_bytes(2, "big") + sender.to_bytes(5, "big") + receiver.to_bytes(5, "big")
    return way, text, way


@dataclass(frozen=True, kw_only=True)
class SecureSum:
    """What a round gave.

    Attributes
    ----------
    total : float64 array
        Sum of the survivors' clipped vectors, each number within `error` of it.
    survivors : tuple of int
    error : float
    bytes_up, bytes_down : int
        Of all messages, as :func:`encoded` writes them.
    """

    total: Vector
    survivors: tuple[int, ...]
    error: float
    bytes_up: int
    bytes_down: int


def secure_sum(
    vectors: Sequence[npt.ArrayLike], settings: SecureAggregation, *, stays: Mapping[int, int] | None = None
) -> SecureSum:
    """Run a whole round in this process: every client, the server, and every message between them.

    Parameters
    ----------
    vectors : sequence of arrays
        One of each client, all of one size.
    settings : SecureAggregation
    stays : dict of int to int, optional
        Of clients that drop out, after how many messages: 0 to 4 of five. Who has sent three is in the sum.

    Raises
    ------
    PrivacyError
        If too few stay.

    Examples
    --------
    >>> settings = SecureAggregation(clients=3, threshold=2, clipping_norm=1.0)
    >>> found = secure_sum([[0.5, 0.0], [0.25, -0.5], [0.0, 0.125]], settings, stays={2: 2})
    >>> found.total.round(6).tolist(), found.survivors
    ([0.75, -0.5], (0, 1))
    """
    if len(vectors) != settings.clients:
        raise UsageError(f"vectors: {len(vectors)} for {settings.clients} clients; give one of each")
    gone = {} if stays is None else stays
    clients = [SecureClient(number, settings) for number in range(settings.clients)]
    server = SecureServer(settings)

    def here(message: int, among: Collection[int]) -> list[SecureClient]:
        return [clients[number] for number in sorted(among) if gone.get(number, message) >= message]

    advertised = {client.number: client.advertise() for client in here(1, range(len(clients)))}
    keys = server.keys(advertised)
    sealed = {client.number: client.share(keys) for client in here(2, keys)}
    routed = server.routed(sealed)
    masked = {one.number: one.masked(routed[one.number], vectors[one.number]) for one in here(3, routed)}
    survivors = server.collected(masked)
    confirming = {client.number: client.confirm(survivors) for client in here(4, survivors)}
    confirmed = server.confirmed(confirming)
    revealed = {client.number: client.reveal(confirmed[client.number]) for client in here(5, confirmed)}
    up = sum(len(encoded(one)) for sent in (advertised, sealed, masked, confirming, revealed) for one in sent.values())
    down = len(encoded(keys)) * len(advertised) + len(encoded(survivors)) * len(survivors)
    down += sum(len(encoded(message)) for passed in (routed, confirmed) for message in passed.values())
    return SecureSum(
        total=settings.decoded(server.total(revealed)),
        survivors=survivors,
        error=settings.error(len(survivors)),
        bytes_up=up,
        bytes_down=down,
    )
