"""Secure aggregation: the exact sum of those who stay, whoever drops out when; nothing below the threshold."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest
from scipy.stats import chisquare

from tests import WHOLE
from trustml.backends.numpy.federated import NumpyFederation
from trustml.backends.settings import FederatedSettings, UserPrivacy
from trustml.errors import PrivacyError, UsageError
from trustml.privacy import secure_aggregation
from trustml.privacy.secure_aggregation import Keys, SecureClient, SecureServer, encoded, mask, pair_mask, secure_sum
from trustml.privacy.secure_settings import SecureAggregation, Words
from trustml.scenario.federated import DPFedAvg, IndependentNoise
from trustml.scenario.optimizers import SGD
from trustml.worker.federated_conformance import example_clients, two_layers

SETTINGS = SecureAggregation(clients=4, threshold=3, clipping_norm=1.0)
VECTORS = np.random.default_rng(3).normal(size=(4, 3))


def expected(survivors: tuple[int, ...], settings: SecureAggregation = SETTINGS) -> list[float]:
    """The sum of the survivors' whole numbers, by Python's integers."""
    whole = [settings.quantised(VECTORS[one]).view(f"<i{settings.bits // 8}").tolist() for one in survivors]
    return [sum(column) * settings.step for column in zip(*whole, strict=True)]


def test_every_pattern_of_dropouts():
    """Client 0 stays; each other drops out after any number of messages: the exact sum, or nothing."""
    clipped = VECTORS / np.maximum(1.0, np.linalg.norm(VECTORS, axis=1, keepdims=True))
    given_up = 0
    for messages in itertools.product(range(6), repeat=3):
        stays = {number + 1: count for number, count in enumerate(messages)}
        survivors = (0, *(number for number, count in stays.items() if count >= 3))
        if 1 + messages.count(5) < SETTINGS.threshold:
            given_up += 1
            with pytest.raises(PrivacyError, match="clients are left, and 3 must stay: the round gives nothing"):
                secure_sum(VECTORS, SETTINGS, stays=stays)
            continue
        found = secure_sum(VECTORS, SETTINGS, stays=stays)
        assert found.survivors == survivors
        assert found.total.tolist() == expected(survivors)
        assert np.abs(found.total - clipped[list(survivors)].sum(axis=0)).max() <= found.error < 1e-7
    assert given_up == 5**3 + 3 * 5**2  # with none of the three to the end, and with one


@pytest.mark.parametrize("bits", [16, 64])
def test_other_words(bits):
    settings = SecureAggregation(clients=4, threshold=3, clipping_norm=1.0, bits=bits)
    found = secure_sum(VECTORS, settings, stays={1: 2})
    assert found.total.tolist() == expected((0, 2, 3), settings)


class Round:
    """A round as far as the masked vectors, of four clients."""

    def __init__(self, *, silent: tuple[int, ...] = (), vector: np.ndarray | None = None) -> None:
        self.clients = [SecureClient(number, SETTINGS) for number in range(4)]
        self.server = SecureServer(SETTINGS)
        keys = self.server.keys({one.number: one.advertise() for one in self.clients})
        self.routed = self.server.routed({one.number: one.share(keys) for one in self.clients})
        self.sent = {
            one.number: one.masked(self.routed[one.number], VECTORS[one.number] if vector is None else vector)
            for one in self.clients
            if one.number not in silent
        }


def test_a_masked_vector_alone_is_uniform():
    """By chi-square over bytes, of zeros and of the largest vector there is; without masks it is far from that."""
    size = 20_000
    for vector in (np.zeros(size), np.full(size, 1.0)):
        run = Round(vector=vector)
        counts = np.bincount(np.frombuffer(run.sent[2], np.uint8), minlength=256)
        assert chisquare(counts).pvalue > 1e-6
        plain = np.bincount(SETTINGS.quantised(vector).view(np.uint8), minlength=256)
        assert chisquare(plain).pvalue < 1e-6


def test_a_survivors_vector_keeps_its_own_mask_where_all_pair_masks_are_known():
    """A server that learns the mask keys of a client said to have dropped out still does not read its vector."""
    run = Round(vector=np.zeros(1000))
    alone = np.frombuffer(run.sent[0], "<u4")
    for other in (1, 2, 3):
        alone = alone - pair_mask(run.clients[0]._mask_key, 0, other, run.clients[other]._public(), like=alone)
    assert np.count_nonzero(alone) > 990
    assert not (alone - mask(run.clients[0]._seed, like=alone)).any()


def test_nobody_reveals_both_secrets_of_a_client():
    run = Round(silent=(3,))
    confirmed = run.server.confirmed({teller: run.clients[teller].confirm([0, 1, 2]) for teller in (0, 1, 2)})
    for teller in (0, 1, 2):
        told = run.clients[teller].reveal(confirmed[teller])
        assert set(told.seeds) == {0, 1, 2} and set(told.keys) == {3}
        with pytest.raises(PrivacyError, match=f"client {teller} refuses a message out of turn"):
            run.clients[teller].reveal(confirmed[teller])
        with pytest.raises(PrivacyError, match=f"client {teller} refuses a message out of turn"):
            run.clients[teller].confirm([0, 1, 3])


def accounts_answered(told: dict[int, list[int]], *, colluders: int) -> set[tuple[int, ...]]:
    """To which accounts of who survived honest clients answer, where the server passes on what helps it most."""
    run, answered = Round(), set()
    words = {teller: run.clients[teller].confirm(alive) for teller, alive in told.items()}
    for teller, alive in told.items():
        said = {other: words[other][teller] for other in told if other != teller and told[other] == alive}
        for other in set(range(colluders)) & set(alive):  # these say whatever is wanted
            liar = SecureClient.restored(run.clients[other].kept(), SETTINGS)
            said[other] = liar.confirm(alive)[teller]
        with contextlib.suppress(PrivacyError):
            run.clients[teller].reveal(said)
            answered.add(tuple(alive))
    return answered


def test_a_server_that_tells_of_different_survivors_is_answered_to_one_account():
    """In every way to tell, also with as many on its side as is said; with one more there is a way to two accounts."""
    every = [[0, 1, 2, 3], [0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
    assert SETTINGS.colluders_with_a_liar == 1
    for colluders, most in ((1, 1), (2, 2)) if not WHOLE else ((0, 1), (1, 1), (2, 2)):
        honest = range(colluders, 4)
        choices = itertools.product(*([alive for alive in every if client in alive] for client in honest))
        found = [accounts_answered(dict(zip(honest, told, strict=True)), colluders=colluders) for told in choices]
        assert max(map(len, found)) == most


def test_clients_that_were_told_otherwise_are_heard():
    run = Round()
    words = {teller: run.clients[teller].confirm([0, 1, 2, 3] if teller else [0, 1, 2]) for teller in range(4)}
    with pytest.raises(PrivacyError, match="client 0 refuses survivors of whom client 1 was told otherwise"):
        run.clients[0].reveal({other: words[other][0] for other in (1, 2)})
    with pytest.raises(PrivacyError, match="client 1 refuses to go on with 2 clients, where 3 must stay"):
        run.clients[1].reveal({2: words[2][1]})
    with pytest.raises(PrivacyError, match="client 2 refuses what client 1 has not sealed for it"):
        run.clients[2].reveal({1: words[3][2], 3: words[3][2]})
    with pytest.raises(PrivacyError, match="client 3 refuses a word of client 3, which is no other survivor"):
        run.clients[3].reveal({3: words[1][3], 2: words[2][3]})


def test_clients_that_were_sent_shares_of_different_clients_reveal_nothing():
    """The server keeps client 3's shares from client 0, which so has no mask with it."""
    clients = [SecureClient(number, SETTINGS) for number in range(4)]
    server = SecureServer(SETTINGS)
    keys = server.keys({one.number: one.advertise() for one in clients})
    routed = server.routed({one.number: one.share(keys) for one in clients})
    del routed[0][3]
    for number in (0, 1, 2):
        clients[number].masked(routed[number], VECTORS[number])
    words = server.confirmed({number: clients[number].confirm([0, 1, 2]) for number in (0, 1, 2)})
    for number in (0, 1, 2):
        with pytest.raises(PrivacyError, match="was told otherwise"):
            clients[number].reveal(words[number])


