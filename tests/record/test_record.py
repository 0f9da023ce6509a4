"""Run directories: atomic, private where they must be, and never trusted when read."""

from __future__ import annotations

import stat

import msgspec
import numpy as np
import pytest

from trustml.errors import RecordError, RunNotFoundError
from trustml.record.files import encode_arrays, inside, read_arrays, write_atomic
from trustml.record.schema import FORMAT, DataRecord, Manifest
from trustml.record.store import RunDirectory, create_run, find_run, list_runs

ASKED = {"name": "s", "training": [{"kind": "Plain"}], "backends": ["jax"], "seeds": [0]}


def manifest(name: str, **changes) -> Manifest:
    data = DataRecord(fingerprint="f", train_examples=1, test_examples=1, input_shape=(1,), class_names=("a", "b"))
    usual = {"run": name, "status": "success", "created": "2026-01-01T00:00:00+00:00", "scenario": ASKED, "data": data}
    return Manifest(**{**usual, "jobs": (), **changes})


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_atomic(path, b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["f"]


def test_private_files_are_their_owners_alone(tmp_path):
    write_atomic(tmp_path / "f", b"x", private=True)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


def test_arrays_travel_without_pickle(tmp_path):
    arrays = {"a/b": np.arange(6).reshape(2, 3), "c": np.float32([1.5])}
    (tmp_path / "a.npz").write_bytes(encode_arrays(arrays))
    found = read_arrays(tmp_path / "a.npz")
    assert set(found) == set(arrays)
    np.testing.assert_array_equal(found["a/b"], arrays["a/b"])
    assert encode_arrays(arrays) == encode_arrays(arrays), "the same arrays give the same bytes, so hashes compare"
    with pytest.raises(ValueError, match="pickle"):
        encode_arrays({"o": np.array([{}], dtype=object)})
    np.savez(tmp_path / "o.npz", o=np.array([{}], dtype=object))
    with pytest.raises(RecordError, match="not a readable"):
        read_arrays(tmp_path / "o.npz")


def test_no_path_leaves_the_run_directory(tmp_path):
    root = tmp_path / "run"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    for name in ("../x", "/etc/passwd", "a/../../x", "link/x"):
        with pytest.raises(RecordError, match="leaves the run directory"):
            inside(root, name)
    assert inside(root, "a/b") == (root / "a/b").resolve()


def test_runs_never_share_a_directory(tmp_path):
    runs = [create_run(tmp_path, name="same") for _ in range(20)]
    assert len({run.path for run in runs}) == 20
    assert stat.S_IMODE((runs[0].path / "private").stat().st_mode) == 0o700


def test_finding_a_run(tmp_path):
    names = ["digits-20260101-000000-aaaa", "digits-20260102-000000-bbbb", "table-20250101-000000-cccc"]
    for number, name in enumerate(names):
        (tmp_path / name).mkdir()
        RunDirectory(tmp_path / name).write_manifest(manifest(name, created=f"2026-01-0{number + 1}T00:00:00+00:00"))
    assert [run.path.name for run in list_runs(tmp_path)] == names
    assert find_run(names[1], root=tmp_path).path.name == names[1]
    assert find_run(tmp_path / names[0], root=tmp_path / "elsewhere").path.name == names[0]
    assert find_run("table", root=tmp_path).path.name == names[2]
    assert find_run("latest", root=tmp_path).path.name == names[2]
    with pytest.raises(RunNotFoundError, match="begins 2 runs"):
        find_run("digits", root=tmp_path)
    with pytest.raises(RunNotFoundError, match="trustml list"):
        find_run("nothing", root=tmp_path)


def test_a_manifest_that_cannot_be_trusted(tmp_path):
    run = RunDirectory(tmp_path)
    with pytest.raises(RunNotFoundError):
        run.manifest()
    run.write_manifest(manifest("r"))
    assert run.manifest() == manifest("r")
    run.write_manifest(manifest("r", format=FORMAT + 1))
    with pytest.raises(RecordError, match="newer"):
        run.manifest()
    (tmp_path / "manifest.json").write_text('{"run": 3}')
    with pytest.raises(RecordError, match="cannot be read"):
        run.manifest()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("training", 3, "Expected `array`, got `int` - at `$.training`"),
        ("training", [{"kind": -1}], "$.training[0].kind"),
        ("backends", None, "$.backends"),
        ("explanations", [], "$.explanations"),
    ],
)
def test_a_scenario_in_a_manifest_is_looked_at_before_it_is_shown(tmp_path, field, value, words):
    run = create_run(tmp_path, name="s")
    run.write_manifest(manifest(run.path.name, scenario={**ASKED, field: value}))
    with pytest.raises(RecordError) as caught:
        run.manifest()
    assert words in str(caught.value)
    without = {name: given for name, given in ASKED.items() if name != "training"}
    run.write_manifest(manifest(run.path.name, scenario=without))
    with pytest.raises(RecordError, match="required field `training`"):
        run.manifest()


def test_what_is_no_utf_8_is_damage(tmp_path):
    run = create_run(tmp_path, name="s")
    run.write_private_warnings(["x"])
    path = run.path / "private" / "warnings.json"
    path.write_bytes(path.read_bytes().replace(b"x", b"\xff"))
    assert run.private_warnings() == ()


def test_a_newer_field_is_passed_over(tmp_path):
    content = msgspec.json.decode(msgspec.json.encode(manifest("r"))) | {"colour": "red"}
    (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(content))
    assert RunDirectory(tmp_path).manifest() == manifest("r")
