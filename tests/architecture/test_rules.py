"""The rules of the house: who may import whom, what importing costs, how long things may be."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import trustml
from trustml.frameworks.shipped import SHIPPED
from trustml.launch.environments import find_environment

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "trustml"
BENCH = ROOT / "benchmarks" / "trustml_bench"

_BASE = [
    "errors",
    "frameworks",
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
    "evidence": {*_BASE, "measures", "compare", "auditing", "backends", "report"},
    "conformance": set(_BASE),
    "auditing": {*_BASE, "measures", "compare", "conformance", "backends", "launch"},
    "report": {*_BASE, "measures", "compare", "conformance", "auditing"},
    "launch": {*_BASE, "conformance", "measures"},
    "importing": set(_BASE),
    "backends": {*_BASE, "importing"},
    "worker": {*_BASE, "backends", "conformance"},
    "api": {*_BASE, "measures", "compare", "report", "launch", "deployment"},
    "deployment": {*_BASE, "backends", "launch", "measures", "compare"},
    "drafting": set(_BASE),
    "explanation": {*_BASE, "auditing", "backends", "importing", "report"},
    "tuning": {*_BASE, "measures", "api"},
    "audits": {*_BASE, "measures", "compare", "auditing", "report", "launch", "api"},
    "cli": {
        *_BASE,
        "conformance",
        "importing",
        "deployment",
        "drafting",
        "measures",
        "compare",
        "auditing",
        "evidence",
        "report",
        "launch",
        "api",
        "audits",
        "tuning",
    },
}
BENCH_IMPORTS = {*_BASE, "conformance", "measures", "report", "launch", "backends", "worker", "cli"}
FRAMEWORKS = {
    "torch": {"torch", "opacus", "captum", "pfl"},
    "jax": {"jax", "optax"},
    "tensorflow": {"tensorflow", "tensorflow_federated", "tf_explain", "tensorflow_privacy", "xplique"},
}
NAMES = {entry.name for entry in SHIPPED}
MODULES = sorted(SOURCE.rglob("*.py"))


@dataclass(frozen=True)
class Seen:
    """What a file holds, of what the rules are about."""

    lines: int
    imported: frozenset[str]
    backends: frozenset[str]
    functions: tuple[tuple[str, int, str], ...]  # name, lines, and what it calls the rest of its keywords
    defined: tuple[str, ...]  # functions and classes of the module itself; "_" stands for one of many kinds


@functools.cache
def seen(path: Path) -> Seen:
    """Look through a file once."""
    text = path.read_text(encoding="utf-8")
    imports: set[str] = set()
    names: set[str] = set()
    functions = []
    tree = ast.parse(text)
    kinds = ast.FunctionDef | ast.ClassDef
    defined = tuple(node.name for node in tree.body if isinstance(node, kinds) and node.name != "_")
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                imports |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str()):
                imports |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            case ast.Constant(value=str()) if node.value in NAMES:
                names.add(node.value)
            case ast.FunctionDef():
                kwarg = node.args.kwarg
                functions.append((node.name, node.end_lineno - node.lineno + 1, kwarg.arg if kwarg else ""))
    return Seen(len(text.splitlines()), frozenset(imports), frozenset(names), tuple(functions), defined)


def imported(path: Path) -> frozenset[str]:
    """Every module that a file imports, at its top or inside a function."""
    return seen(path).imported


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def wrong_imports(path: Path) -> Iterator[str]:
    """What a module imports and must not."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    room = parts[0]
    for module in imported(path) if room != "__init__" else ():
        top = module.split(".")[0]
        if top == "trustml_bench":
            yield f"{room} must not import the benchmark, which is no part of the package"
        if top == "trustml" and (below := room_of(module)):
            by_name = room == "cli" and module in ("trustml.api", "trustml.audits")
            if below != room and below not in MAY_IMPORT[room] and not by_name:
                yield f"{room} must not import {module}"
            if room == "backends" and below == "backends" and len(parts) > 2:
                other = module.split(".")[2]
                if other not in ("contract", "settings", "shadows", "table", parts[1]):
                    yield f"{parts[1]} must not import {module}"
        for backend, packages in FRAMEWORKS.items():
            if top in packages and parts[:2] != ("backends", backend):
                yield f"only backends/{backend} may import {top}"


def test_modules_import_only_the_rooms_below_their_own():
    found = {str(path.relative_to(SOURCE)): problems for path in MODULES if (problems := [*wrong_imports(path)])}
    assert len(MODULES) > 500 and not found


def test_the_benchmark_drives_libraries_in_its_engines_alone():
    for path in BENCH.rglob("*.py"):
        for module in imported(path):
            top = module.split(".")[0]
            assert top != "trustml" or not room_of(module) or room_of(module) in BENCH_IMPORTS, (path, module)
            engine = path.parent.name == "engines"
            framework = any(top in packages for packages in FRAMEWORKS.values())
            assert engine or not framework, f"{path}: only engines may import {top}"


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
        if seen(path).lines > 400:  # then it holds two subjects
            long.append(f"{path.name}: {seen(path).lines} lines")
        for name, lines, rest in seen(path).functions:
            if lines > 70:
                long.append(f"{path.name}:{name}: {lines} lines")
            assert not rest, f"{path.name}:{name} takes **{rest}"
    assert not long, long


