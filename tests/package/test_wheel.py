"""The wheel, installed in an environment of its own and used from an empty folder.

That environment sees the packages of this one, all but trustml. ``TRUSTML_WHEEL=all`` (``make test-wheel``) installs
every dependency anew, as the wheel declares them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("package")]

EVERYTHING = os.environ.get("TRUSTML_WHEEL") == "all"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Folder with the sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    return next(built.glob("trustml-*.whl"))


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory) -> Path:
    """Folder of the programs of a new environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("clean") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    if EVERYTHING:
        lock = ROOT / "src" / "trustml" / "environments" / "main.lock"
        what = ["-c", str(lock), f"{wheel}[jax,dashboard]"]
    else:
        packages = folder / "seen" / "site-packages"  # a name that streamlit looks for
        packages.mkdir(parents=True)
        for path in Path(sysconfig.get_path("purelib")).iterdir():
            if "trustml" not in path.name and path.suffix != ".pth":
                (packages / path.name).symlink_to(path)
        home = next((folder / "lib").glob("python3*")) / "site-packages"
        (home / "seen.pth").write_text(f"{packages}\n")
        what = ["--no-deps", str(wheel)]
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
        + ["--quiet", "--disable-pip-version-check", *what],
        check=True,
        capture_output=True,
    )
    return folder / "bin"


def call(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TRUSTML", "PYTHON"))}
    return subprocess.run(
        [str(program), *arguments], cwd=cwd, capture_output=True, text=True, timeout=300,
        env={**environment, "XDG_DATA_HOME": str(cwd / "data")},
    )  # fmt: skip


def test_the_wheel_carries_what_users_need(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "trustml/_shipped/apps/dashboard.py",
        "trustml/_shipped/scenarios/digits.py",
        "trustml/environments/tensorflow.lock",
        "trustml/environments/main.lock",
    } <= names
    assert not [name for name in names if "tests/" in name or "/test_" in name or name.endswith(".pyc")]
    assert {name for name in names if "bench" in name} == {"trustml/cli/bench.py", "trustml/launch/benchmarks.py"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_carries_what_the_wheel_is_built_from_and_no_more(built):
    (path,) = built.glob("trustml-*.tar.gz")
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members), "no links"
    names = {member.name.partition("/")[2] for member in members}
    assert {"PKG-INFO", "pyproject.toml", "LICENSE", "README.md", "apps/dashboard.py", "scenarios/digits.py"} <= names
    told = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    tracked = set(told.stdout.splitlines())
    assert {name for name in tracked if name.startswith(("src/", "apps/", "scenarios/"))} <= names
    assert not names - tracked - {"PKG-INFO"}, "nothing of the builder's machine, no run, no cache"
    assert not [name for name in names if name.startswith(("tests/", "runs/", "benchmarks/"))]


@pytest.mark.long
def test_it_runs_from_an_empty_folder(clean, tmp_path):
    changes = ["training.0.epochs=1", "training.1.epochs=2", "training.2.rounds=2", "explanations.methods=[]"]
    if not EVERYTHING:  # what is not in the wheel is missed by the first job
        changes = ['training=[{kind = "FedAvg", rounds = 2, partition = {kind = "iid", clients = 4}}]', changes[-1]]
    options = [word for change in changes for word in ("--set", change)]
    done = call(clean / "trustml", "run", "breast_cancer", "--backend", "jax", "--json", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "success"
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    shown = call(clean / "trustml", "show", "latest", cwd=tmp_path)
    assert "FedAvg" in shown.stdout


@pytest.mark.long
def test_doctor_says_what_is_missing_and_how_to_get_it(clean, tmp_path):
    done = call(clean / "trustml", "doctor", "--json", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    parts = {part["backend"]: part for part in json.loads(done.stdout)["environments"]}
    assert parts["jax"]["ok"] and parts["dashboard"]["ok"]
    assert not EVERYTHING or "pip install 'trustml[torch]'" in parts["torch"]["fix"]
    assert parts["tensorflow"]["fix"] == "trustml setup tensorflow"


@pytest.mark.long
def test_the_benchmark_is_no_part_of_it(clean, tmp_path):
    done = call(clean / "trustml", "bench", "--list", cwd=tmp_path)
    assert done.returncode == 2 and "`pip install ./benchmarks`" in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.long
def test_the_dashboard_starts_from_an_empty_folder(clean, tmp_path):
    port = 8765
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(clean / "trustml"), "dashboard", "--port", str(port)],
            cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as answer:
                    assert answer.read() == b"ok"
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.3)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
