"""Files of ``torch.export``: what computes is let through, and nothing else."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from trustml.errors import UsageError
from trustml.models.pt2_files import read_pt2_file

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, bytes]:
    """Members of a file that PyTorch wrote, with sample inputs and traces of the code."""
    import torch
    from torch import nn

    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module, (torch.zeros(2, 1, 4, 4),), dynamic_shapes=batch)
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    torch.export.save(program, path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def put(members: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def test_what_pytorch_wrote_is_loaded_and_tells_nothing_of_where(written, tmp_path):
    import torch

    content = read_pt2_file(put(written, tmp_path / "model.pt2"))
    assert b"stack_trace" not in content and str(Path(torch.__file__).parent).encode() not in content
    loaded = torch.export.load(io.BytesIO(content)).module()
    plain = torch.export.load(put(written, tmp_path / "plain.pt2")).module()
    inputs = torch.arange(5 * 16, dtype=torch.float32).reshape(5, 1, 4, 4)
    assert torch.equal(loaded(inputs), plain(inputs))


def test_a_constant_without_end_and_a_square_only_compute(tmp_path):
    import torch
    from torch import nn

    class Padded(nn.Module):
        def forward(self, inputs):
            padded = nn.functional.pad(inputs, (1, 0, 1, 0), value=-float("inf"))
            return torch.square(nn.functional.max_pool2d(padded, 2)).flatten(1)

    inputs = torch.arange(3 * 9, dtype=torch.float32).reshape(3, 1, 3, 3)
    torch.export.save(torch.export.export(Padded().eval(), (inputs,)), tmp_path / "model.pt2")
    loaded = torch.export.load(io.BytesIO(read_pt2_file(tmp_path / "model.pt2"))).module()
    assert torch.equal(loaded(inputs), Padded()(inputs))


GRAPH = "model/models/model.json"
WEIGHTS = "model/data/weights/model_weights_config.json"
HARM = "__import__('os').system('false')"


def _size(written):
    def change(program):
        text = json.dumps(program)
        start = text.index('"expr_str": "') + len('"expr_str": "')
        return json.loads(text[:start] + written + text[text.index('"', start) :])

    return change


def _node(**changes):
    def change(program):
        program["graph_module"]["graph"]["nodes"][0].update(changes)
        return program

    return change


def _input_name(program):
    program["graph_module"]["graph"]["inputs"][-1]["as_tensor"]["name"] = "x=print(1)"
    return program


def _spec(program):
    call = program["graph_module"]["module_call_graph"][0]["signature"]
    call["in_spec"] = call["in_spec"].replace("builtins.tuple", "builtins.eval")
    return program


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_size(HARM), "computes a size by"),
        (_size("s77" + " " * 200 + "+0*" + HARM), "computes a size by"),
        (_size("s77" + " " * 600), "computes a size by"),
        (_size("1" * 60 + "!"), "computes a size by"),
        (_size("9**9**9**9"), "computes a size by"),
        (_size("9* *9"), "computes a size by"),
        (_size("().__class__"), "computes a size by"),
        (_node(target="torch.os.system"), "calls 'torch.os.system'"),
        (_node(target="torch.ops.aten.from_file.default"), "calls 'torch.ops.aten.from_file.default'"),
        (_node(target="torch.ops.aten.conv2d.default.__class__"), "no operator that is known"),
        (_node(name="relu\nimport os"), "names something"),
        (_input_name, "names something 'x=print"),
        (_spec, "takes or gives a 'builtins.eval'"),
    ],
)
def test_programs_that_could_do_more_are_refused(written, tmp_path, change, said):
    program = change(json.loads(written[GRAPH]))
    path = put({**written, GRAPH: json.dumps(program).encode()}, tmp_path / "model.pt2")
    with pytest.raises(UsageError, match=said.replace("(", r"\(")) as told:
        read_pt2_file(path)
    assert "\n" not in str(told.value) and "module:attribute" in str(told.value)


def test_pickles_are_refused(written, tmp_path):
    config = json.loads(written[WEIGHTS])
    next(iter(config["config"].values()))["use_pickle"] = True
    with pytest.raises(UsageError, match="as Python pickles"):
        read_pt2_file(put({**written, WEIGHTS: json.dumps(config).encode()}, tmp_path / "model.pt2"))


def test_weights_that_lie_elsewhere_are_refused(written, tmp_path):
    config = json.loads(written[WEIGHTS])
    next(iter(config["config"].values()))["path_name"] = "../../opaque_obj_0"
    with pytest.raises(UsageError, match="which is no tensor"):
        read_pt2_file(put({**written, WEIGHTS: json.dumps(config).encode()}, tmp_path / "model.pt2"))


@pytest.mark.parametrize(
    "name", ["data/constants/opaque_obj_0", "data/aotinductor/model/a.so", "data/weights/model.pt", "models/other.json"]
)
def test_files_that_are_no_part_of_a_program_are_refused(written, tmp_path, name):
    with pytest.raises(UsageError, match="no part of a program"):
        read_pt2_file(put({**written, f"model/{name}": b"\x80\x04."}, tmp_path / "model.pt2"))


def test_sample_inputs_are_left_out(written, tmp_path):
    """They are pickled, and what computes does not need them."""
    (name,) = [name for name in written if name.endswith("sample_inputs/model.pt")]
    assert written[name]
    with zipfile.ZipFile(io.BytesIO(read_pt2_file(put(written, tmp_path / "model.pt2")))) as archive:
        assert archive.read(name) == b""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no .pt2 file but an empty file; name a file"),
        (b"\x80\x04K\x01.", r"is no .pt2 file but a Python pickle \(loading it runs code\); name a file"),
        (b"PK\x05\x06" + bytes(18), "is no .pt2 file but an empty ZIP archive; name a file"),
        (b"PK\x03\x04", "is no readable .pt2 file"),
    ],
)
def test_what_is_no_such_file_is_one_line(tmp_path, content, said):
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_pt2_file(path)
    with pytest.raises(UsageError, match="no such file"):
        read_pt2_file(tmp_path / "other.pt2")