def test_a_client_that_is_alive_refuses_to_be_dropped_out():
    run = Round()
    with pytest.raises(PrivacyError, match="client 3 refuses to have dropped out, for it has sent its vector"):
        run.clients[3].confirm([0, 1, 2])
    with pytest.raises(PrivacyError, match="out of turn"):  # and everything after that
        run.clients[3].confirm([0, 1, 2, 3])


def test_clients_refuse_what_a_server_of_the_protocol_never_asks():
    run = Round()
    with pytest.raises(PrivacyError, match="refuses to go on with 2 clients, where 3 must stay"):
        run.clients[0].confirm([0, 1])
    with pytest.raises(PrivacyError, match=r"refuses survivors that never shared: \[9\]"):
        run.clients[1].confirm([0, 1, 2, 9])
    with pytest.raises(PrivacyError, match="out of turn"):
        run.clients[2].masked(run.routed[2], VECTORS[2])


def _foreign(keys: dict[int, Keys]) -> dict[int, Keys]:
    return {**keys, 0: keys[1]}


def _twice(keys: dict[int, Keys]) -> dict[int, Keys]:
    return {**keys, 2: keys[1]}


def _too_many(keys: dict[int, Keys]) -> dict[int, Keys]:
    return {**keys, 4: SecureClient(4, SETTINGS).advertise()}


