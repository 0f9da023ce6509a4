"""A regime as a simulation and as Flower's processes (examples/flower), and the relay that counts their bytes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "flower"
ENVIRONMENT = os.environ.get("TRUSTML_BENCH_FLOWER", "")


@pytest.fixture
def relay_module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import relay

    return relay


def test_the_relay_counts_every_byte_by_request(relay_module):
    """A server that sends each request back with a word before it; three requests on one connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(1 << 20):
                connection.sendall(b"twice" + data)

    threading.Thread(target=serve, daemon=True).start()
    relay = relay_module.Relay(listener.getsockname()[1])
    requests = {"/pull": b"POST /pull HTTP/1.1\r\n\r\n", "/push": b"POST /push HTTP/1.1\r\n\r\n" + b"POST /x" * 10}
    with socket.create_connection(("127.0.0.1", relay.port)) as client:
        for path in ("/pull", "/push", "/pull"):
            client.sendall(requests[path])
            wanted, got = b"twice" + requests[path], b""
            while len(got) < len(wanted):
                got += client.recv(1 << 20)
            assert got == wanted
    relay.close()
    listener.close()
    sizes = {path: len(text) for path, text in requests.items()}
    assert dict(relay.calls) == {"/pull": 2, "/push": 1}
    assert dict(relay.up) == {"/pull": 2 * sizes["/pull"], "/push": sizes["/push"]}
    assert dict(relay.down) == {"/pull": 2 * (sizes["/pull"] + 5), "/push": sizes["/push"] + 5}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.jax
@pytest.mark.timeout(900)
@pytest.mark.skipif(not ENVIRONMENT, reason="TRUSTML_BENCH_FLOWER names no environment with flwr")
@pytest.mark.parametrize("secure", [False, True], ids=["averages", "secure sums"])  # clients of both drop out
def test_processes_that_talk_have_the_weights_of_the_simulation(tmp_path, secure):
    root = tmp_path / "flower"
    command = [sys.executable, FOLDER / "compare.py", "--json", "--keep", root]
    command += ["--clients", "4", "--rounds", "2", "--dropout", "0.25"]
    found = json.loads(subprocess.check_output([*command, *(["--secure"] if secure else [])], timeout=800))
    assert found["dropped"] > 0
    assert found["difference"] < 1e-6 < 1e-2 < found["moved"]
    up, down = sum(found["wire_up"].values()), sum(found["wire_down"].values())
    assert found["stated_up"] < up and found["stated_down"] < down  # HTTP's own is never nothing
    left = [
        process for process in psutil.process_iter(["cmdline"]) if str(root) in " ".join(process.info["cmdline"] or [])
    ]
    assert left == []
