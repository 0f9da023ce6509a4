"""The rules of the house: who may import whom, what importing costs, how long things may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import trustml
from trustml.launch.environments import find_environment

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "trustml"
BENCH = ROOT / "benchmarks" / "trustml_bench"

_BASE = [
    "errors",
    "ranges",
    "processes",
    "models",
    "scenario",
    "data",
    "attribution",
    "catalogue",
    "privacy",
    "attacks",
]
_BASE += ["plan", "record"]
MAY_IMPORT = {room: set(_BASE[:number]) for number, room in enumerate(_BASE)} | {
    "measures": set(_BASE),
    "compare": {*_BASE, "measures"},
    "evidence": {*_BASE, "measures", "compare", "auditing"},
    "conformance": set(_BASE),
    "auditing": {*_BASE, "measures", "compare", "conformance", "backends", "launch"},
    "report": {*_BASE, "measures", "compare", "conformance", "auditing", "evidence"},
    "launch": {*_BASE, "conformance"},
    "backends": set(_BASE),
    "worker": {*_BASE, "backends", "conformance"},
    "api": {*_BASE, "measures", "compare", "launch"},
    "audits": {*_BASE, "measures", "compare", "auditing", "report", "launch", "api"},
    "cli": {*_BASE, "measures", "compare", "auditing", "evidence", "report", "launch", "api", "audits"},
}
BENCH_IMPORTS = {*_BASE, "measures", "report", "launch", "backends", "worker", "cli"}
FRAMEWORKS = {
    "torch": {"torch", "opacus", "captum", "pfl"},
    "jax": {"jax", "optax"},
    "tensorflow": {"tensorflow", "tensorflow_federated", "tf_explain", "tensorflow_privacy", "xplique"},
}
MODULES = sorted(SOURCE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_the_rooms_below_its_own(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    room = parts[0]
    if room == "__init__":
        return
    for module in imported(path):
        top = module.split(".")[0]
        assert top != "trustml_bench", f"{room} must not import the benchmark, which is no part of the package"
        if top == "trustml" and (below := room_of(module)):
            allowed = (
                below == room
                or below in MAY_IMPORT[room]
                or (room == "cli" and module in ("trustml.api", "trustml.audits"))
            )
            assert allowed, f"{room} must not import {module}"
            if room == "backends" and below == "backends" and len(parts) > 2:
                other = module.split(".")[2]
                assert other in ("contract", "settings", "shadows", "table", parts[1]), (
                    f"{parts[1]} must not import {module}"
                )
        for backend, packages in FRAMEWORKS.items():
            if top in packages:
                assert parts[:2] == ("backends", backend), f"only backends/{backend} may import {top}"


@pytest.mark.parametrize("path", sorted(BENCH.rglob("*.py")), ids=lambda path: str(path.relative_to(BENCH)))
def test_the_benchmark_drives_libraries_in_its_engines_alone(path):
    for module in imported(path):
        top = module.split(".")[0]
        assert top != "trustml" or not room_of(module) or room_of(module) in BENCH_IMPORTS, module
        engine = path.parent.name == "engines"
        assert engine or not any(top in packages for packages in FRAMEWORKS.values()), f"only engines may import {top}"


def test_the_public_names_are_there():
    assert len(set(trustml.__all__)) == len(trustml.__all__)
    for name in trustml.__all__:
        assert getattr(trustml, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = trustml.nothing


@pytest.mark.parametrize("module", ["trustml", "trustml.api", "trustml.cli.main", "trustml.compare.rows"])
def test_the_core_imports_no_framework(module):
    code = (
        f"import sys, {module}\n"
        "found = {'torch', 'jax', 'tensorflow', 'opacus', 'captum', 'streamlit'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.tensorflow
def test_the_worker_imports_in_the_oldest_environment_with_four_packages():
    python = find_environment("tensorflow").require()
    code = (
        "import sys, trustml.worker.pipeline, trustml.worker.__main__\n"
        "top = {name.split('.')[0] for name in sys.modules}\n"
        "known = set(sys.stdlib_module_names) | {'trustml', 'numpy', 'msgspec', 'safetensors', 'psutil', '__main__'}\n"
        "packages = {n for n in top - known if getattr(sys.modules.get(n), '__file__', None)}\n"
        "allowed = {'_distutils_hack', 'typing_extensions'}  # of pip itself; used by numpy.typing if there\n"
        "assert not packages - allowed, packages\n"
    )
    done = subprocess.run(
        [python, "-P", "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""}
    )
    assert done.returncode == 0, done.stderr


def test_modules_and_functions_stay_small():
    long = []
    for path in [*MODULES, *(ROOT / "apps").rglob("*.py"), *BENCH.rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 400:  # then it holds two subjects
            long.append(f"{path.name}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > 70:
                    long.append(f"{path.name}:{node.name}: {lines} lines")
                assert node.args.kwarg is None, f"{path.name}:{node.name} takes **{node.args.kwarg.arg}"
    assert not long, long


def test_backends_are_twins():
    everywhere = {
        *("__init__", "network", "training", "optimizers", "dp", "clipping", "device", "model_adapter", "noise"),
        *("federated", "server_optimizers"),
        *("attribution", "gradient_methods", "layer_methods", "perturbation_methods"),
    }
    extra = {
        "torch": {
            "modes",
            "library_default",
            "prv",
            "captum_calls",
            "deep_lift_rules",
            "relevance_rules",
            "entropy",
            "postprocessors",
            "book_keeping",
            "layer_gradients",
            "given_rows",
            "straight_paths",
        },
        "jax": {
            "client_schedule",
            "windows",
            "rules",
            "coalitions",
            "shadows",
            "shadow_training",
            "shadow_federated",
            "blocks",
            "loss_gradient",
            "pieces",
            "scores",
            "sharding",
            "straight_paths",
        },
        "tensorflow": {
            "aggregators",
            "modes",
            "library_default",
            "class_batches",
            "book_keeping",
            "layer_rules",
            "noisy_queries",
            "own_targets",
        },
    }
    for backend in FRAMEWORKS:
        files = {path.stem for path in (SOURCE / "backends" / backend).glob("*.py")}
        assert files == everywhere | extra[backend]