def _broken(keys: dict[int, Keys]) -> dict[int, Keys]:
    return {**keys, 2: Keys(mask=keys[2].mask, channel=bytes(32))}


@pytest.mark.parametrize("change", [_foreign, _twice, _too_many, _broken])
def test_clients_refuse_lists_of_keys_that_are_wrong(change):
    clients = [SecureClient(number, SETTINGS) for number in range(4)]
    keys = {one.number: one.advertise() for one in clients}
    with pytest.raises(PrivacyError, match=r"refuses a list of keys|public key of a client is none of X25519"):
        clients[0].share(change(keys))


def test_shares_reach_nobody_else():
    """What one client seals for another opens for no third, nor as another sender's, nor where a bit is turned."""
    for swap in ("receiver", "sender", "bit"):
        clients = [SecureClient(number, SETTINGS) for number in range(4)]
        keys = {one.number: one.advertise() for one in clients}
        sealed = {one.number: one.share(keys) for one in clients}
        routed = {sender: sealed[sender][0] for sender in (1, 2, 3)}
        text = routed[1]
        turned = bytes([text[0] ^ 1]) + text[1:]
        routed[1] = {"receiver": sealed[1][2], "sender": routed[2], "bit": turned}[swap]
        with pytest.raises(PrivacyError, match="client 0 refuses what client 1 has not sealed for it"):
            clients[0].masked(routed, VECTORS[0])


def test_the_server_leaves_out_a_vector_that_comes_from_one_that_dropped_out():
    clients = [SecureClient(number, SETTINGS) for number in range(4)]
    server = SecureServer(SETTINGS)
    keys = server.keys({one.number: one.advertise() for one in clients})
    routed = server.routed({one.number: one.share(keys) for one in clients if one.number != 3})
    sent = {number: clients[number].masked(routed[number], VECTORS[number]) for number in (0, 1, 2)}
    with pytest.raises(PrivacyError, match=r"clients that dropped out before: \[3\]"):
        server.collected({**sent, 3: sent[0]})
    assert server.collected(sent) == (0, 1, 2)
    with pytest.raises(PrivacyError, match="2 of 4 clients are left, and 3 must stay: the round gives nothing"):
        server.confirmed({number: clients[number].confirm([0, 1, 2]) for number in (0, 1)})


def test_two_rounds_share_no_mask():
    first, second = (Round(vector=np.zeros(64)).sent[0] for _ in range(2))
    assert first != second