def test_no_module_defines_a_name_twice():
    """The second silently takes the place of the first, as two branches that are merged make it."""
    twice = {}
    for path in [*MODULES, *(ROOT / "apps").rglob("*.py"), *BENCH.rglob("*.py")]:
        names = seen(path).defined
        if len(names) > len(set(names)):
            twice[str(path.relative_to(ROOT))] = sorted({name for name in names if names.count(name) > 1})
    assert not twice, twice


ALIKE = 14
"""Files that all backends have, at the least: what one has, and both others have under another name, is no twin."""


FOR_PEOPLE = {
    "trustml.backends.torch.lightning": (
        "docs/how_to/own_module.md",
        "a callback and a loader that people give to a Trainer of their own: no job of ours has one",
    ),
}
"""Modules of a backend that people import and nothing of ours does: the page that tells them to, and why."""


def test_backends_are_twins():
    """What a backend shares with another it calls by the same name; a file of one alone is named by another of it."""
    files = {backend: {path.stem: path for path in folder_of(backend).glob("*.py")} for backend in FRAMEWORKS}
    everywhere = set.intersection(*(set(found) for found in files.values()))
    assert len(everywhere) >= ALIKE
    required = {
        entry.split(".")[-1] for backend in FRAMEWORKS for entry in contract_modules(files[backend]["__init__"])
    }
    optional = {"library_default", "shadows", "inversion"}  # regimes that a backend may lack
    assert required - optional <= everywhere
    for backend, found in files.items():
        named = {module for path in found.values() for module in imported(path)}
        named |= {call.partition(":")[0] for call in cells_of(backend)}
        named |= {module for path in SOURCE.glob("*/*.py") for module in named_in(path)}
        assert not named & set(FOR_PEOPLE), "it is named here: no exception is needed"
        unused = {stem for stem in set(found) - everywhere if f"trustml.backends.{backend}.{stem}" not in named}
        unused -= {name.rpartition(".")[2] for name in FOR_PEOPLE if name.split(".")[2] == backend}
        assert not unused, f"backends/{backend}: nothing names {sorted(unused)}"
    for name, (page, _) in FOR_PEOPLE.items():
        assert (SOURCE.parent / (name.replace(".", "/") + ".py")).is_file()
        assert name in (ROOT / page).read_text(encoding="utf-8"), f"{page} tells nobody of {name}"


def folder_of(backend: str) -> Path:
    return SOURCE / "backends" / backend


def contract_modules(path: Path) -> set[str]:
    """Modules of its own that a backend's package imports to keep the contract."""
    own = ".".join(path.parent.relative_to(SOURCE.parent).parts)
    return {name for name in imported(path) if name.startswith(f"{own}.") and name.count(".") == own.count(".") + 1}


def cells_of(backend: str) -> set[str]:
    """Functions that the table of methods names for a backend."""
    text = (SOURCE / "catalogue" / "methods.py").read_text(encoding="utf-8")
    text += (SOURCE / "catalogue" / "libraries.py").read_text(encoding="utf-8")
    return {f"trustml.backends.{backend}.{call}" for call in re.findall(r'"([a-z_]+:[a-z_]+)"', text)}


def named_in(path: Path) -> set[str]:
    """Modules that a file names in a string, because it starts them in another process."""
    return set(re.findall(r'"(trustml\.backends\.[a-z_.]+)"', path.read_text(encoding="utf-8")))


NO_BACKEND = {
    "models/layers.py": "a law of starting weights is called torch, after whose it is",
    "models/weights.py": "the same law",
    "models/recurrence.py": "the same law",
    "models/token_types.py": "the same law",
    "privacy/tails.py": "generators of noise are called after their libraries; ledgers hold these names",
    "measures/wording.py": "the same generators, in words",
    "report/audit/model_card.py": "names of libraries on a hub of models, by words of an audited model's kind",
}
"""Files that hold a word which is a backend's name too, and what it means there."""
TABLES = ("frameworks/shipped.py", "catalogue/methods.py", "deployment/targets.py")  # a backend; a column; a writer


def test_names_of_backends_stand_in_the_table_alone():
    """A backend from elsewhere is forgotten wherever the code asks for one of ours by name."""
    found: dict[str, set[str]] = {}
    for path in MODULES:
        parts = path.relative_to(SOURCE).parts
        own = {parts[1]} if parts[0] == "backends" else set()
        names = seen(path).backends - own
        if names:
            found["/".join(parts)] = names
    for path in (ROOT / "apps").rglob("*.py"):
        if names := seen(path).backends:
            found[str(path.relative_to(ROOT))] = names
    assert set(found) == {*TABLES, *NO_BACKEND}
    assert all(found[table] == NAMES for table in TABLES)
