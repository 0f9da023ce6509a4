"""ONNX files are looked through before anything of them is computed, and what does not compute is told in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trustml
from trustml.errors import UsageError

onnx = pytest.importorskip("onnx", reason="onnx is not installed: this reads real files")
pytestmark = pytest.mark.torch
GENERATOR = np.random.default_rng(0)


def tensor(name: str, array: Any) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(array), name)


def node(kind: str, given: str, gives: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, given.split(), gives.split(), **attributes)


WEIGHT = tensor("w", GENERATOR.normal(size=(4, 3)).astype(np.float32))
PRODUCT = node("MatMul", "x w", "y")


def saved(folder: Path, nodes: list[Any], *constants: Any, taken: tuple[Any, ...] = (None, 4), **domains: int) -> Path:
    values = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", taken), ("y", (None, 3)))]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:], [WEIGHT, *constants])
    sets = [onnx.helper.make_opsetid("", 17), *(onnx.helper.make_opsetid(f"com.{n}", v) for n, v in domains.items())]
    path = folder / "net.onnx"
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString())
    return path


def elsewhere(name: str) -> Any:
    found = onnx.TensorProto(name=name, data_type=1, dims=[4, 3], data_location=onnx.TensorProto.EXTERNAL)
    entry = found.external_data.add()
    entry.key, entry.value = "location", "secret.bin"
    return found


@pytest.mark.parametrize("end", ["", "Softmax", "LogSoftmax", "Sigmoid"])
def test_a_file_is_imported_and_held_against_logits(tmp_path, end):
    large = tensor("v", 3000 * np.eye(3, dtype=np.float32))
    nodes = [node("MatMul", "x w", "h"), node("MatMul", "h v", "z"), node(end or "Identity", "z", "y")]
    found = trustml.import_model(saved(tmp_path, nodes, large))
    assert found.report.proof.inputs == 2 + 1 + 7 + 33 and found.report.proof.largest_logit > 1000
    inputs = GENERATOR.normal(size=(3, 4)).astype(np.float32)
    expected = 3000 * inputs @ onnx.numpy_helper.to_array(WEIGHT)
    assert np.allclose(found.logits(inputs), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("where", ["a constant", "a weight", "sparse", "a branch"])
def test_numbers_in_other_files_are_not_read(tmp_path, monkeypatch, where):
    """Neither beside the file nor where the command was called."""
    (tmp_path / "secret.bin").write_bytes(np.arange(12, dtype=np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    constant, constants = node("Constant", "", "c", value=elsewhere("c")), []
    if where == "a weight":
        constant, constants = None, [elsewhere("c")]
    if where == "sparse":
        sparse = onnx.SparseTensorProto(values=elsewhere("v"), indices=tensor("i", np.arange(12)), dims=[4, 3])
        constant = node("Constant", "", "c", sparse_value=sparse)
    if where == "a branch":
        ends = [onnx.helper.make_tensor_value_info("c1", 1, (4, 3))]
        branch = onnx.helper.make_graph([node("Constant", "", "c1", value=elsewhere("c1"))], "b", [], ends)
        constants = [tensor("yes", np.asarray(True))]
        constant = node("If", "yes", "c", then_branch=branch, else_branch=branch)
    nodes = [*([constant] if constant else []), node("MatMul", "x c", "y")]
    with pytest.raises(UsageError, match="in another file"):
        trustml.import_model(saved(tmp_path, nodes, *constants))


def test_a_branch_without_tensors_is_no_constant(tmp_path):
    ends = [onnx.helper.make_tensor_value_info("z", 1, (None, 3))]
    inner = onnx.helper.make_graph([node("MatMul", "x w", "z")], "b", [], ends)
    choice = node("If", "yes", "y", then_branch=inner, else_branch=inner)
    with pytest.raises(UsageError, match=r"'If' cannot be carried: .*\(If\)"):
        trustml.import_model(saved(tmp_path, [choice], tensor("yes", np.asarray(True))))


SIZES = node("ConstantOfShape", "s", "b")


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([SIZES, node("Add", "x b", "y")], [tensor("s", [2**20, 2**20])], "'b' would have 1.1e"),
        ([node("Mul", "t t", "s"), SIZES, node("MatMul", "x w", "y")], [tensor("t", [2**18, 2**3])], "'b' would have"),
        ([node("Conv", "x w", "y", pads=[0])], [], "net.onnx: "),
        ([node("MatMul", "x u", "y")], [tensor("u", np.zeros((5, 3), np.float32))], "does not compute for inputs"),
        ([node("Softsign", "x", "y")], [], r"\(Softsign\)"),
    ],
    ids=["4 TiB", "4 TiB of computed sizes", "attributes", "a weight of another shape", "operator"],
)
def test_what_does_not_compute_is_told_in_a_line(tmp_path, nodes, constants, message):
    with pytest.raises(UsageError, match=message) as raised:
        trustml.import_model(saved(tmp_path, nodes, *constants))
    assert "\n" not in str(raised.value)


def test_operators_of_other_domains_are_named(tmp_path):
    own = node("FusedMatMul", "x w", "y", domain="com.microsoft")
    with pytest.raises(UsageError, match=r"FusedMatMul of com\.microsoft"):
        trustml.import_model(saved(tmp_path, [own], microsoft=1))


@pytest.mark.parametrize(
    ("taken", "example", "message"),
    [
        ((None, 4), np.zeros((2, 7)), r"example: has shape \(2, 7\); the model takes \(n, 4\)"),
        ((None, 4), np.zeros((0, 4)), r"example: has shape \(0, 4\)"),
        ((), None, "an input of 0 axes"),
    ],
    ids=["width", "none", "scalar"],
)
def test_inputs_that_the_model_does_not_take_are_told(tmp_path, taken, example, message):
    with pytest.raises(UsageError, match=message):
        trustml.import_model(saved(tmp_path, [PRODUCT], taken=taken), example=example)


def test_a_file_that_is_none_is_told(tmp_path):
    for content in (b"\x08\x08", b"\xff" * 40, b""):
        (tmp_path / "net.onnx").write_bytes(content)
        with pytest.raises(UsageError, match=r"is no .*ONNX"):
            trustml.import_model(tmp_path / "net.onnx")


def test_a_weight_of_no_known_type_is_told(tmp_path):
    path = saved(tmp_path, [PRODUCT])
    model = onnx.load(path)
    model.graph.initializer[0].data_type = 127
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match=r"net\.onnx: (holds a weight that cannot be read|is no ONNX model)"):
        trustml.import_model(path)
