"""A process of node: what it says is wrong with a model is one line on the file that was named."""

from __future__ import annotations

import sys
from contextlib import closing

import numpy as np
import pytest

from trustml.errors import UsageError
from trustml.models.node_runtime import NodeModel

ANSWERING = """#!{python}
import sys
for line in sys.stdin:
    print("trustml " + {answer!r} if "kind" not in line or not {opens} else 'trustml {{"statement": ""}}', flush=True)
"""


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Put a program that answers in node's place; gives what sets the answer."""

    def answering(answer, *, opens=False):
        program = tmp_path / "node"
        program.write_text(ANSWERING.format(python=sys.executable, answer=answer, opens=opens))
        program.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TRUSTML_ENV_NODE", str(tmp_path))
    return answering


@pytest.mark.parametrize("opens", [False, True])
def test_what_a_runtime_cannot_open_or_answer_is_said_of_the_file_that_was_named(tmp_path, node, opens):
    node('{"problem": "the tensor should have 8 values but has 0"}', opens=opens)
    said = r"^model\.tfjs: TensorFlow\.js cannot .*\(the tensor should have 8 values but has 0\); .* name another$"
    with (
        pytest.raises(UsageError, match=said) as caught,
        closing(NodeModel("tfjs", tmp_path / "copied-1a2b", name="model.tfjs")) as model,
    ):
        model.ask(np.zeros((1, 4), np.float32))
    assert "copied-1a2b" not in str(caught.value)


def test_a_process_that_ends_is_a_line_on_the_file(tmp_path, node):
    node("")
    (tmp_path / "node").write_text(f"#!{sys.executable}\n")
    with pytest.raises(UsageError, match=r"^model\.onnx: node ended without an answer; .* name another$"):
        NodeModel("onnx", tmp_path / "model.onnx")
