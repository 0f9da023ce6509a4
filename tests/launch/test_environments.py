"""Finding environments, and saying what is missing with the command that fixes it."""

from __future__ import annotations

import re

import pytest

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.launch import environments
from trustml.launch.environments import LOCKS, create_tensorflow, find_environment


def test_a_missing_environment_names_its_repair(monkeypatch, tmp_path):
    monkeypatch.setenv("TRUSTML_ENV_TENSORFLOW", str(tmp_path / "nowhere"))
    environment = find_environment("tensorflow")
    assert environment.python is None
    with pytest.raises(EnvironmentMissingError, match="trustml setup tensorflow"):
        environment.require()


def test_an_environment_of_another_lock_is_not_used(monkeypatch, tmp_path):
    monkeypatch.delenv("TRUSTML_ENV_TENSORFLOW", raising=False)
    monkeypatch.setattr(environments, "tensorflow_folder", lambda: tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert "incomplete" in find_environment("tensorflow").problem
    (tmp_path / environments.STAMP).write_text("0" * 64)
    assert "another lock" in find_environment("tensorflow").problem
    (tmp_path / environments.STAMP).write_text(environments.lock_hash() + "\n")
    assert find_environment("tensorflow").python == tmp_path / "bin" / "python"


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")])
def test_a_platform_without_tff_is_told_so(monkeypatch, tmp_path, system, machine):
    monkeypatch.delenv("TRUSTML_ENV_TENSORFLOW", raising=False)
    monkeypatch.setattr(environments.platform, "system", lambda: system)
    monkeypatch.setattr(environments.platform, "machine", lambda: machine)
    monkeypatch.setattr(environments, "tensorflow_folder", lambda: tmp_path / "none")
    environment = find_environment("tensorflow")
    assert "Linux on x86-64 alone" in environment.problem
    assert environment.fix == ""


def test_a_machine_without_python_3_11_is_told_so(monkeypatch):
    monkeypatch.setattr(environments, "_python311", lambda: None)
    monkeypatch.setattr(environments.platform, "system", lambda: "Linux")
    monkeypatch.setattr(environments.platform, "machine", lambda: "x86_64")
    assert "Python 3.11" in environments.tensorflow_obstacle()


def test_a_folder_of_something_else_is_never_removed(tmp_path):
    (tmp_path / "thesis.txt").write_text("ten years")
    with pytest.raises(UsageError, match="not empty"):
        create_tensorflow(tmp_path, tell=lambda line: None)
    assert (tmp_path / "thesis.txt").read_text() == "ten years"


def test_the_tensorflow_lock_is_complete_and_hashed():
    text = (LOCKS / "tensorflow.lock").read_text()
    pins = re.findall(r"^([a-z0-9._-]+)==\S+ \\$", text, flags=re.MULTILINE)
    assert {"tensorflow", "tensorflow-federated", "tf-explain", "numpy", "msgspec", "safetensors"} <= set(pins)
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)
    assert "://" not in text


def test_the_main_lock_pins_exact_versions():
    lines = [line for line in (LOCKS / "main.lock").read_text().splitlines() if line and not line.startswith("#")]
    assert "torch==2.13.0" in lines
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)


@pytest.mark.parametrize(("uv", "fails"), [("", False), ("/x/uv", False), ("/x/uv", True)])
def test_uv_installs_the_lock_where_it_is_there_and_pip_where_not_or_where_uv_cannot(monkeypatch, tmp_path, uv, fails):
    called, told = [], []

    def call(command, *, lock):
        called.append(command)
        if fails and command[0] == uv:
            raise EnvironmentMissingError("`/x/uv pip` failed: no such index")

    monkeypatch.setattr(environments.shutil, "which", lambda name: uv if name == "uv" and uv else None)
    monkeypatch.setattr(environments, "_python311", lambda: "/x/python3.11")
    monkeypatch.setattr(environments, "tensorflow_obstacle", lambda: "")
    monkeypatch.setattr(environments, "_call", call)
    (tmp_path / "env").mkdir()
    assert create_tensorflow(tmp_path / "env", tell=told.append)
    python = str(tmp_path / "env" / "bin" / "python")
    programs = [command[0] for command in called]
    assert programs == ["/x/python3.11", *([uv] if uv else []), *([] if uv and not fails else [python])]
    for command in called[1:]:
        assert {"--no-deps", "--require-hashes", str(LOCKS / "tensorflow.lock")} <= set(command)
    assert bool(fails) == any("going on with pip" in line for line in told)
    assert not create_tensorflow(tmp_path / "env", tell=told.append), "the stamp says that it is made"
