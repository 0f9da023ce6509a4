"""Rounds whose server learns the sum of the clients' updates, and none of them: five messages each way a round."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from trustml.privacy.secure_aggregation import Keys, Revealed, SecureServer, encoded
from trustml.privacy.secure_settings import SecureAggregation

CLIPPING_NORM = 16.0  # above every update here, so that the weights are those of the simulation
TIMEOUT = 300.0


class _Asking:
    """Asks nodes by their numbers; who does not answer in time, or with an error, has dropped out."""

    def __init__(self, grid: Grid, settings: SecureAggregation) -> None:
        while len(nodes := sorted(grid.get_node_ids())) < settings.clients:
            time.sleep(0.5)
        self._grid, self._nodes = grid, dict(enumerate(nodes[: settings.clients]))
        self._settings = msgspec.json.encode(settings)

    def __call__(
        self, stage: int, number: int, said: Mapping[int, bytes], arrays: ArrayRecord | None = None
    ) -> dict[int, bytes]:
        messages = []
        for client, text in said.items():
            config = {"stage": stage, "server-round": number, "number": client, "said": text}
            content = RecordDict({"config": ConfigRecord({**config, "settings": self._settings})})
            if arrays is not None:
                content["arrays"] = arrays
            messages.append(
                Message(
                    content=content, dst_node_id=self._nodes[client], message_type="train", group_id=f"{number}.{stage}"
                )
            )
        numbers = {node: client for client, node in self._nodes.items()}
        answers = [one for one in self._grid.send_and_receive(messages, timeout=TIMEOUT) if not one.has_error()]
        return {
            numbers[one.metadata.src_node_id]: bytes(one.content.config_records["config"]["said"]) for one in answers
        }


def secure_rounds(grid: Grid, weights: dict[str, Any], *, clients: int, rounds: int) -> dict[str, Any]:
    """Take rounds in which every client weighs alike, and give the weights after the last."""
    settings = SecureAggregation(clients=clients, threshold=clients // 2 + 1, clipping_norm=CLIPPING_NORM)
    ask = _Asking(grid, settings)
    for number in range(1, rounds + 1):
        server = SecureServer(settings)
        first = ask(1, number, dict.fromkeys(range(clients), b""))
        keys = server.keys({one: msgspec.msgpack.decode(said, type=Keys) for one, said in first.items()})
        second = ask(2, number, dict.fromkeys(keys, encoded(keys)))
        sealed = {one: msgspec.msgpack.decode(said, type=dict[int, bytes]) for one, said in second.items()}
        arrays = ArrayRecord({name: Array(part) for name, part in weights.items()})
        routed = {one: encoded(shares) for one, shares in server.routed(sealed).items()}
        third = ask(3, number, routed, arrays)
        survivors = server.collected({one: msgspec.msgpack.decode(said, type=bytes) for one, said in third.items()})
        fourth = ask(4, number, dict.fromkeys(survivors, encoded(survivors)))
        words = {one: msgspec.msgpack.decode(said, type=dict[int, bytes]) for one, said in fourth.items()}
        fifth = ask(5, number, {one: encoded(said) for one, said in server.confirmed(words).items()})
        revealed = {one: msgspec.msgpack.decode(said, type=Revealed) for one, said in fifth.items()}
        mean = settings.decoded(server.total(revealed)) / len(survivors)
        ends = np.cumsum([part.size for part in weights.values()])[:-1]
        parts = zip(weights.items(), np.split(mean, ends), strict=True)
        weights = {name: np.asarray(start + part.reshape(start.shape), np.float32) for (name, start), part in parts}
    return weights
