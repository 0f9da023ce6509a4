"""A TCP relay that counts the bytes that pass it, by direction and by what is asked over HTTP."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator


class Relay:
    """Stands between clients and a server on this machine, and hands every byte on as it is.

    Parameters
    ----------
    server : int
        Port of the server.

    Attributes
    ----------
    port : int
        Where clients connect to.
    up, down : Counter
        Bytes that clients have sent, and have been sent, by the path of the request that they belong to: the payload
        of TCP, so HTTP's headers and what is in it.
    calls : Counter
        Requests by path.
    """

    def __init__(self, server: int) -> None:
        self._server, self._lock = server, threading.Lock()
        self.up, self.down, self.calls = Counter[str](), Counter[str](), Counter[str]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """Take no more connections, and wait a little for those there are to be hung up."""
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits for the next
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._server))
            except OSError:  # the client will try again
                client.close()
                continue
            connection = _Connection(client, server)
            for passing in (self._pass_up, self._pass_down):
                self._start(functools.partial(passing, connection))

    def _pass_up(self, connection: _Connection) -> None:
        for data in connection.passed(connection.client, connection.server):
            with self._lock:
                if connection.answered:  # a client of HTTP/1.1 that does not pipeline asks anew after an answer alone
                    connection.path, connection.answered = path_of(data), False
                    self.calls[connection.path] += 1
                self.up[connection.path] += len(data)

    def _pass_down(self, connection: _Connection) -> None:
        for data in connection.passed(connection.server, connection.client):
            with self._lock:
                connection.answered = True
                self.down[connection.path] += len(data)


class _Connection:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.path, self.answered = "", True
        self._lock, self._ended = threading.Lock(), 0

    def passed(self, source: socket.socket, target: socket.socket) -> Iterator[bytes]:
        """Hand bytes on after they were counted, until one side hangs up."""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                yield data
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            self._ended += 1
            both = self._ended == 2
        if both:
            self.client.close()
            self.server.close()


def path_of(request: bytes) -> str:
    """Give the path of a request; all that is no HTTP is one."""
    words = request.split(b"\r\n", 1)[0].split(b" ")
    return words[1].decode("latin-1") if len(words) == 3 and words[2].startswith(b"HTTP/") else "no HTTP"
