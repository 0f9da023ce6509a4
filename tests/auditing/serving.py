"""A small server on loopback that speaks the prediction protocols, or hangs, or answers garbage."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np


@contextmanager
def serving(predict, *, answer=None):
    """Serve `predict`; `answer(handler, rows)` may do something else instead. Gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if answer is not None:
                answer(self, body)
                return
            if self.path == "/v2/models/digits/infer":
                (tensor,) = body["inputs"]
                assert tensor["name"] == "input" and tensor["datatype"] in ("FP32", "FP64")
                found = predict(np.array(tensor["data"]).reshape(tensor["shape"]))
                outputs = [
                    {"name": "p", "shape": list(found.shape), "datatype": "FP64", "data": found.ravel().tolist()}
                ]
                send(self, {"model_name": "digits", "outputs": outputs})
            elif self.path in ("/v1/models/digits:predict", "/predictions/digits"):
                send(self, {"predictions": predict(np.array(body["instances"])).tolist()})
            else:
                send(self, {"error": f"no model at {self.path}"}, code=404)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler, content, *, code=200, headers=()):
    """Answer with JSON, or with bytes as they are."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(code)
    for name, value in headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def hang(handler, _):
    """Answer too late."""
    time.sleep(1.0)


def drip(handler, _):
    """Answer a byte at a time: no single wait is long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    try:
        for _ in range(100):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        pass