def test_masks_are_chacha20_of_the_seed():
    """RFC 8439, appendix A.1: the stream of the key of zeros."""
    like: Words = np.zeros(4, "<u4")
    assert mask(bytes(32), like=like).tobytes().hex() == "76b8e0ada0f13d90405d6ae55386bd28"


def test_bytes_are_those_of_the_messages():
    """Four words a number: one vector up of each survivor; the rest does not grow with the vector."""
    small, large = (secure_sum(np.zeros((4, size)), SETTINGS) for size in (1000, 2000))
    assert large.bytes_up - small.bytes_up == 4 * 4 * 1000
    assert large.bytes_down == small.bytes_down
    assert 4 * 4 * 1000 < small.bytes_up < 4 * 4 * 1000 + 4 * 4 * 200
    assert len(encoded(Keys(mask=bytes(32), channel=bytes(32)))) < 100


def test_one_vector_of_each_client_is_asked_for():
    with pytest.raises(UsageError, match="vectors: 3 for 4 clients; give one of each"):
        secure_sum(VECTORS[:3], SETTINGS)


def test_clients_that_are_kept_between_messages_go_on_where_they_were():
    clients = [SecureClient(number, SETTINGS) for number in range(4)]

    def again(number: int) -> SecureClient:
        clients[number] = SecureClient.restored(clients[number].kept(), SETTINGS)
        return clients[number]

    server = SecureServer(SETTINGS)
    keys = server.keys({number: again(number).advertise() for number in range(4)})
    routed = server.routed({number: again(number).share(keys) for number in range(4)})
    survivors = server.collected(
        {number: again(number).masked(routed[number], VECTORS[number]) for number in (0, 1, 3)}
    )
    confirmed = server.confirmed({number: again(number).confirm(survivors) for number in survivors})
    total = server.total({number: again(number).reveal(confirmed[number]) for number in survivors})
    assert SETTINGS.decoded(total).tolist() == expected((0, 1, 3))
    with pytest.raises(PrivacyError, match="out of turn"):
        again(0).reveal(confirmed[0])


class Secure(NumpyFederation):
    """The oracle's server, without a look at any update."""

    def private_mean(self, updates, privacy):
        vectors = [np.concatenate([part.ravel() for part in update.values()]) for update in updates]
        settings = SecureAggregation(clients=len(vectors), threshold=len(vectors), clipping_norm=privacy.clipping_norm)
        total, noise = secure_sum(vectors, settings).total, self.noise(privacy.drawn_noise_multiplier * self._clip)
        ends = np.cumsum([part.size for part in noise.values()])[:-1]
        parts = zip(noise.items(), np.split(total, ends), strict=True)
        return {name: (part.reshape(drawn.shape) + drawn) / privacy.expected_clients for (name, drawn), part in parts}


def test_a_private_round_sums_securely():
    """Clip, sum, noise: with the same noise the weights are those of a server that saw every update."""
    privacy = UserPrivacy(mechanism=IndependentNoise(), noise_multiplier=1.0, clipping_norm=0.3, expected_clients=3)
    regime = DPFedAvg(noise_multiplier=1.0, client_optimizer=SGD(learning_rate=0.5))
    settings = FederatedSettings(regime=regime, privacy=privacy, noise_seed=(1, 2, 3, 4), batch_size=5)
    model, after = two_layers(), []
    for kind in (Secure, NumpyFederation):
        federation = kind(model, settings)
        for _ in range(2):
            federation.round(example_clients(3))
        after.append(federation.weights())
    for name, start in model.weights.items():
        assert np.abs(after[0][name] - after[1][name]).max() < 1e-6
        assert np.abs(after[0][name] - start).max() > 1e-2


def test_a_client_agrees_on_each_channel_once(monkeypatch):
    """Agreements on keys are most of what a round of many clients takes."""
    agreed = []
    once = secure_aggregation._agreed
    monkeypatch.setattr(secure_aggregation, "_agreed", lambda *of: agreed.append(of[2]) or once(*of))
    secure_sum(VECTORS, SETTINGS)
    assert agreed.count(b"trustml channel") == 4 * 3
