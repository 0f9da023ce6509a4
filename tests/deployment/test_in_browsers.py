"""The calls of docs/how_to/deploy.md for browsers, made by a page in Chromium: they give what the model says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from tests.apps.chromium import chromium, is_installed
from tests.deployment.how_to_cases import PAGE
from tests.records import copy_of
from trustml.launch.added import find_addition
from trustml.record.exports import EXPORTS

MODEL = "train.torch.DPSGD.s0"
CALL = re.compile(r"`(await \(await ort\..*?|\(await tf\..*?)`", re.DOTALL)
LIBRARIES = {"tfjs": "@tensorflow/tfjs/dist/tf.min.js", "onnx-web": "onnxruntime-web/dist/ort.wasm.min.js"}
ASK = """
    const [given, shape, done] = arguments;
    const images = new Float32Array(given);
    const ask = async () => {
        const answer = %s;
        return Array.from(answer.logits ? answer.logits.data : answer.dataSync());
    };
    ask().then(done, (error) => done(String(error)));
"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(not is_installed(), reason="apt-get install chromium chromium-driver"),
    pytest.mark.skipif(find_addition("node") is None, reason="trustml setup node"),
]


class Quiet(SimpleHTTPRequestHandler):
    """Tells nothing of what is asked."""

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def served_folder(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("target", "word"),
    [
        pytest.param("onnx-web", "ort.", marks=pytest.mark.torch),
        pytest.param("tfjs", "tf.", marks=pytest.mark.tensorflow),
    ],
)
def test_the_call_of_the_how_to_gives_what_the_model_says(tmp_path, target, word):
    run = copy_of("frameworks", tmp_path)
    exported = run.export(MODEL, to=target)
    folder, inputs = run.path / EXPORTS / exported.name, run.heldout()["inputs"].astype(np.float32)
    given = np.moveaxis(inputs, -1, 1) if target == "onnx-web" else inputs
    (folder / "node_modules").symlink_to(find_addition("node") / "node_modules")
    (folder / "page.html").write_text(f'<script src="node_modules/{LIBRARIES[target]}"></script>')
    (call,) = [one for one in CALL.findall(PAGE.read_text()) if word in one]
    with served_folder(folder) as address, chromium(tmp_path / "profile") as browser:
        browser.get(f"{address}/page.html")
        found = browser.execute_async_script(ASK % call, given.ravel().tolist(), given.shape)
    assert isinstance(found, list), found
    logits = run.predictions(MODEL)["logits"][: len(inputs)]
    np.testing.assert_allclose(np.reshape(found, logits.shape), logits, atol=1e-5 * max(1.0, np.abs(logits).max()))
