"""Where the benchmark is found: in the checkout, else installed, else a line that says how to get it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "from trustml.cli.main import _main; import sys; sys.exit(_main(sys.argv[1:]))"
NOWHERE = "import trustml.launch.benchmarks as found; found.BENCH = 'trustml_bench_that_is_nowhere'\n"
INSTALLED = "import trustml.launch.benchmarks as found; found.checkout_root = lambda: None\n"


def python(code: str, *arguments: str, paths: tuple[Path, ...] = ()) -> subprocess.CompletedProcess:
    """Run code that sees the package and some folders, and nothing of what the tests see."""
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", *paths)))},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that holds what the package's own wheel holds."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT / "benchmarks"],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("trustml_bench-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site-packages")
    return folder / "site-packages"


@pytest.mark.parametrize("arguments", [(), ("--help",), ("--full", "--from", "x.json", "--against", "y.json")])
def test_where_there_is_none_the_command_says_how_to_get_it(arguments):
    done = python(NOWHERE + COMMAND, "bench", *arguments)
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: bench: needs the package trustml-bench") and "`pip install ./benchmarks`" in line


def test_where_there_is_none_all_else_works():
    listed = python(NOWHERE + COMMAND, "--help")
    assert listed.returncode == 0 and "  bench " in listed.stdout
    assert python(NOWHERE + "assert found.bench_module('panels') is None").returncode == 0
    completed = python(NOWHERE + "from trustml.cli.bench import command; assert command.name == 'bench'")
    assert completed.returncode == 0, completed.stderr


def test_the_checkout_comes_first_and_shows_nothing_else(installed):
    code = (
        "import importlib.util, sys\nfrom trustml.launch.benchmarks import bench_module\n"
        "print(bench_module('results').__file__)\n"
        "assert importlib.util.find_spec('quadrature') is None\n"
    )
    done = python(code, paths=(installed,))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == ROOT / "benchmarks" / "trustml_bench" / "results.py"


def test_one_that_is_installed_is_found(installed):
    done = python(INSTALLED + COMMAND, "bench", "--list", "--kind", "occlusion", paths=(installed,))
    assert done.returncode == 0, done.stderr
    assert "occlusion/cnn/64" in done.stdout
    where = python(INSTALLED + "print(found.bench_module('results').__file__)", paths=(installed,))
    assert Path(where.stdout.strip()).parent == installed / "trustml_bench"
