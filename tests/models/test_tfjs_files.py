"""Folders of TensorFlow.js by strangers: what they name as files must lie beside them."""

from __future__ import annotations

import json

import pytest

from trustml.errors import UsageError
from trustml.models import tfjs_files
from trustml.models.deployed_files import target_of_file
from trustml.models.exported import STATEMENT
from trustml.models.tfjs_files import GRAPH, copied_tfjs

DESCRIBED = {
    "format": "graph-model",
    "modelTopology": {"node": []},
    "weightsManifest": [{"paths": ["weights.bin"], "weights": []}],
}


def written(folder, **changed):
    (folder / GRAPH).write_text(json.dumps({**DESCRIBED, **changed}))
    (folder / "weights.bin").write_bytes(b"1234")
    return folder


def test_a_model_is_copied_with_what_it_names_and_nothing_else(tmp_path):
    (tmp_path / "other.txt").write_text("not named")
    with copied_tfjs(written(tmp_path)) as copied:
        assert sorted(one.name for one in copied.iterdir()) == [GRAPH, "weights.bin"]
        assert (copied / "weights.bin").read_bytes() == b"1234"
    assert not copied.exists()
    assert target_of_file(tmp_path) == "tfjs" and target_of_file(tmp_path / "model.pte") == "executorch"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "", ".", GRAPH, "absent.bin", "a\0b", "x" * 300])
def test_a_file_elsewhere_is_refused(tmp_path, name):
    (tmp_path.parent / "secret").write_text("x")
    folder = written(tmp_path, weightsManifest=[{"paths": [name], "weights": []}])
    with pytest.raises(UsageError, match=r"no file beside it|cannot be read"), copied_tfjs(folder):
        pass


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"format": "layers-model"}, "no graph model"), ({"modelTopology": {}}, "no graph model"),
     ({"weightsManifest": 3}, "no model of TensorFlow.js"),
     ({"weightsManifest": [{"paths": ["weights.bin"] * 2, "weights": []}]}, r"names 'weights\.bin' twice"),
     ({"weightsManifest": [{"paths": ["weights.bin"], "weights": []}] * 2}, r"names 'weights\.bin' twice"),
     ({"userDefinedMetadata": {STATEMENT: {"run": "x"}}}, "is no text"),
     ({"userDefinedMetadata": 3}, "no model of TensorFlow.js")],
)  # fmt: skip
def test_another_form_is_told(tmp_path, changed, said):
    with pytest.raises(UsageError, match=said), copied_tfjs(written(tmp_path, **changed)):
        pass


def test_all_files_together_have_a_limit_and_holes_count(tmp_path, monkeypatch):
    monkeypatch.setattr(tfjs_files, "_LARGEST", 1 << 20)
    names = ["weights.bin", "a.bin", "b.bin"]
    folder = written(tmp_path, weightsManifest=[{"paths": names, "weights": []}])
    for name in names[1:]:
        with (folder / name).open("wb") as stream:
            stream.truncate(600 << 10)
    with pytest.raises(UsageError, match="all files are larger"), copied_tfjs(folder):
        pass
    (folder / "b.bin").write_bytes(b"")
    with copied_tfjs(folder) as copied:
        assert {one.name for one in copied.iterdir()} == {GRAPH, *names}


def test_a_link_is_not_followed(tmp_path):
    folder = written(tmp_path)
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match="is a link"), copied_tfjs(folder):
        pass
