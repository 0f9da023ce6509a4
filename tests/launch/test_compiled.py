"""The folder of compiled programs is the user's alone, apart for versions and processors, and has a largest size."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest
from msgspec.structs import replace

from trustml.errors import UsageError
from trustml.launch.compiled import evict, folder_of_run, open_folder, processor, reused_by, user_folder
from trustml.plan.expand import Inputs, expand
from trustml.plan.job import ExplainJob

PYTHON = Path(sys.executable)
JAX = ("jax", "jaxlib")


@pytest.fixture
def root(tmp_path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "compiled"


def test_it_is_private_and_named_after_versions_and_the_processor(root):
    folder = open_folder(PYTHON, JAX, root=root)
    assert folder.name == f"jax-{version('jax')}-jaxlib-{version('jaxlib')}-{processor()}"
    assert {place.stat().st_mode & 0o777 for place in (root, folder)} == {0o700}
    assert open_folder(PYTHON, JAX, root=root) == folder


def test_an_unknown_environment_has_a_folder_of_its_own(root, tmp_path):
    assert open_folder(tmp_path / "bin" / "python", JAX, root=root) != open_folder(PYTHON, JAX, root=root)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_is_open_to_others_is_refused(root, mode):
    root.mkdir()
    root.chmod(mode)
    with pytest.raises(UsageError, match="chmod 700"):
        open_folder(PYTHON, JAX, root=root)


def test_links_are_refused(root, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="no folder of yours"):
        open_folder(PYTHON, JAX, root=root)


def test_a_folder_whose_parent_others_can_write_is_refused(root):
    root.parent.chmod(0o777)
    with pytest.raises(UsageError, match="others can replace"):
        open_folder(PYTHON, JAX, root=root)
    root.parent.chmod(0o1777)  # sticky, like /tmp: only owners delete
    open_folder(PYTHON, JAX, root=root)


def test_the_oldest_programs_go_first(root):
    folder = open_folder(PYTHON, JAX, root=root)
    for number in range(5):
        path = folder / f"{number}-cache"
        path.write_bytes(bytes(100))
        os.utime(path, (1000 + number, 1000 + number))
    os.utime(folder / "3-cache", (1, 1))
    evict(root, largest=250)
    assert sorted(path.name for path in folder.iterdir()) == ["2-cache", "4-cache"]


def test_another_place_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TRUSTML_COMPILED", str(tmp_path))
    assert user_folder() == tmp_path
    monkeypatch.delenv("TRUSTML_COMPILED")
    assert user_folder().parts[-2:] == ("trustml", "compiled")


@pytest.mark.parametrize(
    ("cache", "trains", "timed", "untimed"),
    [
        ("off", None, None, None),
        ("run", None, None, "of the run"),
        ("user", "of the user", "of the user", "of the user"),
    ],
)
def test_first_calls_that_are_figures_are_cold_unless_the_user_wants_otherwise(
    tiny, root, monkeypatch, cache, trains, timed, untimed
):
    monkeypatch.setenv("TRUSTML_COMPILED", str(root))
    scenario = replace(tiny, execution=replace(tiny.execution, compilation_cache=cache))
    expanded = expand(
        scenario,
        input_shape=(8, 8, 1),
        files=Inputs(data="d", examples="h", baselines="b", data_fingerprint="f"),
        mechanisms={},
    )
    where = {None: None, "of the run": root.parent / "run", "of the user": open_folder(PYTHON, JAX, root=root)}
    for job in (*expanded.train, *expanded.explain):
        cases = [(job, trains)]
        if isinstance(job, ExplainJob):
            cases = [(replace(job, timing=True), timed), (replace(job, timing=False), untimed)]
        for one, expected in cases:
            found = reused_by(one, python=PYTHON, of_run=root.parent / "run")
            assert found == (where[expected] if job.backend == "jax" else None)


def test_what_a_killed_run_compiled_is_removed_and_what_others_hold_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = (
        "import os, signal, tempfile\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "from trustml.launch.compiled import folder_of_run\n"
        "with folder_of_run() as folder:\n"
        "    (folder / 'program').write_bytes(b'x')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    (tmp_path / "trustml-compiled-being-made").mkdir()
    (tmp_path / "trustml-compiled-link").symlink_to(left)
    with folder_of_run() as first, folder_of_run() as second:
        assert not left.exists() and first.is_dir() and second.is_dir() and first != second
    assert {path.name for path in tmp_path.iterdir()} == {"trustml-compiled-being-made", "trustml-compiled-link"}
