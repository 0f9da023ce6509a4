"""Folders of TensorFlow.js by strangers: what they name as files must lie beside them."""

from __future__ import annotations

import json

import pytest

from trustml.errors import UsageError
from trustml.models.deployed_files import target_of_file
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


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "", ".", GRAPH, "absent.bin"])
def test_a_file_elsewhere_is_refused(tmp_path, name):
    (tmp_path.parent / "secret").write_text("x")
    folder = written(tmp_path, weightsManifest=[{"paths": [name], "weights": []}])
    with pytest.raises(UsageError, match=r"no file beside it|cannot be read"), copied_tfjs(folder):
        pass


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"format": "layers-model"}, "no graph model"), ({"modelTopology": {}}, "no graph model"),
     ({"weightsManifest": 3}, "no model of TensorFlow.js")],
)  # fmt: skip
def test_another_form_is_told(tmp_path, changed, said):
    with pytest.raises(UsageError, match=said), copied_tfjs(written(tmp_path, **changed)):
        pass


def test_a_link_is_not_followed(tmp_path):
    folder = written(tmp_path)
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match="is a link"), copied_tfjs(folder):
        pass
